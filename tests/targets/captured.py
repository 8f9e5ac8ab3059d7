"""What `cargo xtask capture --all` records: two threads beside the main one, all of them waiting. Names and values are
not all ASCII; lines that are told by a test are marked. It is read from stdin and runs as `captured.py`.
"""
import os
import signal
import sys
import threading
import time

signal.alarm(60)
gate = threading.Lock()
reading, writing = os.pipe()


class Shelf:
    def __init__(self, label):
        self.label = label
        self.items = [1, 2.5, None]

    def größe(self, width, *rest, **named):
        text = "na\u00efve \u2603 \U0001d11e"
        number = -2 ** 100
        table = {"key": ["a", b"\x00z"], 7: (True, 1.5)}

        def inner(step):
            total = width + step
            gate.acquire(); total += 1  # at inner

        inner(  # at call
            3,  # at argument
        )  # at end


def pause(shelf):
    for item in shelf.items: [os.read(reading, item)]  # at pause


gate.acquire()
shelf = Shelf("b\u00fccher")
first = threading.Thread(target=shelf.größe, args=(4, "x"), kwargs={"deep": shelf}, name="l\u00e4ser")
second = threading.Thread(target=pause, args=(shelf,), name="second")
second.daemon = True
first.start()
second.start()


def arrived():
    frames = sys._current_frames()
    names = [frames[thread.ident].f_code.co_name for thread in (first, second)]
    return names == ["inner", "pause"]


while not arrived():
    time.sleep(0.001)
print("ready", flush=True)
signal.pause()  # at main
