"""The ispy shell's door: a listener that an ini file describes, and a thread that serves its clients.

    from spyhole.manager import ShellManager
    shell_manager = ShellManager('/srv/shop/ispyd.ini')

Whatever is wrong is logged on `spyhole`, and nothing is raised: the program
goes on without the door. The thread is an original one with original sockets,
so that it answers also where a hub of greenlets is stuck.
"""

import atexit
import errno
import functools
import os
import stat
import sys
import time                 # which `original` finds its sleep in

import _socket

from . import _clients, _ini, _output, _peers, _places, _plugins, _records, _shell, _sides

__all__ = ['ShellManager']
WHAT = 'ispy shell'
ENDING = 1              # seconds that the interpreter's end waits for the thread
TWICE = 0.05            # seconds between two looks at a socket that nobody seems to listen at
managers = []


class ShellManager(object):
    """Opens the door that `config_file` describes, in this process and in each child that is forked from it."""

    def __init__(self, config_file):
        self.config_file = os.path.abspath(os.fspath(config_file))
        self.settings = None
        self.problem = None         # why there is no door
        self.listener = self.path = self.inode = None
        self.pid = None
        self.connections = set()
        self.plugins = None
        self.loading = _places.original('_thread', 'allocate_lock')()
        self.ended = None
        try:
            self.settings = _ini.read(self.config_file)
        except (_ini.Bad, OSError, ValueError) as error:
            self.fail('%s: %s', self.config_file, reason_of(error))
            return
        for warning in self.settings.warnings:
            _records.log('spyhole', 'WARNING', '%s: %s', self.config_file, warning)
        managers.append(self)
        watch_for_forks()
        atexit.register(self.close)
        self.open()

    def fail(self, message, *arguments):
        self.problem = message % arguments
        _records.log('spyhole', 'ERROR', 'No ispy shell: %s', self.problem)

    def open(self):
        self.pid, self.problem = os.getpid(), None
        settings = self.settings
        try:
            if settings.path:
                path = _ini.path_for(settings.path, self.pid)
                self.listener = listen_unix(path)
                self.path, self.inode = path, os.lstat(path).st_ino
            else:
                self.listener = listen_tcp(settings.host, settings.port)
            self.ended = _places.original('_thread', 'allocate_lock')()
            self.ended.acquire()
            _places.original('_thread', 'start_new_thread')(self.serve, (self.listener, self.ended))
        except Exception as error:
            self.fail('cannot listen at %s: %s', self.where(), reason_of(error))
            self.remove()

    def where(self):
        settings = self.settings
        if settings.path:
            return _ini.path_for(settings.path, self.pid)
        return _peers.describe((settings.host, settings.port))

    # ---- in the thread

    def serve(self, listener, ended):
        try:
            while self.listener is listener:
                try:
                    number, address = listener._accept()
                except (OSError, ValueError) as error:
                    if self.listener is not listener or not _clients.goes_on(error):
                        break
                    _records.log('spyhole', 'WARNING', 'the ispy shell can not take a client: %s', error)
                    original_sleep(0.2)
                    continue
                self.admit(number, address)
        except Exception as error:
            _records.log('spyhole', 'ERROR', 'the ispy shell failed: %r', error)
        finally:
            ended.release()

    def admit(self, number, address):
        connection = _socket.socket(fileno=number) if sys.version_info >= (3, 7) else self.with_family(number)
        connection.settimeout(None)
        os.set_inheritable(number, False)
        if len(self.connections) >= _clients.CLIENTS:
            _records.refused(WHAT, _peers.describe(address), 'there are %d clients already' % _clients.CLIENTS)
            connection.close()
            return
        self.connections.add(connection)
        try:
            _places.original('_thread', 'start_new_thread')(self.client, (connection, address))
        except Exception as error:          # no thread can be started
            _records.log('spyhole', 'WARNING', 'the ispy shell can not take a client: %s', error)
            self.connections.discard(connection)
            connection.close()

    def with_family(self, number):
        # The call of 3.6 does not ask the kernel for it.
        return _socket.socket(self.listener.family, _socket.SOCK_STREAM, 0, number)

    def client(self, connection, address):
        side, who = _shell.ShellSide(connection), None
        try:
            side.prepare()
            try:
                who = _sides.at_once(_clients.open_door(side, self.settings.token, address))
                _records.connected(WHAT, who)
            except Exception as error:
                _clients.refuse(side, WHAT, error, who or _peers.describe(address))
                who = None
                return
            _shell.Shell(side, self, who).talk()
        except Exception as error:
            _records.log('spyhole', 'ERROR', 'an ispy shell failed: %r', error)
        finally:
            self.connections.discard(connection)
            _sides.at_once(side.close())
            if who is not None:
                _records.ended(WHAT, who)

    def load_plugins(self):
        """The plugins, loaded when the first client comes: {name: Plugin}, and what is wrong with the others."""
        with self.loading:
            if self.plugins is None:
                self.plugins = _plugins.load(self.settings, os.path.dirname(self.config_file))
        return self.plugins

    # ---- ends

    def close(self):
        """Closes the door, sends its clients away and removes the socket's file."""
        if self.pid != os.getpid():
            return
        listener, self.listener = self.listener, None
        for one in [listener] + list(self.connections):
            try:
                if one is not None:
                    one.shutdown(_socket.SHUT_RDWR)
            except (OSError, ValueError):
                pass
        self.remove()
        if listener is not None:
            # A thread that outlives its interpreter would be the end of both.
            if self.ended is not None:
                self.ended.acquire(True, ENDING)
            listener.close()

    def remove(self):
        path, self.path = self.path, None
        try:
            if path is not None and os.lstat(path).st_ino == self.inode:
                os.unlink(path)
        except OSError:
            pass

    def forked(self):
        """In a child: what came along is closed, and a door of its own opened. Raises nothing."""
        try:
            if self.pid is None or self.pid == os.getpid():
                return
            inherited, self.listener, self.path = self.listener, None, None
            for one in [inherited] + list(self.connections):
                if one is not None:
                    one.close()
            self.connections = set()
            self.loading = _places.original('_thread', 'allocate_lock')()
            # A parent that was closed by hand has no door to hand on.
            if inherited is not None:
                self.open()
                outlive_multiprocessing(self)
        except Exception as error:
            _records.log('spyhole', 'ERROR', 'No ispy shell in this child: %s', error)


def original_sleep(seconds):
    _places.original('time', 'sleep')(seconds)


def reason_of(error):
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


# ---- listening

def listen_unix(path):
    if len(os.fsencode(path)) > 107:
        raise ValueError('the path is longer than 107 bytes')
    make_room(path)
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        listener.settimeout(None)
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(path)
        listener.listen(16)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_tcp(host, port):
    family, kind, protocol, _, found = _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM)[0]
    listener = _socket.socket(family, kind, protocol)
    try:
        listener.settimeout(None)
        listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        listener.bind(found)
        listener.listen(16)
    except BaseException:
        listener.close()
        raise
    return listener


def make_room(path):
    """Takes away a socket of ours that nobody listens at. Raises where something else stands there."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise ValueError('a symbolic link stands there')
    if not stat.S_ISSOCK(status.st_mode):
        raise ValueError('a file that is no socket stands there')
    if status.st_uid != os.geteuid():
        raise ValueError('a socket of another user (uid %d) stands there' % status.st_uid)
    # One that is bound and does not listen yet looks the same for a moment.
    for wait in TWICE, 0:
        if not is_refused(path):
            raise ValueError('another process listens there; `%(pid)s` in the path keeps them apart')
        original_sleep(wait)
    if os.lstat(path).st_ino == status.st_ino:
        os.unlink(path)


def is_refused(path):
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        probe.setblocking(False)
        probe.connect(path)
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
    finally:
        probe.close()
    return False


# ---- forks

watched = []


def watch_for_forks():
    if watched:
        return
    watched.append(True)
    if hasattr(os, 'register_at_fork'):
        os.register_at_fork(after_in_child=after_fork)
    else:
        # The one hook of 3.6, `threading._after_fork`, comes too early: what it
        # starts is thrown away (Python/ceval.c, PyEval_ReInitThreads).
        usual = os.fork

        def fork():
            pid = usual()
            if pid == 0:
                after_fork()
            return pid

        os.fork = functools.wraps(usual)(fork)
    if 'uwsgi' in sys.modules:
        # Its own fork tells Python of it only with `py-call-osafterfork`.
        try:
            import uwsgidecorators
            uwsgidecorators.postfork(after_fork)
        except Exception as error:
            _records.log('spyhole', 'WARNING', 'children of uWSGI will have no ispy shell: %r', error)


def after_fork():
    _output.after_fork()
    for manager in managers:
        manager.forked()


def outlive_multiprocessing(manager):
    # Its children end without `atexit` (Lib/multiprocessing/popen_fork.py).
    util = sys.modules.get('multiprocessing.util')
    if util is not None:
        util.register_after_fork(manager, ending_with_multiprocessing)


def ending_with_multiprocessing(manager):
    sys.modules['multiprocessing.util'].Finalize(manager, manager.close, exitpriority=0)
