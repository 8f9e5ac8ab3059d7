# Feature `exchange`: functions get other code, and get their own again.
#
# All functions of a site are exchanged, those that run its code and those that
# make functions of it. Every step is undone through the ledger.

CALLS = {
    'call': 'def f(*a, **k):\n if ("spyhole enter" if 1 else 0)((a, k)):\n  try:\n'
            '   return ("spyhole result" if 1 else 0)(("spyhole inner" if 1 else 0)(*a, **k))\n'
            '  except:\n   ("spyhole raised" if 1 else 0)()\n   raise\n'
            '  finally:\n   ("spyhole left" if 1 else 0)()\n'
            ' else:\n  return ("spyhole inner" if 1 else 0)(*a, **k)\n',
    'asyncgen': 'async def f(*a, **k):\n g = ("spyhole inner" if 1 else 0)(*a, **k)\n'
                ' e = ("spyhole enter" if 1 else 0)((a, k))\n try:\n  v = await g.__anext__()\n'
                '  while 1:\n   try:\n    s = yield v\n   except "spyhole GeneratorExit":\n    await g.aclose()\n'
                '    raise\n   except "spyhole BaseException" as x:\n    v = await g.athrow(x)\n'
                '   else:\n    v = await g.asend(s)\n except "spyhole StopAsyncIteration":\n  pass\n'
                ' except:\n  if e: ("spyhole raised" if 1 else 0)()\n  raise\n'
                ' finally:\n  if e: ("spyhole left" if 1 else 0)()\n',
}
DRAINED = 2.0               # seconds
GENERATOR, COROUTINE, ASYNC_GENERATOR = 0x20, 0x80, 0x200


class Exchange(object):
    # The code that is watched, as it was; every function with its code before
    # and after; functions that run the code as it was. It must be empty at the
    # end: code objects hold our calls, and the collector does not see through
    # them (Objects/codeobject.c: they have no tp_traverse).
    __slots__ = 'before', 'changed', 'clones'

    def __init__(self, before):
        self.before, self.changed, self.clones = before, [], []


def put_in(exchange, functions, code_for):
    # `code_for(function)`: what it shall run. All or nothing.
    made = []
    try:
        for function in functions:
            old = function.__code__
            new = code_for(function)
            function.__code__ = new
            made.append([function, old, new])
            exchange.changed.append(made[-1])
    except BaseException:
        take_out(exchange)
        raise


def take_out(exchange):
    for entry in reversed(exchange.changed):
        function, old, new = entry
        if function.__code__ is new:
            function.__code__ = old
        elif not spliced(function, old, new):
            kept.append('the code of `%s`, which somebody else has exchanged' % function.__qualname__)
    del exchange.changed[:], exchange.clones[:]


def spliced(function, old, new):
    # Another client watches it, too: what is below its code is put right.
    code = function.__code__
    for _ in range(100):
        told = told_by(code)
        if told is None:
            return False
        upper = told[0]
        if upper.before is new:
            upper.before = old
            for entry in upper.changed:
                if entry[1] is new:
                    entry[1] = old
            for clone in upper.clones:
                if clone.__code__ is new:
                    clone.__code__ = old
            return True
        code = upper.before
    return False


def told_by(code):
    for const in code.co_consts:
        told = getattr(const, 'spyhole_probe', None) if type(const) is FUNCTION_KIND else None
        if told is not None:
            return told
    return None


def compiled_in(exchange, functions, code, new):
    made = {}

    def code_for(function):
        own = function.__code__
        if id(own) not in made:
            made[id(own)] = with_nested(own, code, new)
        return made[id(own)]

    put_in(exchange, functions, code_for)


def wrapped(exchange, functions, code, constants):
    # Where there is no source: a function of the same kind around a clone.
    alive_ones = [function for function in functions if function.__code__ is code]
    flags = code.co_flags
    text = CALLS['asyncgen' if flags & ASYNC_GENERATOR else 'call']
    if flags & COROUTINE:
        text = 'async ' + text.replace('(("spyhole inner"', '(await ("spyhole inner"').replace(
            'return ("spyhole inner"', 'return await ("spyhole inner"')
    elif flags & GENERATOR:
        text = text.replace('(("spyhole inner" if 1 else 0)(*a, **k))',
                            '((yield from ("spyhole inner" if 1 else 0)(*a, **k)))').replace(
            'return ("spyhole inner" if 1 else 0)(*a, **k)', 'return (yield from ("spyhole inner" if 1 else 0)(*a, **k))')
    whole = compile(text, code.co_filename, 'exec', 0, True)
    shape = [const for const in whole.co_consts if type(const) is CODE_KIND][0]

    def code_for(function):
        clone = FUNCTION_KIND(code, function.__globals__, function.__name__, function.__defaults__,
                              function.__closure__)
        clone.__kwdefaults__ = function.__kwdefaults__
        clone.__qualname__ = function.__qualname__
        exchange.clones.append(clone)
        own = dict(constants)
        own['spyhole inner'] = clone
        parts = {'co_consts': tuple(own.get(const, const) if type(const) is str else const
                                    for const in shape.co_consts),
                 'co_freevars': code.co_freevars, 'co_name': code.co_name, 'co_firstlineno': code.co_firstlineno,
                 'co_flags': shape.co_flags | flags & FLAGS_OF_DECORATORS}
        if hasattr(code, 'co_qualname'):
            parts['co_qualname'] = code.co_qualname
        return with_parts(shape, **parts)

    put_in(exchange, alive_ones, code_for)
    return len(alive_ones)


def bound(code, function, values):
    # The arguments of a call by name, as the call itself will bind them.
    positional, named = values
    names = parameters(code)
    count = code.co_argcount
    space = dict(zip(names[:count], positional))
    rest = names[count + code.co_kwonlyargcount:]
    if code.co_flags & 4:
        space[rest.pop(0)] = positional[count:]
    more = {}
    for name, value in named.items():
        if name in names[:count + code.co_kwonlyargcount]:
            space[name] = value
        else:
            more[name] = value
    if code.co_flags & 8:
        space[rest.pop(0)] = more
    defaults = function.__defaults__ or ()
    for name, value in zip(names[count - len(defaults):count], defaults):
        space.setdefault(name, value)
    for name, value in (function.__kwdefaults__ or {}).items():
        space.setdefault(name, value)
    return [(name, space[name]) for name in names if name in space]


def drain(codes):
    # Until no thread of the program is in one of our hooks: what they name is
    # gone soon. Code is told by what it is, not by what it is equal to: hooks
    # of other traces have the like. One that waits in there for long (a value
    # that is shown may) is not waited for: its names are missed where nothing
    # raises.
    own, until = {id(code) for code in codes}, stub_now() + DRAINED
    pause = modules['_thread'].allocate_lock()
    pause.acquire()
    while stub_now() < until:
        for frame in list(sys._current_frames().values()):
            while frame is not None and id(frame.f_code) not in own:
                frame = frame.f_back
            if frame is not None:
                break
        else:
            return
        frame = None
        pause.acquire(True, .001)   # without the GIL
