"""Ends on command, in each of the ways in which a process can end.

Truth: two threads, one of them a daemon that sleeps; the main one is blocked in a read of stdin.
A line `return`, `exit N`, `_exit N`, `raise`, `thread-exit`, `abort`, `segv`, `kill` or `exec` ends
it so; `hold` before it keeps the GIL in C for 0.2 s first, having said `holding`; any other line is
served as a command. The atexit handler writes `atexit` to stdout. `fill()` leaves no descriptor and
`vanish(FOLDER)` no file.
"""
import atexit
import ctypes
import os
import resource
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands

answer = 42
libc = ctypes.PyDLL(None)


def last_words():
    sys.stdout.write("atexit\n")
    sys.stdout.flush()


def fill():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            os.dup(0)
    except OSError:
        pass


def vanish(folder):
    os.chroot(folder)
    os.chdir("/")


def hold():
    sys.stdout.write("holding\n")
    sys.stdout.flush()
    libc.usleep(200000)


def end(how):
    words = how.split()
    if words[:1] == ["hold"]:
        hold()
        words = words[1:]
    if not words or words[0] == "return":
        return True
    if words[0] == "exit":
        sys.exit(int(words[1]))
    if words[0] == "_exit":
        os._exit(int(words[1]))
    if words[0] == "raise":
        raise RuntimeError("as asked")
    if words[0] == "thread-exit":
        # The main thread ends in C; the process goes on without it for a moment.
        threading.Thread(target=lambda: (time.sleep(0.2), os._exit(9))).start()
        return True
    if words[0] == "abort":
        os.abort()
    if words[0] == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    if words[0] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if words[0] == "exec":
        os.execv("/bin/sh", ["sh", "-c", "echo replaced; cat >/dev/null"])
    return False


if __name__ == "__main__":
    atexit.register(last_words)
    threading.Thread(target=time.sleep, args=(600,), name="sleeper", daemon=True).start()
    commands.ready()
    while True:
        line = sys.stdin.readline()
        if not line or end(line.strip()):
            break
        sys.stdout.write(commands.answer(line.rstrip("\n")) + "\n")
        sys.stdout.flush()
