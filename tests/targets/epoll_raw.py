"""A thread waits in the C function epoll_wait, which nobody calls again for it, and counts what it returned with; another
one never waits. The main thread tells, for each line of stdin, how often epoll_wait failed with EINTR and how often it
returned at all.
"""
import ctypes
import errno
import os
import select
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
reading, writing = os.pipe()
epoll = select.epoll()
epoll.register(reading, select.EPOLLIN)
counts = {"eintr": 0, "all": 0}
begun = threading.Event()


def wait():
    events = ctypes.create_string_buffer(64)
    begun.set()
    while True:
        result = libc.epoll_wait(epoll.fileno(), events, 1, -1)
        if result < 0 and ctypes.get_errno() == errno.EINTR:
            counts["eintr"] += 1
        counts["all"] += 1
        if result > 0:
            os.read(reading, 1)


def spin():
    while True:
        pass


threading.Thread(target=wait, daemon=True).start()
begun.wait()
threading.Thread(target=spin, daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    if line == "wake\n":
        os.write(writing, b"x")
    print(counts["eintr"], counts["all"], flush=True)
os._exit(0)
