"""Print output of code at a prompt, told from that of the program.

Stand-ins for `sys.stdout`, `sys.stderr` and `sys.displayhook` are there only
while code of some prompt runs. They dispatch by what runs: a task, a greenlet,
a thread. What belongs to no prompt goes where it went before.
"""

import sys

from . import _places

NAMES = 'stdout', 'stderr'
routes = {}             # unit -> prompt: write(text), show(value)
installed = []          # (name in sys, stand-in, what was there)
# Taken for a few lines that wait for nothing, so it is never contended between
# greenlets of a thread; green locks would be.
lock = _places.original('_thread', 'allocate_lock')()


def route_here():
    if routes:
        for unit in _places.units():
            prompt = routes.get(unit)
            if prompt is not None:
                return prompt
    return None


class Stream(object):
    """Looks like the stream that it stands for."""

    __slots__ = ('_spyhole',)

    def __init__(self, under):
        object.__setattr__(self, '_spyhole', under)

    def write(self, text):
        prompt = route_here()
        if prompt is None:
            return None if self._spyhole is None else self._spyhole.write(text)
        if not isinstance(text, str):
            raise TypeError('write() argument must be str, not ' + type(text).__name__)
        prompt.write(text)
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        if self._spyhole is not None and route_here() is None:
            self._spyhole.flush()

    def isatty(self):
        # A pager would read the program's terminal.
        return route_here() is None and self._spyhole is not None and self._spyhole.isatty()

    def __getattr__(self, name):
        if name == '_spyhole':      # a copy that was never initialised
            raise AttributeError(name)
        return getattr(self._spyhole, name)

    def __setattr__(self, name, value):
        setattr(self._spyhole, name, value)

    # Other threads may ask isinstance(sys.stdout, io.TextIOBase).
    __class__ = property(lambda self: type(self._spyhole))


def make_displayhook(under):
    def displayhook(value):
        prompt = route_here()
        if prompt is None:
            return under(value)
        prompt.show(value)
    return displayhook


class captured(object):
    """While this is entered, what `unit` prints goes to `prompt`."""

    def __init__(self, unit, prompt):
        self.unit, self.prompt = unit, prompt

    def __enter__(self):
        with lock:
            routes[self.unit] = self.prompt
            if not installed:
                for name in NAMES:
                    put(name, Stream(getattr(sys, name, None)))
                put('displayhook', make_displayhook(getattr(sys, 'displayhook', sys.__displayhook__)))

    def __exit__(self, *ignored):
        with lock:
            routes.pop(self.unit, None)
            while installed and not routes:
                name, stand_in, there = installed.pop()
                # Only what is still ours; code may have put something else.
                if getattr(sys, name, None) is stand_in:
                    setattr(sys, name, there)


def after_fork():
    """In a child, where no prompt is left."""
    global lock
    lock = _places.original('_thread', 'allocate_lock')()
    routes.clear()
    while installed:
        name, stand_in, there = installed.pop()
        if getattr(sys, name, None) is stand_in:
            setattr(sys, name, there)


def put(name, stand_in):
    installed.append((name, stand_in, getattr(sys, name, None)))
    setattr(sys, name, stand_in)
