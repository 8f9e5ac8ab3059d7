"""Ctrl-C while code of a prompt runs: its socket is read meanwhile.

Lines that come are kept for later. In a thread the code gets a
KeyboardInterrupt at its next bytecode. In a hub or a loop nothing is heard
while code computes; when it waits, its wait ends.

It reads a second descriptor of the socket, whose calls wait for nothing, in
whatever manner the place has to tell that there is something to read.
"""

import os
import select
import socket

from . import _places, _peers

KEPT = 1 << 20          # bytes of lines that wait; with more, no more is read while code runs


class Watch(object):
    """Between `start` and `stop` the socket of `side` is read. `interrupt()` is called for a Ctrl-C."""

    def __init__(self, side, interrupt):
        self.side, self.interrupt = side, interrupt
        self.plain = None

    def start(self):
        if not self.side.can_be_watched or self.side.finished:
            return
        try:
            self.plain = _peers.plain_socket(self.side.fileno())
        except (OSError, ValueError):
            pass                # closed already, or no descriptor is left
        if self.plain is not None:
            try:
                self.begin(self.plain.fileno())
            except Exception:   # no thread, no pipe: then it can not be interrupted
                self.plain.close()
                self.plain = None

    def stop(self):
        if self.plain is not None:
            self.end(self.plain.fileno())
            self.plain.close()
            self.plain = None

    def heard(self, *ignored):
        """Takes what is there. False: nothing more is to be heard."""
        goes_on = self.take()
        if not goes_on:
            self.ignore()
        return goes_on

    def take(self):
        lines = self.side.lines
        try:
            data = self.plain.recv(1 << 16, socket.MSG_DONTWAIT)
            if data:
                lines.feed(data)
                reply, lines.reply = lines.reply, b''
                if reply:
                    self.plain.send(reply, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False        # whoever reads or writes next hears of it
        if not data:
            self.side.finished = True
            return False
        if lines.drop_to_interrupt():
            self.interrupt()
        return lines.kept < KEPT

    def ignore(self):
        pass


class ThreadWatch(Watch):
    def begin(self, number):
        self.wake = os.pipe()
        self.done = _places.original('_thread', 'allocate_lock')()
        self.done.acquire()
        try:
            poll = _places.original('select', 'poll')()
            for one in self.wake[0], number:
                poll.register(one, select.POLLIN)
            _places.original('_thread', 'start_new_thread')(self.listen, (poll,))
        except BaseException:
            self.close_wake()
            raise

    def listen(self, poll):
        try:
            while self.wake[0] not in [one for one, _ in poll.poll()]:
                if not self.heard():
                    break
        finally:
            self.done.release()

    def end(self, number):
        os.write(self.wake[1], b'.')
        self.done.acquire()
        self.close_wake()

    def close_wake(self):
        for one in self.wake:
            os.close(one)


class AsyncioWatch(Watch):
    def begin(self, number):
        self.loop = _places.loop_here()
        self.loop.add_reader(number, self.heard)

    def ignore(self):
        self.loop.remove_reader(self.plain.fileno())

    def end(self, number):
        self.loop.remove_reader(number)


class GeventWatch(Watch):
    def begin(self, number):
        self.watcher = _places.gevent_here().loop.io(number, 1)
        self.watcher.start(self.heard)

    def ignore(self):
        self.watcher.stop()

    def end(self, number):
        self.watcher.stop()
        getattr(self.watcher, 'close', int)()       # older ones have none


class EventletWatch(Watch):
    def begin(self, number):
        self.hub = _places.eventlet_here()
        self.listener = self.hub.add('read', number, self.heard, self.heard, int)

    def ignore(self):
        listener, self.listener = self.listener, None
        if listener is not None:
            self.hub.remove(listener)

    def end(self, number):
        self.ignore()


KINDS = {'asyncio': AsyncioWatch, 'gevent': GeventWatch, 'eventlet': EventletWatch}


def watch(side, prompt):
    """Ends what the prompt runs, where that can be done."""
    return KINDS.get(prompt.kind, ThreadWatch)(side, prompt.interrupt)
