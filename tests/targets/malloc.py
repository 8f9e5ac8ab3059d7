"""Hard on the allocators: no moment at which some thread is not inside malloc or free.

Truth: two threads that build and drop Python objects, two that make and free large blocks in C,
one in zlib, one that starts threads, one that starts processes; the main one is busy in pure
Python. The turns of each are counted in `turns`; a thread that fails ends the process with 70.
"""
import os
import subprocess
import sys
import threading
import time
import traceback
import zlib

answer = 42
turns = {}
END = time.time() + 600


def python_objects():
    return [{"n": n, "s": "x" * (n % 512)} for n in range(500)]


def c_blocks():
    return [bytearray(1 << shift) for shift in range(8, 21)]


DATA = os.urandom(1 << 16) * 4


def compress():
    return zlib.decompress(zlib.compress(DATA, 1)) == DATA


def threads():
    thread = threading.Thread(target=python_objects)
    thread.start()
    thread.join()


def processes():
    # `-S -E` and no imports: as quick as a process can be.
    subprocess.check_call([sys.executable, "-S", "-E", "-c", ""], stdin=subprocess.DEVNULL)


def forever(work, name):
    started.release()
    try:
        while time.time() < END:
            work()
            turns[name] += 1
    except BaseException:
        traceback.print_exc()
        os._exit(70)


# The end of the first thread makes glibc load libgcc, which is no work of ours: it is over before `ready`.
threads()
started = threading.Semaphore(0)
JOBS = [python_objects, python_objects, c_blocks, c_blocks, compress, threads, processes]
for index, job in enumerate(JOBS):
    label = "%s-%d" % (job.__name__, index)
    turns[label] = 0
    threading.Thread(target=forever, args=(job, label), name=label, daemon=True).start()
for job in JOBS:
    started.acquire()
turns["main"] = 0
sys.stdout.write("ready\n")
sys.stdout.flush()
while time.time() < END:
    for number in range(10000):
        turns["main"] += number & 1
