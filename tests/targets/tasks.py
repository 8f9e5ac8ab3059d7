"""Tasks of asyncio that wait, in two event loops. `ready` tells for each, by what it runs, what it waits for, who has that,
who awaits it, and its innermost functions; which of them wait in a ring; and how many there are.
"""
import asyncio
import json
import os
import socket
import sys
import threading

marks = {}
with open(__file__, encoding="utf-8") as source:
    for number, text in enumerate(source, 1):
        if "  # at " in text:
            marks[text.split("  # at ")[1].strip()] = number

tasks = {}
truth = {}
rings = [["ring_1", "ring_2"], ["locks_1", "locks_2"]]


def tell(name, kind, frames, owner=None, line=None, by=(), on=()):
    truth[name] = {"kind": kind, "frames": frames, "owner": owner, "line": line, "by": sorted(by),
                   "on": sorted(on)}


async def leaf(secret):
    await asyncio.sleep(1000)


async def chain(number):
    password = "hidden"
    await leaf(password)


async def steps():
    await asyncio.sleep(500)
    yield 1


async def over():
    async for step in steps():
        pass


async def taker(lock):
    async with lock:  # at taker
        await tasks["never"]


async def wanter(lock):
    async with lock:
        pass


async def waits_event(event):
    await event.wait()


async def waits_condition(condition):
    async with condition:
        await condition.wait()


async def waits_semaphore(semaphore):
    async with semaphore:
        pass


async def gets(queue):
    await queue.get()


async def reads(end):
    await asyncio.get_event_loop().sock_recv(end, 1)


async def all_of():
    await asyncio.gather(tasks["chain"], tasks["over"])


async def shields():
    await asyncio.shield(tasks["all_of"])


async def limits():
    await asyncio.wait_for(tasks["shields"], 1000)


async def one_of():
    await asyncio.wait([tasks["limits"]])


async def ring_1():
    await tasks["ring_2"]


async def ring_2():
    await tasks["ring_1"]


async def locks_1(first, second):
    async with first:  # at locks_1
        await asyncio.sleep(0)
        async with second:
            pass


async def locks_2(first, second):
    async with second:  # at locks_2
        await asyncio.sleep(0)
        async with first:
            pass


async def other():
    await asyncio.sleep(1000)


def start(function, *arguments, **how):
    make = how.get("make") or asyncio.get_event_loop().create_task
    tasks[function.__name__] = make(function(*arguments))


async def in_python():
    await asyncio.sleep(1000)


async def member():
    await asyncio.sleep(1000)


async def eager():
    await asyncio.sleep(1000)


async def main():
    loop = asyncio.get_event_loop()
    own, others = socket.socketpair()
    own.setblocking(False)
    lock, first, second = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
    tasks["never"] = loop.create_future()
    start(chain, 1)
    start(over)
    start(taker, lock)
    start(wanter, lock)
    start(waits_event, asyncio.Event())
    start(waits_condition, asyncio.Condition())
    start(waits_semaphore, asyncio.Semaphore(0))
    start(gets, asyncio.Queue())
    start(reads, own)
    for function in (all_of, shields, limits, one_of, ring_1, ring_2):
        start(function)
    start(locks_1, first, second)
    start(locks_2, first, second)
    tell("main", None, None)
    tell("chain", "sleep", ["sleep", "leaf", "chain"], by=["all_of"])
    tell("over", "sleep", ["sleep", "steps", "over"], by=["all_of"])
    tell("taker", "future", ["taker"])
    tell("wanter", "lock", None, owner="taker", line=marks["taker"])
    tell("waits_event", "event", ["wait", "waits_event"])
    tell("waits_condition", "condition", ["wait", "waits_condition"])
    tell("waits_semaphore", "semaphore", None)
    tell("gets", "queue", ["get", "gets"])
    # Before 3.7 it has no frame of its own.
    tell("reads", "call" if sys.version_info >= (3, 7) else "future", None)
    tell("all_of", "task", ["all_of"], by=["shields"], on=["chain", "over"])
    tell("shields", "task", ["shields"], by=["limits"], on=["all_of"])
    tell("limits", "task", None, by=["one_of"], on=["shields"])
    tell("one_of", "task", None, on=["limits"])
    tell("ring_1", "task", ["ring_1"], by=["main", "ring_2"], on=["ring_2"])
    tell("ring_2", "task", ["ring_2"], by=["ring_1"], on=["ring_1"])
    tell("locks_1", "lock", None, owner="locks_2", line=marks["locks_2"])
    tell("locks_2", "lock", None, owner="locks_1", line=marks["locks_1"])
    python = asyncio.tasks._PyTask
    start(in_python, make=lambda coroutine: python(coroutine, loop=loop))
    tell("in_python", "sleep", ["sleep", "in_python"])
    if hasattr(asyncio, "eager_task_factory"):
        start(eager, make=lambda coroutine: asyncio.eager_task_factory(loop, coroutine))
        tell("eager", "sleep", ["sleep", "eager"])
    if hasattr(asyncio, "TaskGroup"):
        async def group():
            async with asyncio.TaskGroup() as all_of_them:
                start(member, make=all_of_them.create_task)

        start(group)
        tell("group", "task", None, on=["member"])
        tell("member", "sleep", ["sleep", "member"], by=["group"])
    thread = threading.Thread(target=elsewhere, daemon=True)
    thread.start()
    for _ in range(20):
        await asyncio.sleep(0)
    await loop.run_in_executor(None, begun.wait)
    all_tasks = getattr(asyncio, "all_tasks", None) or asyncio.Task.all_tasks
    # Some versions do not list those that are written in Python.
    living = {task for task in all_tasks() if not task.done()} | {tasks["in_python"]}
    names = sorted(task.get_name() for task in living) if sys.version_info >= (3, 8) else None
    ready = json.dumps({"tasks": truth, "rings": rings, "count": len(living) + 1, "names": names})
    # Said when this task waits, too.
    loop.call_soon(lambda: print("ready " + ready, flush=True))
    await asyncio.wait([tasks["ring_1"]])


begun = threading.Event()


def elsewhere():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    tell("other", "sleep", ["sleep", "other"])
    loop.call_later(0.05, begun.set)
    loop.run_until_complete(other())


def ends():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=ends, daemon=True).start()
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
