"""Truth: one thread, blocked in select on stdin, with no time limit; ends when stdin does."""
import select
import sys

answer = 42
sys.stdout.write("ready\n")
sys.stdout.flush()
readable, _, _ = select.select([0], [], [])
# A select that comes back without a reason was disturbed.
sys.stdout.write("woke %d\n" % len(readable))
sys.stdout.flush()
