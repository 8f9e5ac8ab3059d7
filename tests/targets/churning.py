"""A thread whose variables are new ones all the time: in `pair` are two equal numbers, and `text` has the same digits
twice.
"""
import os
import sys
import threading


def churn():
    number = 1 << 70
    while True:
        number += 1
        pair = [number, number]
        text = "%d %d" % (number, number)
        table = {"first": number, "second": number}
        del table


threading.Thread(target=churn, name="churn", daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
