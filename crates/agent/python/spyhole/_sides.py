"""The client's side of a prompt: text to it, lines from it.

Three kinds: a socket whose calls wait in the manner of its place, a file over
one, and a socket in an asyncio loop. What happens with a line is not known here.

Whatever may wait is a coroutine. Those of the first two kinds wait inside their
calls, and so come to their end when they are started: see `at_once`.
"""

import socket
import time

from . import _telnet

LINGER = 0.5            # seconds that a client has to read the last words
PENDING = 8 << 20       # characters that wait for a client of an asyncio loop
CUT = b'\n... output was lost: the client does not read it\n'


def at_once(coroutine):
    """Runs a coroutine that never suspends, and gives what it gives."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError('it has to wait for an event loop')


class Side(object):
    """What the kinds have in common."""

    can_be_watched = True       # while code runs: see `_watch`

    def __init__(self, connection):
        self.connection = connection
        self.lines = _telnet.Lines()
        self.gone = False           # nothing can be written any more
        self.finished = False       # nothing more will come

    def fileno(self):
        return self.connection.fileno()

    def prepare(self):
        for level, option in (socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_NODELAY):
            try:
                self.connection.setsockopt(level, option, 1)
            except OSError:         # not TCP
                pass

    def ask(self, prompt):
        """Says what is written before a line that it waits for."""
        self.write(prompt)

    async def line(self):
        """A line or a mark of `_telnet`; None at the end."""
        await self.flush()
        while True:
            line = self.lines.take()
            if line is not None or self.gone:
                return line
            data = b''
            try:
                if not self.finished:
                    data = await self.receive()
            except (OSError, ValueError):
                pass
            if not data:
                self.finished = True
                return self.lines.rest()
            self.lines.feed(data)
            reply, self.lines.reply = self.lines.reply, b''
            if reply:
                try:
                    await self.send_all(reply)
                except (OSError, ValueError):
                    self.gone = True

    async def flush(self):
        pass

    async def rest(self):
        """Lets the others of its place run."""


class SocketSide(Side):
    """A connected socket, whose calls wait in the manner of its place."""

    def __init__(self, connection, give_way=None):
        super(SocketSide, self).__init__(connection)
        self.give_way = give_way

    def write(self, text):
        # After the client is gone its code runs on, and prints into nothing.
        if not self.gone:
            try:
                self.connection.sendall(text.encode('utf-8', 'backslashreplace'))
            except (OSError, ValueError):
                self.gone = True

    async def receive(self):
        return self.connection.recv(1 << 16)

    async def send_all(self, data):
        self.connection.sendall(data)

    async def rest(self):
        if self.give_way is not None:
            self.give_way()

    async def within(self, seconds, coroutine):
        """What the coroutine gives, or None if that takes too long."""
        end = time.time() + seconds
        self.limit(seconds)
        result = await coroutine
        self.limit(None)
        return result if time.time() <= end else None

    def limit(self, seconds):
        try:
            self.connection.settimeout(seconds)
        except (OSError, ValueError):       # closed meanwhile
            pass

    async def close(self):
        # A close with unread bytes would take back what was written last.
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER)
            for _ in range(64):
                if not self.connection.recv(1 << 16):
                    break
        except (OSError, ValueError):
            pass
        try:
            self.connection.close()
        except (OSError, ValueError):
            pass


class FileSide(SocketSide):
    """A file object over a connection, as `makefile('rw')` gives it."""

    can_be_watched = False      # it has a buffer, which comes first

    def __init__(self, file, give_way=None):
        super(FileSide, self).__init__(file, give_way)
        # Read below the decoder, which telnet's bytes would break.
        self.source = getattr(file, 'buffer', file)
        self.is_text = hasattr(file, 'encoding')

    def prepare(self):
        pass

    def write(self, text):
        if not self.gone:
            try:
                self.connection.write(text if self.is_text else text.encode('utf-8', 'backslashreplace'))
                self.connection.flush()
            except (OSError, ValueError):
                self.gone = True

    async def receive(self):
        data = self.source.readline(1 << 16)
        return data.encode('utf-8', 'replace') if isinstance(data, str) else data

    async def send_all(self, data):
        # Below the encoder, as it was read below the decoder.
        sink = getattr(self.connection, 'buffer', None)
        if sink is not None:
            sink.write(data)
            sink.flush()

    def limit(self, seconds):
        pass

    async def close(self):
        try:
            self.connection.close()
        except (OSError, ValueError):
            pass


class AsyncSide(Side):
    """A connected socket in an asyncio loop. What is written is sent by a task of its own."""

    def __init__(self, connection, loop):
        connection.setblocking(False)
        super(AsyncSide, self).__init__(connection)
        self.loop = loop
        self.pending, self.size, self.sender = [], 0, None

    def write(self, text):
        if self.gone:
            return
        if self.size > PENDING:
            if self.pending[-1] is not CUT:
                self.pending.append(CUT)
            return
        self.pending.append(text.encode('utf-8', 'backslashreplace'))
        self.size += len(text)
        if self.sender is None:
            self.sender = self.loop.create_task(self.send())

    async def send(self):
        try:
            while self.pending:
                data, self.pending, self.size = b''.join(self.pending), [], 0
                await self.send_all(data)
        except (OSError, ValueError):
            self.gone = True
        finally:
            self.sender = None

    async def flush(self):
        while self.sender is not None and not self.gone:
            await self.sender

    async def receive(self):
        return await self.loop.sock_recv(self.connection, 1 << 16)

    async def send_all(self, data):
        await self.loop.sock_sendall(self.connection, data)

    async def rest(self):
        import asyncio
        await asyncio.sleep(0)

    async def within(self, seconds, coroutine):
        import asyncio
        try:
            return await asyncio.wait_for(coroutine, seconds)
        except asyncio.TimeoutError:
            return None

    async def close(self):
        import asyncio
        try:
            await asyncio.wait_for(self.linger(), LINGER)
        except (OSError, ValueError, asyncio.TimeoutError):
            pass
        finally:
            if self.sender is not None:
                self.sender.cancel()
            unwatch(self.loop, self.connection)
            self.connection.close()

    async def linger(self):
        # See SocketSide.close.
        await self.flush()
        self.connection.shutdown(socket.SHUT_WR)
        for _ in range(64):
            if not await self.receive():
                break


def unwatch(loop, connection):
    # A call of 3.6 that was cancelled leaves its watch behind, and the next
    # socket with that number would get it.
    for remove in loop.remove_reader, loop.remove_writer:
        try:
            remove(connection.fileno())
        except (OSError, ValueError, RuntimeError):
            pass
