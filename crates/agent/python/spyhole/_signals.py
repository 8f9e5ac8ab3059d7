"""Signals that are taken: only free ones, all or none."""

import signal
import threading


def name_of(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return 'SIGRTMIN+%d' % (number - signal.SIGRTMIN) if number > signal.SIGRTMIN else 'signal %d' % number


def taken_by(handler):
    """What a signal that is not free does."""
    if handler is None:
        return 'by a handler that is not written in Python'
    if handler is signal.SIG_IGN:
        return 'it is ignored on purpose'
    module, name = getattr(handler, '__module__', None), getattr(handler, '__qualname__', None)
    return 'by %s.%s' % (module, name) if module and name else 'by %s' % type(handler).__name__


def is_free(number):
    return signal.getsignal(number) is signal.SIG_DFL


def claim(wanted):
    """Sets handlers: [(number, handler)]. Raises RuntimeError with the reason, and has set none then."""
    for number, _ in wanted:
        if not is_free(number):
            raise RuntimeError('%s is taken already: %s' % (name_of(number), taken_by(signal.getsignal(number))))
    done = []
    try:
        for number, handler in wanted:
            try:
                signal.signal(number, handler)
            except ValueError as error:
                # Asked of the kernel's caller: greenlets may pose as threads.
                raise RuntimeError('a signal handler can be set in the main thread of the main interpreter alone; '
                                   'this is thread `%s` (%s)' % (threading.current_thread().name, error))
            # Under mod_wsgi the call is accepted and does nothing (mod_wsgi's
            # wsgi_interp.c, WSGIRestrictSignal).
            if signal.getsignal(number) != handler:
                raise RuntimeError('%s: the handler was not set; under mod_wsgi `WSGIRestrictSignal Off` allows it'
                                   % name_of(number))
            done.append(number)
    except BaseException:
        for number in done:
            signal.signal(number, signal.SIG_DFL)
        raise
