"""Does nothing: the main thread, the only one, is blocked in a read of stdin and serves commands.

Truth: between two commands nothing in this process changes. sys.modules holds what the interpreter
itself loaded, `commands` and `__main__`.
"""
import sys

sys.path.insert(0, __file__.rpartition("/")[0])
import commands

answer = 42
words = ["spy", "hole"]

if __name__ == "__main__":
    commands.ready()
    commands.serve()
