"""Greenlets of gevent or of eventlet, as the argument says, that wait for things and for each other. `ready` tells for each, by
its function, what it waits for, and which of them wait in a ring. Without the package: skipped.
"""
import json
import sys

which = sys.argv[1]
try:
    if which == "gevent":
        from gevent import monkey
        monkey.patch_all()
        import gevent
        from gevent.event import AsyncResult, Event
        from gevent.lock import Semaphore
        spawn, sleep = gevent.spawn, gevent.sleep
    else:
        import eventlet
        eventlet.monkey_patch()
        from eventlet.event import Event
        from eventlet.semaphore import Semaphore
        spawn, sleep = eventlet.spawn, eventlet.sleep
except ImportError:
    sys.stdout.write("skip: no {}\n".format(which))
    sys.stdout.flush()
    sys.exit(0)
import os
import socket
import threading

marks = {}
with open(__file__, encoding="utf-8") as source:
    for number, text in enumerate(source, 1):
        if "  # at " in text:
            marks[text.split("  # at ")[1].strip()] = number

semaphore, event = Semaphore(0), Event()
one, two = threading.Lock(), threading.Lock()
left, right = socket.socketpair()
made = {}


def sleeps():
    sleep(1000)


def takes():
    semaphore.acquire()


def waits():
    event.wait()


def reads():
    left.recv(1)


def joins():
    made["sleeps"].join() if which == "gevent" else made["sleeps"].wait()


def first():
    with one:  # at first
        sleep(0.01)
        with two:
            pass


def second():
    with two:  # at second
        sleep(0.01)
        with one:
            pass


for function in (sleeps, takes, waits, reads, joins, first, second):
    made[function.__name__] = spawn(function)
truth = {
    "sleeps": ["sleep", None, None],
    "takes": ["semaphore", None, None],
    "waits": ["event", None, None],
    "reads": ["call", None, None],
    "joins": ["join", "sleeps", None],
    "first": ["lock", "second", marks["second"]],
    "second": ["lock", "first", marks["first"]],
}
if which == "gevent":
    results = AsyncResult()

    def result():
        results.get()

    made["result"] = spawn(result)
    truth["result"] = ["future", None, None]
sleep(0.3)
ident = made["sleeps"].minimal_ident if which == "gevent" else None
print("ready " + json.dumps({"waits": truth, "ring": ["first", "second"], "ident": ident}), flush=True)
while True:
    sleep(1000)
