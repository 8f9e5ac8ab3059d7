# Feature `sites`: which function or line somebody means, without running any
# code of the program, and every function object that runs it.
#
# It knows modules, classes, functions and code objects. It changes nothing.

FUNCTION_KIND = type(lambda: None)
CODE_KIND = type((lambda: None).__code__)
METHOD_KIND = type(Stream(None, None).write)
LAYERS = 50                 # of decorators
NEAR = 3                    # names that are told instead of one that is not there


class Unplaced(Exception):
    # There is nothing to watch: what kind of lack it is, and what can be done.
    def __init__(self, kind, message, *hints):
        Exception.__init__(self, message)
        self.kind, self.hints = kind, list(hints)


class Site(object):
    # What is to be watched. `moved`: the line that stands for one without code.
    __slots__ = 'label', 'code', 'functions', 'line', 'moved', 'owner'

    def __init__(self, label, code, functions, line=0, moved=False, owner=''):
        self.label, self.code, self.functions, self.line, self.moved = label, code, functions, line, moved
        self.owner = owner


def site_of(where):
    head, colon, tail = where.rpartition(':')
    if not colon or not head or not tail:
        raise Unplaced('usage', 'write `%s` as module:function or file:line' % where)
    if tail.isdigit():
        need('lines')
        return line_site(head, int(tail))
    return named_site(head, tail)


# ---- by name

def named_site(name, path):
    label, thing, owner = meant(name, path)
    if type(thing) is CODE_KIND:
        functions = holders(thing, None)
        if not functions:
            raise Unplaced('not-found', 'no live function makes `%s`' % label)
        return Site(label, thing, functions, owner=owner)
    return Site(label, thing.__code__, holders(thing.__code__, thing), owner=exact_label(thing))


def meant(name, path):
    # A function, or the code of one that others make.
    module = modules.get(name)
    if module is None:
        raise Unplaced('not-loaded', 'module `%s` is not imported there' % name, *near(name, list(modules)))
    thing, done = module, name + ':'
    parts = [part for part in path.split('.') if part != '<locals>']
    for part in parts:
        found = member(thing, part)
        if found is NOTHING:
            raise Unplaced('not-found', '`%s` has no `%s`' % (done.rstrip(':.'), part),
                           *near(part, member_names(thing)))
        thing, done = found, done + part + '.'
    label = done[:-1]
    if type(thing) is CODE_KIND:
        return label, thing, '.'.join(parts)
    return label, function_below(thing, parts[-1], label), ''


def exact_label(function):
    text = function.__qualname__
    return str.__getitem__(text, slice(300)) if isinstance(text, str) else ''


def member(thing, name):
    if type(thing) is CODE_KIND:
        return nested_code(thing, name)
    if type(thing) is FUNCTION_KIND:
        below = function_below(thing, thing.__name__, name)
        found = nested_code(pristine(below.__code__), name)
        if found is not NOTHING:
            return found
    if is_class(thing):
        found = raw_in_type(thing, name)
        if found is NOTHING and name.startswith('__') and not name.endswith('__'):
            found = raw_in_type(thing, '_' + thing.__name__.lstrip('_') + name)
        return found
    own = own_dict(thing)
    if dict.__contains__(own, name):
        return dict.__getitem__(own, name)
    return raw_in_type(type(thing), name)


def member_names(thing):
    if type(thing) is CODE_KIND:
        return [const.co_name for const in thing.co_consts if type(const) is CODE_KIND]
    if is_class(thing):
        return list(names_in_type(thing))
    return [name for name in own_dict(thing) if type(name) is str] + list(names_in_type(type(thing)))


def nested_code(code, name):
    for const in code.co_consts:
        if type(const) is CODE_KIND:
            if const.co_name == name:
                return const
            if const.co_name.startswith('<generic parameters'):
                found = nested_code(const, name)
                if found is not NOTHING:
                    return found
    return NOTHING


def function_below(thing, name, label):
    # The function that the source has under this name, below its decorators.
    for _ in range(LAYERS):
        kind = type(thing)
        if kind is FUNCTION_KIND:
            inner = dict.get(thing.__dict__, '__wrapped__')
            if inner is None and thing.__name__ != name:
                inner = in_a_cell(thing, name)
            if inner is None:
                return thing
        elif kind in (staticmethod, classmethod, METHOD_KIND):
            inner = thing.__func__
        elif kind is property:
            inner = thing.fget
        elif is_class(thing):
            raise Unplaced('usage', '`%s` is a class' % label, 'name a method of it: %s.__init__' % label)
        elif issubclass(kind, type(sys)):
            raise Unplaced('usage', '`%s` is a module' % label, 'name a function of it')
        elif kind.__module__ == 'functools' and 'func' in names_in_type(kind):
            inner = getattr(thing, 'func', None)        # partial, cached_property, singledispatchmethod
        else:
            inner = dict.get(own_dict(thing), '__wrapped__')
        if inner is None:
            raise no_python(thing, label)
        thing = inner
    raise Unplaced('usage', '`%s` has more than %d decorators' % (label, LAYERS))


def in_a_cell(function, name):
    # A decorator that does not say what it wraps.
    for cell in function.__closure__ or ():
        try:
            inner = cell.cell_contents
        except ValueError:
            continue
        if type(inner) is FUNCTION_KIND and inner.__name__ == name:
            return inner
    return None


def no_python(thing, label):
    kind = type(thing)
    if raw_in_type(kind, '__call__') is NOTHING and raw_in_type(kind, '__get__') is NOTHING:
        return Unplaced('usage', '`%s` is no function, but a value of type `%s`' % (label, kind.__name__))
    if type(raw_in_type(kind, '__call__')) is FUNCTION_KIND:
        return Unplaced('usage', '`%s` is an object of class `%s`' % (label, kind.__name__),
                        'name the method that runs when it is called: MODULE:%s.__call__' % kind.__qualname__)
    return Unplaced('usage', '`%s` is written in C, and has no code that could tell of its calls' % label,
                    'name a Python function that calls it, or the line that does: FILE:LINE')


# ---- names that are nearly there

def near(name, known):
    last = name.rpartition('.')[2]
    scored = []
    for other in known:
        if type(other) is str and abs(len(other) - len(name)) < 40 and len(other) < 200:
            distance = apart(name, other, 1 + len(name) // 3)
            if distance is None and '.' in other and other.rpartition('.')[2] == last:
                distance = 3
            if distance is not None:
                scored.append((distance, other))
    return ['did you mean `%s`?' % other for _, other in sorted(scored)[:NEAR]]


def apart(one, other, limit):
    # How many characters differ; None: more than the limit.
    if abs(len(one) - len(other)) > limit:
        return None
    row = list(range(len(other) + 1))
    for count, character in enumerate(one, 1):
        before, row[0] = row[0], count
        for index, same in enumerate(other, 1):
            change = before + (character != same)
            before = row[index]
            row[index] = min(change, before + 1, row[index - 1] + 1)
    return row[-1] if row[-1] <= limit else None


# ---- who runs a piece of code

def own_gc():
    # Kept out of `sys.modules` unless the program has it there.
    had = 'gc' in modules
    import gc
    if not had:
        del modules['gc']
    return gc


def mentions(code, wanted, depth=0):
    # Whether a code object is this one, or makes functions of it.
    if code is wanted:
        return True
    if depth > 20:
        return False
    for const in code.co_consts:
        if type(const) is CODE_KIND and mentions(const, wanted, depth + 1):
            return True
    return False


def holders(code, known):
    # Every live function with this code, or with code that makes such ones.
    # A function of a module that nothing else shares its code with has the
    # only reference to it: then nothing is searched.
    if known is not None and '<locals>' not in known.__qualname__ and sys.getrefcount(code) <= lone_references():
        return [known]
    found, name = [], code.co_filename
    for thing in own_gc().get_objects():
        if type(thing) is FUNCTION_KIND:
            own = thing.__code__
            # A module's own code is a function for as long as it runs, and runs once.
            if own is code or own.co_filename == name and own.co_name != '<module>' and mentions(own, code):
                found.append(thing)
    if known is not None and not any(thing is known for thing in found):
        found.append(known)
    return found


def lone_references():
    # Of a code object that one function has, counted as `holders` does.
    def counted(code, known):
        return sys.getrefcount(code)

    made = eval(compile('lambda: 0', '', 'eval', 0, True), {'__builtins__': {}})
    return counted(made.__code__, made)


def pristine(code):
    # What the program's own code was, where another client watches it.
    for const in code.co_consts:
        told = getattr(const, 'spyhole_probe', None) if type(const) is FUNCTION_KIND else None
        if told is not None:
            return told[0].before
    return code
