"""KeyboardInterrupt for a thread that runs code, and never for one that has left it.

Before a thread runs code it is armed, and when the code has ended, disarmed.
What was asked for and has not come by then does not come any more.
"""

from . import _places

allocate_lock = _places.original('_thread', 'allocate_lock')
get_ident = _places.original('_thread', 'get_ident')


class Interrupts(object):
    def __init__(self):
        self.armed = {}             # job -> ident of its thread
        self.raised = set()         # jobs that were interrupted since they were armed
        self.raising = allocate_lock()

    def arm(self, job):
        self.raised.discard(job)
        self.armed[job] = get_ident()

    def disarm(self, job):
        """True: it was interrupted, and a KeyboardInterrupt comes at once, also
        if one has come already. Up to 3.12 the interpreter does not forget that
        there is one until it is raised, and looks for it all the time.
        """
        # Each step may be torn by an interrupt, and is then done again.
        self.armed.pop(job, None)
        with self.raising:
            raised = job in self.raised
        if raised:
            self.raised.discard(job)
            set_async_exc(get_ident(), KeyboardInterrupt)
        return raised

    def settle(self, job):
        while True:
            try:
                while self.disarm(job):
                    pass
                return
            except KeyboardInterrupt:
                pass

    def interrupt(self, job):
        """Raises ImportError where there is no ctypes."""
        with self.raising:
            ident = self.armed.get(job)
            if ident is not None:
                self.raised.add(job)
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
        self.interrupts.settle(self.job)

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
    call(ident, id(kind))
