"""The main thread is in C code that keeps the GIL, below the function `held`: in a system call (argument `call`), or in a
regular expression that does not end (`match`). Another thread waits for the GIL in `waits`.
"""
import ctypes
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
    else:
        re.match("(a+)+$", "a" * 60 + "b")


threading.Thread(target=waits, name="waits", daemon=True).start()
os.read(os_read, 1)
print("ready", flush=True)
held()
