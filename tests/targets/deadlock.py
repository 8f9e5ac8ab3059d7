"""Threads that wait for each other and for other things. `ready` tells for each thread, by name, what it waits for, who
has that, and the line of the `with` that took it, and which threads wait in a ring.
"""
import json
import os
import queue
import sys
import threading
import time

marks = {}
with open(__file__, encoding="utf-8") as source:
    for number, text in enumerate(source, 1):
        if "  # at " in text:
            marks[text.split("  # at ")[1].strip()] = number

waits = {}
threads = {}
steps = {}


def step(name, count):
    """All that come here go on together."""
    steps.setdefault(name, threading.Barrier(count)).wait()


def add(name, function, *arguments):
    threads[name] = threading.Thread(target=function, args=arguments, name=name, daemon=True)


def one(first, second, name):
    with first:  # at one
        step(name, 2)
        with second:
            pass


def two(first, second, name):
    try:
        with open(os.devnull) as nothing, second:  # at two
            try:
                step(name, 2)
            finally:
                inner(first)
    finally:
        del nothing


def inner(lock):
    lock.acquire()


def pair(name, kind):
    first, second = kind(), kind()
    add(name + "-1", one, first, second, name)
    add(name + "-2", two, first, second, name)
    waits[name + "-1"] = [name, name + "-2", marks["two"]]
    waits[name + "-2"] = [name, name + "-1", marks["one"]]


def left(lock):
    # What is left of this on the stack is no lock that is held.
    with lock:
        pass
    with lock:
        pass
    nothing = [[], [], [lock]]
    del nothing


def through(own, other):
    left(own)
    condition = threading.Condition(own)
    with condition:  # at condition
        step("ring", 3)
        with other:
            pass


def plain(own, other):
    with own:  # at plain
        step("ring", 3)
        other.acquire()


def reentrant(own, other):
    own.acquire()
    step("ring", 3)
    with other:
        pass


free, free_too = threading.Lock(), threading.Lock()
pair("lock", threading.Lock)
pair("rlock", threading.RLock)

# Three: a lock by `with`, one through a condition, and an RLock that no `with` took.
a, b, c = threading.Lock(), threading.Lock(), threading.RLock()
add("ring-1", plain, a, b)
add("ring-2", through, b, c)
add("ring-3", reentrant, c, a)
waits["ring-1"] = ["lock", "ring-2", marks["condition"]]
waits["ring-2"] = ["rlock", "ring-3", None]
waits["ring-3"] = ["lock", "ring-1", marks["plain"]]


def twice(lock):
    with lock:  # at twice
        with lock:
            pass


add("alone", twice, threading.Lock())
waits["alone"] = ["lock", "alone", marks["twice"]]

# A join of one that waits for what the first has.
mine = threading.Lock()


def joined():
    with mine:
        pass


def joins():
    with mine:  # at mine
        threads["joined"].start()
        threads["joined"].join()


add("joined", joined)
add("joins", joins)
waits["joined"] = ["lock", "joins", marks["mine"]]
waits["joins"] = ["join", "joined", None]

# No ring.
held, gone, gone_r = threading.Lock(), threading.Lock(), threading.RLock()
event, condition = threading.Event(), threading.Condition()
semaphore, tasks, full = threading.Semaphore(0), queue.Queue(), queue.Queue(1)
reading, writing = os.pipe()
full.put(None)


def holds():
    with free, free_too:
        pass
    held.acquire()
    go_on.wait()
    time.sleep(600)


def waits_on(condition):
    with condition:
        condition.wait()


def enters(lock):
    go_on.wait()
    with lock:
        pass


go_on = threading.Event()
add("holds", holds)
add("unknown", enters, held)
add("ended", enters, gone)
add("ended-r", enters, gone_r)
add("event", event.wait)
add("event-timed", event.wait, 500)
add("condition", waits_on, condition)
add("semaphore", semaphore.acquire)
add("get", tasks.get)
add("put", full.put, None)
add("read", os.read, reading, 1)
add("sleep", time.sleep, 600)
waits["holds"] = ["sleep", None, None]
waits["unknown"] = ["lock", None, None]
waits["ended"] = ["lock", None, None]
waits["ended-r"] = ["rlock", "?", None]
waits["event"] = waits["event-timed"] = ["event", None, None]
waits["condition"] = ["condition", None, None]
waits["semaphore"] = ["semaphore", None, None]
waits["get"] = waits["put"] = ["queue", None, None]
waits["read"] = ["call", None, None]
waits["sleep"] = ["sleep", None, None]

for name, thread in list(threads.items()):
    if name != "joined":
        thread.start()
while not (held.locked() and threads["joined"].is_alive()):
    time.sleep(0.001)
# The last threads that are made: nobody gets their idents again.
for lock in (gone, gone_r):
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    thread.join()
go_on.set()
rings = [["lock-1", "lock-2"], ["rlock-1", "rlock-2"], ["ring-1", "ring-2", "ring-3"], ["alone"],
         ["joined", "joins"]]


def places():
    """Where each thread is."""
    frames = sys._current_frames()
    frames = [frames.get(thread.ident) for thread in threads.values()]
    return [frame and (frame.f_code, frame.f_lasti) for frame in frames]


# All of them are where they will stay when nothing has moved for a while.
quiet, seen = 0, None
while quiet < 20:
    now = places()
    quiet = quiet + 1 if now == seen and None not in now else 0
    seen = now
    time.sleep(0.01)
print("ready " + json.dumps({"waits": waits, "rings": rings}), flush=True)
sys.stdin.read()
os._exit(0)
