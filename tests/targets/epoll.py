"""Truth: one thread, blocked in epoll_wait on stdin, with no time limit; ends when stdin does."""
import select
import sys

answer = 42
poller = select.epoll()
poller.register(0, select.EPOLLIN)
sys.stdout.write("ready\n")
sys.stdout.flush()
events = poller.poll()
# A poll that comes back without a reason was disturbed.
sys.stdout.write("woke %d\n" % len(events))
sys.stdout.flush()
