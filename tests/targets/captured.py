"""What `cargo xtask capture --all` records: two threads beside the main one, all of them waiting. Names and values are
not all ASCII; lines that are told by a test are marked. It is read from stdin and runs as `captured.py`.
"""
from _thread import allocate_lock
from posix import pipe, read

gate = allocate_lock()
reading, writing = pipe()


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
    for item in shelf.items: [read(reading, item)]  # at pause


def start(shelf):
    from threading import Thread

    first = Thread(target=shelf.größe, args=(4, "x"), kwargs={"deep": shelf}, name="l\u00e4ser")
    second = Thread(target=pause, args=(shelf,), name="second")
    second.daemon = True
    first.start()
    second.start()
    return first.ident, second.ident


def wait(threads):
    import signal
    import sys
    import time

    signal.alarm(60)
    while True:
        frames = sys._current_frames()
        if [frames[thread].f_code.co_name for thread in threads] == ["inner", "pause"]:
            break
        time.sleep(0.001)
    print("ready", flush=True)
    signal.pause()  # at wait


gate.acquire()
wait(start(Shelf("b\u00fccher")))  # at main
