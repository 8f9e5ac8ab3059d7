# Feature `complete`: what the end of a text could become: a name, an attribute,
# a key of a dict, a module, a file.
# It runs no code of the program: no property, no `__getattr__`, no `__dir__`,
# no `__getitem__`, no import.

MOST = 500
KEYWORDS = ('False None True and as assert async await break class continue def del elif else except '
            'finally for from global if import in is lambda nonlocal not or pass raise return try while '
            'with yield').split()

NOTHING = object()
PLAIN_KEYS = str, int, bytes, bool, float, type(None)
LISTED = 20000              # entries of folders that are looked at
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


# ---- the expression that a text ends with

def back_over_word(text, end):
    while end > 0 and ('a' + text[end - 1]).isidentifier():
        end -= 1
    return end


def literal(text):
    # A key as it is written: a string without escapes, or a small number.
    if text.isdigit() and len(text) < 10:
        return int(text)
    if len(text) > 1 and text[0] in '"\'' and text[-1] == text[0] and text[0] not in text[1:-1] and '\\' not in text:
        return text[1:-1]
    return NOTHING


def value_at_end(text):
    # What `name.attribute["key"][0]` at the end of the text is, or NOTHING.
    steps, end = [], len(text)
    while True:
        if text[end - 1:end] == ']':
            begin = text.rfind('[', 0, end)
            key = literal(text[begin + 1:end - 1])
            if begin < 0 or key is NOTHING:
                return NOTHING
            steps.append((item, key))
            end = begin
            continue
        begin = back_over_word(text, end)
        if begin == end:
            return NOTHING
        if text[begin - 1:begin] != '.':
            break
        steps.append((step, text[begin:end]))
        end = begin - 1
    thing = first_names().get(text[begin:end], NOTHING)
    for take, name in reversed(steps):
        if thing is not NOTHING:
            thing = take(thing, name)
    return thing


def item(thing, key):
    kind = type(thing)
    if issubclass(kind, dict) and raw_in_type(kind, '__getitem__') is dict.__dict__['__getitem__']:
        return dict.get(thing, key, NOTHING)
    for sequence in list, tuple:
        if issubclass(kind, sequence) and raw_in_type(kind, '__getitem__') is sequence.__dict__['__getitem__']:
            if type(key) is int and key < sequence.__len__(thing):
                return sequence.__getitem__(thing, key)
    return NOTHING


# ---- strings: keys and files

def open_string(text):
    # Where the string begins that is not closed at the end, or -1; in a comment the end.
    begin, quote, escaped = -1, '', False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif quote:
            escaped = char == '\\'
            if char == quote:
                quote = ''
        elif char == '#':
            return len(text)
        elif char in '"\'':
            begin, quote = at, char
    return begin if quote else -1


def keys(text, at):
    # After the bracket at `at`: keys that begin with what follows it.
    begun = text[at + 1:]
    thing = value_at_end(text[:at])
    found = {}
    if thing is not NOTHING and issubclass(type(thing), dict):
        quote = begun[:1] if begun[:1] in ('"', "'") else ''
        for key in list(dict.keys(thing)):
            if type(key) not in PLAIN_KEYS or len(found) > MOST:
                continue
            shown = repr(key)
            if quote and type(key) is str and shown == "'%s'" % key and quote not in key:
                shown = quote + key + quote
            if len(shown) < 200 and shown.startswith(begun):
                found[shown + ']'] = 'key'
    return at + 1, found


def files(text, begin):
    folder, slash, prefix = text[begin + 1:].rpartition('/')
    found = {}
    if slash:
        for name, is_folder in entries(folder or '/'):
            if name.startswith(prefix) and (prefix or not name.startswith('.')) and name.isprintable() \
                    and not set(name) & set('"\'\\'):
                found[name + '/' * is_folder] = 'path'
    return len(text) - len(prefix), found


def entries(folder):
    found = []
    try:
        listed = posix.scandir(folder)
        for entry in listed:
            found.append((entry.name, entry.is_dir()))
            if len(found) > LISTED:
                break
    except (OSError, ValueError):
        pass
    return sorted(found)


# ---- modules

def modules_in(folders):
    found = {}
    for folder in folders:
        for name, is_folder in entries(folder or '.') if type(folder) is str else ():
            stem, _, end = name.partition('.')
            if stem.isidentifier() and (end in ('py', 'pyc') or end.endswith('so') or is_folder and not end):
                found[stem] = 'module'
    found.pop('__pycache__', None)
    return found


def below(package):
    # Modules that may be imported from a package, loaded or not.
    module = modules.get(package)
    folders = own_dict(module).get('__path__') if module is not None else None
    if folders is None:
        folders = [folder + '/' + package.replace('.', '/') for folder in sys.path if type(folder) is str]
    found = modules_in(folders if type(folders) in (list, tuple) else list(getattr(folders, '_path', ())))
    found.pop('__init__', None)
    return found


def importable(name):
    # (where the last part begins, what it could be)
    package, dot, prefix = name.rpartition('.')
    if dot:
        return prefix, below(package)
    found = modules_in(sys.path)
    found.update((one, 'module') for one in sys.builtin_module_names)
    found.update((one, 'module') for one in list(modules) if '.' not in one)
    return prefix, found


def imported(text):
    # `import a.b`, `from a.b import c`, or None.
    words = text.split()
    if words[:1] == ['from'] and len(words) > 1 and 'import' in words[2:]:
        if words[2] != 'import' or words[-1] == 'import' and not text.endswith(' '):
            return None
        prefix = text[back_over_word(text, len(text)):]
        found = below(words[1])
        module = modules.get(words[1])
        if module is not None:
            found.update((name, kind_of(stored)) for name, stored in names_of(module).items())
        return prefix, found
    if words[:1] == ['import'] or words[:1] == ['from'] and (len(words) < 2 or len(words) == 2 and not text.endswith(' ')):
        last = text.split(None, 1)[1:]
        last = last[0].rpartition(',')[2].lstrip() if last else ''
        if ' ' not in last and (len(words) > 1 or text.endswith(' ')):
            return importable(last)
    return None


def op_complete(request):
    text = request['text']
    start, found = candidates(text)
    prefix = text[start:]
    names = [name for name in found if type(name) is str and name.startswith(prefix) and (
        found[name] in ('key', 'path') or name.isidentifier() and (prefix.startswith('_') or not name.startswith('_')))]
    names.sort(key=lambda name: (name.startswith('__'), name.startswith('_'), name))
    tell({'ev': 'candidates', 'job': request['job'], 'start': start,
          'names': [[name, found[name]] for name in names[:MOST]]})


def candidates(text):
    # Where the word begins that is to be completed, and what it could be.
    begin = open_string(text)
    if begin == len(text):
        return begin, {}
    if begin >= 0:
        if text[:begin].endswith('['):
            start, found = keys(text, begin - 1)
            if found:
                return start, found
        return files(text, begin)
    found = imported(text.lstrip())
    if found is not None:
        prefix, names = found
        return len(text) - len(prefix), names
    start = back_over_word(text, len(text))
    if text[:start].endswith('['):
        at, found = keys(text, start - 1)
        if found:
            return at, found
    if text[:start].endswith('.'):
        thing = value_at_end(text[:start - 1])
        return start, {} if thing is NOTHING else {name: kind_of(stored) for name, stored in names_of(thing).items()}
    found = {name: kind_of(thing) for name, thing in first_names().items()}
    found.update((name, 'keyword') for name in KEYWORDS)
    return start, found
