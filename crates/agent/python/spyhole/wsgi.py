"""A middleware that writes down which requests are being served, and since when.

    application = spyhole.wsgi.Middleware(application)

It changes nothing of what the application gives and raises. A request is over
when the server has closed what it gives; where that is a list, a tuple or the
server's own file wrapper, when the application has returned it: those are
handed on as they are, since servers treat them in their own ways.
"""

import itertools
import sys
import time

import _thread

__all__ = ['Middleware', 'WSGIApplicationWrapper']

START = 'spyhole.request_start'     # in the environ; `spyhole requests` reads it from outside
ID = 'spyhole.request_id'
active = {}             # id -> (environ, id, start, thread, greenlet)
ids = itertools.count(1)
modules = sys.modules
clock = time.time
get_ident = _thread.get_ident


class Middleware(object):
    """A WSGI application around another."""

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        number = next(ids)
        environ[ID] = number
        environ[START] = start = clock()
        greenlet = modules.get('greenlet')
        active[number] = environ, number, start, get_ident(), greenlet and greenlet.getcurrent()
        try:
            body = self.application(environ, start_response)
        except BaseException:
            active.pop(number, None)
            raise
        kind = type(body)
        if kind is list or kind is tuple or kind is environ.get('wsgi.file_wrapper'):
            active.pop(number, None)
            return body
        return (SizedBody if hasattr(kind, '__len__') else Body)(body, number)

    def __getattr__(self, name):
        # An application may have more than its call.
        if name == 'application':
            raise AttributeError(name)
        return getattr(self.application, name)


WSGIApplicationWrapper = Middleware


class Body(object):
    """What the application gave, until the server closes it."""

    __slots__ = 'body', 'number'

    def __init__(self, body, number):
        self.body, self.number = body, number

    def __iter__(self):
        return iter(self.body)

    def __next__(self):
        return next(self.body)

    def close(self):
        active.pop(self.number, None)
        close = getattr(self.body, 'close', None)
        if close is not None:
            close()

    def __del__(self):
        # A server that does not close it.
        active.pop(self.number, None)


class SizedBody(Body):
    __slots__ = ()

    def __len__(self):
        return len(self.body)
