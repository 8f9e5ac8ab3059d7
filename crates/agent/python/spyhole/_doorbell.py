"""The doorbell: until somebody rings, two signal handlers and nothing else.

A ringer makes a socket whose name begins with this process's id and start
time, and sends the first signal of the name-plate. The handler starts a thread,
which connects to the socket, looks who made it, and runs the agent that the
ringer sends: see `_session`. The second signal ends all that is open.

A handler calls nothing but `posix` and starts the original thread: it may come
between any two bytecodes, in a hub of greenlets, too.
"""

import posix

from . import _places, _signals

RING, CLOSE = 45, 54            # the name-plate; crates/proc/src/bell.rs has the same
EXTRA = 5, 10, 12               # SIGTRAP, SIGUSR1, SIGUSR2

start_thread = _places.original('_thread', 'start_new_thread')


class Door(object):
    """What `install` made: its handlers, and the sessions that are open."""

    def __init__(self, given, frame):
        self.given, self.frame = given, frame
        self.ringing = False        # a thread is looking for a ringer
        self.again = False          # it was rung meanwhile
        self.sessions = {}          # name of the ringer's socket -> session
        self.pid = posix.getpid()

    def ring(self, *ignored):
        """The handler of the name-plate's first signal."""
        if self.pid != posix.getpid():      # a child that was forked meanwhile
            self.pid, self.ringing, self.sessions = posix.getpid(), False, {}
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


def install(signal, tty, given, frame):
    if installed:
        raise RuntimeError('the doorbell is installed already')
    door = Door(given, frame)
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
