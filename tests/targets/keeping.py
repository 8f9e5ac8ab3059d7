"""What a program runs that keeps the GIL while it waits for its next line, each of which it runs as Python
(`EMBED=keeping` of `embed.c`). This file has ended by then.
"""
import sys

answer = 42
seen = []


def say(text):
    sys.stdout.write("%s\n" % text)
    sys.stdout.flush()


say("ready")
