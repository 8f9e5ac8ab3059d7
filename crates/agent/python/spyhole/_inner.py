"""An agent of this process's own: what the program sends into others, run and asked from within.

It is the same core with the same features, in a private dict and a thread of
its own; `_session` gives it its functions. Requests and events are those of
WIRE.md, over a pair of sockets.
"""

import marshal
import pkgutil
import time

import _socket

from . import _places, _session

CATCHING = ('render', 'raised', 'control', 'complete', 'sites', 'lines', 'rewrite', 'exchange', 'hits', 'kept', 'catch',
            'unhandled')
DEBUGGING = 'render', 'raised', 'control', 'complete', 'sites', 'hits', 'kept', 'postmortem'
PATIENCE = 30           # seconds for an answer
EVENTS = 10000          # that wait to be heard


class Unanswered(Exception):
    """The agent has ended, or takes too long."""


class Given(object):
    """What a session asks of its door."""

    given = frame = None


class Quiet(_session.Session):
    """One that is no client's: nobody is told of it, since whoever asks it has been."""

    def may_run(self, frame):
        return True

    def run_agent(self, opening, door):
        try:
            super(Quiet, self).run_agent(opening, door)
        finally:
            self.leave()


class Inner(object):
    def __init__(self, features):
        self.main, main = _socket.socketpair()
        self.control, control = _socket.socketpair()
        self.session = Quiet((main, control), 'ispy shell', ('thread', None))
        self.jobs, self.events, self.gone = 0, [], False
        allocate = _places.original('_thread', 'allocate_lock')
        self.arrived, self.writing = allocate(), allocate()
        start = _places.original('_thread', 'start_new_thread')
        start(self.listen, ())
        for feature in features:
            self.send(op='load', feature=feature, source=source(feature))
        start(self.session.run_agent, ((0, b'', source('core')), Given()))
        self.wait(lambda event: event['ev'] == 'hello')

    def listen(self):
        # In a thread: nobody who passes a probe may wait for whoever asks.
        unread = b''
        while True:
            try:
                more = self.main.recv(1 << 16)
            except OSError:
                more = b''
            if not more:
                break
            unread += more
            while len(unread) >= 4:
                end = 4 + int.from_bytes(unread[:4], 'little')
                if len(unread) < end:
                    break
                event, unread = marshal.loads(unread[4:end]), unread[end:]
                if event['ev'] == 'caught' and event['seq']:
                    self.send(op='took', job=event['job'], seq=event['seq'])
                elif len(self.events) < EVENTS:
                    self.events.append(event)
                    self.wake()
        self.gone = True
        self.wake()

    def wake(self):
        if self.arrived.locked():
            try:
                self.arrived.release()
            except RuntimeError:        # somebody else did
                pass

    def send(self, **request):
        data = marshal.dumps(request, 2)
        with self.writing:
            try:
                self.main.sendall(len(data).to_bytes(4, 'little') + data)
            except OSError:
                self.gone = True

    def wait(self, wanted, patience=PATIENCE):
        """The next event that is wanted; those before it are thrown away."""
        deadline = None if patience is None else time.time() + patience
        while True:
            self.arrived.acquire(False)
            while self.events:
                event = self.events.pop(0)
                if wanted(event):
                    return event
            if self.gone:
                raise Unanswered('the agent has ended')
            left = 1 if deadline is None else deadline - time.time()
            if left <= 0:
                raise Unanswered('the agent does not answer within %d seconds' % patience)
            self.arrived.acquire(True, min(left, 1))

    def ask(self, *wanted, **request):
        """Sends a request with a job of its own, and gives the first of the wanted events of that job."""
        self.jobs += 1
        job = request['job'] = self.jobs
        self.send(**request)
        return self.wait(lambda event: event.get('job') == job and event['ev'] in wanted + ('refused',))

    def interrupt(self):
        try:
            self.control.sendall(b'I\0\0\0' + self.jobs.to_bytes(4, 'little'))
        except OSError:
            pass

    def close(self):
        """Undoes all, and ends it."""
        try:
            self.send(op='bye')
            self.wait(lambda event: event['ev'] == 'bye')
        except Unanswered:
            pass
        self.abandon()

    def abandon(self):
        for one in self.main, self.control:
            try:
                one.shutdown(2)
            except OSError:
                pass
            one.close()

    def forget(self):
        """In a child: lets go of what is the parent's."""
        for one in self.main, self.control, self.session.main, self.session.control:
            one.close()


def source(name):
    return pkgutil.get_data('spyhole', '_%s.py' % name).decode('utf-8')
