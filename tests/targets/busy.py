"""Truth: one thread, in a loop of pure Python that never blocks. Ends by itself after ten minutes."""
import sys
import time

answer = 42
turns = 0


def spin():
    global turns
    end = time.time() + 600
    while True:
        for number in range(100000):
            turns += number & 1
        if time.time() > end:
            break


sys.stdout.write("ready\n")
sys.stdout.flush()
spin()
