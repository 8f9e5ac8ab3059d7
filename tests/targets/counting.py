"""Counts, and serves commands meanwhile.

Truth: a thread counts `count` up as fast as it can, another one `ticks` each time that it has slept a millisecond, until
`stop` is true; the main thread is blocked in a read of stdin and serves commands.
"""
import sys
import _thread
import time

sys.path.insert(0, __file__.rpartition("/")[0])
import commands

count = ticks = 0
stop = False


def counts():
    global count
    while not stop:
        count += 1


def tick():
    global ticks
    while not stop:
        time.sleep(0.001)
        ticks += 1


if __name__ == "__main__":
    _thread.start_new_thread(counts, ())
    _thread.start_new_thread(tick, ())
    commands.ready()
    commands.serve()
