"""Interrupts and takeovers: one result for each job, and none goes astray."""

import os
import random
import sys
import threading
import time
import unittest

from stub import PATIENCE, Gone, Session

main = sys.modules['__main__']

# A longer run: SPYHOLE_INTERRUPTS=100000.
INTERRUPTS = int(os.environ.get('SPYHOLE_INTERRUPTS', 4000))

LOOPS = {
    'a loop': 'while True: pass',
    'a loop in a function': 'def f():\n while True:\n  pass\nf()',
    'a loop in a comprehension': '[0 for i in iter(int, 1)]',
    'a repr': 'class R:\n def __repr__(self):\n  while True: pass\nR()',
    'a repr within': 'class R:\n def __repr__(self):\n  while True: pass\n[1, {2: R()}]',
    'a str of an exception': 'class E(Exception):\n def __str__(self):\n  while True: pass\nraise E()',
    'printing': 'while True: print("x", end="")',
}


class Interrupts(unittest.TestCase):
    def setUp(self):
        self.session = Session()
        main.spyhole_test = {}
        self.addCleanup(self.finish)

    def finish(self):
        del main.spyhole_test
        self.session.bye()
        self.assertEqual(self.session.still_referenced(), [])

    def interrupt_when_armed(self, job):
        deadline = time.monotonic() + PATIENCE
        while not self.session.interrupt(job):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0)

    def test_every_place_where_code_of_the_program_runs(self):
        for job, (what, code) in enumerate(LOOPS.items(), 1):
            with self.subTest(what):
                self.session.request(code, job)
                self.interrupt_when_armed(job)
                results = self.session.result(job)
                while results[-1]['ev'] != 'raised':
                    self.fail(results[-1])
                self.assertEqual(results[-1]['kind'], 'interrupted')
                self.assertEqual(results[-1]['chain'][-1]['type'], 'KeyboardInterrupt')
                self.assertFalse(self.session.interrupt(job))
        self.assertEqual(self.session.eval('1')['repr'], '1')

    def test_where_it_was(self):
        entered = main.spyhole_test['entered'] = threading.Event()
        self.session.request('def f():\n spyhole_test["entered"].set()\n while True:\n  pass\nf()', 1)
        self.assertTrue(entered.wait(PATIENCE))
        event = self.session.where(1)
        self.assertEqual(event['omitted'], 0)
        self.assertEqual([frame[2] for frame in event['frames'][:2]], ['<module>', 'f'])
        self.assertEqual([frame[0] for frame in event['frames'][:2]], ['<eval>', '<eval>'])
        self.assertEqual(event['frames'][0][1], 5)
        self.assertEqual(event['thread'], self.session.hello['thread'])
        self.interrupt_when_armed(1)
        frames = self.session.result(1)[-1]['chain'][-1]['frames']
        self.assertEqual([frame[2] for frame in frames[:2]], ['<module>', 'f'])
        event = self.session.where(1)
        self.assertEqual((event['thread'], event['frames']), (0, []))

    def test_code_that_catches_it_goes_on(self):
        entered = main.spyhole_test['entered'] = threading.Event()
        self.session.request('try:\n spyhole_test["entered"].set()\n while True: pass\n'
                             'except KeyboardInterrupt:\n x = "caught"\nx', 1)
        self.assertTrue(entered.wait(PATIENCE))
        self.interrupt_when_armed(1)
        self.assertEqual(self.session.result(1)[-1]['repr'], "'caught'")

    def test_random_moments(self):
        # Code that ends by itself after a moment, interrupted while it begins,
        # runs, renders and ends, often more than once.
        codes = [
            'sum(range(30000))', 'x = [i for i in range(9000)]\nx', '[i for i in range(9000)] / 0',
            '{i: [i] for i in range(2000)}', '[i for i in range(9000)]; nowhere', 'print([i for i in range(9000)])',
            'def f(n): return n and f(n - 1)\nfor i in range(99): f(20)', 'len("x")', 'a b', '1/0',
            'class A:\n def __repr__(self): return str(sum(range(999)))\n[A()] * 99',
            'raise ValueError(list(range(5000)))', 'for i in range(99): print("x", end="")',
            'try:\n sum(range(3000))\nfinally:\n y = sum(range(3000))']
        choose, stop, sent = random.Random(1), threading.Event(), [0]
        current = [0]

        def fire():
            # A few for each job: a flood would keep code from ever ending.
            moments, job, left = random.Random(2), 0, 0
            while not stop.is_set():
                if job != current[0]:
                    job, left = current[0], moments.randrange(8)
                for _ in range(moments.randrange(60)):
                    pass
                if left > 0 and self.session.interrupt(job):
                    left -= 1
                    sent[0] += 1
                if moments.random() < 0.5:
                    time.sleep(0)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(2e-5)
        thread = threading.Thread(target=fire)
        thread.start()
        kinds, job = {}, 0
        deadline = time.monotonic() + PATIENCE * max(1, INTERRUPTS // 4000)
        try:
            while (sent[0] < INTERRUPTS or job < INTERRUPTS // 3) and time.monotonic() < deadline:
                job += 1
                current[0] = job
                self.session.request(choose.choice(codes), job, max=1 << 14)
                event = self.session.result(job)[-1]
                kind = event.get('kind', event['ev'])
                kinds[kind] = kinds.get(kind, 0) + 1
        finally:
            stop.set()
            thread.join(PATIENCE)
            sys.setswitchinterval(interval)
        self.assertEqual(self.session.late, [])
        self.assertGreaterEqual(sent[0], INTERRUPTS)
        self.assertGreater(kinds.get('interrupted', 0), 100, kinds)
        self.assertLessEqual(set(kinds), {'interrupted', 'value', 'raised', 'syntax'})
        self.assertIsNone(self.session.failure)
        self.assertEqual(self.session.eval('1', job + 1)['repr'], '1')


class Takeovers(unittest.TestCase):
    def setUp(self):
        self.gates = main.spyhole_test = {}

    def tearDown(self):
        del main.spyhole_test

    def stick(self, session, job):
        entered, leave = self.gates[job] = threading.Event(), threading.Event()
        session.request('spyhole_test[%d][0].set()\nspyhole_test[%d][1].wait(%d)\nprint("late")\n%d'
                        % (job, job, PATIENCE, job), job)
        self.assertTrue(entered.wait(PATIENCE))

    def take_over(self, session, job):
        session.control('T', job)
        event = session.receive()
        self.assertEqual(event['ev'], 'takeover')
        return event['thread']

    def test_a_fresh_thread_serves(self):
        session = Session()
        session.eval('x = 5', 1)
        self.stick(session, 2)
        thread = self.take_over(session, 2)
        self.assertNotEqual(thread, session.hello['thread'])
        self.assertEqual(session.eval('x + 1; print("new")', 3)['stdout'], 'new\n')
        place = session.where(2)
        self.assertEqual(place['thread'], session.hello['thread'])
        self.assertEqual(place['frames'][0][:3], ['<eval>', 2, '<module>'])
        self.assertEqual(session.where(3)['thread'], 0)
        self.gates[2][1].set()
        events = session.result(2)
        self.assertEqual([event.get('text', event.get('repr')) for event in events if event.get('text') != '\n'],
                         ['late', '2'])
        self.assertEqual(session.eval('x', 4)['repr'], '5')
        stdout = sys.stdout
        self.assertEqual(session.bye()['left'], [])
        self.assertIs(sys.stdout, stdout)
        self.assertEqual(session.still_referenced(), [])

    def test_without_the_feature(self):
        session = Session(features=())
        session.control('T', 3)
        event = session.receive()
        self.assertEqual((event['ev'], event['job']), ('refused', 3))
        self.assertIn('control', event['message'])
        session.bye()

    def test_again_and_again_up_to_the_limit(self):
        session = Session(threads=4)
        threads = {session.hello['thread']}
        for job in 1, 2, 3:
            self.stick(session, job)
            threads.add(self.take_over(session, job))
        self.assertEqual(len(threads), 4)
        self.stick(session, 4)
        session.control('T', 4)
        event = session.receive()
        self.assertEqual((event['ev'], event['job']), ('refused', 4))
        for job in 2, 4, 1, 3:
            self.gates[job][1].set()
            self.assertEqual(session.result(job)[-1]['repr'], str(job))
        self.assertEqual(session.eval('7', 5)['repr'], '7')
        self.assertEqual(session.bye()['left'], [])
        self.assertEqual(session.still_referenced(), [])

    def test_of_code_that_has_just_ended(self):
        session = Session()
        session.eval('1', 1)
        self.assertEqual(self.take_over(session, 1), session.hello['thread'])
        self.assertEqual(self.take_over(session, 99), session.hello['thread'])
        self.assertEqual(session.eval('2', 2)['repr'], '2')
        session.bye()

    def test_at_random_moments(self):
        session = Session(threads=100)
        session.eval('1', 0)
        for job in range(1, 300):
            session.request('sum(range(%d))' % (job % 50 * 40), job)
            session.control('T', job)
            events = {}
            while len(events) < 2:
                event = session.receive()
                self.assertNotIn(event['ev'], events)
                events[event['ev']] = event
            self.assertEqual(set(events), {'value', 'takeover'})
            self.assertEqual(events['value']['job'], job)
        session.bye()
        self.assertEqual(session.still_referenced(), [])

    def test_leaving_while_code_still_runs(self):
        session, stdout = Session(), sys.stdout
        self.stick(session, 1)
        self.take_over(session, 1)
        session.send(op='bye')
        event = session.receive()
        self.assertEqual(event['ev'], 'bye')
        self.assertEqual(event['left'], ['job 1 still runs in thread %d' % session.hello['thread']])
        self.assertIs(sys.stdout, stdout)
        self.assertFalse(session.ended.is_set())
        self.gates[1][1].set()
        session.finish()
        self.assertEqual(session.still_referenced(), [])

    def test_hanging_up_while_code_runs(self):
        session = Session()
        self.stick(session, 1)
        session.client.close()
        session.control(None)
        self.assertTrue(session.interrupt(1))
        self.gates[1][1].set()
        session.finish()
        self.assertEqual(session.still_referenced(), [])

    def test_an_abandoned_thread_never_reads(self):
        session = Session()
        self.stick(session, 1)
        self.take_over(session, 1)
        self.gates[1][1].set()
        session.result(1)
        for job in range(2, 60):
            self.assertEqual(session.eval('%d' % job, job)['repr'], str(job))
        session.bye()
        self.assertRaises((Gone, OSError), session.receive)


if __name__ == '__main__':
    unittest.main()
