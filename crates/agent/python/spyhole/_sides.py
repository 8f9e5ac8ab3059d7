"""The client's side of a prompt: text to it, lines from it.

Three kinds: a socket whose calls wait in the manner of its place, a file over
one, and a socket in an asyncio loop. What happens with a line is not known here.
"""

import socket

from . import _telnet

LINGER = 0.5            # seconds that a client has to read the last words
PENDING = 8 << 20       # characters that wait for a client of an asyncio loop
CUT = b'\n... output was lost: the client does not read it\n'


class SocketSide(object):
    """A connected socket, whose calls wait in the manner of its place."""

    def __init__(self, connection):
        self.connection = connection
        self.lines = _telnet.Lines()
        self.gone = False

    def fileno(self):
        return self.connection.fileno()

    def prepare(self):
        for level, option in (socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_NODELAY):
            try:
                self.connection.setsockopt(level, option, 1)
            except OSError:         # not TCP
                pass

    def write(self, text):
        # After the client is gone its code runs on, and prints into nothing.
        if not self.gone:
            try:
                self.connection.sendall(text.encode('utf-8', 'backslashreplace'))
            except (OSError, ValueError):
                self.gone = True

    def receive(self):
        return self.connection.recv(1 << 16)

    def line(self):
        """A line or a mark of `_telnet`; None at the end."""
        while True:
            line = self.lines.take()
            if line is not None:
                return line
            if self.gone:
                return None
            try:
                data = self.receive()
            except (OSError, ValueError):
                data = b''
            if not data:
                return self.lines.rest()
            self.lines.feed(data)
            if self.lines.reply:
                reply, self.lines.reply = self.lines.reply, b''
                try:
                    self.connection.sendall(reply)
                except (OSError, ValueError):
                    self.gone = True

    def limit(self, seconds):
        self.connection.settimeout(seconds)

    def close(self):
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

    def __init__(self, file):
        super(FileSide, self).__init__(file)
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

    def receive(self):
        data = self.source.readline(1 << 16)
        return data.encode('utf-8', 'replace') if isinstance(data, str) else data

    def limit(self, seconds):
        pass

    def close(self):
        try:
            self.connection.close()
        except (OSError, ValueError):
            pass


def side_of(desc):
    return SocketSide(desc) if hasattr(desc, 'recv') else FileSide(desc)


class AsyncSide(object):
    """A connected socket in an asyncio loop. What is written is sent by a task of its own."""

    def __init__(self, connection, loop):
        connection.setblocking(False)
        self.connection, self.loop = connection, loop
        self.lines = _telnet.Lines()
        self.pending, self.size, self.sender, self.gone = [], 0, None, False

    prepare, fileno = SocketSide.prepare, SocketSide.fileno

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
                await self.loop.sock_sendall(self.connection, data)
        except (OSError, ValueError):
            self.gone = True
        finally:
            self.sender = None

    async def flush(self):
        while self.sender is not None and not self.gone:
            await self.sender

    async def line(self):
        await self.flush()
        while True:
            line = self.lines.take()
            if line is not None or self.gone:
                return line
            try:
                data = await self.loop.sock_recv(self.connection, 1 << 16)
            except (OSError, ValueError):
                data = b''
            if not data:
                return self.lines.rest()
            self.lines.feed(data)
            if self.lines.reply:
                reply, self.lines.reply = self.lines.reply, b''
                try:
                    await self.loop.sock_sendall(self.connection, reply)
                except (OSError, ValueError):
                    self.gone = True

    async def linger(self):
        # See SocketSide.close; at most until the limit that the caller sets.
        await self.flush()
        self.connection.shutdown(socket.SHUT_WR)
        for _ in range(64):
            if not await self.loop.sock_recv(self.connection, 1 << 16):
                break

    def close(self):
        if self.sender is not None:
            self.sender.cancel()
        unwatch(self.loop, self.connection)
        self.connection.close()


def unwatch(loop, connection):
    # A call of 3.6 that was cancelled leaves its watch behind, and the next
    # socket with that number would get it.
    for remove in loop.remove_reader, loop.remove_writer:
        try:
            remove(connection.fileno())
        except (OSError, ValueError, RuntimeError):
            pass
