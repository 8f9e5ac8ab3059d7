"""Truth: gevent's monkey-patching is on, one greenlet counts in `ticks` every 10 ms, another waits
for ever, and the main greenlet waits for both. Without gevent: skipped."""
import sys

try:
    from gevent import monkey
except ImportError:
    sys.stdout.write("skip: no gevent\n")
    sys.stdout.flush()
    sys.exit(0)
monkey.patch_all()
import time
import gevent
from gevent.event import Event

answer = 42
ticks = 0
never = Event()


def tick():
    global ticks
    while ticks < 60000:
        time.sleep(0.01)
        ticks += 1
        if ticks == 1:
            sys.stdout.write("ready\n")
            sys.stdout.flush()


gevent.joinall([gevent.spawn(tick), gevent.spawn(never.wait)])
