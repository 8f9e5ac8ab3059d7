"""Two sub-interpreters, each with a thread that sleeps in its function `inside`. Skips where there is no module for it."""
import os
import sys
import threading

try:
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
except ImportError:
    print("skip: no module makes sub-interpreters here", flush=True)
    sys.exit()

CODE = """
import os, time
def inside():
    os.write(%d, b'x')
    time.sleep(1000)
inside()
"""
reading, writing = os.pipe()
threads = []
for _ in range(2):
    made = interpreters.create()
    code = CODE % writing
    threads.append(threading.Thread(target=interpreters.run_string, args=(made, code), daemon=True))
    threads[-1].start()
arrived = b""
while len(arrived) < 2:
    arrived += os.read(reading, 2)
print("ready", [thread.native_id for thread in threads], flush=True)
sys.stdin.read()
os._exit(0)
