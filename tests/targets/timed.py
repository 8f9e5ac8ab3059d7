"""Waits on demand, and tells how long it took by its own clock.

Truth: one thread, blocked in a read of stdin, which serves commands. `wait NAME` says `begun`, waits one second in the
call of that name and says how long that was and what it gave (`nothing` if it ended by its time limit alone).
`handle` says `begun`, sleeps 60 s, and says `handled NAME` as soon as SIGUSR1 or SIGTERM has come.
"""
import os
import select
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands

answer = 42
never, other = os.pipe()
lock = threading.Lock()
lock.acquire()


class Handled(Exception):
    pass


def handle(number, frame):
    raise Handled("TERM" if number == signal.SIGTERM else "USR1")


signal.signal(signal.SIGUSR1, handle)
signal.signal(signal.SIGTERM, handle)
epoll = select.epoll()
epoll.register(never, select.EPOLLIN)
poll = select.poll()
poll.register(never, select.POLLIN)
WAITS = {
    "sleep": lambda: time.sleep(1),
    "select": lambda: any(select.select([never], [], [], 1)),
    "poll": lambda: poll.poll(1000),
    "epoll": lambda: epoll.poll(1),
    "lock": lambda: lock.acquire(timeout=1),
    "sigtimedwait": lambda: signal.sigtimedwait([signal.SIGUSR2], 1),
}


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def wait(name):
    say("begun")
    start = time.perf_counter()
    try:
        gave = WAITS[name]()
    except OSError as error:
        gave = error
    took = time.perf_counter() - start
    say("%.4f %s" % (took, repr(gave) if gave else "nothing"))


def handled():
    try:
        say("begun")
        time.sleep(60)
        say("nothing came")
    except Handled as came:
        say("handled %s" % came)


commands.ready()
while True:
    line = sys.stdin.readline().strip()
    if not line or line == "exit":
        break
    if line.startswith("wait "):
        wait(line[5:])
    elif line == "handle":
        handled()
    else:
        say(commands.answer(line))
