"""The ispy shell of Flask under gunicorn, by the program (SPYHOLE_PROGRAM)."""

import json
import os
import select
import socket
import subprocess
import sys
import unittest

from test_ispy import ENABLED, HERE, INI, PATIENCE, PROGRAM, Case, package, program

try:
    import flask
    import gunicorn
    HAS_GUNICORN = True
except ImportError:
    HAS_GUNICORN = False


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
