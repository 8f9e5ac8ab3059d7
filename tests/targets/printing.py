"""Truth: three threads. One prints numbered lines through sys.stdout, looked up anew each time; one
prints through a reference to it taken at the start; sys.stdout is the file named by the first
argument. The main thread serves commands on the real stdout; `exit` stops the printers, says how
many lines each has printed, and ends. In the file no line of either is missing or cut."""
import io
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands

answer = 42
sys.stdout = io.open(sys.argv[1], "w", buffering=1)
cached = sys.stdout
stop = threading.Event()
counts = {"fresh": 0, "cached": 0}
started = threading.Semaphore(0)


def fresh():
    started.release()
    while not stop.wait(0.0005):
        sys.stdout.write("fresh %d\n" % counts["fresh"])
        counts["fresh"] += 1


def through_reference():
    started.release()
    while not stop.wait(0.0005):
        cached.write("cached %d\n" % counts["cached"])
        counts["cached"] += 1


threads = [threading.Thread(target=fresh, name="fresh"),
           threading.Thread(target=through_reference, name="cached")]
for thread in threads:
    thread.start()
for thread in threads:
    started.acquire()
commands.ready()
commands.serve()
stop.set()
for thread in threads:
    thread.join()
cached.flush()
sys.__stdout__.write(commands.json(counts) + "\n")
sys.__stdout__.flush()
