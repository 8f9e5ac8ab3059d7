# Feature `places`: code inside an event loop or a hub.
#
# It knows how to find out where the present code runs, how to find the loops
# and hubs of a process, and how to start code inside one from any thread. It
# does not know what that code is. A backdoor, a prompt in a live loop and an
# agent all come in here.
#
# It imports nothing that is not built in: loops and hubs are found where the
# program has put them, in sys.modules and among the objects.

import sys

import _thread

BUILTIN = type(len)
ready = set()           # tasks that nothing else refers to


def original(module, name):
    # A function of a built-in module as it was before gevent or eventlet put
    # theirs in its place (gevent/monkey, eventlet/patcher.py).
    there = getattr(sys.modules[module], name)
    if type(there) is BUILTIN:
        return there
    saved = getattr(sys.modules.get('gevent.monkey'), 'saved', None) or {}
    there = saved.get(module, {}).get(name, there)
    if type(there) is not BUILTIN and 'eventlet.patcher' in sys.modules:
        there = getattr(sys.modules['eventlet.patcher'].original(module), name)
    return there


# ---- where the present code runs

def loop_here():
    # The asyncio loop that runs in this thread (Lib/asyncio/events.py).
    events = sys.modules.get('asyncio.events')
    return None if events is None else events._get_running_loop()


def task_here():
    loop = loop_here()
    if loop is None:
        return None
    tasks = sys.modules['asyncio.tasks']
    current = getattr(tasks, 'current_task', None)
    return tasks.Task.current_task(loop) if current is None else current(loop)


def greenlet_here():
    module = sys.modules.get('greenlet')
    return None if module is None else module.getcurrent()


def gevent_here():
    # The hub of this thread, if it has one already.
    local = sys.modules.get('gevent._hub_local')
    return None if local is None else local.get_hub_if_exists()


def eventlet_here():
    hubs = sys.modules.get('eventlet.hubs')
    return None if hubs is None else getattr(hubs._threadlocal, 'hub', None)


def here():
    # (kind, loop or hub): the innermost of what runs this thread.
    for kind, find in ('asyncio', loop_here), ('gevent', gevent_here), ('eventlet', eventlet_here):
        found = find()
        if kind == 'asyncio' and found is not None and found is getattr(eventlet_here(), 'loop', None):
            continue            # the loop is a part of eventlet's hub
        if found is not None:
            return kind, found
    return 'thread', None


def units():
    # Every name under which output of the present code may be wanted.
    names = [('thread', _thread.get_ident())]
    greenlet = greenlet_here()
    if greenlet is not None:
        names.insert(0, ('greenlet', id(greenlet)))
    task = task_here()
    if task is not None:
        names.insert(0, ('task', id(task)))
    return names


def unit(kind):
    # The name of the present code in a place of that kind.
    wanted = {'asyncio': 'task', 'gevent': 'greenlet', 'eventlet': 'greenlet'}.get(kind, 'thread')
    for name in units():
        if name[0] == wanted:
            return name
    raise LookupError('no %s runs here' % wanted)


# ---- the loops and hubs of a process

def is_kind(thing, module, name):
    return is_kind_of(type(thing), module, name)


def is_kind_of(type_, module, name):
    # By the names in the method resolution order, which runs no code of the
    # program, as isinstance() would.
    # A type that is still being made has none.
    for kind in type.__dict__['__mro__'].__get__(type_) or ():
        if kind.__name__ == name and kind.__module__ == module:
            return True
    return False


def everywhere():
    # Every running loop and every hub: [(kind, it)].
    kinds = (('asyncio', 'asyncio.events', 'AbstractEventLoop'), ('gevent', 'gevent.hub', 'Hub'),
             ('eventlet', 'eventlet.hubs.hub', 'BaseHub'))
    kinds = [one for one in kinds if one[1] in sys.modules]
    if not kinds:
        return []
    had = [name for name in ('gc', 'itertools') if name in sys.modules]
    import gc
    import itertools
    for name in 'gc', 'itertools':
        if name not in had:
            del sys.modules[name]

    def everything():
        # The list is made, used and let go within whatever C code reads this. A
        # tuple that another thread is just making must have one reference,
        # its own (Objects/tupleobject.c, _PyTuple_Resize), so that none may be
        # held while that thread runs.
        return itertools.chain.from_iterable(itertools.starmap(gc.get_objects, ((),)))

    # By their addresses: the program may have types that cannot be hashed.
    wanted, (one, two) = {}, itertools.tee(everything())
    for number, type_ in dict(zip(map(id, map(type, one)), map(type, two))).items():
        for kind, module, name in kinds:
            if is_kind_of(type_, module, name):
                wanted[number] = kind
    one, two = itertools.tee(everything())
    found = list(itertools.compress(one, map(wanted.__contains__, map(id, map(type, two)))))
    one = two = None
    found = [(wanted[id(type(thing))], thing) for thing in found]
    return [(kind, thing) for kind, thing in found if kind != 'asyncio' or thing.is_running()]


# ---- getting in; from any thread, also from a signal handler

def enter(kind, where, call):
    # Lets `call()` run inside the loop or hub, and does not wait for it. In a
    # loop `call` gives a coroutine, which becomes a task; in a hub it runs in
    # a greenlet of its own. `call` deals with its own exceptions.
    if kind == 'asyncio':
        where.call_soon_threadsafe(start_task, where, call)
    elif kind == 'gevent':
        call_in_hub(kind, where, start_greenlet, where, call)
    elif kind == 'eventlet':
        call_in_hub(kind, where, start_greenlet, where.greenlet, call)
    else:
        original('_thread', 'start_new_thread')(call, ())


def start_task(loop, call):
    task = loop.create_task(call())
    ready.add(task)
    task.add_done_callback(ready.discard)


def start_greenlet(parent, call):
    # Runs in the hub; comes back as soon as the code waits for something.
    sys.modules['greenlet'].greenlet(call, parent).switch()


def call_in_hub(kind, hub, call, *args):
    # Calls it in the greenlet of the hub itself, where nothing may wait.
    if kind == 'eventlet':
        hub.schedule_call_global(0, call, *args)
        wake_eventlet(hub)
        return
    loop = hub.loop
    schedule = getattr(loop, 'run_callback_threadsafe', None)
    if schedule is not None:
        schedule(call, *args)
        return
    # gevent 1.4 has no such call; its async watcher wakes the loop.
    watcher = loop.async_()

    def woken():
        watcher.stop()
        watcher.close()
        call(*args)

    watcher.start(woken)
    watcher.send()


def can_wake(kind, where):
    # A hub of eventlet that watches no descriptor sleeps until its next timer,
    # a minute at most, and nothing ends that (eventlet/hubs/poll.py, `wait`).
    if kind != 'eventlet' or hasattr(getattr(where, 'loop', None), 'call_soon_threadsafe'):
        return True
    return any(where.listeners.values())


def wake_eventlet(hub):
    # A hub that waits learns of a timer only when its wait ends. A pipe that
    # is readable at once ends it (eventlet/hubs/epolls.py); the hub that runs
    # on asyncio has that loop's own way.
    loop = getattr(hub, 'loop', None)
    if hasattr(loop, 'call_soon_threadsafe'):
        loop.call_soon_threadsafe(id, hub)
        return
    import posix
    reading, writing = posix.pipe()

    def woken(*ignored):
        hub.remove(listener)
        posix.close(reading)
        posix.close(writing)

    listener = hub.add('read', reading, woken, woken, lambda: None)
    posix.write(writing, b'!')
