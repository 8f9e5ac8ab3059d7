"""A terminal for a test: runs the command of its arguments in one, and does as the lines on stdin say.

Each line is JSON: `{"type": TEXT}` types; `{"until": TEXT, "within": SECONDS}` waits until TEXT has come after what
the last such wait saw, and answers `{"seen": what came up to its end, "took": SECONDS}`, with `"missing": true` if it did not come; `{"end": SECONDS}`
waits for the command to end and answers `{"seen": the rest, "code": its exit code}`; `{"hangup": SECONDS}` does the same
after the terminal is gone.
"""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

ESCAPE = re.compile(r"\x1b(\[[0-9;?>=]*[a-zA-Z]|\][^\x07]*\x07|[=>78])")
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
raw = ""
told = 0
ended = False


def plain():
    return ESCAPE.sub("", raw).replace("\r", "")


def read(patience):
    global raw, ended
    if not select.select([terminal], [], [], patience)[0]:
        return
    try:
        data = os.read(terminal, 65536)
    except OSError:
        data = b""
    if not data:
        ended = True
    # Who draws asks where the cursor is.
    for _ in range(data.count(b"\x1b[6n")):
        os.write(terminal, b"\x1b[1;1R")
    raw += data.decode("utf-8", "replace")


def until(text, patience):
    global told
    start = time.monotonic()
    while text not in plain()[told:] and not ended and time.monotonic() - start < patience:
        read(0.02)
    whole = plain()
    found = whole.find(text, told)
    past = len(whole) if found < 0 else found + len(text)
    seen, told = whole[told:past], past
    return {"seen": seen, "took": time.monotonic() - start, "missing": found < 0}


def end(patience):
    start = time.monotonic()
    while not ended and time.monotonic() - start < patience:
        read(0.02)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    return {"seen": plain()[told:], "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1}


def hang_up(patience):
    global ended
    os.close(terminal)
    ended = True
    start = time.monotonic()
    found, status = 0, 0
    while not found and time.monotonic() - start < patience:
        found, status = os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)
    if not found:
        os.kill(pid, signal.SIGKILL)
    return {"seen": "", "code": os.WEXITSTATUS(status) if found and os.WIFEXITED(status) else -1}


for line in sys.stdin:
    order = json.loads(line)
    if "type" in order:
        os.write(terminal, order["type"].encode())
        continue
    if "until" in order:
        answer = until(order["until"], order["within"])
    else:
        answer = end(order["end"]) if "end" in order else hang_up(order["hangup"])
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
if not ended:
    # The test has failed.
    os.kill(pid, signal.SIGKILL)
