"""A Python prompt on a socket of a running program: `telnet localhost 3000`.

    spyhole.backdoor.backdoor_server(listener)          # blocks and serves
    spyhole.backdoor.backdoor((connection, address))    # returns at once
    await spyhole.backdoor.serve_async(listener)        # in an asyncio loop
    spyhole.backdoor.install_signals()                  # SIGUSR1 opens, SIGUSR2 closes

They work where they are called: in a greenlet of gevent or eventlet, in an
asyncio loop, or in a thread. Each client has its own namespace, and between
its commands the program goes on. Who may come in is checked: see `_peers`.
"""

import os
import socket
import sys
import threading
import time

from . import _clients, _peers, _places, _prompt, _records, _sides, _watch

__all__ = ['SocketConsole', 'backdoor', 'backdoor_server', 'install_signals', 'listen', 'serve', 'serve_async']

WHAT = 'backdoor'

try:
    from greenlet import greenlet as Base
except ImportError:
    Base = object


def listen(address):
    """A listener at `(host, port)`, or at a path: that one is made 0600 before it is bound."""
    if isinstance(address, (str, bytes)):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        steps = [lambda: os.fchmod(listener.fileno(), 0o600), lambda: listener.bind(address)]
    else:
        host, port = address
        family, kind, protocol, _, found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        steps = [lambda: listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), lambda: listener.bind(found)]
    try:
        for step in steps:
            step()
        listener.listen(16)
    except BaseException:
        listener.close()
        raise
    return listener


# ---- one client

def kind_here():
    return _places.here()[0]


async def converse(side, given, frame, kind, token=None, address=None):
    """Serves one client until it leaves. Raises nothing but what ends a greenlet or a task."""
    who = None
    try:
        side.prepare()
        try:
            who = await _clients.open_door(side, token, address)
            _records.connected(WHAT, who)
        except Exception as error:
            _clients.refuse(side, WHAT, error, who or _peers.describe(address))
            who = None
            return
        prompt = _prompt.Prompt(_prompt.namespace(given, frame), side.write, who, kind)
        watch = _watch.watch(side, prompt)
        prompt.space.setdefault('input', no_input if prompt.awaits else _clients.reader_of(side, watch))
        side.write(_prompt.greeting())
        await _clients.talk(side, prompt, watch)
    finally:
        try:
            await side.close()
        finally:
            if who is not None:
                _records.ended(WHAT, who)


def no_input(prompt=''):
    raise RuntimeError('input() would stop the event loop')


class SocketConsole(Base):
    """One client's console: a greenlet, where greenlet is there; `switch` runs it."""

    def __init__(self, desc, hostport, locals=None, token=None, server=None):
        if Base is not object:
            kind, hub = _places.here()
            parent = {'gevent': hub, 'eventlet': getattr(hub, 'greenlet', None)}.get(kind)
            super(SocketConsole, self).__init__(parent=parent)
        self.desc, self.hostport, self.locals = desc, hostport, locals
        self.token, self.server = token, server
        self.frame = sys._getframe(1) if locals == 'caller' else None

    def run(self, *args, **kwargs):
        kind = self.kind()
        # Between two commands the others run.
        give_way = (lambda: sys.modules[kind].sleep(0)) if kind in ('gevent', 'eventlet') else None
        side = (_sides.SocketSide if hasattr(self.desc, 'recv') else _sides.FileSide)(self.desc, give_way)
        try:
            _sides.at_once(converse(side, self.locals, self.frame, kind, self.token, self.hostport))
        except Exception as error:      # must not reach the hub
            _records.log('spyhole', 'ERROR', 'a console failed: %r', error)
        finally:
            self.frame = None
            if self.server is not None:
                self.server.clients.discard(self.desc)

    def kind(self):
        kind = kind_here()
        return 'thread' if kind == 'asyncio' else kind

    if Base is object:
        def switch(self, *args, **kwargs):
            """Serves the client until it leaves."""
            return self.run(*args, **kwargs)


# ---- servers

class Server(object):
    """A listener and its clients."""

    def __init__(self, listener, given, frame, token):
        self.listener, self.given, self.frame, self.token = listener, given, frame, token
        self.clients = set()
        self.closing = False
        self.task = None            # that serves in a loop
        self.greenlet = None        # that serves in a hub of eventlet

    def admit(self, connection, address):
        """Whether there is room for one more; otherwise it is sent away."""
        if len(self.clients) < _clients.CLIENTS:
            self.clients.add(connection)
            return True
        reason = 'there are %d clients already' % _clients.CLIENTS
        _records.refused(WHAT, _peers.describe(address), reason)
        connection.close()
        return False

    def close(self):
        self.closing = True
        if self.task is not None:
            self.task.cancel()
            return
        # This ends the wait in accept(), which a close would not.
        for one in [self.listener] + list(self.clients):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except (OSError, ValueError):
                pass
        if self.greenlet is not None:
            sys.modules['eventlet'].kill(self.greenlet)     # its hub does not hear of it


def fitted(sock):
    """(kind, hub, the socket as it waits there)"""
    home = (type(sock).__module__ or '').split('.')[0]
    if home == 'eventlet':
        import eventlet.hubs
        return 'eventlet', eventlet.hubs.get_hub(), sock
    if home == 'gevent':
        import gevent
        return 'gevent', gevent.get_hub(), sock
    kind, hub = _places.here()
    if kind == 'asyncio':
        raise RuntimeError('this would stop the event loop of this thread: use `await serve_async(...)`')
    if kind == 'eventlet':
        from eventlet.greenio import GreenSocket
        return kind, hub, GreenSocket(sock)
    if kind == 'gevent':
        from gevent.socket import socket as green
        wrapped = green(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))
        sock.close()
        return kind, hub, wrapped
    sock.settimeout(None)
    return kind, None, sock


def start(kind, hub, connection, address, given, frame, token, server=None):
    """Serves a client, and does not wait for it."""
    console = SocketConsole(connection, address, given, token, server)
    console.frame = frame
    if kind == 'eventlet':
        hub.schedule_call_global(0, console.switch)
    elif kind == 'gevent':
        hub.loop.run_callback(console.switch)
    else:
        thread = threading.Thread(target=console.run, name='spyhole backdoor')
        thread.daemon = True
        thread.start()


def backdoor(conn_info, locals=None, token=None):
    """Serves one connected client `(connection, address)`; returns at once."""
    frame = sys._getframe(1) if locals == 'caller' else None
    connection, address = conn_info
    loop = _places.here()
    if loop[0] == 'asyncio':
        _places.start_task(loop[1], lambda: converse_in_loop(connection, address, locals, frame, token))
        return
    kind, hub, connection = fitted(connection)
    start(kind, hub, connection, address, locals, frame, token)


def backdoor_server(sock, locals=None, token=None):
    """Accepts clients on a listening socket, and serves each of them; blocks until the socket is closed."""
    frame = sys._getframe(1) if locals == 'caller' else None
    serve_here(sock, Server(sock, locals, frame, token))


serve = backdoor_server


def serve_here(sock, server):
    kind, hub, sock = fitted(sock)
    server.listener = sock
    server.greenlet = _places.greenlet_here() if kind == 'eventlet' else None
    try:
        while not server.closing:
            try:
                connection, address = sock.accept()
            except socket.timeout:
                continue
            except (OSError, ValueError) as error:
                if not _clients.goes_on(error):
                    break
                _records.log('spyhole', 'WARNING', 'the backdoor can not take a client: %s', error)
                nap(kind)
                continue
            if server.admit(connection, address):
                start(kind, hub, connection, address, server.given, server.frame, server.token, server)
    finally:
        server.frame = server.greenlet = None
        sock.close()


def nap(kind):
    sys.modules[kind].sleep(0.2) if kind in ('gevent', 'eventlet') else time.sleep(0.2)


# ---- asyncio

async def serve_async(listener, locals=None, token=None):
    """Serves a listening socket, or an address, in the running loop; until it is cancelled."""
    frame = sys._getframe(1) if locals == 'caller' else None
    if isinstance(listener, (str, bytes, tuple, list)):
        listener = listen(listener)
    await serve_in_loop(Server(listener, locals, frame, token))


async def serve_in_loop(server):
    import asyncio
    loop, tasks = asyncio.get_event_loop(), set()
    server.task = _places.task_here()
    listener = server.listener
    listener.setblocking(False)
    try:
        while not server.closing:
            try:
                connection, address = await loop.sock_accept(listener)
            except (OSError, ValueError) as error:
                if not _clients.goes_on(error):
                    break
                _records.log('spyhole', 'WARNING', 'the backdoor can not take a client: %s', error)
                await asyncio.sleep(0.2)
                continue
            if server.admit(connection, address):
                task = loop.create_task(converse_in_loop(
                    connection, address, server.given, server.frame, server.token, server))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
    finally:
        server.frame = None
        _sides.unwatch(loop, listener)
        listener.close()
        for task in list(tasks):
            task.cancel()


async def converse_in_loop(connection, address, given, frame, token, server=None):
    import asyncio
    side = _sides.AsyncSide(connection, asyncio.get_event_loop())
    try:
        await converse(side, given, frame, 'asyncio', token, address)
    except (OSError, ValueError) as error:
        _records.log('spyhole', 'WARNING', 'a console failed: %r', error)
    finally:
        if server is not None:
            server.clients.discard(connection)


# ---- by signal

def install_signals(open=None, close=None, address=('localhost', 3000), locals=None, token=None):
    """The signal `open` (SIGUSR1) opens a backdoor, `close` (SIGUSR2) closes it and ends its clients.

    It is served where the main thread is at that time: in its loop, its hub,
    or else in a thread.
    """
    import signal

    from . import _signals
    frame = sys._getframe(1) if locals == 'caller' else None
    opener = Opener(address, locals, frame, token)
    _signals.claim([(signal.SIGUSR1 if open is None else open, opener.open),
                    (signal.SIGUSR2 if close is None else close, opener.close)])
    return opener


class Opener(object):
    """What the two signals do. A handler only starts what does it."""

    def __init__(self, address, given, frame, token):
        self.address, self.given, self.frame, self.token = address, given, frame, token
        self.server = None

    def open(self, *ignored):
        kind, where = self.place()
        call = self.serve_async if kind == 'asyncio' else self.serve
        _places.enter(kind, where, call)

    def place(self):
        kind, where = _places.here()
        return (kind, where) if _places.can_wake(kind, where) else ('thread', None)

    def close(self, *ignored):
        kind, where = self.place()
        call = self.end_async if kind == 'asyncio' else self.end
        _places.enter(kind, where, call)

    def begin(self):
        if self.server is not None and not self.server.closing:
            _records.log('spyhole', 'WARNING', 'The backdoor is open already: %s', self.where())
            return None
        try:
            listener = listen(self.address)
        except OSError as error:
            _records.log('spyhole', 'WARNING', 'The backdoor can not be opened at %s: %s', self.where(), error)
            return None
        self.server = Server(listener, self.given, self.frame, self.token)
        _records.log('spyhole', 'WARNING', 'The backdoor is open: %s', self.where())
        return self.server

    def where(self):
        return self.address if isinstance(self.address, str) else '%s:%s' % tuple(self.address[:2])

    def serve(self):
        server = self.begin()
        if server is not None:
            try:
                serve_here(server.listener, server)
            except Exception as error:
                _records.log('spyhole', 'ERROR', 'the backdoor failed: %r', error)
            finally:
                self.ended(server)

    async def serve_async(self):
        import asyncio
        server = self.begin()
        if server is not None:
            try:
                await serve_in_loop(server)
            except asyncio.CancelledError:
                pass                # by the signal
            finally:
                self.ended(server)

    def ended(self, server):
        server.closing = True
        if isinstance(self.address, str):
            try:
                os.unlink(self.address)
            except OSError:
                pass
        _records.log('spyhole', 'WARNING', 'The backdoor is closed: %s', self.where())

    def end(self):
        if self.server is not None:
            self.server.close()

    async def end_async(self):
        self.end()
