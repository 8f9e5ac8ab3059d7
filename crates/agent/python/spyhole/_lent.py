# Feature `lent`: a stay in another interpreter than the main one. To end an
# interpreter in which one more thread has a state is a fatal error
# (Python/pylifecycle.c, Py_EndInterpreter), so whoever ends it meanwhile is
# made to wait: by an exit function, up to the moment when the stub has taken
# the thread's state away.

import _thread


def stay():
    # Once for each stay of a thread. The stub keeps the rest for its end.
    global exits
    ident = stub_ident()
    if 'exits' not in AGENT:
        exits = exit_functions()
    register, unregister = exits
    lock = _thread.allocate_lock()
    lock.acquire()

    def hold():
        # In the thread that ends the interpreter. Exit functions that run
        # are not taken out of their list any more.
        try:
            stub_latch((ident, lock.release, None))
            tell({'ev': 'ending'})
            stub_interrupt(0)
        except NameError:       # the agent has ended, and leaves just now
            pass
        lock.acquire()

    if stub_latch((ident, unregister, hold, lock.release, None)):
        register(hold)


def exit_functions():
    had = 'atexit' in modules
    import atexit
    if not had:
        if sys.version_info >= (3, 10):
            del modules['atexit']
        else:
            # Its interpreter knows it by a pointer of its own.
            kept.append('the module `atexit` in its sub-interpreters')
    return atexit.register, atexit.unregister
