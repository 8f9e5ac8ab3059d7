"""Truth: one thread, blocked in waitpid for a child that ends when this process does."""
import json
import subprocess
import sys

answer = 42
# The child reads a pipe that only this process holds: it can not outlive it.
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"],
                         stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
sys.stdout.write("ready %s\n" % json.dumps({"child": child.pid}))
sys.stdout.flush()
child.wait()  # mark: waiting
