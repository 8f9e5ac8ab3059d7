"""A session by the doorbell: what the stub is to an injected agent.

It finds who rang, checks them, and runs the agent's core on functions that
Python has. It is loaded when somebody rings, in a thread that the signal
handler started.
"""

import posix
import sys

import _socket

from . import _interrupts, _peers, _places, _records

ATTEMPTS = 64                   # sockets of one folder that are looked at
OPENING_LONGEST = 64 << 20
OPENING_WITHIN = 10             # seconds
STALE = 60                      # seconds
GREETED_WITHIN = 3              # seconds
GREETING_LONGEST = 100          # bytes
WHAT = 'local console'
CODE = {'eval': 'code', 'line': 'text', 'trace': 'when', 'catch': 'when'}     # requests that bring code, and where

start_thread = _places.original('_thread', 'start_new_thread')
allocate_lock = _places.original('_thread', 'allocate_lock')


def answer(door, place):
    """Looks for ringers; each gets a thread for its agent."""
    try:
        if door.port is not None and not door.calling:
            door.calling = True
            start_thread(answer_port, (door, place))
        for path in waiting_sockets():
            if path not in door.sessions:
                session = connect(path, place)
                if session is not None:
                    door.sessions[path] = session
                    start_thread(serve, (door, path, session))
    except BaseException as error:
        log(place, 'ERROR', 'the doorbell failed: %r', error)


def answer_port(door, place):
    # In a thread of its own: whoever listens there may say nothing.
    name, ends = None, []
    try:
        for mark in b'M', b'C':
            end, name = call_port(door.port, name)
            if end is None:
                break
            ends.append(end)
            if name in door.sessions:
                break
            who = introduce(end, mark, place, 'port %d' % door.port)
            if who is None:
                break
        else:
            door.sessions[name] = session = Session(ends, who, place)
            ends = []
            start_thread(serve, (door, name, session))
    except BaseException as error:
        log(place, 'ERROR', 'the doorbell failed: %r', error)
    finally:
        door.calling = False
        for end in ends:
            end.close()


def serve(door, path, session):
    try:
        session.run(door)
    except BaseException as error:
        log(session.place, 'ERROR', 'a session failed: %r', error)
    finally:
        door.sessions.pop(path, None)
        session = None


# ---- finding who rang

def own_name():
    """`PID-STARTTIME`, as this process sees itself (proc_pid_stat(5), field 22)."""
    with_name = read_file('/proc/self/stat')
    return '%d-%s' % (posix.getpid(), with_name.rpartition(b')')[2].split()[19].decode())


def read_file(path):
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(descriptor, 1 << 16)
    finally:
        posix.close(descriptor)


def folders():
    uid = posix.geteuid()
    return ['/run/user/%d/spyhole' % uid, '/tmp/spyhole-%d' % uid]


def waiting_sockets():
    name, found = own_name() + '.', []
    for folder in folders():
        try:
            status = posix.lstat(folder)
            if status.st_mode & 0o170077 != 0o040000 or status.st_uid not in (posix.geteuid(), 0):
                continue            # a link, somebody else's, or open to others
            names = posix.listdir(folder)
        except OSError:
            continue
        found.extend(folder + '/' + one for one in names if one.startswith(name))
    return found[:ATTEMPTS]


def connect(path, place):
    # The two channels. None: nobody listens there any more, or nobody whom we know.
    ends = []
    try:
        for mark in b'M', b'C':
            end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
            ends.append(end)
            end.connect(path)
            who = introduce(end, mark, place, path)
            if who is None:
                break
        else:
            return Session(ends, who, place)
    except ConnectionRefusedError:
        remove_stale(path)
    except OSError:
        pass
    for end in ends:
        end.close()
    return None


def introduce(end, mark, place, at):
    # The ringer's name, if it may be told who we are.
    try:
        peer = _peers.check_socket(end)
    except _peers.Refused as error:
        record(place, 'refused', at, str(error))
        return None
    end.send(mark + about_this())
    return peer.name


def call_port(port, before):
    # Somebody who listens at the port of the loopback, and says that it means
    # this process. (None, None): nobody does.
    end = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        end.settimeout(GREETED_WITHIN)
        end.connect(('127.0.0.1', port))
        greeting = bytearray()
        while not greeting.endswith(b'\n'):
            more = end.recv(GREETING_LONGEST - len(greeting))
            if not more:
                break
            greeting += more
        name = bytes(greeting).decode('latin-1')
        if name.startswith('spyhole %s.' % own_name()) and name.endswith('\n') and before in (None, name):
            end.settimeout(None)
            end.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            return end, name
    except OSError:
        pass
    end.close()
    return None, None


def remove_stale(path):
    # Its ringer was killed. A young one may be about to listen.
    import time
    try:
        if time.time() - posix.lstat(path).st_mtime > STALE:
            posix.unlink(path)
    except OSError:
        pass


def about_this():
    # Three bytes: the version, and whether the owner has switched remote debugging off.
    enabled = getattr(sys, 'is_remote_debug_enabled', None)
    return bytes([sys.version_info[0], sys.version_info[1], int(enabled is not None and not enabled())])


# ---- records, written where the program's own are

def record(place, how, *arguments):
    in_place(place, lambda: getattr(_records, how)(WHAT, *arguments))


def log(place, *arguments):
    in_place(place, lambda: _records.log('spyhole', *arguments))


def in_place(place, call):
    # Where threading is patched, the locks of logging are a hub's.
    kind, where = place
    if kind in ('gevent', 'eventlet') and _places.can_wake(kind, where):
        _places.enter(kind, where, call)
    else:
        call()


# ---- one session: what the stub is to an injected agent

class Session(object):
    def __init__(self, ends, who, place):
        self.main, self.control = ends
        self.who, self.place = who, place
        self.writing, self.counting = allocate_lock(), allocate_lock()
        self.threads = 0
        self.interrupts = _interrupts.Interrupts()
        self.hear = None            # the agent's ear for the control channel
        self.unread, self.taken = b'', b''
        self.gone = False
        self.space = {}             # of the agent

    def hang_up(self):
        for end in self.main, self.control:
            try:
                end.shutdown(2)
            except OSError:
                pass

    def run(self, door):
        try:
            opening = self.opening()
            if opening is None:
                return
            try:
                self.audit('connect', WHAT, self.who)
            except Exception as error:
                record(self.place, 'refused', self.who, 'an audit hook forbids it: %s' % type(error).__name__)
                return
            log(self.place, 'WARNING', 'Connected to local console: %s', self.who)
            try:
                self.run_agent(opening, door)
            finally:
                record(self.place, 'ended', self.who)
        finally:
            # The ends close when all threads have ended: that is what the client waits for.
            self.leave()

    # ---- the first message: the agent, as crates/attach/src/lib.rs sends it

    def opening(self):
        self.main.settimeout(OPENING_WITHIN)
        try:
            head = self.exactly(13)
            length = int.from_bytes(head[1:5], 'little')
            if head[:1] != b'G' or not 8 <= length <= OPENING_LONGEST:
                return None
            rest = self.exactly(length - 8)
        except (OSError, EOFError):
            return None
        finally:
            self.main.settimeout(None)
        compiled = int.from_bytes(head[9:13], 'little')
        return int.from_bytes(head[5:9], 'little'), rest[:compiled], rest[compiled:]

    def exactly(self, size):
        parts = bytearray()
        while len(parts) < size:
            more = self.main.recv(min(size - len(parts), 1 << 20))
            if not more:
                raise EOFError()
            parts += more
        return bytes(parts)

    def run_agent(self, opening, door):
        import builtins
        import marshal
        magic, compiled, source = opening
        fits = bool(compiled) and magic == own_magic()
        code = marshal.loads(compiled) if fits else compile(source, '<spyhole>', 'exec', 0, True)
        space = {'__builtins__': builtins.__dict__, '__name__': 'spyhole', 'stub_fd': self.main.fileno(),
                 'stub_compiled': fits, 'stub_interpreter': 0}
        self.space = space
        space.update(self.functions(space, door))
        self.spawn(self.listen)
        exec(code, space)

    # ---- the functions of WIRE.md

    def functions(self, space, door):
        import time
        tid = native_id()

        def stub_send(data):
            if 'given' not in begun:
                begun.add('given')
                space['session'].update(given_names(door))
            return self.send(data)

        def stub_take():
            return self.take()

        begun = set()
        return {'stub_now': time.monotonic, 'stub_ident': _interrupts.get_ident, 'stub_tid': tid, 'stub_send': stub_send,
                'stub_take': stub_take, 'stub_arm': self.interrupts.arm, 'stub_disarm': self.interrupts.disarm, 'stub_spawn': self.spawn,
                'stub_control': self.set_ear}

    def send(self, data):
        with self.writing:
            try:
                self.main.sendall(len(data).to_bytes(4, 'little') + data)
                return True
            except OSError:
                return False

    def take(self):
        # Whole frames, so that each line can be written down before it runs.
        # Waits here, and not in the agent's own read.
        while True:
            end = 4 + int.from_bytes(self.unread[:4], 'little')
            if 4 <= len(self.unread) >= end:
                frame, self.unread = self.unread[:end], self.unread[end:]
                if self.may_run(frame):
                    return frame
                continue
            try:
                more = self.main.recv(1 << 16)
            except OSError:
                more = b''
            if not more:
                self.gone = True
                return b''
            self.unread += more

    def may_run(self, frame):
        import marshal
        try:
            request = marshal.loads(frame[4:])
            code = request.get(CODE.get(request.get('op')))
        except (ValueError, TypeError, EOFError, AttributeError):
            return True             # the agent says what it thinks of it
        if not isinstance(code, str):
            return True
        short = _records.shortened(code)
        try:
            self.audit('line', self.who, short)
        except Exception as error:
            self.send(marshal.dumps({'ev': 'refused', 'job': request.get('job', 0),
                                     'message': 'an audit hook forbids it: %s' % type(error).__name__}, 2))
            return False
        who = self.who
        in_place(self.place, lambda: _records.log('spyhole.audit', 'INFO', '%s: %s', who, short))
        return True

    def audit(self, *arguments):
            _records.audit(*arguments)

    def spawn(self, call):
        with self.counting:
            if self.threads >= 25:
                return False
            self.threads += 1

        def run():
            try:
                call()
            except BaseException as error:
                log(self.place, 'ERROR', 'an agent failed: %r', error)
            finally:
                self.leave()
        start_thread(run, ())
        return True

    def set_ear(self, call):
        self.hear = call

    def listen(self):
        # The watcher of the control channel.
        unread = b''
        while True:
            try:
                more = self.control.recv(4096)
            except OSError:
                more = b''
            if not more:
                break
            unread += more
            while len(unread) >= 8:
                operation, job = unread[0], int.from_bytes(unread[4:8], 'little')
                unread = unread[8:]
                if operation == ord('I'):
                    self.interrupts.interrupt(job)
                elif self.hear is not None:
                    self.hear(operation, job)
        for job in list(self.interrupts.armed):
            self.interrupts.interrupt(job)
        if self.hear is not None and not self.gone:
            self.hear(0, 0)
        try:
            self.main.shutdown(0)
        except OSError:
            pass

    def leave(self):
        # Run by the session's first thread and by each spawned one, at its end.
        with self.counting:
            self.threads -= 1
            last = self.threads < 0
            waits_for_watcher = self.threads == 0
        if waits_for_watcher:
            try:
                self.control.shutdown(2)        # its thread is the last one
            except OSError:
                pass
        if last:
            self.hear = None
            self.main.close()
            self.control.close()


def own_magic():
    # As PyImport_GetMagicNumber gives it.
    return int.from_bytes(sys.modules['_frozen_importlib_external'].MAGIC_NUMBER, 'little')


def given_names(door):
    try:
        from . import _prompt
    except ImportError:         # a process that may not read its own library any more
        return dict(door.given) if isinstance(door.given, dict) else {}
    space = _prompt.namespace(door.given, door.frame)
    return {name: space[name] for name in space if name not in OWN}


OWN = '__name__', '__doc__', '__builtins__', 'exit', 'quit', 'help'


def native_id():
    import _thread
    if hasattr(_thread, 'get_native_id'):
        return _places.original('_thread', 'get_native_id')
    # 3.6 and 3.7 have no such call; the kernel says it in a link.
    return lambda: int(posix.readlink('/proc/thread-self').rpartition('/')[2])

