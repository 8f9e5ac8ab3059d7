"""Usage: failing.py gevent|eventlet|asyncio

Truth: `step(n)` is called every 10 ms with n counting up, in a greenlet or a task of that world, and raises
`ValueError('step', n)`, which its caller handles; with each there is one more greenlet or task, which `lost(n)` ends by
`RuntimeError('lost', n)` that nobody handles. Once `step` was called there is a line `ready`. Without the package: skipped.
"""
import os
import sys
import time

answer = 42
world = sys.argv[1]
sys.stderr = open(os.devnull, "w")
try:
    if world == "gevent":
        from gevent import monkey
        monkey.patch_all()
        import gevent
        import traceback
    elif world == "eventlet":
        import eventlet
        eventlet.monkey_patch()
    else:
        import asyncio
except ImportError:
    sys.stdout.write("skip: no %s\n" % world)
    sys.stdout.flush()
    sys.exit(0)


def step(n):
    raise ValueError("step", n)


def lost(n):
    raise RuntimeError("lost", n)


async def lost_task(n):
    lost(n)


def one(n):
    try:
        step(n)
    except ValueError as error:
        if error.args != ("step", n):
            os._exit(1)
    if n == 1:
        sys.stdout.write("ready\n")
        sys.stdout.flush()


def work(spawn):
    n = 0
    while n < 60000:
        n += 1
        one(n)
        spawn(lost, n)
        time.sleep(0.01)


if world == "gevent":
    gevent.spawn(work, gevent.spawn).join()
elif world == "eventlet":
    eventlet.spawn(work, eventlet.spawn_n).wait()
else:
    async def tick():
        n = 0
        while n < 60000:
            n += 1
            one(n)
            asyncio.ensure_future(lost_task(n))
            await asyncio.sleep(0.01)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(loop.create_task(tick()))
