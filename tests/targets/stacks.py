"""Threads whose functions and lines are known: several wait in the same lock, one waits in a pipe, one counts.

`ready` tells for each of them, by name, its functions and their lines, innermost first, as far as they are of this
file. With the argument `busy` one more thread never waits.
"""
import json
import os
import sys
import threading

gate = threading.Lock()
reading, writing = os.pipe()
told = {}
ready = threading.Barrier(6 if "busy" in sys.argv else 5)


def line():
    return sys._getframe(1).f_lineno


def tell(*lines):
    told[threading.current_thread().name] = list(lines)
    ready.wait()


class Queue:
    def take(self):
        tell(["Queue.take", line() + 1], ["waiter", 46])
        gate.acquire()

    def read(self):
        def inner():
            tell(["Queue.read.<locals>.inner", line() + 1], ["Queue.read", line() + 3], ["reader", 50])
            os.read(reading, 1)

        inner()


def deep(depth):
    if depth:
        deep(depth - 1)
    else:
        tell(["deep", line() + 1], ["deep", line() - 2])
        gate.acquire()


def waiter():
    Queue().take()


def reader():
    Queue().read()


def spin():
    tell(["spin", line() + 1])
    while True:
        pass


gate.acquire()
names = ["wait-1", "wait-2"]
threads = [threading.Thread(target=waiter, name=name) for name in names]
threads.append(threading.Thread(target=reader, name="läser"))
threads.append(threading.Thread(target=deep, args=(30,), name="deep"))
if "busy" in sys.argv:
    threads.append(threading.Thread(target=spin, name="spin"))
for thread in threads:
    thread.daemon = thread.name != "wait-1"
    thread.start()
ready.wait()
print("ready " + json.dumps(told), flush=True)
sys.stdin.read()
os._exit(0)
