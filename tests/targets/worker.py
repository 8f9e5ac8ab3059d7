"""A worker of a small web site: one of several that ought to be alike.

Truth: `registry` maps names to choices. Started with `odd` it lacks one choice and has one wrong
setting. One background thread; the main one is blocked in a read of stdin and serves commands.
Usage: worker.py NAME [odd]
"""
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands

name = sys.argv[1] if len(sys.argv) > 1 else "worker"
odd = "odd" in sys.argv[2:]
answer = 42
registry = {"country": ["Austria", "Belgium", "Chile"], "language": ["de", "fr", "nl", "es"]}
settings = {"debug": False, "cache_seconds": 300}
requests_served = 0
gate = threading.Event()


class Site(object):
    """What `registry` is shown through."""

    def __init__(self, choices):
        self.choices = choices

    def options(self, field):
        return ["<option>%s</option>" % choice for choice in self.choices[field]]


if odd:
    registry["country"].remove("Belgium")
    settings["cache_seconds"] = 0
site = Site(registry)

if __name__ == "__main__":
    threading.Thread(target=gate.wait, name="background", daemon=True).start()
    commands.ready({"name": name, "odd": odd})
    commands.serve()
