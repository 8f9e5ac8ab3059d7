"""Truth: functions that raise, called only by commands; each gives what its caller saw. `in_thread()`, `in_task()`,
`logged()` and `printed()` leave an exception to nobody, with the message of that name. `unchanged()` is True while every
function and hook is what it was at first."""
import asyncio
import logging
import os
import sys
import threading
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands

# What is told of exceptions that nobody handles is not the test's matter.
sys.stderr = open(os.devnull, "w")
log = logging.getLogger("raising")
log.addHandler(logging.NullHandler())


class Item(object):
    def __init__(self, number):
        self.number = number

    def check(self, limit):
        secret_token = "hidden"
        if self.number > limit:
            raise ValueError("too many", self.number)  # marked: check
        return self.number

    def __repr__(self):
        return "<Item %d>" % self.number


def checked(number, limit=2):
    item = Item(number)
    if number == 9:
        raise KeyError(number)  # marked: key
    return item.check(limit)


def down(n):
    if n == 0:
        raise LookupError("bottom")
    return down(n - 1)


def generated(n):
    yield n
    raise ValueError("generated", n)


async def awaited(n):
    raise ValueError("awaited", n)


def outer(n):
    def inner(m):
        raise ValueError("inner", n + m)
    return inner


def seen(call, *arguments):
    # What it raised, as a text: the caller handles it.
    try:
        return repr(call(*arguments))
    except Exception as error:
        return "%s%r" % (type(error).__name__, error.args)


def drive(coroutine):
    coroutine.send(None)


def work(number):
    return seen(checked, number)


def fail(message):
    raise RuntimeError(message)


def in_thread():
    thread = threading.Thread(target=fail, args=("in a thread",), name="failing")
    thread.start()
    thread.join()


async def failing():
    fail("in a task")


async def forgotten():
    task = asyncio.ensure_future(failing())
    await asyncio.wait([task])
    del task


def in_task():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(forgotten())
    loop.close()
    asyncio.set_event_loop(None)


def logged():
    try:
        fail("logged")
    except RuntimeError:
        log.exception("it failed")


def quiet_log():
    try:
        fail("handled")
    except RuntimeError:
        log.warning("it failed, and was handled", exc_info=True)
    return traceback.format_exception_only(ValueError, ValueError(1))


def printed():
    try:
        fail("printed")
    except RuntimeError:
        traceback.print_exc()


def formatted():
    try:
        fail("formatted")
    except RuntimeError:
        return traceback.format_exc().count("fail")


def functions():
    return [checked, Item.check, down, generated, awaited, outer, sourceless, logging.Logger.handle,
            asyncio.BaseEventLoop.call_exception_handler, traceback.print_exception, traceback.format_exc]


def state():
    hooks = [getattr(threading, "excepthook", None), getattr(threading, "_format_exc", None), sys.excepthook,
             getattr(sys, "unraisablehook", None)]
    return [function.__code__ for function in functions()] + hooks


def unchanged():
    now = state()
    return len(now) == len(first) and all(one is other for one, other in zip(now, first))


made = {}
exec("def sourceless(x):\n y = x + 1\n return y / 0\n", made)
sourceless = made["sourceless"]
live = outer(10)
# What the first ones make for good is there before.
for make in in_thread, in_task, logged, printed, formatted, quiet_log:
    make()
first = state()
commands.ready()
commands.serve()
