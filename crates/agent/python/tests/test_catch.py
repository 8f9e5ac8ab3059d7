"""Exceptions that are kept, and the debugger on them, by agents alone: two clients of one interpreter."""

import bdb
import linecache
import logging
import pdb
import sys
import threading
import traceback
import unittest

import stub

assert pdb
BASIC = stub.FEATURES + ('sites', 'hits', 'kept')
CATCHING = BASIC + ('lines', 'rewrite', 'exchange', 'catch', 'unhandled')
DEBUGGING = BASIC + ('postmortem',)


def fails(n):
    value = [n]
    if n > 2:
        raise ValueError('too many', n)
    return value


def ring(n):
    error = KeyError(n)
    other = KeyError(-n)
    error.__context__, other.__context__ = other, error
    raise error


def seen(call, *arguments):
    try:
        return call(*arguments)
    except Exception as error:
        return type(error)


class Catching(unittest.TestCase):
    def setUp(self):
        self.first = [fails.__code__, logging.Logger.handle.__code__, traceback.print_exception.__code__,
                      traceback.format_exc.__code__, sys.excepthook, getattr(threading, 'excepthook', None),
                      getattr(threading, '_format_exc', None)]

    def tearDown(self):
        now = [fails.__code__, logging.Logger.handle.__code__, traceback.print_exception.__code__,
               traceback.format_exc.__code__, sys.excepthook, getattr(threading, 'excepthook', None),
               getattr(threading, '_format_exc', None)]
        for before, after in zip(self.first, now):
            self.assertIs(before, after)

    def opened(self, features):
        session = stub.Session(features=())
        for feature in features:
            session.send(op='load', feature=feature, source=stub.source(feature))
        return session

    def until(self, session, name):
        while True:
            event = session.receive()
            if event['ev'] == 'refused':
                self.fail(event)
            if event.get('seq'):
                session.send(op='took', job=event['job'], seq=event['seq'])
            if event['ev'] == name:
                return event

    def catch(self, session, where, **more):
        request = dict(op='catch', job=1, where=where, when=None, last=10, age=3600.0, bytes=1 << 26, rate=1000.0,
                       depth=3, max=100, stay=None)
        request.update(more)
        session.send(**request)
        event = self.until(session, 'probed')
        self.assertTrue(event['ok'], event)
        return event

    def leave(self, session):
        session.send(op='bye')
        left = self.until(session, 'bye')['left']
        self.assertTrue(session.ended.wait(stub.PATIENCE))
        self.assertIsNone(session.failure)
        return left

    def kept(self, session, what='list', number=0):
        session.send(op='kept', job=1, what=what, id=number)
        found = []
        while True:
            event = session.receive()
            if event['ev'] == 'kept':
                return found, event
            found.append(event)

    def test_what_leaves_a_function_is_kept_until_its_client_leaves(self):
        session = self.opened(CATCHING)
        self.catch(session, __name__ + ':fails')
        self.assertEqual(fails(1), [1])
        self.assertIs(seen(fails, 3), ValueError)
        event = self.until(session, 'caught')
        self.assertEqual(event['chain'][-1]['message'], "('too many', 3)")
        other = self.opened(BASIC)
        found, answer = self.kept(other, 'print', event['id'])
        self.assertIn(['value', '[3]'], found[0]['locals'][-1])
        self.assertEqual((answer['count'], answer['watching'][0][2]), (1, 1))
        self.assertEqual(self.leave(session), [])
        self.assertEqual(self.kept(other)[0], [])
        self.leave(other)

    def test_age_takes_them(self):
        session = self.opened(CATCHING)
        self.catch(session, __name__ + ':fails', age=0.0)
        seen(fails, 4)
        self.until(session, 'caught')
        session.send(op='recheck', job=1)
        self.assertEqual(self.kept(session)[0], [])
        self.leave(session)

    def test_rings_of_contexts_hang_nobody(self):
        session = self.opened(CATCHING)
        self.catch(session, __name__ + ':ring')
        done = []
        # Before 3.9 to handle such an exception is what hangs: it is left to end the thread.
        thread = threading.Thread(target=lambda: (seen(ring, 1), done.append(1)))
        thread.daemon = True
        thread.start()
        thread.join(stub.PATIENCE)
        self.assertEqual(done, [1])
        session.send(op='uncatch', job=1)
        self.assertEqual(self.until(session, 'summary')['passed'], 1)
        self.leave(session)

    def test_what_nobody_handles(self):
        session = self.opened(CATCHING)
        self.assertEqual(self.catch(session, '*')['how'], 'unhandled')
        stderr, sys.stderr = sys.stderr, open('/dev/null', 'w')
        try:
            thread = threading.Thread(target=fails, args=(9,))
            thread.start()
            thread.join()
        finally:
            sys.stderr.close()
            sys.stderr = stderr
        event = self.until(session, 'caught')
        self.assertEqual((event['by'], event['chain'][-1]['type']), ('thread', 'ValueError'))
        logger = logging.getLogger(__name__)
        logger.addHandler(logging.NullHandler())
        try:
            fails(10)
        except ValueError:
            logger.info('not loud', exc_info=True)
            logger.error('loud', exc_info=True)
        event = self.until(session, 'caught')
        self.assertEqual((event['by'], event['chain'][-1]['message']), ('log', "('too many', 10)"))
        session.send(op='uncatch', job=1)
        self.assertEqual(self.until(session, 'summary')['hits'], 2)
        self.leave(session)

    def line(self, session, text, job):
        session.send(op='line', job=job, text=text)
        said = ''
        while True:
            event = session.receive()
            if event['ev'] == 'out':
                said += event['text']
            else:
                self.assertEqual(event['job'], job)
                return said, event

    def test_the_debugger_asks_and_leaves_nothing(self):
        cached, points = dict(linecache.cache), list(bdb.Breakpoint.bpbynumber)
        session = self.opened(CATCHING)
        self.catch(session, __name__ + ':fails')
        seen(fails, 5)
        number = self.until(session, 'caught')['id']
        other = self.opened(DEBUGGING)
        other.send(op='postmortem', job=1, id=number)
        self.assertTrue(self.until(other, 'probed')['ok'])
        self.assertEqual(self.until(other, 'ask')['prompt'], '(Pdb) ')
        self.assertEqual(self.line(other, 'p value', 2)[0], '[5]\n')
        # A command that asks: the next line is for it.
        said, event = self.line(other, 'interact', 3)
        self.assertEqual(event['prompt'], '>>> ')
        said, event = self.line(other, 'n + 1', 4)
        self.assertEqual((said, event['prompt']), ('6\n', '>>> '))
        other.send(op='complete', job=5, text='val')
        names = self.until(other, 'candidates')['names']
        self.assertIn(['value', 'value'], [list(name) for name in names])
        said, event = self.line(other, None, 6)
        self.assertEqual(event['prompt'], '(Pdb) ')
        self.assertIn('Breakpoint', self.line(other, 'b fails', 7)[0])
        other.send(op='complete', job=8, text='whe')
        self.assertIn('where', [name[0] for name in self.until(other, 'candidates')['names']])
        self.assertEqual(self.line(other, 'input("?")', 9)[1]['prompt'], '?')
        self.assertEqual(self.line(other, 'said', 10)[0], "'said'\n")
        self.assertEqual(self.line(other, 'quit', 11)[1]['ev'], 'exit')
        self.leave(session)
        self.leave(other)
        self.assertEqual(list(bdb.Breakpoint.bpbynumber), points)
        self.assertEqual(set(linecache.cache) - set(cached), set())
        self.assertIs(sys.stdin, sys.__stdin__)

    def test_a_client_that_goes_in_the_middle_of_a_question(self):
        session = self.opened(CATCHING)
        self.catch(session, __name__ + ':fails')
        seen(fails, 6)
        number = self.until(session, 'caught')['id']
        other = self.opened(DEBUGGING)
        other.send(op='postmortem', job=1, id=number)
        self.until(other, 'ask')
        self.line(other, 'interact', 2)
        other.client.close()
        self.assertTrue(other.ended.wait(stub.PATIENCE))
        self.assertIs(sys.stdin, sys.__stdin__)
        self.leave(session)


if __name__ == '__main__':
    unittest.main()
