"""Truth: functions of every kind, whose arguments and results are known. Nothing runs but what commands ask for; `load(N)`
starts N threads that call `busy` without end and count in `counts`, `unload()` stops them and says whether every result
was right. `unchanged()` is True while every function has the code that it had at first."""
import functools
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands


def plain(a, b=()):
    """Has a docstring."""
    return [a, b]


def raises(n):
    for i in range(n):
        if i == 2:
            raise ValueError("two", i)  # marked: raises


def traceback_of(n):
    try:
        raises(n)
    except ValueError as error:
        below = error.__traceback__.tb_next
        return below.tb_lineno, below.tb_next


class Base(object):
    def method(self, x):
        return x + 1


class Derived(Base):
    def method(self, x):
        return super().method(x) * 2

    @classmethod
    def of_class(cls, x):
        return cls.__name__ + str(x)

    @staticmethod
    def static(x=4):
        return x

    @property
    def prop(self):
        return __class__.__name__

    def __private(self, __y):
        return __y

    def call_private(self, z):
        return self.__private(z)

    def __repr__(self):
        return "Derived()"


def decorator(function):
    @functools.wraps(function)
    def wrapper(*args, **named):
        return function(*args, **named)
    return wrapper


def silent_decorator(function):
    def wrapper(*args, **named):
        return function(*args, **named)
    return wrapper


@decorator
def decorated(x):
    return x


@silent_decorator
def silently(x):
    return x


@functools.lru_cache()
def cached(x):
    return x


def outer(n):
    def inner(m):
        return n + m
    return inner


def generator(n):
    for i in range(n):
        yield i
    return "end"


async def coroutine(x):
    return x


async def async_generator(n):
    for i in range(n):
        yield i


async def collected(n):
    return [x async for x in async_generator(n)]


async def closed_early(n):
    numbers = async_generator(n)
    async for x in numbers:
        break
    await numbers.aclose()
    return x


def driven(coroutine):
    try:
        while True:
            coroutine.send(None)
    except StopIteration as stop:
        return stop.value


def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)


def kinds(a, *args, k, **more):
    return sorted(locals())


def lines(n):
    total = 0
    while n:
        n -= 1  # marked: line
        # nothing
        total += n  # marked: next
    return total


def login(user, password):
    return user


def later(n):
    return n


def busy(n):
    return n * 2 + 1


live = outer(10)
made = {}
exec("def sourceless(x, y=2): return x + y\n", made)
sourceless = made["sourceless"]
counts, wrong, stop = [], [], threading.Event()


def calls(index):
    while not stop.is_set():
        for n in range(100):
            if busy(n) != 2 * n + 1:
                wrong.append(n)
        counts[index] += 100


def load(number):
    stop.clear()
    counts[:] = [0] * number
    for index in range(number):
        threading.Thread(target=calls, args=(index,), name="load-%d" % index, daemon=True).start()


def unload():
    stop.set()
    for thread in threading.enumerate():
        if thread.name.startswith("load-"):
            thread.join()
    return not wrong and all(counts)


def functions():
    found = [thing for thing in globals().values() if type(thing) is type(functions)]
    for kind in Base, Derived:
        for thing in vars(kind).values():
            thing = getattr(thing, "__func__", getattr(thing, "fget", thing))
            if type(thing) is type(functions):
                found.append(thing)
    return found + [decorated.__wrapped__, cached.__wrapped__, silently.__closure__[0].cell_contents]


def unchanged():
    now = [function.__code__ for function in functions()]
    return len(now) == len(codes) and all(one is other for one, other in zip(now, codes))


codes = [function.__code__ for function in functions()]
# What the first threads that end make for good is there before.
load(2)
unload()
commands.ready()
commands.serve()
