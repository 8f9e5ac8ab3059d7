"""Objects of every kind that a path can lead through.

Truth: `ready` has, by path, the `repr` of what Python itself finds at the path; `nowhere` in it has, by path, a part of
what is said where nothing can be told from outside; `instances` counts the live instances of `Order` with its
subclasses. The main thread is in `wait`, with locals, serves commands, and starts no other thread.
Usage: objects.py NAME
"""
import collections
import functools
import os
import sys
import types
import weakref

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands


class Base(object):
    kind = "base"
    __slots__ = ("slot", "empty_slot")


class Slots(Base):
    __slots__ = ("other",)


class Order(Base):
    count = 0

    def __init__(self, total):
        self.total = total
        self.slot = [1, 2]
        self.lines = ["pen", {"price": 3}]
        self.password = "hunter2"

    @property
    def tax(self):
        os.abort()

    @staticmethod
    def made():
        pass

    def method(self):
        pass


class Sub(Order):
    pass


class Dynamic(object):
    def __getattr__(self, name):
        os.abort()

    def __getitem__(self, key):
        os.abort()


class Filled(object):
    """Whose instances are made in another order than the class's first one, or have names of their own."""


class Registry(dict):
    name = "registry"


class LazyObject(object):
    """Looks like Django's."""

    def __getattr__(self, name):
        os.abort()


LazyObject.__module__ = "django.utils.functional"


class LocalProxy(object):
    """Looks like Werkzeug's."""

    def __getattr__(self, name):
        os.abort()


LocalProxy.__module__ = "werkzeug.local"


def handler_of(number, table):
    unused = number + 1

    def handler():
        return number, table

    handler.attribute = ["set"]
    return handler


def filled():
    first, second, third = Filled(), Filled(), Filled()
    first.a, first.b = 1, 2
    second.b, second.a = 3, 4
    third.__dict__["c"] = 5
    for index in range(60):
        setattr(third, "own%d" % index, index)
    return [first, second, third]


orders = [Order(total) for total in range(3)] + [Sub(9)]
slotted = Slots()
slotted.slot, slotted.other = "s", "o"
handler = handler_of(41, {"k": "v"})
table = {"auth.User": "UserAdmin", 7: b"x", -7: "minus", (1, 2): None, b"k": 1.5, None: "none", 2 ** 70: "large"}
table[True] = ["yes"]
table["na\u00efve \u2603"] = {"deep": {"er": [{"est": 1}]}}
del table[(1, 2)]
registry = Registry(pen=3)
registry.extra = "x"
instances = filled()
Point = collections.namedtuple("Point", "x y")
point = Point(1, orders[2])
queue = collections.deque(range(200), 150)
ordered = collections.OrderedDict([("z", 1), ("a", 2)])
ordered.move_to_end("z")
missing = collections.defaultdict(list, {"there": [1]})
weak = weakref.proxy(orders[1])
view = types.MappingProxyType(table)
bound = orders[1].method
partial = functools.partial(int, "12", base=8)
dynamic = Dynamic()
lazy, lazier, unset, first_of_ring, second_of_ring = [LazyObject() for _ in range(5)]
lazy._wrapped, lazier._wrapped, unset._wrapped = orders[1], lazy, object()
first_of_ring._wrapped, second_of_ring._wrapped = second_of_ring, first_of_ring
context = LocalProxy()
thousand = {"key %d" % number: number for number in range(1000)}
loop = [1]
loop.append(loop)
secret_token = "hunter2"
numbers = [0]
commands.objects = types.ModuleType("commands.objects")
sys.modules["commands.hidden"] = types.ModuleType("commands.hidden")
sys.modules["commands.hidden"].value = "of a module"

PATHS = [
    "orders[1].total", "orders[-1].total", "orders[0].slot", "orders[0].lines[1]['price']", "orders[2].kind",
    "orders[0].count", "Sub.count", "Order.kind", "slotted.slot", "slotted.other", "slotted.kind",
    "orders[0].__class__.__name__", "Order.__mro__[1].__name__", "table['auth.User']", "table[7]", "table[-7]",
    "table[b'k']", "table[None]", "table[True][0]", "table['na\\u00efve \\u2603']['deep']['er'][0]['est']",
    "registry['pen']", "registry.extra", "registry.name", "instances[0].a", "instances[0].b", "instances[1].a",
    "instances[1].b", "instances[2].c", "instances[2].own59", "point.x", "point.y.total", "point[0]", "queue[0]",
    "queue[149]", "queue[-1]", "ordered['a']", "missing['there']", "view['auth.User']", "bound.__self__.total",
    "partial.args[0]", "partial.keywords['base']", "handler.attribute[0]", "handler.__closure__[0].cell_contents",
    "handler.__globals__['answer']", "sys.version_info.major", "os.path.sep", "commands.json.__module__", "loop[1][1][0]",
    "thousand['key 999']",
]
answer = 42
TOLD = {
    "weak.total": "1", "lazy.total": "1", "lazier.lines[0]": "'pen'", "handler.__closure__['number']": "41",
    "handler.__closure__['table']['k']": "'v'", "commands.hidden.value": "'of a module'", "commands:serve.__qualname__":
    "'serve'", "__main__:answer": "42", "secret_token": "<redacted>", "orders[0].password": "<redacted>",
    "type:Order[0].kind": "'base'", "type:__main__.Sub[0].total": "9", "type:__main__:Sub[-1].total": "9",
}
NOWHERE = {
    "orders[0].tax": "property of __main__.Order, which is not run",
    "orders[0].totel": "there is total",
    "orders[7]": "list has 4 items",
    "orders['x']": "list has no items but by number",
    "slotted.empty_slot": "no such attribute",
    "table['auth.user']": "there is auth.User",
    "missing['not there']": "no such key",
    "dynamic.anything": "`__getattr__` of its own, which is not run",
    "dynamic['x']": "`__getitem__` of its own, which is not run",
    "answer[0]": "int has no items",
    "unset.total": "stands for nothing",
    "unset": "stands for nothing",
    "first_of_ring.x": "in a ring",
    "first_of_ring": "in a ring",
    "context": "depends on who asks",
    "context.path": "depends on who asks",
    "handler.__closure__['unused']": "no such variable",
    "commands.jsn": "there is json",
    "no_such_name.x": "no module, global or builtin is called `no_such_name`",
    "no_such_module:x": "this module is not loaded",
    "type:answer": "it is no class but a int",
}


def wait(argument):
    captured = {"deep": [argument]}

    def inner(token="hunter2"):
        depth = 2
        commands.serve()
        return depth, captured

    inner()


if __name__ == "__main__":
    truth = {path: repr(eval(path)) for path in PATHS}
    truth.update(TOLD)
    commands.ready({"found": truth, "nowhere": NOWHERE, "instances": len(orders)})
    wait(orders[0])
