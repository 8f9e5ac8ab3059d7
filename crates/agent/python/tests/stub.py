"""A stand-in for the native stub: runs the agent's core in a thread of this
process, with Python functions that keep the promises of WIRE.md."""

import _thread
import builtins
import ctypes
import marshal
import os
import socket
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
AGENT = os.path.join(os.path.dirname(HERE), 'spyhole')
FEATURES = ('statements', 'raised', 'render', 'control', 'complete', 'about')
PATIENCE = 60       # seconds until a test that hangs fails

set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
set_async_exc.argtypes = ctypes.c_ulong, ctypes.py_object


def source(name):
    with open(os.path.join(AGENT, '_%s.py' % name), encoding='utf-8') as file:
        return file.read()


class Gone(Exception):
    """The agent closed the channel."""


class Session(object):
    """One client with its own agent."""

    def __init__(self, features=FEATURES, before=(), threads=24):
        self.client, self.agent = socket.socketpair()
        self.client.settimeout(PATIENCE)
        self.threads = threads
        self.live = 0
        self.counting = threading.Lock()
        self.ended = threading.Event()
        self.failure = None
        self.armed = {}             # job -> ident
        self.raised = set()         # jobs that were interrupted
        self.interrupting = []      # not empty while an interrupt is being set
        self.control_heard = None
        self.late = []              # events that another job's wait came across
        self.functions = self.make_functions()
        self.baseline = [sys.getrefcount(function) for function in self.functions.values()]
        for feature in features:
            self.send(op='load', feature=feature, source=source(feature))
        for message in before:
            self.send(**message)
        self.spawn(self.run_core)
        self.hello = self.receive()
        assert self.hello['ev'] == 'hello', self.hello

    # ---- the stub's side

    def make_functions(self):
        def stub_now():
            return time.monotonic()

        def stub_ident():
            return _thread.get_ident()

        def stub_tid():
            return _thread.get_ident() & 0x7fffffff

        def stub_send(data):
            frame = struct.pack('<I', len(data)) + data
            try:
                self.agent.sendall(frame)
                return True
            except OSError:
                return False

        def stub_take():
            try:
                return self.agent.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None

        def stub_arm(job):
            self.raised.discard(job)
            self.armed[job] = _thread.get_ident()

        def stub_disarm(job):
            # Each step may be torn by an interrupt, and is then done again.
            self.armed.pop(job, None)
            while self.interrupting:
                time.sleep(0)
            raised = job in self.raised
            if raised:
                self.raised.discard(job)
                set_async_exc(_thread.get_ident(), KeyboardInterrupt)
            return raised

        def stub_spawn(call):
            return self.spawn(call)

        def stub_control(call):
            self.control_heard = call

        def stub_hangup():
            self.agent.shutdown(socket.SHUT_RDWR)
            if self.control_heard is not None:
                self.control_heard(0, 0)

        return {name: thing for name, thing in locals().items() if name != 'self'}

    def spawn(self, call):
        with self.counting:
            if self.live >= self.threads:
                return False
            self.live += 1
        _thread.start_new_thread(self.run, (call,))
        return True

    def run(self, call):
        try:
            call()
        except BaseException as error:
            self.failure = error
        call = None
        with self.counting:
            self.live -= 1
            last = self.live == 0
        if last:
            self.agent.close()
            self.ended.set()

    def run_core(self):
        space = {'__builtins__': builtins.__dict__, '__name__': 'spyhole', 'stub_fd': self.agent.fileno()}
        space.update(self.functions)
        exec(compile(source('core'), '<spyhole>', 'exec', 0, True), space)

    # ---- the client's side

    def send(self, **message):
        body = marshal.dumps(message, 2)
        self.client.sendall(struct.pack('<I', len(body)) + body)

    def exactly(self, size):
        data = bytearray()
        while len(data) < size:
            more = self.client.recv(min(size - len(data), 1 << 20))
            if not more:
                raise Gone()
            data += more
        return bytes(data)

    def receive(self):
        return marshal.loads(self.exactly(struct.unpack('<I', self.exactly(4))[0]))

    def request(self, code, job=1, **more):
        message = dict(op='eval', job=job, code=code, name='<eval>', max=1 << 20, full=False,
                       want_value=False, console=False)
        message.update(more)
        self.send(**message)

    def result(self, job=1):
        """The events of a job up to its result."""
        events = []
        while True:
            event = self.receive()
            if event.get('job') != job:
                self.late.append(event)
                continue
            events.append(event)
            if event['ev'] != 'out':
                return events

    def eval(self, code, job=1, **more):
        """The result event, with the printed text under `stdout` and `stderr`."""
        self.request(code, job, **more)
        events = self.result(job)
        for stream in 'stdout', 'stderr':
            events[-1][stream] = ''.join(
                event['text'] for event in events[:-1] if event['stream'] == stream)
        return events[-1]

    def interrupt(self, job):
        """The `I` record: True if the job was still armed."""
        self.interrupting.append(True)
        try:
            ident = self.armed.get(job)
            if ident is not None:
                self.raised.add(job)
                set_async_exc(ident, KeyboardInterrupt)
            return ident is not None
        finally:
            self.interrupting.pop()

    def control(self, op, job=0):
        self.control_heard(ord(op) if op else 0, job)

    def where(self, job):
        """The answer to `W`, without the frames of this file."""
        self.control('W', job)
        event = self.receive()
        assert event['ev'] == 'where' and event['job'] == job, event
        event['frames'] = [frame for frame in event['frames'] if frame[0] != __file__]
        return event

    def bye(self):
        self.send(op='bye')
        while True:
            event = self.receive()
            if event['ev'] == 'bye':
                break
            self.late.append(event)
        self.finish()
        return event

    def hang_up(self):
        self.client.close()
        self.control(None)
        self.finish()

    def finish(self):
        if not self.ended.wait(PATIENCE):
            raise AssertionError('the agent does not end')
        self.client.close()
        self.control_heard = None
        if self.failure is not None:
            raise self.failure

    def still_referenced(self):
        """Names of the stub's functions that something still refers to."""
        now = [sys.getrefcount(function) for function in self.functions.values()]
        return [name for name, before, after in zip(self.functions, self.baseline, now) if after > before]
