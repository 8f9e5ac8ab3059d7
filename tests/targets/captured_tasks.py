"""What `cargo xtask capture --all` records of asyncio: tasks that wait for each other, in two rings, for a lock and for sleeps.
It is read from stdin and runs as `captured_tasks.py`.
"""
import asyncio
import signal

signal.alarm(60)
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
tasks = {}


async def leaf(number):
    await asyncio.sleep(1000 + number)


async def chain(number):
    await leaf(number)


async def steps():
    await leaf(2)
    yield 1


async def over():
    async for step in steps():
        pass


async def holds(lock, other):
    async with lock:
        await asyncio.sleep(0)
        async with other:
            pass


async def waits(name):
    await tasks[name]


async def all_of():
    await asyncio.gather(tasks["chain"], asyncio.shield(tasks["over"]))


async def main():
    one, two = asyncio.Lock(), asyncio.Lock()
    tasks["chain"] = loop.create_task(chain(1))
    tasks["over"] = loop.create_task(over())
    tasks["ring"] = loop.create_task(waits("other"))
    tasks["other"] = loop.create_task(waits("ring"))
    tasks["all"] = loop.create_task(all_of())
    tasks["one"] = loop.create_task(holds(one, two))
    tasks["two"] = loop.create_task(holds(two, one))
    tasks["limit"] = loop.create_task(asyncio.wait_for(tasks["all"], 1000))
    for _ in range(10):
        await asyncio.sleep(0)
    print("ready", flush=True)
    await asyncio.wait([tasks["limit"]])


loop.run_until_complete(main())
