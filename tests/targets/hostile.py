"""Everything that a process can show is an attack on who looks at it.

Truth: its command line (set by the test), its thread names, its module and attribute names, and
the reprs of its values hold escape sequences, C1 controls, bidi controls, invalid UTF-8 and lone
surrogates; some reprs raise, print, loop or are 1 GiB long. The main thread serves commands.
"""
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands

answer = 42
ESCAPES = ("\x1b[2J\x1b[31mred\x1b]0;title\x07 \x9b31m \x90q\x9c \u202eflip\u2066 \u200bzero\ufeff "
           "\x7f\x08\r\x00 \ud800lone \U0001f600")


class Named(object):
    """A repr that is the attack itself."""

    def __repr__(self):
        return ESCAPES


class Raises(object):
    def __repr__(self):
        raise ValueError(ESCAPES)


class RaisesBase(object):
    def __repr__(self):
        raise SystemExit(3)


class Prints(object):
    def __repr__(self):
        print(ESCAPES)
        sys.stderr.write(ESCAPES.encode("ascii", "replace").decode("ascii") + "\n")
        return "printed"


class Loops(object):
    def __repr__(self):
        while True:
            pass


class Recurses(object):
    def __repr__(self):
        return repr(self)


class Lies(object):
    """A repr that is no string, a length that is not true, a class that is another's."""

    @property
    def __class__(self):
        return int

    def __repr__(self):
        return 7

    def __len__(self):
        return 1 << 60

    def __eq__(self, other):
        raise RuntimeError("compared")

    def __hash__(self):
        raise RuntimeError("hashed")

    def __getattr__(self, name):
        raise KeyError(name)


class Meta(type):
    @property
    def __name__(cls):
        raise RuntimeError("the name of a class")

    def __repr__(cls):
        raise RuntimeError("the repr of a class")


Nameless = Meta("Name\x1b[31mless", (object,), {})


class Big(object):
    """1 GiB of repr, made only when it is asked for."""

    def __repr__(self):
        return "x" * (1 << 30)


named, raises, raises_base, prints = Named(), Raises(), RaisesBase(), Prints()
loops, recurses, lies, nameless, big = Loops(), Recurses(), Lies(), Nameless(), Big()
endless = []
endless.append(endless)
deep = []
for _ in range(100000):
    deep = [deep]
wide = list(range(1000000))
bad_bytes = b"\xff\xfe\x1b[31m\x00"
globals()[ESCAPES] = ESCAPES
os.environ["HOSTILE"] = "\x1b[31m"


def long_string():
    """A value of 1 GiB, kept from now on."""
    globals()["huge"] = "h" * (1 << 30)
    return len(globals()["huge"])


gate = threading.Event()
threading.Thread(target=gate.wait, name=ESCAPES, daemon=True).start()
with open("/proc/self/comm", "wb") if os.path.exists("/proc/self/comm") else open(os.devnull, "wb") as comm:
    comm.write(b") R 1\n\x1b[31m\xff")
commands.ready()
commands.serve()
# `deep` would be freed by recursion: leave without it.
os._exit(0)
