"""Truth: one thread, blocked in time.sleep."""
import sys
import time

answer = 42


def nap():
    time.sleep(600)  # mark: asleep


sys.stdout.write("ready\n")
sys.stdout.flush()
nap()
