# Feature `about`: what a name stands for: its type, signature, documentation,
# and its source, read from the file that the code says it came from.
# It runs no code of the program; what only code could tell is said to be so.

need('complete')            # which finds things without running anything

STARS = 4, 8                # co_flags of `*args` and `**kwargs`: Include/cpython/code.h
FILE_LONGEST = 4 << 20    # bytes of a file
SHOWN = 60                  # characters of a default
PYTHON_FUNCTION = type(lambda: None)
METHOD = type(names.__missing__)
WRAPPERS = classmethod, staticmethod


def op_about(request):
    text, job = request['text'].strip(), request['job']
    if not text or literal(text) is not NOTHING:
        thing = NOTHING
    else:
        thing = value_at_end(text)
    if thing is NOTHING:
        told = '`%s` names nothing here that can be told of without running code\n' % text
    else:
        told = description(text, thing)
        if request['source']:
            told += source(text, thing)
    tell({'ev': 'out', 'job': job, 'stream': 'stdout', 'text': told})
    tell({'ev': 'value', 'job': job, 'type': 'NoneType', 'repr': 'None', 'none': True, 'truncated': False, 'key': None,
          'has_value': False, 'duration': 0.0})


def description(text, thing):
    lines = ['type       %s' % type_name(type(thing))]
    shown = signature(text.rpartition('.')[2], thing)
    if shown:
        lines.append('signature  %s' % shown)
    if type(thing) in SMALL or type(thing) is bytes:
        lines.append('value      %s' % shortened(repr(thing), 200))
    elif type(thing) in (list, tuple, dict, set, frozenset):
        lines.append('length     %d' % len(thing))
    place = place_of(thing)
    if place:
        lines.append('file       %s' % ('%s:%d' % place if place[1] else place[0]))
    doc = documentation(thing)
    return '\n'.join(lines) + '\n' + ('\n' + doc + '\n' if doc else '')


def shortened(text, longest):
    return text if len(text) <= longest else text[:longest] + '...'


def type_name(kind):
    name, module = type_text(kind, '__qualname__'), type_text(kind, '__module__')
    return name if module in ('builtins', '') else module + '.' + name


def type_text(kind, name):
    # As the type itself has it; a class's own attribute of that name might be anything.
    if name == '__qualname__':
        return type.__dict__['__qualname__'].__get__(kind)
    found = type.__dict__['__dict__'].__get__(kind).get('__module__', 'builtins')
    return found if type(found) is str else ''


# ---- what is called

def function_of(thing):
    # The function that a call comes to, and whether its first argument is given.
    kind = type(thing)
    if kind in WRAPPERS:
        return function_of(thing.__func__)[0], kind is classmethod
    if kind is METHOD:
        return thing.__func__, True
    if kind is PYTHON_FUNCTION:
        return thing, False
    if is_class(thing):
        made = raw_in_type(thing, '__init__')
        if type(made) is not PYTHON_FUNCTION:
            made = raw_in_type(thing, '__new__')
            made = made.__func__ if type(made) is staticmethod else made
        return (made, True) if type(made) is PYTHON_FUNCTION else (None, False)
    return None, False


def signature(name, thing):
    function, bound = function_of(thing)
    if type(function) is not PYTHON_FUNCTION:
        told = text_signature(thing)
        return name + told if told else None
    code, defaults, given = function.__code__, function.__defaults__ or (), function.__kwdefaults__ or {}
    count = code.co_argcount
    parts, words = [], list(code.co_varnames)
    for at in range(count):
        part = words[at]
        if at >= count - len(defaults):
            part += '=' + default(defaults[at - count + len(defaults)])
        parts.append(part)
        if at + 1 == getattr(code, 'co_posonlyargcount', 0):
            parts.append('/')
    end = count + code.co_kwonlyargcount
    if code.co_flags & STARS[0]:
        parts.append('*' + words[end])
    elif code.co_kwonlyargcount:
        parts.append('*')
    for word in words[count:end]:
        parts.append(word + '=' + default(given[word]) if word in given else word)
    if code.co_flags & STARS[1]:
        parts.append('**' + words[end + bool(code.co_flags & STARS[0])])
    if bound and parts and parts[0] not in ('*', '/') and not parts[0].startswith('*'):
        del parts[0]
        if parts[:1] == ['/']:
            del parts[0]
    return '%s(%s)' % (name, ', '.join(parts))


def default(value):
    if type(value) in SMALL or type(value) is bytes or value == () and type(value) is tuple:
        return shortened(repr(value), SHOWN)
    if type(value) in (PYTHON_FUNCTION, type(len)) or is_class(value):
        return '<%s>' % (type_text(value, '__qualname__') if is_class(value) else value.__name__)
    return '<%s>' % type_name(type(value))


def text_signature(thing):
    # Built-in ones carry it as text (Objects/typeobject.c, type_get_text_signature).
    if is_class(thing):
        found = type.__dict__['__text_signature__'].__get__(thing)
    elif type(thing) in FUNCTIONS and type(thing) not in WRAPPERS:
        found = getattr(thing, '__text_signature__', None)
    else:
        found = None
    if type(found) is not str:
        return None
    for first in '($self, /, ', '($module, /, ', '($type, /, ', '($self, ', '($module, ':
        if found.startswith(first):
            return '(' + found[len(first):]
    return '()' if found in ('($self, /)', '($module, /)', '($type, /)', '($self)') else found


# ---- documentation

def documentation(thing):
    function, _ = function_of(thing)
    if is_class(thing):
        found = own_documentation(thing)
        if found is None and type(function) is PYTHON_FUNCTION:
            found = function.__doc__
    elif type(function) is PYTHON_FUNCTION:
        found = function.__doc__
    elif issubclass(type(thing), MODULE):
        found = own_dict(thing).get('__doc__')
    elif type(thing) in FUNCTIONS:
        found = getattr(thing, '__doc__', None)
    else:
        found = own_documentation(type(thing))
    return clean(found) if type(found) is str else ''


def own_documentation(kind):
    found = type.__dict__['__dict__'].__get__(kind).get('__doc__')
    if found is None and not type.__dict__['__flags__'].__get__(kind) & 1 << 9:     # Py_TPFLAGS_HEAPTYPE
        found = type.__dict__['__doc__'].__get__(kind)
    return found


def clean(text):
    # As inspect.cleandoc does it, without that module.
    lines = text.expandtabs().split('\n')
    margins = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()]
    margin = min(margins) if margins else 0
    lines = [lines[0].strip()] + [line[margin:].rstrip() for line in lines[1:]]
    return '\n'.join(lines).strip('\n')


# ---- source

def place_of(thing):
    # (file, first line); line 0 for all of it.
    function, _ = function_of(thing)
    if is_class(thing):
        space = type.__dict__['__dict__'].__get__(thing)
        module = modules.get(type_text(thing, '__module__'))
        file = own_dict(module).get('__file__') if issubclass(type(module), MODULE) else None
        line = space.get('__firstlineno__')         # 3.13 and newer
        if type(line) is not int:
            line = 0
        return (file, line) if type(file) is str else None
    if type(function) is PYTHON_FUNCTION:
        return function.__code__.co_filename, function.__code__.co_firstlineno
    if issubclass(type(thing), MODULE):
        file = own_dict(thing).get('__file__')
        return (file, 0) if type(file) is str else None
    return None


def source(text, thing):
    place = place_of(thing)
    if place is None:
        return '\nit has no source in Python\n'
    lines = lines_of(place[0])
    if lines is None:
        return '\nits source can not be read: %s\n' % place[0]
    begin = place[1] - 1
    if is_class(thing) and begin < 0:
        begin = line_of_class(lines, type_text(thing, '__qualname__'))
    if begin < 0:
        return '\n' + '\n'.join(lines) + '\n' if not is_class(thing) else '\nits source was not found in %s\n' % place[0]
    block = block_at(lines, begin)
    if not block:
        return '\nits file has changed: %s\n' % place[0]
    return '\n' + '\n'.join(block) + '\n'


def lines_of(file):
    if not file.endswith('.py'):
        return None
    try:
        descriptor = posix.open(file, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY)
    except (OSError, ValueError):
        return None
    data = b''
    try:
        status = posix.fstat(descriptor)
        if status.st_mode & 0o170000 != 0o100000 or status.st_size > FILE_LONGEST:
            return None
        while len(data) < status.st_size:
            more = posix.read(descriptor, status.st_size - len(data))
            if not more:
                break
            data += more
    except OSError:
        return None
    finally:
        posix.close(descriptor)
    return data.decode('utf-8', 'replace').splitlines()


def line_of_class(lines, qualname):
    # The class that stands under its names: each one deeper than the one before.
    margin, at = -1, 0
    for name in qualname.split('.'):
        if name == '<locals>':
            continue
        while at < len(lines):
            bare = lines[at].lstrip()
            depth, words = len(lines[at]) - len(bare), bare.replace('(', ' ').replace(':', ' ').split()
            at += 1
            if depth > margin and words[:2] in (['class', name], ['def', name]):
                margin = depth
                break
        else:
            return -1
    return at - 1


def block_at(lines, begin):
    # From there to the next line that is as far to the left, decorators first.
    if begin >= len(lines):
        return []
    margin = len(lines[begin]) - len(lines[begin].lstrip())
    end, headed = begin, False
    while end < len(lines):
        bare = lines[end].strip()
        depth = len(lines[end]) - len(lines[end].lstrip())
        if headed and bare and depth <= margin and not bare.startswith(('#', ')', ']', '}')):
            break
        # The head may have several lines.
        headed = headed or bare.endswith(':') or ':' in bare and bare.startswith(('def ', 'class ', 'async '))
        headed = headed or 'lambda' in bare
        end += 1
    while end > begin and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith('#')
                           and len(lines[end - 1]) - len(lines[end - 1].lstrip()) <= margin):
        end -= 1
    return [line[margin:] if not line[:margin].strip() else line for line in lines[begin:end]]
