"""Forks when it is told to, and tells what the child has.

Truth: one thread, blocked in a read of stdin, serves commands. `child(how)` forks by `how` ("python" or
"c") and gives the number of the child's open descriptors and the warnings that were shown; `keep()` forks a
child that stays until `let_go()`.
"""
import ctypes
import os
import sys
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands

answer = 42
libc = ctypes.PyDLL(None)
FORKS = {"python": os.fork, "c": libc.fork}


shown = []


def descriptors():
    # Asked one by one: not every root has a /proc.
    found = 0
    for fd in range(64):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found += 1
    return found


def child(how):
    del shown[:]
    reading, writing = os.pipe()
    pid = FORKS[how]()
    if pid == 0:
        os.write(writing, b"%d" % descriptors())
        os._exit(0)
    os.close(writing)
    told = os.read(reading, 4096)
    os.close(reading)
    assert os.waitpid(pid, 0)[1] == 0
    return int(told), shown


kept = []


def keep():
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    kept.append((pid, writing))


def let_go():
    pid, writing = kept.pop()
    os.close(writing)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *rest: shown.append(type(message).__name__)
    child("python")
    child("c")
    commands.ready()
    commands.serve()
