"""Threads that are `depth` frames deep, each frame with a few locals (arguments: count, depth). The main thread, as deep
as the others, looks at the clock again and again; the others wait for one lock. SIGUSR1 makes it tell, in
microseconds, the longest time between two looks since it was last asked.
"""
import signal
import sys
import threading
import time

count, depth = int(sys.argv[1]), int(sys.argv[2])
gate = threading.Lock()
gate.acquire()
arrived = threading.Semaphore(0)
longest = 0.0


def tell(signum, frame):
    global longest
    print(int(longest * 1e6), flush=True)
    longest = 0.0


def look():
    global longest
    print("ready", flush=True)
    now = time.perf_counter
    last = now()
    while True:
        this = now()
        if this - last > longest:
            longest = this - last
        last = this


def wait():
    arrived.release()
    gate.acquire()


def descend(left, end):
    name = "frame-%d" % left
    items = [left, left * 1.5, name]
    table = {"left": left, name: (left, None)}
    if left:
        descend(left - 1, end)
    else:
        end()
    return name, items, table


# Below `descend` are three frames of `threading`, or that of this module; above it is `end`.
signal.signal(signal.SIGUSR1, tell)
threading.stack_size(256 * 1024)
for number in range(count - 1):
    threading.Thread(target=descend, args=(depth - 5, wait), name="deep-%d" % number, daemon=True).start()
for number in range(count - 1):
    arrived.acquire()
descend(depth - 3, look)
