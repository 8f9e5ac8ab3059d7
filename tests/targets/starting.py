"""Truth: ready is written by the first statement of the program; after it, for seconds, modules are
imported one after another, the import lock held most of the time. Then it serves commands."""
import sys

sys.stdout.write("ready\n")
sys.stdout.flush()

import importlib
import os
import pkgutil

answer = 42
SKIPPED = ("antigravity", "this", "idlelib", "test", "turtle", "turtledemo", "tkinter", "lib2to3",
           "ensurepip", "pip", "setuptools", "pkg_resources", "__phello__", "gc")
imported = []


def import_all():
    import warnings
    warnings.simplefilter("ignore")
    folder = os.path.dirname(os.__file__)
    for module in sorted(pkgutil.iter_modules([folder]), key=lambda module: module[1]):
        if not module[1].startswith(SKIPPED):
            try:
                importlib.import_module(module[1])
                imported.append(module[1])
            except Exception:
                # Some modules are for other systems; importing them is work all the same.
                pass


import_all()
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import commands
commands.serve()
