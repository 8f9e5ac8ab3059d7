"""Local variables of every kind. `ready` tells by thread what the locals of its innermost function here are: their
`repr`, made here by Python itself, or the text that is told for an object whose own `repr` would have to run.

`kinds`: one local for each kind whose `repr` is promised. `others`: instances. `cells`: closures, comprehensions, names
without a value. `bounds`: what is long, deep, or within itself. `secrets`: names that hide. `classes`: a class body.
"""
import collections
import datetime
import decimal
import enum
import functools
import json
import math
import os
import pathlib
import sys
import threading
import types
import uuid
import weakref

sys.setrecursionlimit(10000)
gate = threading.Lock()
gate.acquire()
told = {}
arrived = threading.Semaphore(0)


def tell(names, **others):
    """The truth about these locals, and the wait in the caller's name."""
    truth = {name: repr(value) for name, value in names.items() if name not in others}
    truth.update({name: text for name, text in others.items() if text is not None})
    told[threading.current_thread().name] = truth
    arrived.release()


class Color(enum.Enum):
    RED = 1
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 3


class Perm(enum.Flag):
    R = 4
    W = 2


class Text(str):
    pass


class Number(int):
    pass


class Real(float):
    pass


class Row(list):
    pass


class Pair(tuple):
    pass


class Table(dict):
    pass


class Group(set):
    pass


class Failed(ValueError):
    pass


class Bytes(bytearray):
    pass


Point = collections.namedtuple("Point", "x y")


class Point3(Point):
    def norm(self):
        return 0


class Plain:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def method(self):
        pass

    @classmethod
    def made(cls):
        pass

    @staticmethod
    def alone():
        pass


class Slotted:
    __slots__ = ("first", "second", "unset")

    def __init__(self):
        self.first = 1
        self.second = [2]


class Both(Slotted):
    def __init__(self):
        Slotted.__init__(self)
        self.third = "3"


class Own:
    def __init__(self):
        self.name = "own"

    def __repr__(self):
        raise SystemExit("never run")


class OwnList(list):
    def __repr__(self):
        raise SystemExit("never run")


class Empty:
    pass


def generate():
    yield 1


async def coroutine():
    pass


async def asynchronous():
    yield 1


def frame_of():
    return sys._getframe()


def kinds():
    none, yes, no, dots, not_implemented = None, True, False, ..., NotImplemented
    zero, one, minus, small, large = 0, 1, -1, 2 ** 30, -2 ** 60 + 1
    power, negative_power, decades = 2 ** 100, -3 ** 70, 10 ** 40
    real, tiny, huge, sixteen, four = 0.1, 1e-05, 1.5e300, 1e16, 0.0001
    infinite, minus_infinite, not_a_number, minus_zero = math.inf, -math.inf, math.nan, -0.0
    third, cents, smallest = 1 / 3, 999.99998, 5e-324
    imaginary, both, negative_complex, odd = 1j, 1.5 - 2j, complex(-0.0, -1), complex(math.nan, math.inf)
    empty, ascii, quotes, both_quotes = "", "plain text", "it's", "it's \"so\""
    latin, wide, wider, surrogate = "caf\xe9 \xa0", "\u20ac \u4e2d \u202e", "\U0001d11e \U000e0001", "a\udc80\ud800z"
    escapes = "\0\x1b[31m\t\r\n\\ \x7f \x80 \xad"
    newer = "\u20bf \u20c0 \U0001fae8 \U0001fadf \u0378"
    data, data_quotes, array, empty_array = b"\x00\xff'a\n", b"'\"", bytearray(b"it's"), bytearray()
    view = memoryview(data)
    no_items, single, pair, nested = (), (1,), (1, "2"), ((1, (2, [3])), {"a": (4,)})
    no_list, numbers, mixed = [], [1, 2, 3], [None, 1.5, "x", b"y", [1j]]
    no_dict, table, table_of_ints, deleted = {}, {"a": 1, "b": [2]}, {1: "x", (2, 3): None}, {"a": 1, "b": 2, "c": 3}
    del deleted["b"]
    split = Plain(a=1, b="two").__dict__
    reordered = Plain(a=1, b="two").__dict__
    del reordered["a"]
    reordered["a"] = 3
    no_set, some_set, removed, frozen, no_frozen = set(), {1, "b", (2,)}, {1, 2, 3, 4, 5}, frozenset({7}), frozenset()
    removed.discard(3)
    span, steps, backwards, cut = range(5), range(1, 10, 2), range(10, 0, -1), slice(1, None, 2)
    ordered, no_ordered = collections.OrderedDict([("b", 1), ("a", 2), ("c", 3)]), collections.OrderedDict()
    ordered.move_to_end("b")
    defaults, no_defaults = collections.defaultdict(list, {"x": [1]}), collections.defaultdict(None)
    counter, no_counter = collections.Counter("abracadabra"), collections.Counter()
    queue, bounded, no_queue = collections.deque(range(100, 190)), collections.deque("abc", maxlen=2), collections.deque()
    short_queue = collections.deque([1, 2, 3])
    queue.rotate(3)
    point, point3, named = Point(1, "two"), Point3(3, 4), Point(x=Point(0, 0), y=None)
    text, number, real_number, row, tuple_of, table_of, group = (
        Text("t's"), Number(7), Real(2.5), Row([1, 2]), Pair((1,)), Table(a=1), Group([5]))
    own_bytes = Bytes(b"x")
    error, no_error, two_errors, own_error, os_error = (
        ValueError("x"), KeyError(), RuntimeError("a", 2), Failed("own"), OSError(2, "No such file"))
    function, inner, builtin, method_of_list, bound = kinds, lambda: 0, len, [].append, Plain().method
    bound = [1].index
    unbound, wrapper, slot_wrapper = list.append, (1).__add__, int.__add__
    attribute, member = type.__dict__["__name__"] if False else types.FunctionType.__code__, Slotted.first
    static_one, class_one = Plain.__dict__["alone"], Plain.__dict__["made"]
    accessor = property(len)
    kind, own_kind, builtin_kind, metaclass, inner_kind = Plain, Color, int, type, collections.OrderedDict
    flag_kind, exception_kind, time_kind, c_kind = Perm, ValueError, datetime.datetime, collections.deque
    module, main_module, builtin_module, package, made_module = os, sys.modules["__main__"], sys, json, types.ModuleType("made")
    weak, weak_class, weak_function = weakref.ref(gate_holder), weakref.ref(Plain), weakref.ref(kinds)
    dead = weakref.ref(Plain())
    generator, running_code, a_frame = generate(), kinds.__code__, frame_of()
    coro = coroutine()
    agenerator = asynchronous()
    red, green, low, perm = Color.RED, Color.GREEN, Level.LOW, Perm.R
    date, moment, zoned, exact = (
        datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3, 4), datetime.datetime(
            1, 1, 1, 0, 0, 5, tzinfo=datetime.timezone.utc), datetime.datetime(2020, 12, 31, 23, 59, 59, 999999))
    folded = datetime.datetime(2020, 1, 2, 3, 4, fold=1)
    clock, clock_zone = datetime.time(1, 2), datetime.time(
        1, 2, 3, 4, tzinfo=datetime.timezone(datetime.timedelta(hours=-5), "EST"), fold=1)
    delta, no_delta, minus_delta = datetime.timedelta(1, 2, 3), datetime.timedelta(0), datetime.timedelta(-1, 5)
    zone = datetime.timezone(datetime.timedelta(hours=2))
    money, exponent, special, many_digits = (
        decimal.Decimal("-1.10"), decimal.Decimal("1E+30"), decimal.Decimal("NaN"),
        decimal.Decimal("0.1234567890123456789012345678901234567890123456789012345678901234567890"))
    unique = uuid.UUID("12345678-1234-5678-1234-567812345678")
    path, relative, root_path, dot = (
        pathlib.Path("/usr/./lib/x"), pathlib.PurePosixPath("a", "b"), pathlib.Path("/"), pathlib.Path())
    parent = pathlib.Path("/usr/lib").parent
    lock, locked = threading.Lock(), gate
    rlock, taken = threading.RLock(), threading.RLock()
    taken.acquire()
    taken.acquire()
    part, part_words = functools.partial(len), functools.partial(int, "7", base=8)
    proxy = types.MappingProxyType({"a": 1})
    keys, values, items = table.keys(), table.values(), table.items()
    cell = (lambda: table).__closure__[0]
    thing, iterator = object(), iter([1])
    preño = "non-ASCII"
    tell(locals(), table="{'a': 1, 'b': [2]}")
    gate.acquire()


gate_holder = Plain()


def others():
    empty = Empty()
    plain = Plain(a=1, b="two", c=[3])
    slotted, both, own, own_list = Slotted(), Both(), Own(), OwnList([1, 2])
    outer = Plain(inner=Plain(deep=Plain(deeper=1)))
    itself = Plain(name="x")
    itself.me = itself
    deeper = outer.inner.deep
    tell({}, empty="<__main__.Empty object at 0x%x>" % id(empty), plain="<__main__.Plain a=1, b='two', c=[3]>",
         slotted="<__main__.Slotted first=1, second=[2]>", both="<__main__.Both first=1, second=[2], third='3'>",
         own="<__main__.Own name='own'>", own_list="<__main__.OwnList [1, 2]>",
         outer="<__main__.Plain inner=<__main__.Plain deep=<__main__.Plain object at 0x%x>>>" % id(deeper),
         itself="<__main__.Plain name='x', me=<__main__.Plain ...>>", deeper="<__main__.Plain deeper=1>")
    gate.acquire()


def cells(argument=1, other=2):
    captured = "in a cell"
    if argument == 2:
        unset = 1

    def inner():
        return captured, argument, unset

    def within():
        shown = captured
        tell({}, captured="'in a cell'", argument="1", shown="'in a cell'")
        gate.acquire()
        return captured, argument, unset

    within()


def comprehension():
    last = 5
    return [(tell({}, last="5", item="0"), gate.acquire(), last) for item in range(1)]


def bounds():
    numbers = list(range(1000000))
    many = {number: str(number) for number in range(100000)}
    members = set(range(100000))
    long = "x" * 10000
    data = b"\x00" * 10000
    decades = 10 ** 5000
    gigantic = 1 << 10000000
    in_itself = [1]
    in_itself.append(in_itself)
    dict_itself = {"a": 1}
    dict_itself["me"] = dict_itself
    two = [[], 1]
    two[0].append(two)
    ordered = collections.OrderedDict()
    ordered["me"] = ordered
    queue = collections.deque([1])
    queue.append(queue)
    deep = []
    for _ in range(1000):
        deep = [deep]
    del _
    emptied = {number: None for number in range(100000)}
    for number in list(emptied)[:-1]:
        del emptied[number]
    del number
    tell(dict(in_itself=in_itself, dict_itself=dict_itself, two=two, ordered=ordered, queue=queue))
    gate.acquire()


def secrets():
    password = "hunter2"
    DB_PASSWORD = None
    apiKey = b"hunter2"
    settings = {"user": "me", "SECRET_KEY": "hunter2", "nested": {"csrf-token": ["hunter2"]}}
    environ = {"HTTP_AUTHORIZATION": "hunter2", "PATH": "/"}
    headers = [(b"host", b"x"), (b"cookie", b"hunter2")]
    plain = Plain(user="me", _auth_token="hunter2")
    credentials = collections.namedtuple("Credentials", "user secret")("me", "hunter2")
    part = functools.partial(print, api_key="hunter2")
    ordered = collections.OrderedDict(cookie="hunter2")
    tell({})
    gate.acquire()


def classes():
    class Body:
        attribute = [1]
        hidden = classes
        del hidden
        tell({}, attribute="[1]", __module__="'__main__'", __qualname__="'classes.<locals>.Body'")
        gate.acquire()


functions = [kinds, others, cells, comprehension, bounds, secrets, classes]
threads = [threading.Thread(target=function, name=function.__name__, daemon=True) for function in functions]
for thread in threads:
    thread.start()
for thread in threads:
    arrived.acquire()
print("ready " + json.dumps(told), flush=True)
sys.stdin.read()
os._exit(0)
