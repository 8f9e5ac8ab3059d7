"""`python -m spyhole --loop ...`: from a pipe, and on a terminal."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from test_backdoor import HAS, PATIENCE

HAS['IPython'] = shutil.which('ipython', path=os.path.dirname(sys.executable)) is not None
TICKER = {
    'asyncio': 'import asyncio\nasync def tick(out):\n    while True:\n        out.append(1)\n        '
               'await asyncio.sleep(0.005)\n\nout = []\ntask = asyncio.ensure_future(tick(out))\n',
    'gevent': 'import gevent\ndef tick(out):\n    while True:\n        out.append(1)\n        gevent.sleep(0.005)\n\n'
              'out = []\ntask = gevent.spawn(tick, out)\n',
    'eventlet': 'import eventlet\ndef tick(out):\n    while True:\n        out.append(1)\n        '
                'eventlet.sleep(0.005)\n\nout = []\ntask = eventlet.spawn(tick, out)\n',
}
WAIT = {'asyncio': 'await asyncio.sleep(%s)', 'gevent': 'gevent.sleep(%s)', 'eventlet': 'eventlet.sleep(%s)'}


def command(loop, *words):
    return [sys.executable, '-B', '-W', 'ignore', '-m', 'spyhole', '--loop', loop] + list(words)


def piped(loop, text, *words):
    done = subprocess.run(command(loop, *words), input=text.encode(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=PATIENCE)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Terminal(object):
    def __init__(self, loop, *words, **environment):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(environment, TERM='dumb')
            os.execv(sys.executable, command(loop, *words))
        self.seen = ''

    def until(self, pattern):
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, self.seen, re.S):
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError('%r does not come: %r' % (pattern, self.seen))
            self.seen += os.read(self.fd, 1 << 16).decode('utf-8', 'replace').replace('\r', '')
        found, self.seen = self.seen, ''
        return found

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self, key='\x04'):
        if key is not None:
            self.type(key)
        try:
            while True:
                data = os.read(self.fd, 1 << 16)
                if not data:
                    break
                self.seen += data.decode('utf-8', 'replace')
        except OSError:
            pass
        os.close(self.fd)
        return os.waitpid(self.pid, 0)[1]


class Live(object):
    def test_others_go_on_while_code_waits(self):
        code, out, err = piped(self.loop, TICKER[self.loop] + WAIT[self.loop] % 0.2 + '\nlen(out) > 1\n__name__\n'
                               '1/0\nraise SystemExit\nprint("not reached")\n')
        self.assertEqual((code, out), (0, "True\n'__main__'\n"))
        self.assertTrue(err.endswith('ZeroDivisionError: division by zero\n'), err)

    def test_a_script_first(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, 'script.py')
        with open(path, 'w') as file:
            file.write(TICKER[self.loop] + 'import sys\nwords = sys.argv[1:]\n')
        code, out, err = piped(self.loop, WAIT[self.loop] % 0.05 + '\nlen(out) > 1, words, __file__[-9:]\n', path, '-x', 'y')
        self.assertEqual((code, out), (0, "(True, ['-x', 'y'], 'script.py')\n"), err)
        self.assertEqual(piped(self.loop, '', os.path.join(folder, 'none'))[0], 2)

    @unittest.skipUnless(os.path.exists('/dev/pts/ptmx'), 'no pseudo-terminals')
    def test_on_a_terminal(self):
        terminal = Terminal(self.loop)
        self.assertIn('(inside a live %s loop)' % self.loop, terminal.until('>>> $'))
        for line in TICKER[self.loop].splitlines():
            terminal.type(line + '\n')
            terminal.until(r'(>>>|\.\.\.) +$')
        terminal.type('before = len(out)\n')
        terminal.until('>>> $')
        end, found = time.monotonic() + PATIENCE, ''
        while 'True' not in found and time.monotonic() < end:
            select.select([], [], [], 0.1)      # the prompt waits, and nobody types
            terminal.type('len(out) - before > 10\n')
            found = terminal.until('>>> $')
        self.assertIn('True', found)
        # Ctrl-C at code that waits, at code that computes, and at the prompt.
        terminal.type('print("wa" + "its"); ' + WAIT[self.loop] % 3600 + '\n')
        terminal.until('waits')
        terminal.type('\x03')
        self.assertIn('KeyboardInterrupt', terminal.until('>>> $'))
        terminal.type('exec(\'print("on" + "ce")\\nwhile True: pass\')\n')
        terminal.until('once')
        terminal.type('\x03')
        self.assertIn('KeyboardInterrupt', terminal.until('KeyboardInterrupt.*>>> $'))
        terminal.type('half a line')
        terminal.until('line')
        terminal.type('\x03')
        terminal.until('KeyboardInterrupt\n>>> $')
        terminal.type('40 + 2\n')
        self.assertIn('42', terminal.until('42\n>>> $'))
        self.assertEqual(terminal.end(), 0)

    @unittest.skipUnless(HAS['IPython'], 'no IPython')
    def test_ipython(self):
        code, out, err = piped(self.loop, '\n\n'.join([TICKER[self.loop].replace('\n\n', '\n'), WAIT[self.loop] % 0.1, 'len(out) > 1']),
                               '--ipython')
        self.assertEqual(code, 0, err)
        self.assertIn('True', out)

    @unittest.skipUnless(HAS['IPython'] and os.path.exists('/dev/pts/ptmx'), 'no IPython, or no pseudo-terminals')
    def test_ipython_on_a_terminal(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        terminal = Terminal(self.loop, '--ipython', IPYTHONDIR=folder)
        terminal.until(r'In \[1\]: ')
        terminal.type('import %s\r' % self.loop)
        terminal.until(r'In \[2\]: ')
        # Ctrl-C at code that waits, and at code that computes.
        for number, code in (3, WAIT[self.loop] % 3600), (4, 'exec("while True: pass")'):
            terminal.type('print("on" + "ce"); ' + code + '\r')
            terminal.until('once')
            terminal.type('\x03')
            self.assertIn('KeyboardInterrupt', terminal.until(r'In \[%d\]: ' % number))
        terminal.type('40 + 2\r')
        terminal.until(r'42.*In \[5\]: ')
        terminal.type('exit()\r')
        self.assertEqual(terminal.end(None), 0)
        self.assertNotIn('Traceback', terminal.seen)
        self.assertNotIn('Error', terminal.seen)


class Asyncio(Live, unittest.TestCase):
    loop = 'asyncio'

    def test_await_in_blocks(self):
        code, out, err = piped('asyncio', 'import asyncio\nfor i in range(2):\n    await asyncio.sleep(0)\n    i\n\n'
                               'async def f(x): return x\n\n[await f(1), await f(2)]\nx = await f(3)\nx\n'
                               'async with asyncio.Lock() as lock:\n    lock\n\n')
        self.assertEqual((code, out, err), (0, '0\n1\n[1, 2]\n3\n', ''))


@unittest.skipUnless(HAS['gevent'], 'no gevent')
class Gevent(Live, unittest.TestCase):
    loop = 'gevent'


@unittest.skipUnless(HAS['eventlet'], 'no eventlet')
class Eventlet(Live, unittest.TestCase):
    loop = 'eventlet'


class Without(unittest.TestCase):
    def test_what_is_not_there_is_said(self):
        program = 'import sys; sys.modules["gevent"] = None; from spyhole import _live; sys.exit(_live.main(["--loop", "gevent"]))'
        done = subprocess.run([sys.executable, '-c', program], stderr=subprocess.PIPE, timeout=PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b'error: this Python has no gevent', done.stderr)


if __name__ == '__main__':
    unittest.main()
