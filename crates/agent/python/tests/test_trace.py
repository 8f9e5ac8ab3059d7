"""Probes by the agent alone: code goes in and out of functions that threads run meanwhile.

SPYHOLE_TEST_EXCHANGES is how often; 10000 for a long run.
"""

import gc
import os
import sys
import threading
import time
import traceback
import unittest

import stub

FEATURES = stub.FEATURES + ('sites', 'lines', 'rewrite', 'exchange', 'hits', 'trace')
ROUNDS = int(os.environ.get('SPYHOLE_TEST_EXCHANGES', 200))


def plain(n):
    return n * 2 + 1


def generator(n):
    for i in range(n):
        yield i


def catching(n):
    try:
        return {}[n]
    except KeyError:
        return n


def outer(n):
    def inner():
        return n
    return inner


class Load(object):
    """Threads that call everything without end, and look at what comes."""

    def __init__(self, count):
        self.over, self.wrong, self.calls = False, [], [0] * count
        self.threads = [threading.Thread(target=self.run, args=(index,)) for index in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, index):
        try:
            while not self.over:
                for n in range(20):
                    right = (plain(n) == 2 * n + 1 and sum(generator(n)) == n * (n - 1) // 2 and
                             catching(n) == n and outer(n)() == n)
                    if not right:
                        self.wrong.append(n)
                self.calls[index] += 20
        except BaseException as error:
            self.wrong.append(error)

    def end(self):
        self.over = True
        for thread in self.threads:
            thread.join()
        return self.wrong


class Exchanges(unittest.TestCase):
    def opened(self):
        session = stub.Session(features=())
        for feature in FEATURES:
            session.send(op='load', feature=feature, source=stub.source(feature))
        return session

    def trace(self, session, job, where, **more):
        request = dict(op='trace', job=job, where=where, when=None, show=[], stack=False, depth=3, max=100,
                       limit=10, rate=100.0, stats=False)
        request.update(more)
        session.send(**request)
        return self.until(session, 'probed')

    def until(self, session, name):
        while True:
            event = session.receive()
            if event['ev'] == 'hit':
                session.send(op='ack', job=event['job'], seq=event['seq'])
            if event['ev'] == name:
                return event

    def setUp(self):
        # Who waits for the GIL waits for so long, by default for 5 ms: so many
        # more exchanges, at so many more places of the code.
        self.interval = sys.getswitchinterval()
        sys.setswitchinterval(.00005)

    def tearDown(self):
        sys.setswitchinterval(self.interval)

    def test_many(self):
        codes = [function.__code__ for function in (plain, generator, catching, outer)]
        session, load = self.opened(), Load(3)
        # What the first round makes for good is there before.
        session.eval('0')
        count = None
        try:
            for job in range(1, ROUNDS + 1):
                name = ('plain', 'generator', 'catching', 'outer.inner')[job % 4]
                probed = self.trace(session, job, '%s:%s' % (__name__, name), limit=2,
                                    when='n == 3' if job % 3 == 0 and job % 4 != 3 else None)
                self.assertTrue(probed['ok'], probed)
                self.assertEqual(probed['how'], 'compiled in')
                session.send(op='untrace', job=job)
                self.assertEqual(self.until(session, 'summary')['failures'], 0)
                if job == ROUNDS // 2:
                    count = len(gc.get_objects())
        finally:
            wrong = load.end()
        self.assertEqual(wrong, [])
        self.assertTrue(all(load.calls))
        self.assertEqual(session.bye()['left'], [])
        now = [function.__code__ for function in (plain, generator, catching, outer)]
        self.assertTrue(all(one is other for one, other in zip(codes, now)))
        gc.collect()
        self.assertLess(len(gc.get_objects()), count + 1000)
        self.assertEqual(session.still_referenced(), [])

    def test_hooks_of_another_trace_are_not_waited_for(self):
        # A thread sits in a hook of one trace, for as long as a value that it
        # shows takes; another trace ends meanwhile.
        session = self.opened()
        inside, go_on = threading.Event(), threading.Event()

        def wait():
            inside.set()
            go_on.wait(50)
            return 1

        sys.modules['made'] = type(sys)('made')
        sys.modules['made'].wait = wait
        thread = threading.Thread(target=plain, args=(1,))
        try:
            self.trace(session, 1, __name__ + ':plain', show=['__import__("made").wait()'])
            self.trace(session, 2, __name__ + ':catching')
            # The agent's names: who waited for that thread would wait so long.
            next(one for one in plain.__code__.co_consts if hasattr(one, 'spyhole_probe')).__globals__['DRAINED'] = 45.0
            thread.start()
            self.assertTrue(inside.wait(50))
            begun = time.monotonic()
            session.send(op='untrace', job=2)
            self.until(session, 'summary')
            self.assertLess(time.monotonic() - begun, 40)
            session.send(op='untrace', job=1)
            go_on.set()
            self.until(session, 'summary')
        finally:
            go_on.set()
            thread.join()
            session.bye()
            del sys.modules['made']

    def test_a_condition_that_is_never_true(self):
        # The compiler leaves our calls out; it is seen that the code is ours.
        code = plain.__code__
        session = self.opened()
        try:
            self.trace(session, 1, __name__ + ':plain', when='0')
            self.trace(session, 2, __name__ + ':plain')
            session.send(op='check', job=1)
            session.send(op='untrace', job=1)
            self.assertEqual(session.receive()['ev'], 'summary')
            session.send(op='untrace', job=2)
            self.until(session, 'summary')
            self.assertIs(plain.__code__, code)
        finally:
            self.assertEqual(session.bye()['left'], [])

    def test_a_debugger_of_a_thread_that_runs_already(self):
        begun, go_on = threading.Event(), threading.Event()

        def debugged():
            sys.settrace(lambda *event: lambda *event: None)
            wait()

        def wait():
            begun.set()
            go_on.wait(50)

        thread = threading.Thread(target=debugged)
        thread.start()
        if not begun.wait(50):
            frame = sys._current_frames().get(thread.ident)
            self.fail('%r: %s' % (thread, ''.join(traceback.format_stack(frame)) if frame else 'it has no frames'))
        session = self.opened()
        try:
            probed = self.trace(session, 1, __name__ + ':plain')
            self.assertEqual(probed['notes'], ['a trace function is set there (%s), which goes on' % __name__])
        finally:
            session.bye()
            go_on.set()
            thread.join()

    def test_source_that_changed(self):
        # The function is not what its file says: it is wrapped, and right.
        space = {'__name__': 'made'}
        exec(compile('def plain(n):\n    return n\n', __file__, 'exec'), space)
        sys.modules['made'] = type(sys)('made')
        sys.modules['made'].__dict__.update(space)
        session = self.opened()
        try:
            probed = self.trace(session, 1, 'made:plain')
            self.assertEqual(probed['how'], 'wrapped', probed)
            self.assertIn('source has changed', probed['notes'][0])
            self.assertEqual(sys.modules['made'].plain(3), 3)
            self.assertEqual(self.until(session, 'hit')['result'], '3')
        finally:
            session.bye()
            del sys.modules['made']

    def test_fewer_calls_than_the_client_can_hold(self):
        # Nothing is acknowledged: what is on its way stays bounded.
        session = self.opened()
        self.trace(session, 1, __name__ + ':plain', limit=10000, rate=1e5)
        for n in range(2000):
            plain(n)
        session.send(op='untrace', job=1)
        hits = 0
        while True:
            event = session.receive()
            if event['ev'] == 'summary':
                break
            hits += 1
        dropped = dict(event['dropped'])
        self.assertEqual(hits + dropped['slow'] + dropped['rate'] + dropped['busy'], 2000, (hits, dropped))
        self.assertLess(hits, 200)
        session.bye()


if __name__ == '__main__':
    unittest.main()
