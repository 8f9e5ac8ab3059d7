"""The ispy shell, prepared and unprepared, by the program (SPYHOLE_PROGRAM) and by plain sockets."""

import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get('SPYHOLE_PROGRAM')
PATIENCE = 120          # seconds, for a loaded machine
INI = '[ispyd]\nlisten = %s/ispyd-%%(pid)s.sock\n'
ENABLED = '[python:console]\nenabled = on\n[debugger]\nenabled = yes\n'


def package():
    """An environment in which targets find the package."""
    environment = dict(os.environ, ISPY_NAME='shop', ISPY_PASSWORD='open sesame', PYTHONUNBUFFERED='1')
    environment['PYTHONPATH'] = os.path.dirname(HERE)
    environment.pop('PYTHONHOME', None)
    return environment


class App(object):
    """A program of ours, ended with the test."""

    def __init__(self, folder, *words):
        words = list(words) or [os.path.join(HERE, 'ispy_app.py'), folder]
        self.process = subprocess.Popen(
            [sys.executable, '-B'] + words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True,
            env=package(), cwd=folder)
        self.folder = folder
        self.pid = self.process.pid
        assert self.line() == 'ready %d' % self.pid

    def line(self):
        # The process ends with the test, and so does this wait.
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        try:
            return self.process.stdout.readline().strip()
        finally:
            timer.cancel()

    def ask(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()
        return self.line()

    def path(self, pid=None):
        return os.path.join(self.folder, 'ispyd-%d.sock' % (pid or self.pid))

    def log(self):
        with open(os.path.join(self.folder, 'log')) as file:
            return file.read()

    def end(self):
        """Lets it end by itself."""
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        for one in self.process.stdin, self.process.stdout:
            if not one.closed:
                try:
                    one.close()
                except OSError:
                    pass


def program(*words, **options):
    done = subprocess.Popen([PROGRAM] + list(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, cwd=options.get('cwd'))
    timer = threading.Timer(PATIENCE, done.kill)
    timer.start()
    try:
        out, error = done.communicate(options.get('text', '').encode())
    finally:
        timer.cancel()
    return done.returncode, out.decode(), error.decode()


def talk(path, text):
    """What a plain client gets for its lines."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE)
    heard = b''
    try:
        client.connect(path)
        client.sendall(text.encode())
        client.shutdown(socket.SHUT_WR)
        while True:
            data = client.recv(1 << 16)
            if not data:
                return heard.decode()
            heard += data
    finally:
        client.close()


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix='spyhole-ispy-'))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.maxDiff = None

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, 'w') as file:
            file.write(text)
        return path

    def app(self, ini=None, *words):
        self.ini = self.write('ispyd.ini', ini if ini is not None else INI % self.folder + ENABLED)
        app = App(self.folder, *words)
        self.addCleanup(app.kill)
        return app

    def replay(self, name, app, *words):
        """Feeds the lines of a session that was written down, and expects the session."""
        with open(os.path.join(HERE, 'sessions', name)) as file:
            session = file.read()
        for word, value in [
                ('PID', str(app.pid)), ('FOLDER/', self.folder + '/'), ("'FOLDER'", repr(self.folder)), ('CWD', self.folder),
                ('ARGV', repr([os.path.join(HERE, 'ispy_app.py'), self.folder])), ('EXECUTABLE', sys.executable),
                ('PREFIX', sys.prefix), ('APP', os.path.join(HERE, 'ispy_app.py')),
                ('PACKAGE', os.path.join(os.path.dirname(HERE), 'spyhole')), ('VERSION', sys.version), ('UID', str(os.getuid())), ('GID', str(os.getgid())),
                ('PLUGINS', repr(self.plugins))]:
            session = session.replace(word, value)
        typed, prompts = [], True
        for line in session.split('\n'):
            found = re.match(r'(\([a-z]+(:\d+)?\)|>>>|\.\.\.|your name\?|\(Pdb\)) (.*)$', line)
            if found:
                typed.append(found.group(3))
                prompts = found.group(3) != 'prompt off'
            elif not prompts:
                typed.append(line)
                prompts = line == 'prompt on'
        code, out, error = program('ispy', *(list(words) + ['--transcript', '--no-history']), text='\n'.join(typed) + '\n')
        out = re.sub(r'object at 0x[0-9a-f]+>', 'object at 0xADDRESS>', out)
        out = re.sub(r'(?m)^thread_id = \d+$', 'thread_id = THREAD', out)
        out = re.sub(r'(?m)^start_time = .*\d{4}$', 'start_time = TIME', out)
        out = re.sub(r'(?m)^duration = \d+\.\d{6} ', 'duration = SECONDS ', out)
        # Frames of the standard library, which differ from version to version.
        library = os.path.dirname(os.__file__)
        out = re.sub(r'(File: "%s/.*\n(  .*\n)?)+' % re.escape(library), 'FRAMES\n', out)
        self.assertEqual(normal(out), normal(session), error)
        return code, error

    plugins = ['debugger', 'process', 'python', 'wsgi']


def normal(session):
    # Python's own list of commands ends some lines with blanks.
    return '\n'.join(line.rstrip() for line in session.strip().split('\n'))


@unittest.skipIf(PROGRAM is None, 'SPYHOLE_PROGRAM names no program')
class Sessions(Case):
    def test_prepared(self):
        code, error = self.replay('prepared.txt', self.app(), self.ini_path())
        self.assertEqual((code, error), (0, ''))

    def ini_path(self):
        return os.path.join(self.folder, 'ispyd.ini')

    def test_console(self):
        app = self.app()
        code, error = self.replay('console.txt', app, self.ini)
        self.assertEqual((code, error), (0, ''))
        log = app.log()
        self.assertIn("spyhole.audit INFO unix socket, pid ", log)
        self.assertIn('twice(21)\n', log)
        self.assertEqual(log.count('Connected to ispy shell'), 1)
        self.assertEqual(log.count('End of ispy shell'), 1)

    def test_what_the_ispyd_readme_shows(self):
        app = self.app()
        self.assertEqual(self.replay('readme-1.txt', app, self.ini), (0, ''))
        threads = len(os.listdir('/proc/%d/task' % app.pid))
        self.assertEqual(app.ask('call function'), 'called')
        self.assertEqual(self.replay('readme-2.txt', app, self.ini), (0, ''))
        # With the last probe point goes what kept watch.
        deadline = time.monotonic() + PATIENCE
        while len(os.listdir('/proc/%d/task' % app.pid)) >= threads:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        app.ask('request /orders')
        self.assertEqual(self.replay('readme-3.txt', app, self.ini), (0, ''))
        app.end()
        self.assertEqual(app.process.returncode, 0)

    def test_unprepared(self):
        app = self.app()
        code, error = self.replay('unprepared.txt', app, str(app.pid))
        self.assertEqual((code, error), (0, ''))
        app.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, app.pid, os.WSTOPPED | os.WNOWAIT)
        code, error = self.replay('unprepared.txt', app, str(app.pid))
        self.assertEqual((code, error), (0, ''))

    def test_requests_and_threads_of_a_stopped_process(self):
        app = self.app()
        app.ask('request /orders')
        app.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, app.pid, os.WSTOPPED | os.WNOWAIT)
        code, out, error = program('ispy', str(app.pid), text='!wsgi\nrequests\nexit\n!python\nthreads\n')
        self.assertEqual(code, 0, error)
        self.assertRegex(out, r': GET /orders\?page=2&token=<redacted> for ')
        self.assertIn('HTTP_COOKIE = <redacted>', out)
        self.assertIn('finish.wait()', out)
        self.assertIn('MainThread', out)
        code, out, error = program('requests', str(app.pid), '--json')
        row, = json.loads(out)
        self.assertEqual((row['id'], row['path']), (1, '/orders'))
        self.assertGreaterEqual(row['age_s'], 0)

    def test_a_console_in_an_unprepared_process(self):
        app = self.app()
        code, out, error = program('ispy', str(app.pid), '--no-history',
                                   text='!python\nconsole\nsys.argv[1]\n1/0\nexit()\nplatform\nfilesystemencoding\n')
        self.assertEqual((code, out), (0, '%r\nlinux\nutf-8\n' % self.folder), error)
        self.assertIn('ZeroDivisionError', error)
        self.assertIn('left %d as it was' % app.pid, error)

    def test_the_debugger_in_an_unprepared_process(self):
        app = self.app()
        shell = subprocess.Popen([PROGRAM, 'ispy', str(app.pid), '--transcript', '--no-history'], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self.addCleanup(shell.kill)
        prompt = b'(debugger:%d) ' % app.pid

        def type(text, until):
            shell.stdin.write(text)
            heard = b''
            while until not in heard:       # a prompt may have come with it
                ready, _, _ = select.select([shell.stdout], [], [], PATIENCE)
                data = os.read(shell.stdout.fileno(), 4096) if ready else b''
                if not data:
                    self.fail('%r: %r, %r' % (text, heard, shell.stderr.read() if ready else None))
                heard += data
            return heard.decode()

        type(b'!debugger\ninsert __main__:function\nlist\n', b'\n__main__:function\n')
        self.assertEqual(app.ask('call function'), 'called')
        told = type(b'tracebacks\n', b'}\n')
        self.assertIn("{'__main__:function': <exception 1: RuntimeError: xxx>}\n", told)
        told = type(b'print __main__:function\n', b'xxx\n')
        self.assertIn(', line 37, in function\nRuntimeError: xxx\n', told)
        told = type(b'debug __main__:function\nsecret_number + 1\n', b'43\n')
        self.assertIn("-> raise RuntimeError('xxx')\n", told)
        told = type(b'q\ndiscard __main__:function\ntracebacks\nremove __main__:function\nlist\nhelp exit\n', b'the process.\n')
        self.assertIn('{}\n', told)
        self.assertNotIn('\n__main__:function\n', told)
        out, error = shell.communicate()
        self.assertEqual(shell.returncode, 0, error)
        self.assertIn('left %d as it was' % app.pid, error.decode())

    def test_several_clients_at_once(self):
        app = self.app()
        first = socket.socket(socket.AF_UNIX)
        first.settimeout(PATIENCE)
        self.addCleanup(first.close)
        first.connect(app.path())
        self.assertEqual(first.recv(100), b'(ispyd:%d) ' % app.pid)
        code, out, error = program('ispy', self.ini, text='connect\n!process\npid\n')
        self.assertEqual((code, out), (0, '%d\n' % app.pid), error)
        first.sendall(b'!python\n')
        self.assertEqual(first.recv(100), b'(python:%d) ' % app.pid)

    def test_a_server_that_went_away(self):
        app = self.app()
        app.end()
        code, out, error = program('ispy', self.ini, text='servers\nconnect\n')
        self.assertEqual((code, out), (1, 'Nobody listens.\n'))
        self.assertIn('nobody listens there', error)
        app = self.app(INI % self.folder + ENABLED)
        code, out, error = program('ispy', self.ini, text='connect\n!python\nconsole\nimport os\nos._exit(3)\n1\n')
        self.assertEqual(code, 5, error)
        self.assertIn('is gone', error)
        # What it left behind is recognised.
        code, out, error = program('ispy', self.ini, text='servers\n')
        self.assertEqual((code, out), (0, 'Nobody listens.\n'))
        self.assertIn('sockets passed over: 1', error)

    def test_a_wrong_ini_is_told(self):
        path = self.write('wrong.ini', '[ispyd]\nlisten = here\n')
        code, out, error = program('ispy', path)
        self.assertEqual(code, 2)
        self.assertIn('line 2: `listen` is an absolute path or HOST:PORT', error)
        code, out, error = program('ispy', os.path.join(self.folder, 'none.ini'))
        self.assertEqual(code, 2)
        self.assertIn('No such file', error)
        path = self.write('odd.ini', INI % self.folder + 'lisen = x\n')
        code, out, error = program('ispy', path)
        self.assertEqual(code, 0)
        self.assertIn('unknown key `lisen` in [ispyd]', error)

    def test_commands_of_plugins_for_scripts(self):
        shop = shutil.copy(os.path.join(HERE, 'ispy_shop.py'), os.path.join(self.folder, 'stock.py'))
        app = self.app(INI % self.folder + 'plugins = %s nowhere.at_all\n[stock]\ndepth = 3\n' % shop)

        def run(*words):
            code, out, error = program('plugin', *words + ('--target', self.ini))
            return code, out, error

        self.assertEqual(run('process', 'pid')[:2], (0, '%d\n' % app.pid))
        code, out, error = run('stock', 'orders', '2', '--json')
        self.assertEqual(code, 0, error)
        self.assertEqual(json.loads(out), [{
            'pid': app.pid, 'plugin': 'stock', 'command': 'orders', 'ok': True, 'error': None,
            'value': [{'id': 1, 'item': 'lamp', 'paid': False}, {'id': 2, 'item': 'lamp', 'paid': True}]}])
        self.assertEqual(run('stock', 'count')[:2], (0, 'counting\n5\n'))
        self.assertEqual(run('stock', 'depth')[:2], (0, '3\n'))
        code, out, error = run('stock', 'orders', 'many')
        self.assertEqual((code, out), (2, ''))
        self.assertIn('LIMIT of `orders` is no int: `many`', error)
        code, out, error = run('stock', 'fail', '--json')
        self.assertEqual(code, 1)
        self.assertIn('LookupError: no such', json.loads(out)[0]['error']['message'])
        self.assertNotIn('\x1b', run('stock', 'fail')[2])
        self.assertIn('`talk` talks to somebody', run('stock', 'talk')[2])
        self.assertIn('there is no plugin `shop`, but', run('shop', 'x')[2])
        self.assertIn('the plugin `at_all` can not be used: ', run('at_all', 'x')[2])
        code, out, error = program('ispy', self.ini, text='connect\nplugins\n!stock\nhelp orders\ntalk\nme\nfail\ncount\n')
        self.assertEqual(code, 0, error)
        self.assertIn("['debugger', 'process', 'python', 'stock', 'wsgi']", out)
        self.assertIn('nowhere.at_all can not be used: ', out)
        self.assertIn('orders [LIMIT] [ITEMS]...\n    The orders, oldest first.\n', out)
        self.assertIn('hello me\n', out)
        self.assertIn("the command `fail` failed: LookupError: no such", out)
        self.assertIn('counting\n5\n', out)
        # Unprepared, it has the plugins that are built in.
        code, out, error = program('plugin', 'process', 'cwd', '--target', str(app.pid), '--json')
        self.assertEqual(json.loads(out)[0]['value'], self.folder)

    def test_the_program_is_called_ispy(self):
        app = self.app()
        link = os.path.join(self.folder, 'ispy')
        os.symlink(PROGRAM, link)
        done = subprocess.Popen([link, self.ini], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        out, _ = done.communicate(b'connect 1\n!process\npid\n')
        self.assertEqual(out.decode(), '%d\n' % app.pid)

    def test_a_server_at_a_port(self):
        free = socket.socket()
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
        free.close()
        app = self.app('[ispyd]\nlisten = 127.0.0.1:%d\n' % port)
        if app.ask('problem') != 'None':
            return              # somebody took it meanwhile
        code, out, error = program('ispy', self.ini, text='servers\nconnect\n!process\npid\n')
        self.assertEqual((code, out), (0, "1: (2, ('127.0.0.1', %d))\n%d\n" % (port, app.pid)), error)


class Doors(Case):
    """The manager's own part, by plain sockets."""

    def test_the_socket_is_private_and_goes_with_the_process(self):
        app = self.app()
        status = os.lstat(app.path())
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o600)
        self.assertTrue(stat.S_ISSOCK(status.st_mode))
        self.assertIn('(process:%d) %d\n' % (app.pid, app.pid), talk(app.path(), '!process\npid\n'))
        app.end()
        self.assertEqual(app.process.returncode, 0)
        self.assertFalse(os.path.lexists(app.path()))

    def test_children_have_doors_of_their_own(self):
        app = self.app()
        child = int(app.ask('fork').split()[1])
        self.assertIn('%d\n' % child, talk(app.path(child), '!process\npid\n'))
        self.assertIn('%d\n' % app.pid, talk(app.path(), '!process\npid\n'))
        # The child has none of its parent's. A root of a test's own may have no /proc.
        if not os.path.exists('/proc/%d/fd' % child):
            return app.end()
        links = [os.readlink('/proc/%d/fd/%s' % (child, one)) for one in os.listdir('/proc/%d/fd' % child)]
        self.assertEqual(sum(link.startswith('socket:') for link in links), 1, links)
        app.end()
        child_path = app.path(child)
        app.process.wait(PATIENCE)
        # The child ends with its parent, and says so by the end of its socket.
        try:
            talk(child_path, '')
        except OSError:
            pass
        self.assertFalse(os.path.lexists(app.path()))

    def test_a_stale_socket_is_replaced(self):
        stale = os.path.join(self.folder, 'fixed.sock')
        left = socket.socket(socket.AF_UNIX)
        left.bind(stale)
        left.close()
        self.app('[ispyd]\nlisten = %s\n' % stale)
        self.assertIn('(ispyd:', talk(stale, ''))

    def test_what_stands_in_the_way_is_left_there(self):
        taken = os.path.join(self.folder, 'fixed.sock')
        ini = '[ispyd]\nlisten = %s\n' % taken
        os.symlink(os.path.join(self.folder, 'elsewhere'), taken)
        app = self.app(ini)
        self.assertEqual(app.ask('problem'), 'cannot listen at %s: a symbolic link stands there' % taken)
        self.assertTrue(os.path.islink(taken))
        os.unlink(taken)
        self.write('fixed.sock', 'text')
        self.assertIn('a file that is no socket', self.app(ini).ask('problem'))
        os.unlink(taken)
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(taken)
        listener.listen(1)
        app = self.app(ini)
        self.assertIn('another process listens there', app.ask('problem'))
        self.assertIn('No ispy shell: cannot listen at', app.log())
        app.end()
        self.assertTrue(os.path.lexists(taken))

    def test_a_folder_that_is_not_there(self):
        app = self.app('[ispyd]\nlisten = %s/none/a.sock\n' % self.folder)
        self.assertIn('No such file or directory', app.ask('problem'))
        app = self.app('[ispyd]\nlisten = %s/%s\n' % (self.folder, 'x' * 120))
        self.assertIn('the path is longer than 107 bytes', app.ask('problem'))

    def test_wrong_files(self):
        for text, told in [('', 'it has no section [ispyd]'), ('[ispyd]\n', 'its section [ispyd] has no `listen`'),
                           ('nothing', 'line 1: it stands before any section')]:
            app = self.app(text)
            self.assertEqual(app.ask('problem'), '%s: %s' % (self.ini, told))
            self.assertIn('spyhole ERROR No ispy shell: ', app.log())
            app.end()
        app = self.app(INI % self.folder + 'liste = 1\n')
        self.assertIn('spyhole WARNING %s: line 3: unknown key `liste` in [ispyd]' % self.ini, app.log())

    def test_what_is_disabled_says_so(self):
        app = self.app(INI % self.folder)
        told = talk(app.path(), '!python\nconsole\n')
        self.assertIn('the console is disabled; in %s' % self.ini, told)
        self.assertNotIn('>>>', told)
        told = talk(app.path(), '!debugger\ninsert __main__:function\nlist\n')
        self.assertEqual(told.count('the debugger is disabled; in %s' % self.ini), 2)

    def test_a_client_that_vanishes(self):
        app = self.app()
        for text in b'', b'!python', b'!python\nconsole\nwhile True: pass\n':
            client = socket.socket(socket.AF_UNIX)
            client.connect(app.path())
            client.sendall(text)
            client.close()
        # Code that runs goes on, as everywhere; the others are served.
        self.assertIn('%d\n' % app.pid, talk(app.path(), '!process\npid\n'))

    def test_code_is_interrupted(self):
        app = self.app()
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        self.addCleanup(client.close)
        client.connect(app.path())
        client.sendall(b"!python\nconsole\nprint('be' + 'gun')\nwhile True: pass\n")
        heard = b''
        while b'begun' not in heard:
            heard += client.recv(1 << 16)
        while not heard.endswith(b'KeyboardInterrupt\n>>> '):
            client.sendall(b'\x03')
            heard += client.recv(1 << 16)

    def test_requests(self):
        app = self.app()
        for line, known in ('request /a', True), ('bare /b', False):
            app.ask(line)
            told = talk(app.path(), '!wsgi\nrequests\n')
            self.assertIn('finish.wait()', told)
            self.assertIn("PATH_INFO = '%s'" % line[-2:], told)
            self.assertIn("QUERY_STRING = 'page=2&token=<redacted>'", told)
            self.assertIn('HTTP_COOKIE = <redacted>', told)
            self.assertEqual('==== 1 ====' in told, known, told)
            self.assertEqual(bool(re.search(r'start_time = .*\nduration = \d+\.\d+ seconds', told)), known)
            self.assertEqual(app.ask('finish'), 'finished')
            self.assertIn('No active transactions.', talk(app.path(), '!wsgi\nrequests\n'))

    def test_threads(self):
        app = self.app()
        app.ask('request /a')
        told = talk(app.path(), '!python\nthreads\n')
        self.assertIn('(MainThread) ====', told)
        self.assertIn('(server) ====', told)
        self.assertIn('  finish.wait()\n', told)
        self.assertNotIn('_shell.py', told)


if __name__ == '__main__':
    unittest.main()
