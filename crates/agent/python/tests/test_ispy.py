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
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get('SPYHOLE_PROGRAM')
PATIENCE = 120          # seconds, for a loaded machine
INI = '[ispyd]\nlisten = %s/ispyd-%%(pid)s.sock\n'
ENABLED = '[python:console]\nenabled = on\n[debugger]\nenabled = yes\n'


try:
    import flask
    import gunicorn
    HAS_GUNICORN = True
except ImportError:
    HAS_GUNICORN = False


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
                ('PREFIX', sys.prefix), ('VERSION', sys.version), ('UID', str(os.getuid())), ('GID', str(os.getgid())),
                ('PLUGINS', repr(self.plugins))]:
            session = session.replace(word, value)
        typed, prompts = [], True
        for line in session.split('\n'):
            found = re.match(r'(\([a-z]+(:\d+)?\)|>>>|\.\.\.|your name\?) (.*)$', line)
            if found:
                typed.append(found.group(3))
                prompts = found.group(3) != 'prompt off'
            elif not prompts:
                typed.append(line)
                prompts = line == 'prompt on'
        code, out, error = program('ispy', *(list(words) + ['--transcript', '--no-history']), text='\n'.join(typed) + '\n')
        self.assertEqual(normal(out), normal(session), error)
        return code, error

    plugins = ['process', 'python', 'wsgi']


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
        self.assertIn("['process', 'python', 'stock', 'wsgi']", out.replace("'debugger', ", ''))
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


@unittest.skipIf(PROGRAM is None or not HAS_GUNICORN, 'SPYHOLE_PROGRAM names no program, or gunicorn and Flask are missing')
class Gunicorn(Case):
    """Flask under gunicorn: two workers, loaded by each, or by the master before it forks them."""

    def serve(self, *words):
        self.ini = self.write('ispyd.ini', INI % self.folder + ENABLED)
        self.pipes, self.lines = {}, []
        for name in 'begun', 'go', 'ready':
            os.mkfifo(os.path.join(self.folder, name))
            # Open for both, it has neither a beginning nor an end.
            self.pipes[name] = os.open(os.path.join(self.folder, name), os.O_RDWR | os.O_CLOEXEC)
            self.addCleanup(os.close, self.pipes[name])
        self.write('settings.py', 'import os\ndef post_worker_init(worker):\n'
                   '    with open(os.path.join(%r, "ready"), "w") as pipe:\n'
                   '        pipe.write("%%d\\n" %% os.getpid())\n' % self.folder)
        environment = dict(package(), ISPY_FOLDER=self.folder)
        environment['PYTHONPATH'] += os.pathsep + HERE
        master = subprocess.Popen(
            [sys.executable, '-B', '-m', 'gunicorn', '-w', '2', '-b', 'unix:%s/web' % self.folder, '--timeout', '600',
             '-c', 'settings.py', '--graceful-timeout', '3', '--log-file', 'gunicorn.log'] + list(words) + ['ispy_site:application'],
            env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.end, master)
        workers = set()
        while len(workers) < 2:
            workers.add(int(self.heard('ready')))
        return master, sorted(workers)

    def end(self, master):
        if master.poll() is None:
            master.terminate()
            try:
                master.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                master.kill()
                master.wait()

    def heard(self, name):
        """The next line that a process writes into a pipe."""
        while not any(one == name for one, _ in self.lines):
            ready, _, _ = select.select([self.pipes[name]], [], [], PATIENCE)
            if not ready:
                with open(os.path.join(self.folder, 'gunicorn.log')) as log:
                    self.fail('nothing is heard of gunicorn:\n' + log.read())
            self.lines.extend((name, line) for line in os.read(self.pipes[name], 4096).decode().split())
        found = [line for one, line in self.lines if one == name][0]
        self.lines.remove((name, found))
        return found

    def check(self, master, workers, listening):
        code, out, error = program('ispy', self.ini, text='servers\n')
        self.assertEqual(code, 0, error)
        self.assertEqual(out, ''.join("%d: (1, '%s/ispyd-%d.sock')\n" % (number, self.folder, pid)
                                      for number, pid in enumerate(sorted(listening), 1)))
        web = socket.socket(socket.AF_UNIX)
        web.settimeout(PATIENCE)
        self.addCleanup(web.close)
        web.connect(os.path.join(self.folder, 'web'))
        web.sendall(b'GET /wait?page=2&token=abc HTTP/1.0\r\nCookie: id=7\r\n\r\n')
        pid = int(self.heard('begun'))
        self.assertIn(pid, workers)
        number = sorted(listening).index(pid) + 1
        code, out, error = program('ispy', self.ini, '--transcript', text=(
            'connect %d\n!wsgi\nrequests\nexit\n!python\nthreads\nconsole\nflask = ispy_site.flask\nflask.name\nexit()\n' % number))
        self.assertEqual(code, 0, error)
        self.assertIn('(wsgi:%d) requests\n' % pid, out)
        self.assertIn('\n==== 1 ====\n', out)
        self.assertRegex(out, r'duration = \d+\.\d+ seconds')
        self.assertIn("PATH_INFO = '/wait'", out)
        self.assertIn("QUERY_STRING = 'page=2&token=<redacted>'", out)
        self.assertIn('HTTP_COOKIE = <redacted>', out)
        self.assertIn('in wait\n', out)
        self.assertIn(">>> flask.name\n'ispy_site'\n", out)
        code, out, error = program('plugin', 'wsgi', 'requests', '--target', self.ini, '--json')
        self.assertEqual(code, 0, error)
        rows = {row['pid']: row['value'] for row in json.loads(out)}
        self.assertEqual(set(rows), set(listening))
        self.assertEqual({one for one, value in rows.items() if value}, {pid})
        self.assertEqual(rows[pid][0]['environ']['REQUEST_METHOD'], "'GET'")
        # From outside the same is seen.
        code, out, error = program('requests', str(pid), '--json')
        row, = json.loads(out)
        self.assertEqual((row['id'], row['method'], row['path']), (1, 'GET', '/wait'))
        self.assertIsNotNone(row['age_s'])
        os.write(self.pipes['go'], b'gone on\n')
        heard = b''
        while not heard.endswith(b'gone on\n'):
            data = web.recv(1 << 16)
            self.assertTrue(data, heard)
            heard += data
        self.end(master)
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith('.sock')], [])

    def test_each_worker_loads_it(self):
        master, workers = self.serve()
        self.check(master, workers, workers)

    def test_the_master_loads_it(self):
        master, workers = self.serve('--preload')
        self.check(master, workers, workers + [master.pid])


if __name__ == '__main__':
    unittest.main()
