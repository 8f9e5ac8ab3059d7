"""What a program with an interpreter in it runs: a thread waits for a lock, and the main one for stdin. It imports
nothing that is not built in: the modules beside it may bring a library with another interpreter.
"""
import _thread
import sys

answer = 42
gate = _thread.allocate_lock()
gate.acquire()
arrived = _thread.allocate_lock()
arrived.acquire()


def wait(text):
    arrived.release()
    gate.acquire()


_thread.start_new_thread(wait, ("\u00fcber",))
arrived.acquire()
sys.stdout.write("ready\n")
sys.stdout.flush()


def fails(number):
    raise ValueError("embedded", number)


def read():
    return sys.stdin.readline()


read()
