"""KeyboardInterrupt for a thread that runs code, and never for one that has left it.

Before a thread runs code it is armed, and when the code has ended, disarmed.
What was asked for and has not come by then does not come any more.
"""

import sys

from . import _places

allocate_lock = _places.original('_thread', 'allocate_lock')
get_ident = _places.original('_thread', 'get_ident')


class Interrupts(object):
    def __init__(self):
        self.armed = {}             # job -> ident of its thread
        self.raising = allocate_lock()

    def arm(self, job):
        self.armed[job] = get_ident()

    def disarm(self, job):
        # Each step may be torn by an interrupt, and is then done again.
        self.armed.pop(job, None)
        with self.raising:
            pass
        if 'ctypes' in sys.modules:
            set_async_exc(get_ident(), None)

    def interrupt(self, job):
        """Raises ImportError where there is no ctypes."""
        with self.raising:
            ident = self.armed.get(job)
            if ident is not None:
                set_async_exc(ident, KeyboardInterrupt)

    def run(self, job, call):
        """What `call` raises, or None; an interrupt of `job` is one, wherever it comes."""
        attempt = Attempt(self, job, call)
        while True:
            try:
                attempt.go_on()
                caught, attempt.caught = attempt.caught, None       # whose frames refer to it
                return caught
            except BaseException as error:      # in the arming or the disarming
                if attempt.caught is None:
                    attempt.caught = error


class Attempt(object):
    # Each entry gets further: first the code, then only the disarming.
    def __init__(self, interrupts, job, call):
        self.interrupts, self.job, self.call = interrupts, job, call
        self.begun, self.caught = False, None

    def go_on(self):
        if not self.begun:
            self.begun = True
            self.interrupts.arm(self.job)
            self.attempt()
        self.interrupts.disarm(self.job)

    def attempt(self):
        try:
            self.call()
        except BaseException as error:
            self.caught = error


def set_async_exc(ident, kind):
    # A function of our own: the one that `ctypes.pythonapi` gives is shared
    # with the program, whose argument types may make of None an object.
    import ctypes
    call = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(
        ('PyThreadState_SetAsyncExc', ctypes.pythonapi))
    call(ident, None if kind is None else id(kind))
