"""Sub-interpreters with a module of their own each. Usage: places.py COUNT [own]

Truth: interpreter number N of them (from 0) has a module `shop` whose `place` is N and whose `sign` is ["open"], the
last one ["closed"]; the main one has none. They share the GIL, or with `own` (3.12+) each has its own. The main thread
is blocked in a read of stdin and serves commands; `places` lists their numbers, `end(N)` ends one, `spin(N)` starts a
thread that says `spinning` and runs in one for ever (None: in the main one), `wedge(N)` one that says so and keeps its
GIL in a call of C code.
Skips where there is no module for it.
"""
import os
import sys
import _thread

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands

try:
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
except ImportError:
    print("skip: no module makes sub-interpreters here", flush=True)
    sys.exit()

count, own = int(sys.argv[1]), "own" in sys.argv[2:]
if own and sys.version_info < (3, 12):
    print("skip: all interpreters share a GIL here", flush=True)
    sys.exit()

SHOP = """
import atexit, sys
shop = type(sys)("shop")
shop.place = %d
shop.sign = ["%s"]
sys.modules["shop"] = shop
"""
SPIN = """
import os
os.write(1, b"spinning\\n")
while True: pass
"""
WEDGE = """
import os, re
os.write(1, b"spinning\\n")
re.match("(a+)+$", "a" * 60 + "b")
"""


def create():
    if sys.version_info >= (3, 13):
        return interpreters.create("isolated" if own else "legacy")
    if sys.version_info >= (3, 9):
        return interpreters.create(isolated=own)
    return interpreters.create()


def end(place):
    interpreters.destroy(made[place])


def start(place, code):
    if place is None:
        _thread.start_new_thread(exec, (code, {}))
    else:
        _thread.start_new_thread(interpreters.run_string, (made[place], code))


def spin(place):
    start(place, SPIN)


def wedge(place):
    start(place, WEDGE)


made = [create() for _ in range(count)]
for place in range(count):
    interpreters.run_string(made[place], SHOP % (place, "closed" if place == count - 1 else "open"))
places = [int(one) for one in made]

if __name__ == "__main__":
    commands.ready({"places": places})
    commands.serve()
    os._exit(0)
