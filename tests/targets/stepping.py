"""Usage: stepping.py gevent|eventlet|asyncio|fork

Truth: `step(n)` is called every 10 ms with n counting up, in a greenlet or a task of that world, and gives n + 1; once
it is called there is a line `ready`. Under `fork` a child does it, forked when a line comes on stdin, whose end tells it
to go; it says `child PID` and then `clean` as soon as `step` has its own code. Without the package: skipped.
"""
import sys
import os
import time

answer = 42
world = sys.argv[1]
try:
    if world == "gevent":
        from gevent import monkey
        monkey.patch_all()
        import gevent
    elif world == "eventlet":
        import eventlet
        eventlet.monkey_patch()
except ImportError:
    sys.stdout.write("skip: no %s\n" % world)
    sys.stdout.flush()
    sys.exit(0)


def step(n):
    return n + 1


def told():
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def work():
    n = 0
    while n < 60000:
        n = step(n)
        if n == 1:
            told()
        time.sleep(0.01)


if world == "gevent":
    gevent.spawn(work).join()
elif world == "eventlet":
    eventlet.spawn(work).wait()
elif world == "asyncio":
    import asyncio

    async def tick():
        n = 0
        while n < 60000:
            n = step(n)
            if n == 1:
                told()
            await asyncio.sleep(0.01)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(loop.create_task(tick()))
else:
    own = step.__code__
    told()
    sys.stdin.readline()
    if os.fork() == 0:
        sys.stdout.write("child %d\n" % os.getpid())
        sys.stdout.flush()
        n = 0
        while step.__code__ is not own:
            n = step(n)
        os.write(1, b"clean\n")
        os._exit(0)
    os.wait()
    sys.stdin.readline()
