"""Signals that are taken: only free ones, all or none."""

import sys

import _signal

DEFAULT, IGNORED = int(_signal.SIG_DFL), int(_signal.SIG_IGN)


def name_of(number):
    import signal
    try:
        return signal.Signals(number).name
    except ValueError:
        return 'SIGRTMIN+%d' % (number - signal.SIGRTMIN) if number > signal.SIGRTMIN else 'signal %d' % number


def taken_by(handler):
    """What a signal that is not free does."""
    if handler is None:
        return 'by a handler that is not written in Python'
    if handler == IGNORED:
        return 'it is ignored on purpose'
    module, name = getattr(handler, '__module__', None), getattr(handler, '__qualname__', None)
    return 'by %s.%s' % (module, name) if module and name else 'by %s' % type(handler).__name__


def claim(wanted):
    """Sets handlers: [(number, handler)]. Raises RuntimeError with the reason, and has set none then."""
    # The module `signal` costs more than all the rest. If it is there, its
    # function is called, which somebody may have replaced for a reason.
    set_handler = getattr(sys.modules.get('signal'), 'signal', _signal.signal)
    for number, _ in wanted:
        if _signal.getsignal(number) != DEFAULT:
            raise RuntimeError('%s is taken already: %s' % (name_of(number), taken_by(_signal.getsignal(number))))
    done = []
    try:
        for number, handler in wanted:
            try:
                set_handler(number, handler)
            except ValueError as error:
                # The interpreter is asked: greenlets may pose as threads.
                raise RuntimeError('a signal handler can be set in the main thread of the main interpreter alone (%s)'
                                   % error)
            # Under mod_wsgi the call is accepted and does nothing (mod_wsgi's
            # wsgi_interp.c, WSGIRestrictSignal); others may do the same.
            if _signal.getsignal(number) != handler:
                raise RuntimeError('%s: the handler was not set: something here takes signal.signal() for itself, as mod_wsgi does'
                                   % name_of(number))
            done.append(number)
    except BaseException:
        for number in done:
            set_handler(number, DEFAULT)
        raise
