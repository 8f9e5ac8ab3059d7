"""Threads whose functions and lines are known: several wait for the same lock, one reads a pipe, one is deep in a
recursion, one in an `__init__`. `ready` tells for each, by name, its functions of this file with their lines, innermost first. With the
argument `busy` one more thread never waits.
"""
import json
import os
import sys
import threading
import time

gate = threading.Lock()
reading, writing = os.pipe()
told = {}
count = 7 if "busy" in sys.argv else 6
ready = threading.Barrier(count)
marks = {}
with open(__file__, encoding="utf-8") as source:
    for number, text in enumerate(source, 1):
        if "  # at " in text:
            marks[text.split("  # at ")[1].strip()] = number


def tell(*frames):
    told[threading.current_thread().name] = [[name, marks[mark]] for name, mark in frames]
    ready.wait()


class Queue:
    def take(self):
        tell(("Queue.take", "take"), ("waiter", "waiter"))
        gate.acquire()  # at take

    def read(self):
        def inner():
            tell(("Queue.read.<locals>.inner", "inner"), ("Queue.read", "read"), ("reader", "reader"))
            os.read(reading, 1)  # at inner

        inner()  # at read


def deep(depth):
    if depth:
        deep(depth - 1)  # at deeper
    else:
        tell(("deep", "deepest"), *[("deep", "deeper")] * 30)
        gate.acquire()  # at deepest


class Made:
    def __init__(self, rest):
        if rest == 0:
            tell(("Made.__init__", "made"), ("maker", "maker"))
            gate.acquire()  # at made


def maker():
    # Often enough that the interpreter takes its short way.
    for rest in range(1000, -1, -1):
        Made(rest)  # at maker


def waiter():
    Queue().take()  # at waiter


def reader():
    Queue().read()  # at reader


def spin():
    tell(("spin", "spin"))
    while True: pass  # at spin


gate.acquire()
threads = [threading.Thread(target=waiter, name=name) for name in ("wait-1", "wait-2")]
threads.append(threading.Thread(target=reader, name="l\u00e4ser"))
threads.append(threading.Thread(target=deep, args=(30,), name="deep"))
threads.append(threading.Thread(target=maker, name="made"))
if "busy" in sys.argv:
    threads.append(threading.Thread(target=spin, name="spin"))
for thread in threads:
    thread.daemon = thread.name != "wait-1"
    thread.start()
ready.wait()


def arrived():
    frames = sys._current_frames()
    return all(frames[thread.ident].f_lineno == told[thread.name][0][1] for thread in threads)


while not arrived():
    time.sleep(0.001)
print("ready " + json.dumps(told), flush=True)
sys.stdin.read()
os._exit(0)
