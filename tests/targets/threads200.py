"""Truth: 201 threads. 200 wait for one event; the main one is blocked in a read of stdin and
serves commands."""
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands

answer = 42
gate = threading.Event()
started = threading.Semaphore(0)


def wait():
    started.release()
    gate.wait()


for index in range(200):
    threading.Thread(target=wait, name="waiter-%d" % index, daemon=True).start()
for index in range(200):
    started.acquire()
commands.ready({"threads": 201})
commands.serve()
