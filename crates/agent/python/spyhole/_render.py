# Feature `render`: the text of a value, as Python's own repr wherever that is
# small enough, and never much more than the limit, however large the value.
#
# Containers whose repr is C code would build all of it, so they are walked
# here. Any other object's own `__repr__` is called and cut afterwards.

DEPTH = 100
SORTED = 100000             # elements of a set that are put in order
CANONICAL = 10000           # items of a dict that are put in order for the key
LARGEST = 60 << 20          # of a frame; the wire allows 64 MiB
NODES = 100000              # of plain data

ELLIPSIS = '\u2026'
SAME_SLOT = type(list.__repr__)
FUNCTION = type(lambda: None)
mro_of = type.__dict__['__mro__'].__get__
dict_of = type.__dict__['__dict__'].__get__


class Row(object):
    # Texts and keys of a container's items, joined early: a million small
    # strings weigh far more than their text.
    def __init__(self):
        self.texts, self.joined = [], []
        self.keys = self.joined_keys = None

    def add(self, text, key):
        if self.keys is None and key is not text and key != text:
            self.keys, self.joined_keys = list(self.texts), list(self.joined)
        self.texts.append(text)
        if self.keys is not None:
            self.keys.append(key)
        if len(self.texts) > 1000:
            self.joined.append(', '.join(self.texts))
            self.texts = []
            if self.keys is not None:
                self.joined_keys.append(', '.join(self.keys))
                self.keys = []

    def within(self, opening, closing):
        text = opening + ', '.join(self.joined + self.texts) + closing
        return text, text if self.keys is None else opening + ', '.join(self.joined_keys + self.keys) + closing


def inherited(kind, name):
    # What a type has under a name, without running any of its code.
    for base in mro_of(kind):
        if name in dict_of(base):
            return dict_of(base)[name]
    return None


def short_name(kind):
    return exact_text(type.__dict__['__name__'].__get__(kind))


def own_name(kind, base):
    # 3.6 wrote the name of the builtin type for a subclass, too.
    return short_name(kind) if sys.version_info >= (3, 7) else base


def exact_text(text):
    return str.__getitem__(text, slice(1 << 12)) if isinstance(text, str) else ''


def full_type_name(kind):
    # Never through a metaclass's own attribute access.
    module = type.__dict__['__module__'].__get__(kind)
    name = exact_text(type.__dict__['__qualname__'].__get__(kind))
    return name if not isinstance(module, str) or module == 'builtins' else exact_text(module) + '.' + name


def without_addresses(text):
    parts = text.split(' at 0x')
    for index in range(1, len(parts)):
        parts[index] = parts[index].lstrip('0123456789abcdef')
    return ''.join(parts) if len(parts) > 1 else text


def bytes_each(text, size):
    # Of a character, at least; a str stores all of them with the same width.
    return min(4, max(1, str.__sizeof__(text) // size)) if size > 500 else 4


class Walker(object):
    def __init__(self, limit, deepest=DEPTH):
        self.left, self.truncated, self.depth, self.path = limit, False, 0, set()
        self.deepest = deepest

    # Each of these gives (text, key).

    def walk(self, value):
        if self.left <= 0 or self.depth >= self.deepest:
            self.truncated = True
            return ELLIPSIS, ELLIPSIS
        how = handler_of(type(value))
        if how is None:
            return self.own(value)
        if how in (a_str, an_int, some_bytes):
            return self.leaf(how(self, value))
        if id(value) in self.path:
            return self.leaf(how(self, value, True))
        self.path.add(id(value))
        self.depth += 1
        try:
            return how(self, value, False)
        finally:
            self.depth -= 1
            self.path.discard(id(value))

    def leaf(self, text):
        self.left -= len(text)
        return text, without_addresses(text)

    def own(self, value):
        caught = None               # looked at after its `except`: see `attempt`
        try:
            text = repr(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            caught = error
        if caught is not None:
            text = self.failed(value, caught)
            caught = None
        over = str.__len__(text) - self.left
        if over > 0:
            self.truncated = True
            text = '%s%s (+%d characters)' % (str.__getitem__(text, slice(self.left)), ELLIPSIS, over)
        return self.leaf(str.__getitem__(text, slice(None)))

    def failed(self, value, error):
        try:
            why = str(error)
            why = str.__getitem__(why, slice(300))
        except KeyboardInterrupt:
            raise
        except BaseException:
            why = '<exception str() failed>'
        kind = type(value)
        return '<%s object at %#x (repr raised %s: %s)>' % (
            full_type_name(kind), id(value), full_type_name(type(error)), why)

    def cut(self, row, more):
        # Whether the room is used up; then what was left out is said.
        if self.left > 0:
            return False
        self.truncated = True
        text = '%s (+%d more)' % (ELLIPSIS, more)
        row.add(text, text)
        return True

    def items(self, row, iterator, length):
        # Live, since a copy could be larger than the text may be.
        count = 0
        try:
            for item in iterator:
                if self.cut(row, length - count):
                    break
                row.add(*self.walk(item))
                self.left -= 2
                count += 1
        except RuntimeError as error:
            self.changed(row, error)
        return row

    def changed(self, row, error):
        if 'during iteration' not in str(error):
            raise error
        self.truncated = True
        row.add(ELLIPSIS + ' (changed meanwhile)', ELLIPSIS)

    def mapping(self, pairs, length, opening='{', closing='}', between=': '):
        row, known, ordered, count = Row(), [], True, 0
        try:
            for name, value in pairs:
                if self.cut(row, length - count):
                    break
                first, first_key = self.walk(name)
                second, second_key = self.walk(value)
                self.left -= 4
                count += 1
                text = first + between + second
                key = text if first_key is first and second_key is second else first_key + between + second_key
                row.add(text, key)
                if count <= CANONICAL:
                    ordered = ordered and (not known or known[-1] <= key)
                    known.append(key)
        except RuntimeError as error:
            self.changed(row, error)
        first = first_key = second = second_key = None         # each as large as the text may be
        text, key = row.within(opening, closing)
        if not ordered and count <= CANONICAL:
            key = opening + ', '.join(sorted(known)) + closing
        return text, key


def snapshot(pairs, length):
    return list(pairs) if length <= 1000 else pairs


# ---- leaves

def a_str(walker, value):
    size = str.__len__(value)
    if size * 10 <= walker.left:
        return str.__repr__(value)
    width = bytes_each(value, size)
    room = max(1, walker.left // width)
    shown = min(size, room)
    while True:
        text = str.__repr__(str.__getitem__(value, slice(shown)))
        if len(text) <= room + 2 or shown <= 1:
            break
        shown = max(1, min(shown - 1, shown * room // len(text)))
    walker.left -= len(text) * (width - 1)
    if shown < size:
        walker.truncated = True
        text += '%s (+%d characters)' % (ELLIPSIS, size - shown)
    return text


def some_bytes(walker, value):
    base = bytes if isinstance(value, bytes) else bytearray
    size = base.__len__(value)
    shown = min(size, max(1, walker.left))
    while True:
        text = repr(bytes(base.__getitem__(value, slice(shown))))
        if len(text) <= walker.left + 3 or shown <= 1:
            break
        shown = max(1, min(shown - 1, shown * walker.left // len(text)))
    if shown < size:
        walker.truncated = True
        text += '%s (+%d bytes)' % (ELLIPSIS, size - shown)
    if base is bytearray:
        text = '%s(%s)' % (own_name(type(value), 'bytearray'), text)
    return text


def an_int(walker, value):
    # Decimal digits cost quadratic time, and 3.11 refuses more than 4300.
    bits = int.bit_length(value)
    if bits < 13000:
        try:
            return int.__repr__(value)
        except ValueError:
            pass
    over = max(0, bits - 4 * max(walker.left, 16)) & ~3
    if over == 0:
        return hex(int(value))
    walker.truncated = True
    top = abs(value) >> over if value < 0 else value >> over
    return '%s%s%s (+%d hex digits)' % ('-' if value < 0 else '', hex(top), ELLIPSIS, over // 4)


# ---- containers; `again` if the value is being walked further out

def elements(base, opening, closing, cycle):
    def handle(walker, value, again):
        if again:
            return cycle
        length, get = base.__len__(value), base.__getitem__
        row = walker.items(Row(), stepping(get, value, length), length)
        if base is tuple and length == 1:
            return row.within(opening, ',' + closing)
        return row.within(opening, closing)
    return handle


def stepping(get, value, length):
    for index in range(length):
        try:
            yield get(value, index)
        except IndexError:
            return


def a_set(walker, value, again):
    kind = type(value)
    base = set if isinstance(value, set) else frozenset
    name = short_name(kind)
    if again:
        return name + '(...)'
    length = base.__len__(value)
    if length == 0:
        return walker.leaf(name + '()')
    # Hash seeds differ between processes; the text should not.
    if length > SORTED:
        row = walker.items(Row(), base.__iter__(value), length)
    else:
        members = list(base.__iter__(value))
        kinds = {type(member) for member in members}
        if len(kinds) == 1 and kinds <= {int, str, bytes, float}:
            row = walker.items(Row(), sorted(members), length)
        else:
            row, known = Row(), []
            for member in members:
                if walker.left <= 0:
                    break
                known.append(walker.walk(member)[::-1])
                walker.left -= 2
            for key, text in sorted(known):
                row.add(text, key)
            if len(known) < length:
                walker.cut(row, length - len(known))
    return row.within('{', '}') if kind is set else row.within(name + '({', '})')


def a_dict(walker, value, again):
    if again:
        return '{...}'
    length = dict.__len__(value)
    return walker.mapping(snapshot(dict.items(value), length), length)


def a_defaultdict(walker, value, again):
    name = short_name(type(value)) + '('
    factory = walker.walk(inherited(type(value), 'default_factory').__get__(value))
    inner = a_dict(walker, value, again)
    if again:
        return name + factory[0] + ', ' + inner + ')'
    return tuple([name + head + ', ' + tail + ')' for head, tail in zip(factory, inner)])


def an_ordered_dict(walker, value, again):
    if again:
        return '...'
    name, length = short_name(type(value)), dict.__len__(value)
    if length == 0:
        return walker.leaf(name + '()')
    ordered = modules['collections'].OrderedDict
    pairs = snapshot(ordered.items(value), length)
    if sys.version_info >= (3, 12):
        text = walker.mapping(pairs, length, name + '({', '})')[0]
    else:
        text = walker.items(Row(), pairs, length).within(name + '([', '])')[0]
    return text, without_addresses(text)


def a_counter(walker, value, again):
    if again:
        return '...'
    name, length = short_name(type(value)), dict.__len__(value)
    if length == 0:
        return walker.leaf(name + '()')
    pairs = dict.items(value)
    if length <= SORTED:
        try:
            pairs = sorted(pairs, key=lambda pair: pair[1], reverse=True)
        except TypeError:
            pass
    return walker.mapping(pairs, length, name + '({', '})')


def a_mapping_proxy(walker, value, again):
    if again:
        return 'mappingproxy({...})'
    length = len(value)
    return walker.mapping(snapshot(value.items(), length), length, 'mappingproxy({', '})')


def a_frozen_dict(walker, value, again):
    name = short_name(type(value))
    if again:
        return name + '({...})'
    length = len(value)
    if length == 0:
        return walker.leaf(name + '()')
    return walker.mapping(snapshot(value.items(), length), length, name + '({', '})')


def a_view(walker, value, again):
    if again:
        return '...'
    length = len(value)
    return walker.items(Row(), snapshot(value, length), length).within(short_name(type(value)) + '([', '])')


def a_deque(walker, value, again):
    if again:
        return '[...]'
    length, most = len(value), inherited(type(value), 'maxlen').__get__(value)
    row = walker.items(Row(), snapshot(value, length), length)
    return row.within(own_name(type(value), 'deque') + '([', '])' if most is None else '], maxlen=%d)' % most)


def an_array(walker, value, again):
    code, length = value.typecode, len(value)
    if code in 'uw' or length < 1000:
        return walker.own(value)
    base = modules['array'].array
    row = walker.items(Row(), stepping(base.__getitem__, value, length), length)
    return row.within("array('%s', [" % code, '])')


def an_exception(walker, value, again):
    name = short_name(type(value))
    if again:
        return name + '(...)'
    args = BaseException.args.__get__(value)
    row = walker.items(Row(), args, len(args))
    comma = ',' if len(args) == 1 and sys.version_info < (3, 7) else ''
    return row.within(name + '(', comma + ')')


def fields(walker, name, pairs):
    row = Row()
    for index, (label, get) in enumerate(pairs):
        if walker.cut(row, len(pairs) - index):
            break
        text, key = walker.walk(get())
        walker.left -= len(label) + 3
        row.add(label + '=' + text, label + '=' + key)
    return row.within(name + '(', ')')


def a_named_tuple(walker, value, again):
    name = short_name(type(value))
    if again:
        return name + '(...)'
    labels = inherited(type(value), '_fields')
    return fields(walker, name, [(exact_text(label), lambda index=index: tuple.__getitem__(value, index))
                                 for index, label in enumerate(labels)])


def a_dataclass(walker, value, again):
    if again:
        return '...'
    kind = type(value)
    shown = [field.name for field in inherited(kind, '__dataclass_fields__').values()
             if field.repr and str(field._field_type) == '_FIELD']
    try:
        pairs = [(exact_text(name), lambda item=getattr(value, name): item) for name in shown]
    except Exception:
        return walker.own(value)
    return fields(walker, exact_text(kind.__qualname__), pairs)


# ---- which of them

HANDLERS = {
    str.__repr__: a_str, int.__repr__: an_int, bytes.__repr__: some_bytes, bytearray.__repr__: some_bytes,
    list.__repr__: elements(list, '[', ']', '[...]'), tuple.__repr__: elements(tuple, '(', ')', '(...)'),
    set.__repr__: a_set, frozenset.__repr__: a_set, dict.__repr__: a_dict,
    BaseException.__repr__: an_exception,
    type(dict_of(object)).__repr__: a_mapping_proxy,
    type({}.keys()).__repr__: a_view, type({}.values()).__repr__: a_view, type({}.items()).__repr__: a_view,
}


def more_handlers():
    # Of modules that the program has loaded; no other instances can exist.
    found = modules.get('collections')
    ordered = getattr(found, 'OrderedDict', None)
    for module, name, handle in (
            (found, 'OrderedDict', an_ordered_dict), (found, 'defaultdict', a_defaultdict),
            (found, 'Counter', a_counter), (found, 'deque', a_deque),
            (modules.get('array'), 'array', an_array), (builtins, 'frozendict', a_frozen_dict)):
        kind = getattr(module, name, None)
        if isinstance(kind, type):
            HANDLERS[kind.__repr__] = handle
    if isinstance(ordered, type):
        for view in ordered().keys(), ordered().values(), ordered().items():
            HANDLERS[type(view).__repr__] = a_view
    HANDLERS.pop(object.__repr__, None)


def handler_of(kind):
    found = inherited(kind, '__repr__')
    if type(found) is SAME_SLOT:
        return HANDLERS.get(found)
    if type(found) is not FUNCTION:
        return None
    if found in HANDLERS:
        return HANDLERS[found]
    home = found.__globals__.get('__name__')
    if issubclass(kind, tuple) and (home == 'collections' or home == 'namedtuple_' + found.__qualname__[:-9]):
        labels = inherited(kind, '_fields')
        if type(labels) is tuple and len(labels) == tuple.__len__(labels):
            return a_named_tuple
    if home in ('dataclasses', 'reprlib') and type(inherited(kind, '__dataclass_fields__')) is dict:
        inner = getattr(found, '__wrapped__', None)
        if type(inner) is FUNCTION and inner.__code__.co_filename == '<string>':
            return a_dataclass
    return None


# ---- the answer

def rendered(value, limit):
    more_handlers()
    walker = Walker(limit)
    text, key = walker.walk(value)
    return {'repr': text, 'truncated': walker.truncated, 'key': None if key == text else key}


def answer(event, value, request):
    limit = LARGEST if request.get('full') else min(request.get('max') or 1 << 20, LARGEST)
    event['type'] = full_type_name(type(value))
    event.update(rendered(value, limit))
    used = 0
    if len(event['repr']) > 1 << 22:
        used = len(event['repr'].encode('utf-8', 'surrogatepass'))
        if used > LARGEST:
            event['repr'] = event['repr'][:LARGEST // 4] + ELLIPSIS
            event['truncated'] = True
        if used * 2 > LARGEST:
            event['key'] = None
    if request.get('want_value'):
        try:
            event['value'] = plain([NODES, min(limit, LARGEST - 2 * used)], value, 0)
            event['has_value'] = True
        except (ValueError, RuntimeError):
            pass


def plain(room, value, depth):
    # A copy, since another thread may change the value before it is sent.
    kind = type(value)
    room[0] -= 1
    room[1] -= 9
    if kind is str:
        room[1] -= len(value) * bytes_each(value, len(value))
    if room[0] < 0 or room[1] < 0 or depth > DEPTH:
        raise ValueError('too much')
    if kind is list or kind is tuple:
        return [plain(room, item, depth + 1) for item in value]
    if kind is dict:
        copy = {}
        for name, item in value.items():
            if type(name) is not str:
                raise ValueError('a key that is no str')
            copy[plain(room, name, depth)] = plain(room, item, depth + 1)
        return copy
    if value is None or kind in (bool, str) or kind is float and value - value == 0:
        return value
    if kind is int and value.bit_length() <= 16384:
        return value
    raise ValueError(kind)
