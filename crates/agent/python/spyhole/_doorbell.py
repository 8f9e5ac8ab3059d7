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


def threads_can_end():
    # Up to 3.9.5 a thread ends by pthread_exit (Python/thread_pthread.h,
    # PyThread_exit_thread), for which glibc loads libgcc_s, and ends the
    # process where it cannot: in another root, for one.
    if sys.version_info >= (3, 9, 6):
        return True
    maps = posix.open('/proc/self/maps', posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        last, piece = b'', posix.read(maps, 1 << 16)
        while piece:
            if b'/libgcc_s' in last + piece:
                return True
            last, piece = piece[-16:], posix.read(maps, 1 << 16)
    finally:
        posix.close(maps)
    folders = posix.environ.get(b'LD_LIBRARY_PATH', b'').split(b':') + LIBRARIES
    return any(is_file(folder + b'/libgcc_s.so.1') for folder in folders if folder)


LIBRARIES = [b'/lib/x86_64-linux-gnu', b'/usr/lib/x86_64-linux-gnu', b'/lib64', b'/usr/lib64', b'/lib', b'/usr/lib']


def is_file(path):
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


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
            if not threads_can_end():
                return
        except OSError:
            return                  # another root, where nothing could be answered
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
