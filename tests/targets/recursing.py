"""Four threads that descend and return without rest: `one` is always called by `three`, `two` by `one` and `three` by
`two`, and the first `one` by `work`. With the argument `apart`, two threads do so in two interpreters of their own instead,
or the target skips where there are none with a GIL of their own.
"""
import os
import sys
import threading

CODE = """
import os
def one(left):
    if left: two(left - 1)
def two(left):
    if left: three(left - 1)
def three(left):
    if left: one(left - 1)
def work():
    depth = 1
    os.write(%d, b"x")
    while True:
        depth = depth * 7 %% 61
        one(depth)
"""
reading, writing = os.pipe()
if "apart" in sys.argv:
    if sys.version_info < (3, 12):
        print("skip: all interpreters share one GIL", flush=True)
        sys.exit()
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    count = 2
    for number in range(count):
        made = interpreters.create()
        arguments = (made, CODE % writing + "work()\n")
        threading.Thread(target=interpreters.run_string, args=arguments, daemon=True).start()
else:
    exec(CODE % writing)
    count = 4
    for number in range(count):
        threading.Thread(target=work, name="recursing-%d" % number, daemon=True).start()
arrived = b""
while len(arrived) < count:
    arrived += os.read(reading, count)
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
