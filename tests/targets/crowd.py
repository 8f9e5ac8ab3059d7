"""Many tasks of asyncio (argument: count) in groups of ten: nine handlers, each some awaits deep in a sleep, and the one that
gathers them. `ready` tells how many tasks there are, with that of `main`.
"""
import asyncio
import json
import os
import sys
import threading

count = int(sys.argv[1])


async def fetch(number):
    rows = [number, str(number)]
    await asyncio.sleep(1000)
    return rows


async def query(number):
    return await fetch(number)


async def handler(number):
    request = {"path": "/items/%d" % number}
    return request, await query(number)


async def batch(number):
    await asyncio.gather(*(asyncio.create_task(handler(number + n), name="handler-%d" % (number + n)) for n in range(9)))


async def main():
    loop = asyncio.get_running_loop()
    batches = [asyncio.create_task(batch(n * 10), name="batch-%d" % n) for n in range(count // 10)]
    while len(asyncio.all_tasks()) < 1 + count // 10 * 10:
        await asyncio.sleep(0)
    ready = json.dumps({"count": len(asyncio.all_tasks())})
    # Twice around: then all of them are in their sleeps, and this task waits, too.
    loop.call_soon(loop.call_soon, lambda: print("ready " + ready, flush=True))
    await asyncio.gather(*batches)


def ends():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=ends, daemon=True).start()
asyncio.run(main())
