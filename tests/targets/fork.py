"""Truth: one thread, which forks without pause; each child does a little work and ends, and is
waited for. `children` counts them; one that ends with anything but 0 ends this process with 71."""
import os
import sys
import time

answer = 42
children = 0
END = time.time() + 600
sys.stdout.write("ready\n")
sys.stdout.flush()
while time.time() < END:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if sum(range(1000)) == 499500 else 1)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        sys.stderr.write("child %d ended with %d\n" % (pid, status))
        os._exit(71)
    children += 1
