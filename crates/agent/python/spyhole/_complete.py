# Feature `complete`: what the dotted name at the end of a text could become.
# It runs no code of the program: no property, no `__getattr__`, no `__dir__`.

MOST = 500
KEYWORDS = ('False None True and as assert async await break class continue def del elif else except '
            'finally for from global if import in is lambda nonlocal not or pass raise return try while '
            'with yield').split()

NOTHING = object()
MODULE = type(sys)
MEMBER = type(MODULE.__dict__['__dict__'])          # of __slots__, too
GETSET = type(type.__dict__['__dict__'])
FUNCTIONS = (classmethod, staticmethod, type(lambda: None), type(len), type(names.__missing__), type(str.join),
             type(str.__len__), type(''.__len__), type(dict.__dict__['fromkeys']))


def raw_in_type(kind, name):
    for base in type.__dict__['__mro__'].__get__(kind):
        space = type.__dict__['__dict__'].__get__(base)
        if name in space:
            return space[name]
    return NOTHING


def names_in_type(kind):
    names = {}
    for base in reversed(type.__dict__['__mro__'].__get__(kind)):
        names.update(type.__dict__['__dict__'].__get__(base))
    return names


def own_dict(thing):
    # The dict of an instance, if it is the ordinary one.
    raw = raw_in_type(type(thing), '__dict__')
    if type(raw) in (GETSET, MEMBER):
        found = raw.__get__(thing)
        if isinstance(found, dict):
            return found
    return {}


def is_class(thing):
    return issubclass(type(thing), type)


def names_of(thing):
    # name -> what is stored under it
    if issubclass(type(thing), MODULE):
        return dict(dict.items(own_dict(thing)))
    if is_class(thing):
        return names_in_type(thing)
    names = names_in_type(type(thing))
    names.update(dict.items(own_dict(thing)))
    return names


def step(thing, name):
    # What `thing.name` is, or NOTHING if only running code could tell.
    if is_class(thing):
        raw, own = raw_in_type(thing, name), NOTHING
    else:
        raw, own = raw_in_type(type(thing), name), dict.get(own_dict(thing), name, NOTHING)
        if type(raw) is MEMBER:
            try:
                return raw.__get__(thing)
            except AttributeError:
                return NOTHING
        if raw is not NOTHING and raw_in_type(type(raw), '__set__') is not NOTHING:
            return NOTHING
        if own is not NOTHING:
            return own
    if type(raw) in (classmethod, staticmethod):
        return raw.__func__
    if type(raw) in FUNCTIONS or raw_in_type(type(raw), '__get__') is NOTHING:
        return raw
    return NOTHING


def kind_of(stored):
    kind = type(stored)
    if kind in FUNCTIONS:
        return 'function'
    if issubclass(kind, type):
        return 'class'
    if issubclass(kind, MODULE):
        return 'module'
    if issubclass(kind, property) or kind in (MEMBER, GETSET):
        return 'property'
    return 'value'


def first_names():
    names = dict(builtins.__dict__)
    names.update((name, module) for name, module in list(modules.items()) if '.' not in name and module is not None)
    names.update(getattr(modules.get('__main__'), '__dict__', {}))
    names.update(session)
    names.pop('__builtins__', None)
    return names


def op_complete(request):
    text = request['text']
    begin = len(text)
    while begin > 0 and (text[begin - 1] == '.' or ('a' + text[begin - 1]).isidentifier()):
        begin -= 1
    steps = text[begin:].split('.')
    prefix = steps.pop()
    found = {}
    if not steps:
        found = {name: kind_of(thing) for name, thing in first_names().items()}
        found.update((name, 'keyword') for name in KEYWORDS)
    else:
        thing = first_names().get(steps[0], NOTHING)
        for name in steps[1:]:
            if thing is not NOTHING:
                thing = step(thing, name)
        if thing is not NOTHING:
            found = {name: kind_of(stored) for name, stored in names_of(thing).items()}
    names = [name for name in found if type(name) is str and name.isidentifier()
             and name.startswith(prefix) and (prefix.startswith('_') or not name.startswith('_'))]
    names.sort(key=lambda name: (name.startswith('__'), name.startswith('_'), name))
    tell({'ev': 'candidates', 'job': request['job'], 'start': len(text) - len(prefix),
          'names': [[name, found[name]] for name in names[:MOST]]})
