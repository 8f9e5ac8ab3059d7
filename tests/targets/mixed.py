"""One thread waits below a generator, below C code that called a function, below a method; one is 900 functions deep."""
import sys
import threading

sys.setrecursionlimit(2000)
threading.stack_size(32 * 1024 * 1024)
gate = threading.Lock()
gate.acquire()
arrived = threading.Semaphore(0)


def generator():
    arrived.release()
    gate.acquire()
    yield 1


def key(item):
    return sum(generator())


class Sorter:
    def sort(self):
        return sorted([1], key=key)


def mixed():
    Sorter().sort()


def deep(left):
    if left:
        deep(left - 1)
    else:
        arrived.release()
        gate.acquire()


threading.Thread(target=mixed, name="mixed", daemon=True).start()
threading.Thread(target=deep, args=(899,), name="deep", daemon=True).start()
arrived.acquire()
arrived.acquire()
print("ready", flush=True)
sys.stdin.read()
