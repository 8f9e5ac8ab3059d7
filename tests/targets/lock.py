"""Truth: two threads. The main one waits for ever for a lock that it holds itself; the other sleeps."""
import os
import sys
import threading
import time

answer = 42
gate = threading.Lock()
gate.acquire()
asleep = threading.Event()


def other():
    asleep.set()
    time.sleep(600)
    os._exit(1)


threading.Thread(target=other, name="other", daemon=True).start()
asleep.wait()
sys.stdout.write("ready\n")
sys.stdout.flush()
gate.acquire()  # mark: waiting
