"""What evaluated code prints goes to the client, all else where it went."""

import io
import logging
import sys
import threading
import unittest

from stub import PATIENCE, Session

main = sys.modules['__main__']


class Output(unittest.TestCase):
    def setUp(self):
        self.real = sys.stdout, sys.stderr
        self.out, self.err = sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        self.sessions = []
        self.addCleanup(self.restore)

    def restore(self):
        after = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self.real
        for session in self.sessions:
            session.bye()
            self.assertEqual(session.still_referenced(), [])
        self.assertIs(after[0], self.out)
        self.assertIs(after[1], self.err)
        self.__dict__.pop('kept', None)
        main.__dict__.pop('spyhole_test', None)

    def open(self):
        session = Session()
        self.sessions.append(session)
        return session

    def close(self, session):
        self.sessions.remove(session)
        session.bye()
        self.assertEqual(session.still_referenced(), [])

    def share(self, **things):
        main.spyhole_test = things

    def hold(self, session, job):
        """Starts code that waits inside a job; the function given back ends it."""
        entered, leave = threading.Event(), threading.Event()
        self.share(entered=entered, leave=leave)
        session.request('spyhole_test["entered"].set()\nspyhole_test["leave"].wait(%d)\nprint("job %d")'
                        % (PATIENCE, job), job)
        self.assertTrue(entered.wait(PATIENCE))

        def finish():
            leave.set()
            events = session.result(job)
            self.assertEqual(events[-1]['ev'], 'value')
            return ''.join(event['text'] for event in events[:-1])
        return finish

    def test_both_streams(self):
        event = self.open().eval('import sys\nprint("out")\nprint("err", file=sys.stderr)\n'
                                 'sys.stdout.writelines(["a", "b"])\nsys.stdout.write("xyz"), sys.stdout.flush()')
        self.assertEqual((event['stdout'], event['stderr'], event['repr']), ('out\nabxyz', 'err\n', '(3, None)'))
        self.assertEqual((self.out.getvalue(), self.err.getvalue()), ('', ''))

    def test_in_the_order_of_printing(self):
        session = self.open()
        session.request('import sys\nfor i in range(50): print(i, end="", file=(sys.stdout, sys.stderr)[i % 2])')
        events = session.result()
        self.assertEqual([event['text'] for event in events[:-1]], [str(i) for i in range(50)])

    def test_large_text_in_pieces(self):
        session = self.open()
        session.request('print("\\u20ac" * 300000)')
        events = session.result()
        texts = [event['text'] for event in events[:-1]]
        self.assertEqual(''.join(texts), '\u20ac' * 300000 + '\n')
        self.assertLessEqual(max(len(text.encode()) for text in texts), 256 << 10)

    def test_no_text(self):
        event = self.open().eval('import sys\nsys.stdout.write(b"x")')
        self.assertEqual(event['chain'][-1]['type'], 'TypeError')
        event = self.sessions[0].eval('class S(str):\n def __getitem__(self, i): 1/0\nprint(S("own"))')
        self.assertEqual(event['stdout'], 'own\n')

    def test_threads_of_the_program(self):
        session, cached = self.open(), sys.stdout
        go, done = threading.Event(), threading.Event()
        self.share(go=go, done=done)

        def chatter():
            go.wait(PATIENCE)
            for index in range(5000):
                print('live', index)
                print('cached', index, file=cached)
                sys.stderr.write('e')
            sys.stdout.flush()
            done.set()

        thread = threading.Thread(target=chatter)
        thread.start()
        event = session.eval('spyhole_test["go"].set()\nfor i in range(300): print("job", i)\n'
                             'spyhole_test["done"].wait(%d)' % PATIENCE)
        thread.join(PATIENCE)
        self.assertEqual(event['repr'], 'True')
        self.assertEqual(event['stdout'], ''.join('job %d\n' % i for i in range(300)))
        self.assertEqual(event['stderr'], '')
        self.assertEqual(self.out.getvalue(), ''.join('live %d\ncached %d\n' % (i, i) for i in range(5000)))
        self.assertEqual(self.err.getvalue(), 'e' * 5000)

    def test_only_while_code_runs(self):
        session = self.open()
        session.eval('print(1)')
        self.assertIs(sys.stdout, self.out)
        session.eval('1/0')
        self.assertIs(sys.stderr, self.err)

    def test_what_stands_in_looks_like_what_was_there(self):
        session = self.open()
        self.out.extra = 'extra'
        finish = self.hold(session, 1)
        self.assertIsNot(sys.stdout, self.out)
        self.assertIsInstance(sys.stdout, io.StringIO)
        self.assertIsInstance(sys.stdout, io.TextIOBase)
        self.assertEqual(sys.stdout.extra, 'extra')
        sys.stdout.more = 'more'
        self.assertEqual(self.out.more, 'more')
        self.assertEqual(sys.stdout.isatty(), False)
        self.assertRaises(AttributeError, lambda: sys.stdout.nothing)
        self.assertRaises(io.UnsupportedOperation, lambda: sys.stdout.fileno())
        self.assertIs(sys.__stdout__, sys.__stdout__)
        self.assertEqual(finish(), 'job 1\n')

    def test_without_a_stream(self):
        session = self.open()
        sys.stdout = sys.stderr = None
        try:
            finish = self.hold(session, 1)
            print('nowhere')
            sys.stdout.write('nowhere')
            sys.stderr.flush()
            self.assertRaises(AttributeError, lambda: sys.stdout.encoding)
            self.assertEqual(finish(), 'job 1\n')
            self.assertEqual((sys.stdout, sys.stderr), (None, None))
            del sys.stderr
            self.assertEqual(session.eval('print(2)')['stdout'], '2\n')
        finally:
            sys.stdout, sys.stderr = self.out, self.err

    def test_a_reference_that_was_kept(self):
        session = self.open()
        self.share()
        session.eval('import logging, sys\nspyhole_test["handler"] = logging.StreamHandler(sys.stderr)\n'
                     'spyhole_test["out"] = sys.stdout')
        handler, kept = main.spyhole_test['handler'], main.spyhole_test['out']
        record = logging.LogRecord('n', 30, 'f', 1, 'heard', (), None)
        handler.handle(record)
        self.assertEqual(self.err.getvalue(), 'heard\n')
        event = session.eval('print("again", file=spyhole_test["out"])')
        self.assertEqual((event['stdout'], self.out.getvalue()), ('', 'again\n'))
        self.close(session)
        handler.handle(record)
        kept.write('still')
        kept.writelines(['1', '2'])
        kept.flush()
        self.assertEqual(self.err.getvalue(), 'heard\nheard\n')
        self.assertEqual(self.out.getvalue(), 'again\nstill12')
        self.assertIsInstance(kept, io.StringIO)
        self.assertEqual(kept.getvalue(), 'again\nstill12')

    def test_a_stream_that_the_code_put_there_stays(self):
        session = self.open()
        session.eval('import sys, io\nsys.stdout = spyhole_new = io.StringIO()\nprint("into it")')
        self.assertIsNot(sys.stdout, self.out)
        self.assertEqual(sys.stdout.getvalue(), 'into it\n')
        self.assertIs(sys.stderr, self.err)
        sys.stdout = self.out

    def test_redirected_within_the_code(self):
        session = self.open()
        event = session.eval('import contextlib, io\nprint(1)\nwith contextlib.redirect_stdout(io.StringIO()) as s:\n'
                             ' print(2)\nprint(3)\ns.getvalue()')
        self.assertEqual((event['stdout'], event['repr']), ('1\n3\n', "'2\\n'"))

    def test_nested_agents_in_either_order(self):
        for first in 0, 1:
            sessions = self.open(), self.open()
            finish = [self.hold(session, 1) for session in sessions]
            self.assertEqual(finish[first](), 'job 1\n')
            self.assertIsNot(sys.stdout, self.out)
            print('meanwhile', first)
            self.assertEqual(sessions[first].eval('print("again")')['stdout'], 'again\n')
            self.assertEqual(finish[not first](), 'job 1\n')
            self.assertIs(sys.stdout, self.out)
            self.assertIs(sys.stderr, self.err)
            self.assertEqual(sessions[first].eval('print(1)')['stdout'], '1\n')
            self.close(sessions[first])
            self.assertEqual(sessions[not first].eval('print(2)')['stdout'], '2\n')
            self.close(sessions[not first])
        self.assertEqual(self.out.getvalue(), 'meanwhile 0\nmeanwhile 1\n')

    def test_agents_that_end_while_the_other_is_in_a_job(self):
        for first in 0, 1:
            sessions = self.open(), self.open()
            finish = [self.hold(session, 1) for session in sessions]
            finish[first]()
            self.close(sessions[first])
            print('meanwhile', first)
            self.assertEqual(finish[not first](), 'job 1\n')
            self.assertIs(sys.stdout, self.out)
            self.close(sessions[not first])

    def test_what_a_repr_prints(self):
        event = self.open().eval('class A:\n def __repr__(self):\n  print("from repr")\n  return "A!"\nA()')
        self.assertEqual((event['repr'], event['stdout']), ('A!', 'from repr\n'))
        event = self.sessions[0].eval('class E(Exception):\n def __str__(self):\n  print("from str")\n  return "E!"\nraise E')
        self.assertEqual((event['chain'][-1]['message'], event['stdout']), ('E!', 'from str\n'))


if __name__ == '__main__':
    unittest.main()
