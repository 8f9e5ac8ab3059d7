"""`spyhole console HOST:PORT` and `unix:PATH` at real backdoors (SPYHOLE_PROGRAM names the program)."""

import code
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from test_backdoor import HAS, HAS_PROC, PATIENCE, App

PROGRAM = os.environ.get('SPYHOLE_PROGRAM')
SCRIPT = 'x = 2\ngiven\nfor i in range(x):\n    i\nif x:\n    "yes"\nelse:\n    "no"\n1/0\n[1,\n 2]\nprint("ä")\n'
SAID = ('42\n0\n1\n\'yes\'\nTraceback (most recent call last):\n  File "<console>", line 1, in <module>\n'
        'ZeroDivisionError: division by zero\n[1, 2]\nä\n')


def console(at, text, *words):
    done = subprocess.run([PROGRAM, 'console', at, '--no-history'] + list(words), input=text.encode(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Server(object):
    """Serves one client in a thread, by `talk(connection)`."""

    def __init__(self, talk):
        self.listener = socket.socket()
        self.listener.bind(('127.0.0.1', 0))
        self.listener.listen(1)
        self.at = '127.0.0.1:%d' % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, args=(talk,), daemon=True)
        self.thread.start()

    def serve(self, talk):
        connection, _ = self.listener.accept()
        try:
            talk(connection)
        except OSError:
            pass                # the client has left, which was its right
        finally:
            connection.close()
            self.listener.close()

    def join(self):
        self.thread.join(PATIENCE)


class Plain(code.InteractiveConsole):
    """Lib/code.py on a socket, and nothing else: what eventlet's backdoor is."""

    def __init__(self, connection):
        super().__init__()
        self.file = connection.makefile('rw', encoding='utf-8', newline='\n')
        self.said = []

    def write(self, text):
        self.file.write(text)
        self.file.flush()

    def raw_input(self, prompt=''):
        self.write(prompt)
        line = self.file.readline()
        if not line:
            raise EOFError()
        self.said.append(line)
        return line.rstrip('\n')

    def runcode(self, code):
        stdout, sys.stdout = sys.stdout, self.file
        try:
            super().runcode(code)
        finally:
            sys.stdout = stdout


class Screen(object):
    """The program in a terminal."""

    def __init__(self, at, *words, command='console', **environment):
        self.text, self.reads = '', 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(environment, TERM='xterm', COLUMNS='120')
            os.execv(PROGRAM, [PROGRAM, command, at, '--color', 'never'] + list(words))

    def more(self, end):
        if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
            raise AssertionError('nothing more came: %r' % self.text)
        try:
            data = os.read(self.fd, 1 << 16)
        except OSError:
            return False
        for _ in range(data.count(b'\x1b[6n')):     # whoever draws asks where the cursor is
            self.reads += 1
            os.write(self.fd, b'\x1b[1;1R')
        self.text += re.sub(r'\x1b(\[[0-9;?>=]*[a-zA-Z]|[=>78])', '', data.decode('utf-8', 'replace')).replace('\r', '')
        return bool(data)

    def until(self, text):
        end = time.monotonic() + PATIENCE
        while text not in self.text:
            if not self.more(end):
                raise AssertionError('%r is not in %r' % (text, self.text))
        seen, _, self.text = self.text.partition(text)
        return seen

    def until_it_reads(self):
        end, before = time.monotonic() + PATIENCE, self.reads
        while self.reads == before:
            if not self.more(end):
                raise AssertionError('it has ended: %r' % self.text)

    def type(self, text):
        os.write(self.fd, text.encode())

    def run(self, line, answer):
        self.type(line + '\r')
        self.until(answer)
        self.until('>>> ')

    def end(self):
        end = time.monotonic() + PATIENCE
        while self.more(end):
            pass
        code = os.waitpid(self.pid, 0)[1] >> 8
        os.close(self.fd)
        return code


@unittest.skipUnless(PROGRAM and HAS_PROC, 'no SPYHOLE_PROGRAM')
class Worlds(unittest.TestCase):
    def served(self, world):
        app = App(world)
        try:
            with open(app.path('ports')) as file:
                ports = [int(line) for line in file][2:]
            places = ['127.0.0.1:%d' % ports[0], 'localhost:%d' % ports[0], 'unix:' + app.path('door')]
            places += ['[::1]:%d' % port for port in ports[1:]]
            for at in places:
                rc, out, err = console(at, SCRIPT)
                self.assertEqual((rc, out), (0, SAID), err)
                self.assertIn('(InteractiveConsole)\nRemote console at %s\n' % at, err)
                self.assertTrue(err.endswith('left %s; its program goes on\n' % at), err)
            for word in 'exit()', 'quit()', 'raise SystemExit(3)':
                self.assertEqual(console(places[0], '1\n%s\n2\n' % word)[:2], (0, '1\n'))
            if world not in ('asyncio', 'uvloop'):
                self.assertEqual(console(places[0], 'input("name? ")\nbob\n')[:2], (0, "name? 'bob'\n"))
            self.assertEqual(console(places[0], '')[:2], (0, ''))
            # No byte of the other side commands the terminal.
            rc, out, err = console(places[0], 'print("\\x1b[2J\\x9b\\u202e\\x07\\r.")\n')
            self.assertEqual(out, '\\x1b[2J\\x9b\\u202e\\x07\\x0d.\n')
            app.request()
            rc, out, err = console(places[0], 'import os\nos._exit(1)\n2\n')
            self.assertEqual((rc, out), (5, ''))
            self.assertIn('error: the console at `%s` is gone\n' % places[0], err)
            # Its sockets close one after the other, and the listeners not first.
            app.process.wait(PATIENCE)
            rc, out, err = console(places[-1], '1\n')
            self.assertEqual((rc, out), (1, ''))
            self.assertIn('hint: nobody listens there', err)
        finally:
            app.end()

    def test_threads(self):
        self.served('threads')

    def test_asyncio(self):
        self.served('asyncio')

    @unittest.skipUnless(HAS['gevent'], 'no gevent')
    def test_gevent(self):
        self.served('gevent')

    @unittest.skipUnless(HAS['eventlet'], 'no eventlet')
    def test_eventlet(self):
        self.served('eventlet')

    def on_screen(self, at, **environment):
        # Wherever a test ends, the program does.
        screen = Screen(at, **environment)
        self.addCleanup(self.killed, screen.pid)
        screen.until('>>> ')
        return screen

    def killed(self, pid):
        try:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

    @unittest.skipUnless(os.path.exists('/dev/pts/ptmx'), 'no pseudo-terminals')
    def test_on_a_terminal(self):
        state = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, state)
        app = App('threads')
        self.addCleanup(app.end)
        at = 'unix:' + app.path('door')
        screen = self.on_screen(at, XDG_STATE_HOME=state)
        screen.run('given + 1', '\n43\n')
        screen.type('def twice(n):\r')
        screen.until('... ')
        screen.type('    return n * 2\r\r')             # a block is edited as one, then sent line by line
        screen.until('>>> ')
        screen.run('twice(21)', '\n42\n')
        screen.run(' "hid" + "den"', "\n'hidden'\n")
        screen.type('never ran\x03')                    # Ctrl-C clears the line
        screen.until('>>> ')
        screen.run('\x1b[A\x1b[A', '\n42\n')            # the hidden one is not in the history
        screen.type('input("who? ")\r')
        screen.until('who? ')
        screen.until_it_reads()                         # a question is one that stays
        screen.type('me\r')
        screen.until("'me'")
        screen.until('>>> ')
        screen.type('for n in iter(int, 1): n or print("on" + "ce") if "x" not in vars() else 0; x = 1\r\r')
        screen.until('once\n')
        screen.type('\x03')                             # while code runs it ends the code
        screen.until('KeyboardInterrupt')
        screen.until('>>> ')
        screen.run('given + 2', '44\n')
        screen.type('\x04')
        self.assertEqual(screen.end(), 0)
        self.assertIn('left %s; its program goes on' % at, screen.text)
        folder = os.path.join(state, 'spyhole', 'history')
        name, = os.listdir(folder)
        self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o777, 0o600)
        with open(os.path.join(folder, name)) as file:
            history = file.read()
        self.assertIn('twice(21)', history)
        self.assertNotIn('hid', history)
        # The other side goes while nobody types.
        screen = self.on_screen(at, XDG_STATE_HOME=state)
        app.process.kill()
        self.assertEqual(screen.end(), 5)
        self.assertIn('is gone', screen.text)


@unittest.skipUnless(PROGRAM, 'no SPYHOLE_PROGRAM')
class Others(unittest.TestCase):
    def test_the_console_of_the_library(self):
        consoles = []

        def talk(connection):
            consoles.append(Plain(connection))
            consoles[0].interact()

        server = Server(talk)
        rc, out, err = console(server.at, SCRIPT.replace('given', '42'))
        server.join()
        self.assertEqual((rc, out), (0, SAID), err)
        self.assertEqual(consoles[0].said[:4], ['x = 2\n', '42\n', 'for i in range(x):\n', '    i\n'])

    def token_file(self, text, mode):
        with tempfile.NamedTemporaryFile('w', delete=False) as file:
            file.write(text)
        os.chmod(file.name, mode)
        self.addCleanup(os.unlink, file.name)
        return file.name

    def door(self, token):
        # As `spyhole.backdoor` treats those from another machine.
        def talk(connection):
            connection.sendall(b'token: ')
            line = b''
            while not line.endswith(b'\n'):
                more = connection.recv(100)
                if not more:
                    return
                line += more
            if line.decode() == token + '\n':
                Plain(connection).interact()
            else:
                connection.sendall(b'spyhole: refused: 10.0.0.1:5: \x1b[2Jwrong token\n')
        return Server(talk)

    def test_token(self):
        server = self.door('sesame')
        rc, out, err = console(server.at, '6 * 7\n', '--token-file', self.token_file('sesame\nmore\n', 0o600))
        self.assertEqual((rc, out), (0, '42\n'), err)
        self.assertNotIn('warning', err)
        self.assertNotIn('sesame', err)
        server = self.door('sesame')
        rc, out, err = console(server.at, '6 * 7\n', '--token-file', self.token_file('Sesame\n', 0o644))
        self.assertEqual((rc, out), (4, ''), err)
        self.assertIn('warning: others may read the token', err)
        self.assertIn('  because: 10.0.0.1:5: \\x1b[2Jwrong token\n', err)
        server = self.door('sesame')
        rc, out, err = console(server.at, '6 * 7\n')
        self.assertEqual((rc, out), (4, ''), err)
        self.assertIn('asks for a token\n\nhint: give a file that holds it with `--token-file FILE`\n', err)
        rc, out, err = console('127.0.0.1:1', '1\n', '--token-file', self.token_file('\n', 0o600))
        self.assertIn('is empty', err)

    def test_garbage(self):
        size = 100 << 20

        def flood(connection):
            piece = b'\x1b\x9b\xff\xf9x' * (1 << 16)
            for _ in range(size // len(piece)):
                connection.sendall(piece)

        server = Server(flood)
        process = subprocess.Popen([PROGRAM, 'console', server.at], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        process.stdin.write(b'1\n')
        process.stdin.flush()
        length, raw, peak, turns = 0, 0, 0, 0
        while True:
            data = process.stdout.read1(1 << 20)
            if not data:
                break
            length, raw = length + len(data), raw + data.count(b'\x1b') + data.count(b'\xff')
            turns += 1
            if turns % 64 == 0:
                peak = max(peak, peak_of(process.pid))
        process.stdin.close()
        process.stdout.close()
        self.assertEqual(process.wait(PATIENCE), 5)
        self.assertGreater(length, size // 2)
        self.assertEqual(raw, 0)
        self.assertTrue(0 < peak < 60 << 10, peak)

    def test_silence_and_an_end_at_once(self):
        rc, out, err = console(Server(lambda connection: None).at, '1\n')
        self.assertEqual((rc, out), (5, ''))
        self.assertIn('has closed the connection', err)
        server = Server(lambda connection: connection.recv(100) and connection.sendall(b'heard\n'))
        self.assertEqual(console(server.at, '1\n')[:2], (5, 'heard\n'))

    def test_negotiations(self):
        heard = []

        def talk(connection):
            connection.sendall(b'\xff\xfb\x01\xff\xfd\x18hello\r\n>>> ')
            heard.append(connection.recv(6, socket.MSG_WAITALL))
            heard.append(connection.recv(100))
            connection.sendall(b'\xff\xfa\x18\x01\xff\xf0answer\xff\xf9\r\n>>> ')
            connection.recv(100)

        server = Server(talk)
        rc, out, err = console(server.at, '1\n')
        server.join()
        self.assertEqual((rc, out), (0, 'answer\n'), err)
        self.assertTrue(err.startswith('hello\n'), err)
        self.assertEqual(heard, [b'\xff\xfe\x01\xff\xfc\x18', b'1\n'])

    @unittest.skipUnless(os.getuid() == 0, 'only root can be another user')
    def test_the_socket_of_a_stranger(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o755)
        program = os.path.join(folder, 'spyhole')
        shutil.copy(PROGRAM, program)
        path = os.path.join(folder, 'door')
        stranger = 20000 + os.getpid() % 40000
        # A listener's user is who called listen(): net/unix/af_unix.c.
        process = subprocess.Popen(
            [sys.executable, '-c', 'import os, socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\n'
             'os.chmod(sys.argv[1], 0o666)\nos.setuid(int(sys.argv[2]))\ns.listen(1)\nprint(flush=True)\nsys.stdin.read()',
             path, str(stranger)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(process.communicate)
        process.stdout.readline()
        done = subprocess.run([program, 'console', 'unix:' + path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, preexec_fn=lambda: os.setuid(stranger - 1), timeout=PATIENCE, env={})
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn('belongs to another user (uid %d)' % stranger, done.stderr.decode())
        os.chmod(path, 0o600)
        done = subprocess.run([program, 'console', 'unix:' + path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, preexec_fn=lambda: os.setuid(stranger - 1), timeout=PATIENCE, env={})
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn('Permission denied', done.stderr.decode())

    def test_addresses_are_for_consoles(self):
        for words in ['eval', 'localhost:3000', '1'], ['stack', 'unix:/x'], ['close', 'localhost:3000']:
            done = subprocess.run([PROGRAM] + words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
            self.assertEqual((done.returncode, done.stdout), (2, b''))
            self.assertIn('only `console` can go to one', done.stderr.decode())


def peak_of(pid):
    try:
        with open('/proc/%d/status' % pid) as file:
            return int(re.search(r'VmHWM:\s+(\d+)', file.read()).group(1))
    except (OSError, AttributeError):       # it ended just now
        return 0


if __name__ == '__main__':
    unittest.main()
