"""What everything in this process does: stacks of threads, tasks and greenlets.

    print_thread_stacks()   print_task_stacks()   print_greenlet_stacks()

Equal stacks are shown once, with their number. They look and change nothing.
"""

import gc
import linecache
import sys
import threading

from . import _places

__all__ = ['print_greenlet_stacks', 'print_task_stacks', 'print_thread_stacks']
FRAMES = 60             # of a stack, at most


def print_thread_stacks(file=None):
    """Prints the stack of each thread that runs Python."""
    known = dict(threading._active)
    found = []
    for ident, frame in sys._current_frames().items():
        name = getattr(known.get(ident), 'name', 'unnamed')
        found.append(('thread', name, steps_of(frame)))
    out('%s\n' % counted(found, 'thread'), file)
    fold(found, file)


def print_task_stacks(file=None):
    """Prints the asyncio tasks of all loops that have not ended."""
    found = []
    for thing in objects('asyncio', (('_asyncio', 'Task'), ('asyncio.tasks', 'Task'), ('asyncio', 'Task'))):
        if not thing.done():
            get = getattr(thing, 'get_name', None)
            name = get() if get else getattr(coroutine_of(thing), '__qualname__', '?')
            found.append((kind_of(thing), name, task_steps(thing)))
    out('%s\n' % counted(found, 'task'), file)
    fold(found, file)


def print_greenlet_stacks(file=None):
    """Prints the greenlets of all threads (gevent, eventlet, plain)."""
    found, here = [], _places.greenlet_here()
    for thing in objects('greenlet', (('greenlet', 'greenlet'), ('greenlet._greenlet', 'greenlet'))):
        if thing is here:
            found.append((kind_of(thing), 'running', steps_of(sys._getframe(1))))
        elif thing.gr_frame is not None:
            found.append((kind_of(thing), 'suspended', steps_of(thing.gr_frame)))
        elif thing:
            # In another thread, or the one that this one has replaced.
            found.append((kind_of(thing), 'running elsewhere', ()))
        elif not getattr(thing, 'dead', True):
            found.append((kind_of(thing), 'not started', ()))
    out('%s\n' % counted(found, 'greenlet'), file)
    fold(found, file)


# ---- finding

def objects(module, kinds):
    if module not in sys.modules:
        return []
    return [thing for thing in gc.get_objects() if any(_places.is_kind(thing, *kind) for kind in kinds)]


def kind_of(thing):
    return '%s.%s' % (type(thing).__module__, type(thing).__qualname__)


def coroutine_of(task):
    get = getattr(task, 'get_coro', None)
    return get() if get else getattr(task, '_coro', None)


# ---- stacks: outermost first, as (file, line, function)

def steps_of(frame):
    steps = []
    while frame is not None and len(steps) < FRAMES:
        steps.append(step(frame))
        frame = frame.f_back
    return tuple(reversed(steps))


def step(frame):
    return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name


def task_steps(task):
    # What the coroutine awaits, and what that awaits, as far as it is Python.
    steps, waits = [], coroutine_of(task)
    while waits is not None and len(steps) < FRAMES:
        for frame, inner in ('cr_frame', 'cr_await'), ('gi_frame', 'gi_yieldfrom'), ('ag_frame', 'ag_await'):
            if hasattr(waits, frame):
                if getattr(waits, frame) is not None:
                    steps.append(step(getattr(waits, frame)))
                waits = getattr(waits, inner)
                break
        else:
            break
    return tuple(steps)


def frames_of(frame):
    """Of a frame and its callers, outermost first, as data."""
    return [{'file': file, 'line': line, 'function': function, 'source': linecache.getline(file, line or 0).strip()}
            for file, line, function in steps_of(frame)]


# ---- telling

def frames_text(frames):
    text = ''
    for one in frames:
        text += 'File: "%s", line %s, in %s\n' % (one['file'], one['line'], one['function'])
        if one['source']:
            text += '  %s\n' % one['source']
    return text


def out(text, file):
    (sys.stdout if file is None else file).write(text)


def counted(found, what):
    """`12 greenlets: 10 gevent._greenlet.Greenlet, 2 greenlet.greenlet`"""
    kinds = {}
    for kind, _, _ in found:
        kinds[kind] = kinds.get(kind, 0) + 1
    text = '%d %s%s' % (len(found), what, '' if len(found) == 1 else 's')
    if list(kinds) in ([what], []):
        return text
    parts = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return text + ': ' + ', '.join('%d %s' % (count, kind) for kind, count in parts)


def fold(found, file):
    groups = {}
    for kind, name, steps in found:
        groups.setdefault((kind, steps), []).append(name)
    for (kind, steps), names in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0][0])):
        different = sorted(set(names))
        shown = ', '.join(different[:5]) + (', ...' if len(different) > 5 else '')
        out('\n%d x %s (%s)\n' % (len(names), kind, shown), file)
        for path, line, function in steps:
            out('  File "%s", line %d, in %s\n' % (path, line, function), file)
            source = linecache.getline(path, line).strip()
            if source:
                out('    %s\n' % source, file)
