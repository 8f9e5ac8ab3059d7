"""Truth: eventlet's monkey-patching is on, one green thread counts in `ticks` every 10 ms, another
waits for ever, and the main one waits for the first. Without eventlet: skipped."""
import sys
import warnings

warnings.simplefilter("ignore")
try:
    import eventlet
except ImportError:
    sys.stdout.write("skip: no eventlet\n")
    sys.stdout.flush()
    sys.exit(0)
eventlet.monkey_patch()
import time
from eventlet.event import Event

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


waiter = eventlet.spawn(never.wait)
eventlet.spawn(tick).wait()
