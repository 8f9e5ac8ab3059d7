"""The main thread is in C code that keeps the GIL, below the function `held`: in a system call (argument `call`), in a
regular expression that does not end (`match`), in a number that takes for ever (`power`), in a library (`library`), in
functions in C that call each other (`chain`), or in a class that is called (`class`). Another thread waits for the GIL
in `waits`.
"""
import collections
import ctypes
import itertools
import os
import re
import sys
import threading
import time

os_read, os_write = os.pipe()


def waits():
    os.write(os_write, b"x")
    while True:
        time.sleep(0)


def held():
    if sys.argv[1] == "call":
        ctypes.PyDLL(None).usleep(100 * 1000 * 1000)
    elif sys.argv[1] == "match":
        re.match("(a+)+$", "a" * 60 + "b")
    elif sys.argv[1] == "power":
        number = (1 << 2000003) - 1
        pow(3, number, number)
    elif sys.argv[1] == "library":
        compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        libc = ctypes.PyDLL(None)
        # In ascending places nothing is equal to what is looked for.
        libc.lfind(b"x", b"y" * 8, ctypes.byref(ctypes.c_size_t(1 << 62)), 0, compare(("strcmp", libc)))
    elif sys.argv[1] == "chain":
        max(map(abs, itertools.repeat(1)))
    else:
        collections.deque(itertools.repeat(1), 0)


threading.Thread(target=waits, name="waits", daemon=True).start()
os.read(os_read, 1)
print("ready", flush=True)
held()
