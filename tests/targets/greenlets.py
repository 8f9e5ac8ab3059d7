"""Greenlets of three threads, suspended, new and dead, in Python and through C. `ready` tells how many the garbage collector
knows, and for some what they are in. Without greenlet: skipped.
"""
import gc
import json
import os
import sys
import threading

try:
    import greenlet
except ImportError:
    sys.stdout.write("skip: no greenlet\n")
    sys.stdout.flush()
    sys.exit(0)

keep = []
count = int(sys.argv[1]) if len(sys.argv) > 1 else 3


def leaf(number):
    password = "hidden"
    greenlet.getcurrent().parent.switch(password)  # at leaf


def through_c(number):
    sorted([number], key=leaf)


def in_python(number):
    leaf(number)


class Own(greenlet.greenlet):
    pass


def make(kind, function, number):
    made = kind(function)
    made.switch(number)
    keep.append(made)


def elsewhere(number):
    make(greenlet.greenlet, in_python, number)
    make(Own, through_c, number)
    begun.append(number)
    go_on.wait()


begun = []
go_on = threading.Event()
for number in range(count):
    make(greenlet.greenlet, in_python, number)
make(greenlet.greenlet, through_c, -1)
make(Own, in_python, -2)
nested = greenlet.greenlet(lambda: make(greenlet.greenlet, through_c, -3))
nested.switch()
new = greenlet.greenlet(leaf)
dead = greenlet.greenlet(lambda: None)
dead.switch()
threads = [threading.Thread(target=elsewhere, args=(n,), daemon=True) for n in range(2)]
for thread in threads:
    thread.start()
while len(begun) < 2:
    pass
gc.collect()
living = [one for one in gc.get_objects() if isinstance(one, greenlet.greenlet)]
print("ready " + json.dumps({
    "version": greenlet.__version__,
    "count": len(living),
    "suspended": sum(1 for one in living if one.gr_frame is not None and one not in
                     (greenlet.getcurrent(),) and one.parent is not None),
    "ids": sorted(hex(id(one)) for one in living),
    "parents": {hex(id(one)): None if one.parent is None else hex(id(one.parent)) for one in living},
    "dead": sorted(hex(id(one)) for one in living if one.dead),
}), flush=True)
sys.stdin.read()
os._exit(0)
