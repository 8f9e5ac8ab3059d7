"""The doorbell: until somebody rings, two signal handlers and nothing else.

A ringer makes a socket whose name begins with this process's id and start
time, and sends the first signal of the name-plate. The handler starts a thread,
which connects to the socket, looks who made it, and runs the agent that the
ringer sends: see `_session`. The second signal ends all that is open.

A handler calls nothing but `posix` and starts the original thread: it may come
between any two bytecodes, in a hub of greenlets, too.
"""

import posix
import sys

from . import _places, _signals

RING, CLOSE = 45, 54            # the name-plate; crates/proc/src/bell.rs has the same
EXTRA = 5, 10, 12               # SIGTRAP, SIGUSR1, SIGUSR2

start_thread = _places.original('_thread', 'start_new_thread')


class Door(object):
    """What `install` made: its handlers, and the sessions that are open."""

    def __init__(self, given, frame, port=None):
        self.given, self.frame, self.port = given, frame, port
        self.ringing = False        # a thread is looking for a ringer
        self.again = False          # it was rung meanwhile
        self.calling = False        # a thread is connecting to the port
        self.sessions = {}          # name of the ringer's socket -> session
        self.pid = posix.getpid()

    def ring(self, *ignored):
        """The handler of the name-plate's first signal."""
        if self.pid != posix.getpid():      # a child that was forked meanwhile
            self.pid, self.ringing, self.calling, self.sessions = posix.getpid(), False, False, {}
        try:
            posix.stat('/proc/self/stat')
        except OSError:
            # Another root, where nothing could be answered, and where the end
            # of a thread might look for a library that is not there.
            return
        self.again = True
        if not self.ringing:
            self.ringing = True
            try:
                start_thread(self.answer, (_places.here(),))
            except BaseException:           # no memory for one; the program goes on
                self.ringing = False

    def close(self, *ignored):
        """The handler of the second one."""
        for session in list(self.sessions.values()):
            session.hang_up()

    def answer(self, place):
        # In a thread of its own.
        try:
            from . import _session
            while self.again:
                self.again = False
                _session.answer(self, place)
        except Exception:
            self.again = False      # its files are gone, or memory is short: nobody gets in
        finally:
            self.ringing = False


installed = []


def install(signal, tty, given, frame, port=None):
    if installed:
        raise RuntimeError('the doorbell is installed already')
    if port is not None and not (isinstance(port, int) and 0 < port < 1 << 16):
        raise ValueError('port is a number from 1 to 65535, not %r' % (port,))
    if hasattr(sys.modules.get('mod_wsgi'), 'process_group'):
        raise RuntimeError('mod_wsgi lets nobody set a signal handler (`WSGIRestrictSignal`), and with that switched off '
                           'none would ever run: its main thread runs no Python. `spyhole.backdoor` works there')
    door = Door(given, frame, port)
    wanted = [(RING, door.ring), (CLOSE, door.close)]
    for number in (signal,) if isinstance(signal, int) else tuple(signal or ()):
        if number not in EXTRA:
            raise ValueError('signal is SIGTRAP, SIGUSR1 or SIGUSR2, not %s' % _signals.name_of(number))
        wanted.append((int(number), door.ring))
    if tty is not None:
        wanted.append((int(tty), door_to_terminal))
    _signals.claim(wanted)
    installed.append(door)


def door_to_terminal(number, frame):
    from . import _terminal
    _terminal.open_prompt(number, frame)
