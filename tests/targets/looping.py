"""An asyncio loop that is always about something.

Truth: one thread, in an asyncio loop, where a task counts `ticks` up every 5 ms and another one waits; the loop and
the task are called `loop` and `waiting`. It never ends by itself.
"""
import asyncio
import sys

ticks = 0
waiting = None


async def tick():
    global ticks
    while True:
        ticks += 1
        await asyncio.sleep(0.005)


async def main():
    global waiting
    waiting = loop.create_task(asyncio.sleep(600))
    loop.create_task(tick())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await waiting


loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
