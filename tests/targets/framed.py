"""Waits in a function until one of its variables is changed.

Truth: one thread; in `wait`, which was called by `hold`, `total` is 5 and grows by no code. When it is 100 or more the
program says `total N kept WORD` and waits in a read of stdin.
"""
import sys
import time


def wait(total, word):
    while total < 100:
        time.sleep(0.005)
    return total, word


def hold(outer):
    total, word = wait(5, "first")
    return total, word, outer


sys.stdout.write("ready\n")
sys.stdout.flush()
total, word, outer = hold("whole")
sys.stdout.write("total %d kept %s %s\n" % (total, word, outer))
sys.stdout.flush()
sys.stdin.readline()
