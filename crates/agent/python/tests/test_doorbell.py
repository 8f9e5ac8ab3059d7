"""The doorbell, rung by the program itself (SPYHOLE_PROGRAM names it)."""

import concurrent.futures
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from test_backdoor import HAS, HAS_PROC, PATIENCE, App, until

PROGRAM = os.environ.get('SPYHOLE_PROGRAM')
HERE = os.path.dirname(os.path.abspath(__file__))
STRANGER = 20000 + os.getpid() % 40000        # each run has its own
os.environ['STRANGER'] = str(STRANGER)


def spyhole(*words, **options):
    done = subprocess.run([PROGRAM] + [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=PATIENCE, **options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def seen(pid):
    """What an outsider counts: threads, descriptors, context switches."""
    with open('/proc/%d/status' % pid) as file:
        text = file.read()
    switches = [int(n) for n in re.findall(r'ctxt_switches:\s+(\d+)', text)]
    return len(os.listdir('/proc/%d/task' % pid)), len(os.listdir('/proc/%d/fd' % pid)), switches


def owner(pid):
    with open('/proc/%d/status' % pid) as file:
        return int(re.search(r'Uid:\s+(\d+)', file.read()).group(1))


def blocked(pid):
    with open('/proc/%d/stat' % pid) as file:
        return file.read().rpartition(')')[2].split()[0] == 'S'


@unittest.skipUnless(PROGRAM and HAS_PROC, 'no SPYHOLE_PROGRAM')
class Doorbell(unittest.TestCase):
    def app(self, world, **environment):
        app = App(world, 'bell_app.py', **environment)

        def end():
            self.assertTrue(app.end(), 'the program has ended')
        self.addCleanup(end)
        return app

    def let_in(self, world):
        app = self.app(world)
        before = None
        for _ in range(3):
            code, out, err = spyhole('-v', 'eval', app.pid, 'given - 1, answer, __import__("os").getpid()', '--door', 'doorbell')
            self.assertEqual((code, out), (0, '(42, 42, %d)\n' % app.pid), err)
            self.assertIn('door doorbell', err)
            self.assertIn('left %d as it was' % app.pid, err)
            # Once the program has surely begun its work.
            before = before or self.settled(app.pid)
        until(lambda: seen(app.pid)[0] == before[0], 'its threads are gone')
        if world not in ('eventlet', 'gevent'):     # their hubs may have got a pipe for themselves
            until(lambda: seen(app.pid)[:2] == before, 'its descriptors are as they were')
        return app

    def settled(self, pid):
        last = [None]

        def same():
            last.append(seen(pid)[:2])
            time.sleep(0.02)
            return len(last) > 5 and len(set(last[-5:])) == 1
        until(same, 'it does not change')
        return last[-1]

    def log_says(self, app, *texts):
        for text in texts:
            until(lambda: text in app.log(), '%r is logged' % text)

    def test_sleeping(self):
        app = self.let_in('sleep')
        self.log_says(app, 'spyhole WARNING Connected to local console: unix socket, pid', 'WARNING End of local console',
                      'spyhole.audit INFO unix socket, pid')

    def test_blocked_in_a_lock(self):
        self.let_in('lock')

    def test_busy(self):
        self.let_in('busy')

    def test_after_fork(self):
        self.let_in('forked')

    def test_asyncio(self):
        self.log_says(self.let_in('asyncio'), 'Connected to local console')

    @unittest.skipUnless(HAS['uvloop'], 'no uvloop')
    def test_uvloop(self):
        self.log_says(self.let_in('uvloop'), 'Connected to local console')

    @unittest.skipUnless(HAS['gevent'], 'no gevent')
    def test_gevent(self):
        self.log_says(self.let_in('gevent'), 'Connected to local console')

    @unittest.skipUnless(HAS['eventlet'], 'no eventlet')
    def test_eventlet(self):
        self.log_says(self.let_in('eventlet'), 'Connected to local console')

    @unittest.skipUnless(HAS['uvloop'], 'no environment with servers')
    def test_gunicorn(self):
        app = App('gunicorn', 'bell_app.py')
        try:
            code, out, err = spyhole('eval', app.pid, 'given', '--door', 'doorbell')
            self.assertEqual((code, out), (0, '43\n'), err)
        finally:
            app.process.terminate()         # the master ends its worker
            app.process.wait()
            app.end()

    @unittest.skipUnless(HAS['uvloop'], 'no environment with servers')
    def test_flask(self):
        self.let_in('flask')

    @unittest.skipUnless(os.getuid() == 0, 'only root can be another user')
    def test_where_tracing_is_forbidden(self):
        app = self.app('hidden')
        # What is below then belongs to root, for everybody who is not the kernel.
        until(lambda: os.stat('/proc/%d/maps' % app.pid).st_uid == 0
              and owner(app.pid) == STRANGER, 'it hides itself')

        def stranger():
            os.setgroups([])
            os.setgid(STRANGER)
            os.setuid(STRANGER)
        seize = ('import ctypes, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n'
                 'sys.exit(0 if libc.ptrace(0x4206, %d, 0, 0) == -1 and ctypes.get_errno() == 1 else 1)' % app.pid)
        python = shutil.which('python3', path='/usr/bin') or sys.executable
        copy = os.path.join('/tmp', 'spyhole-program-%d' % os.getpid())
        shutil.copy(PROGRAM, copy)
        self.addCleanup(os.unlink, copy)
        if subprocess.run([python, '-c', 'pass'], preexec_fn=stranger, stderr=subprocess.DEVNULL).returncode == 0:
            self.assertEqual(subprocess.run([python, '-c', seize], preexec_fn=stranger).returncode, 0)
        for door in (), ('--door', 'doorbell'):
            done = subprocess.run([copy, 'eval', str(app.pid), 'given'] + list(door), preexec_fn=stranger, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=PATIENCE, env={})
            self.assertEqual((done.returncode, done.stdout), (0, b'43\n'), done.stderr)
        done = subprocess.run([copy, 'ps', '--json', 'bell_app.py'], preexec_fn=stranger, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=PATIENCE, env={})
        row, = [row for row in json.loads(done.stdout.decode()) if row['pid'] == app.pid]
        self.assertEqual((row['ask']['ok'], row['ask']['door'], row['look']['ok']), (True, 'doorbell', False))
        self.assertIn('undumpable', row['look']['reason'])
        done = subprocess.run([copy, 'eval', str(app.pid), '1', '--door', 'thread'], preexec_fn=stranger, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=PATIENCE, env={})
        self.assertEqual(done.returncode, 4, done.stderr)
        # Root rings as well: folder and socket are made as the process's user.
        code, out, err = spyhole('eval', app.pid, 'given', '--door', 'doorbell')
        self.assertEqual((code, out), (0, '43\n'), err)
        folder = '/tmp/spyhole-%d' % STRANGER
        self.assertEqual((os.stat(folder).st_uid, os.stat(folder).st_mode & 0o777), (STRANGER, 0o700))
        # A stranger's folder in its place.
        self.addCleanup(shutil.rmtree, folder)
        os.chown(folder, STRANGER - 1, STRANGER - 1)
        code, out, err = spyhole('eval', app.pid, 'given', '--door', 'doorbell')
        self.assertEqual(code, 1)
        self.assertIn("`/tmp/spyhole-%d` is a link, somebody else's, or open to others" % STRANGER, err)
        os.chown(folder, STRANGER, STRANGER)
        # A link there.
        os.rename(folder, folder + '-aside')
        os.symlink(folder + '-aside', folder)
        code, out, err = spyhole('eval', app.pid, 'given', '--door', 'doorbell')
        os.unlink(folder)
        os.rename(folder + '-aside', folder)
        self.assertEqual(code, 1)
        self.assertIn("`/tmp/spyhole-%d` is a link, somebody else's, or open to others" % STRANGER, err)

        # Neither root nor its user.
        def another():
            os.setgroups([])
            os.setuid(STRANGER - 1)
        done = subprocess.run([copy, 'eval', str(app.pid), 'given', '--door', 'doorbell'], preexec_fn=another, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=PATIENCE, env={})
        self.assertEqual((done.returncode, done.stdout), (4, b''), done.stderr)

    def test_interrupt_and_several_at_once(self):
        app = self.app('sleep')
        code, out, err = spyhole('eval', app.pid, 'while True: pass', '--timeout', '500ms', '--door', 'doorbell')
        self.assertEqual(code, 1)
        self.assertIn('timed out after 500ms', err)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda i: spyhole('eval', app.pid, 'given + %d' % i, '--door', 'doorbell'), range(8)))
        self.assertEqual([(code, out) for code, out, _ in answers], [(0, '%d\n' % (43 + i)) for i in range(8)])
        until(lambda: seen(app.pid)[0] == 1, 'its threads are gone')

    def test_close(self):
        app = self.app('sleep')
        console = subprocess.Popen([PROGRAM, 'console', str(app.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        console.stdin.write(b'given\n')
        console.stdin.flush()
        self.assertEqual(console.stdout.readline(), b'43\n')
        code, out, err = spyhole('close', app.pid)
        self.assertEqual((code, err), (0, '%d was told to close its door\n' % app.pid))
        self.log_says(app, 'End of local console')
        console.communicate()
        until(lambda: seen(app.pid)[0] == 1, 'its threads are gone')
        code, out, err = spyhole('eval', app.pid, 'given', '--door', 'doorbell')
        self.assertEqual((code, out), (0, '43\n'), err)

    def with_port(self, world='sleep'):
        free = socket.socket()
        self.addCleanup(free.close)
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)      # of connections that have ended
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
        app = self.app(world, BELL_PORT=str(port))
        return app, port, free

    def test_port(self):
        for world in ['sleep', 'asyncio'] + [world for world in ('gevent', 'eventlet') if HAS[world]]:
            app, port, free = self.with_port(world)
            words = 'eval', app.pid, 'given', '--port', port
            free.listen(1)
            code, out, err = spyhole(*words)
            self.assertEqual(code, 1)
            self.assertIn('its doorbell cannot be rung: port %d of the loopback: ' % port, err)
            free.close()
            for _ in range(2):
                code, out, err = spyhole('-v', *words)
                self.assertEqual((code, out), (0, '43\n'), err)
                self.assertIn('door doorbell', err)
            self.log_says(app, 'Connected to local console: 127.0.0.1:%d, uid %d' % (port, os.getuid()), 'End of local console')
            # The other way is open as well.
            self.assertEqual(spyhole('eval', app.pid, 'given', '--door', 'doorbell')[:2], (0, '43\n'))
        code, out, err = spyhole('eval', self.app('sleep').pid, '1', '--port', port)
        self.assertEqual(code, 1)
        self.assertIn('did not call back within 2s', err)
        self.assertEqual(spyhole('eval', app.pid, '1', '--port', '0')[0], 2)

    def test_somebody_else_at_the_port(self):
        app, port, listener = self.with_port()
        listener.listen(8)
        # A server that has nothing to do with it hears nothing, whatever it says.
        for greeting in b'', b'HTTP/1.1 400 Bad Request\n', b'spyhole 1-1.0000000000000000\n', b'x' * 5000:
            os.kill(app.pid, 45)
            connection, _ = listener.accept()
            connection.settimeout(PATIENCE)
            if greeting:
                connection.sendall(greeting)
            else:
                connection.shutdown(socket.SHUT_WR)
            try:
                self.assertEqual(connection.recv(100), b'')
            except ConnectionResetError:
                pass
            connection.close()
            until(lambda: seen(app.pid)[0] == 1, 'its thread is gone')
        listener.close()
        self.assertEqual(spyhole('eval', app.pid, 'given', '--port', port)[:2], (0, '43\n'))

    @unittest.skipUnless(os.getuid() == 0, 'only root can be another user')
    def test_another_user_at_the_port(self):
        app, port, free = self.with_port()
        free.close()
        with open('/proc/%d/stat' % app.pid) as file:
            start = file.read().rpartition(')')[2].split()[19]
        program = ('import os, socket, sys\nos.setuid(int(sys.argv[3]))\ns = socket.socket()\n'
                   's.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\ns.bind(("127.0.0.1", int(sys.argv[1])))\ns.listen(1)\n'
                   'print(flush=True)\nc, _ = s.accept()\nc.sendall(sys.argv[2].encode() + b"\\n")\nc.settimeout(60)\nprint(c.recv(10))')
        process = subprocess.Popen([sys.executable, '-c', program, str(port), 'spyhole %d-%s.0' % (app.pid, start), str(STRANGER)],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(process.stdout.readline(), b'\n')
        os.kill(app.pid, 45)
        self.assertEqual(process.communicate()[0], b"b''\n")
        self.log_says(app, 'Refused at local console: port %d: 127.0.0.1:%d, uid %d: another user' % (port, port, STRANGER))

    def test_storm_of_rings_and_nobody_there(self):
        app = self.app('sleep')
        for _ in range(3000):
            os.kill(app.pid, 45)
        os.kill(app.pid, 54)
        until(lambda: seen(app.pid)[0] == 1, 'its threads are gone')
        code, out, err = spyhole('eval', app.pid, 'given', '--door', 'doorbell')
        self.assertEqual((code, out), (0, '43\n'), err)

    def test_no_name_plate_and_one_that_lies(self):
        programs = [('import time; print(flush=True); time.sleep(600)', 'it has no doorbell'),
                    ('import signal, time\nfor n in 45, 54: signal.signal(n, lambda *a: None)\n'
                     'print(flush=True)\nwhile True: time.sleep(1)', 'did not call back within 2s'),
                    ('import signal, time\nfor n in range(35, 60): signal.signal(n, lambda *a: 1/0)\n'
                     'print(flush=True)\ntime.sleep(600)', 'it has no doorbell')]
        for program, words in programs:
            process = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE)
            try:
                process.stdout.readline()
                code, out, err = spyhole('eval', process.pid, '1', '--door', 'doorbell')
                self.assertEqual(code, 1)
                self.assertIn(words, err)
                self.assertIsNone(process.poll())
                if 'no doorbell' in words:
                    self.assertIn('has no door to close', spyhole('close', process.pid)[2])
            finally:
                process.kill()
                process.wait()
                process.stdout.close()

    @unittest.skipUnless(os.getuid() == 0, 'only root can change its root')
    def test_no_folder_for_the_socket(self):
        root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, root)
        program = ('import os, spyhole, sys\nspyhole.install()\nos.chroot(sys.argv[1])\nprint(flush=True)\n'
                   'for line in sys.stdin: print(os.listdir("/"), flush=True)')
        process = subprocess.Popen([sys.executable, '-c', program, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        process.stdout.readline()
        told = []
        for folder in None, 'tmp', 'tmp/spyhole-0':
            if folder is not None:
                os.mkdir(os.path.join(root, folder))
                os.chmod(os.path.join(root, folder), 0o755)
            code, out, err = spyhole('eval', process.pid, '1', '--door', 'doorbell')
            self.assertEqual((code, out), (1, ''), err)
            told.append(err.splitlines()[0])
            if folder == 'tmp':
                os.rmdir(os.path.join(root, 'tmp/spyhole-0'))
        self.assertEqual([text.partition('rung: ')[2] for text in told][::2],
                         ['No such file or directory (os error 2)', '`/tmp/spyhole-0` is a link, somebody else\'s, or open to others'])
        self.assertIn('did not call back within 2s', told[1])       # it has no /proc there
        process.stdin.write(b'\n')
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), b"['tmp']\n")

    @unittest.skipUnless(os.getuid() == 0 and shutil.which('unshare'), 'only root can change its root and mount')
    def test_no_library_for_the_end_of_a_thread(self):
        root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, root)
        os.mkdir(os.path.join(root, 'proc'))
        os.mkdir(os.path.join(root, 'tmp'))
        program = ('import os, spyhole, subprocess, sys\nspyhole.install()\nsubprocess.check_call(["mount", "-t", "proc", "proc", sys.argv[1] + "/proc"])\n'
                   'os.chroot(sys.argv[1])\nprint(os.getpid(), flush=True)\n'
                   'for line in sys.stdin: print(sorted(os.listdir("/")), flush=True)')
        process = subprocess.Popen(['unshare', '--mount', sys.executable, '-c', program, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        pid = int(process.stdout.readline())
        code, out, err = spyhole('eval', pid, '1', '--door', 'doorbell')
        self.assertEqual((code, out), (1, ''), err)
        self.assertIn('did not call back within 2s', err)
        process.stdin.write(b'\n')
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), b"['proc', 'tmp']\n")
        self.assertIsNone(process.poll())

    def test_shown_by_ps(self):
        app = self.app('sleep')
        rows = [row for row in json.loads(spyhole('ps', '--json')[1]) if row['pid'] == app.pid]
        self.assertEqual(rows[0]['ask']['door'], 'doorbell')


INSTALL = 'import sys, os, signal, threading, logging\nlogging.basicConfig(stream=sys.stdout, format="%(message)s")\nimport spyhole\n'


class Install(unittest.TestCase):
    def program(self, text):
        done = subprocess.run([sys.executable, '-c', INSTALL + text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.decode()

    def refused(self, text):
        return self.program('try:\n    %s\nexcept (RuntimeError, ValueError) as error:\n    print(error)\n'
                            'print(signal.getsignal(54) == signal.SIG_DFL or "left over")' % text)

    def test_refusals(self):
        taken = 'signal.signal(signal.SIGUSR1, lambda *a: None); spyhole.install(signal=signal.SIGUSR1)'
        self.assertEqual(self.refused(taken), 'SIGUSR1 is taken already: by __main__.<lambda>\nTrue\n')
        self.assertIn('it is ignored on purpose', self.refused(taken.replace('lambda *a: None', 'signal.SIG_IGN')))
        self.assertIn('SIGRTMIN+11 is taken already', self.refused('signal.signal(45, lambda *a: None); spyhole.install()'))
        self.assertIn('port is a number from 1 to 65535, not 0\nTrue', self.refused('spyhole.install(port=0)'))
        self.assertIn('not SIGTERM', self.refused('spyhole.install(signal=signal.SIGTERM)'))
        restricted = 'signal.signal = lambda number, handler: None; spyhole.install()'     # what mod_wsgi puts there
        self.assertIn('takes signal.signal() for itself, as mod_wsgi does\nTrue', self.refused(restricted))
        self.assertIn('in the main thread of the main interpreter alone', self.program(
            'def run():\n    try: spyhole.install()\n    except RuntimeError as error: print(error)\n'
            't = threading.Thread(target=run); t.start(); t.join()'))
        self.assertIn('installed already', self.refused('spyhole.install(); spyhole.install()').replace('left over', ''))

    @unittest.skipUnless(HAS_PROC, 'no /proc')
    def test_costs_nothing_until_it_is_rung(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        shutil.copytree(os.path.join(os.path.dirname(HERE), 'spyhole'), os.path.join(folder, 'spyhole'))
        program = (
            'import os, sys, time\n'
            'import logging, signal, threading, json\n'
            'import tracemalloc\n'
            'if sys.argv[1] == "memory": tracemalloc.start()\n'
            'def memory(): return tracemalloc.get_traced_memory()[0]\n'
            'def counts(): return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))\n'
            'counts(); before, was, start = counts(), memory(), time.process_time()\n'
            'import spyhole; spyhole.install()\n'
            'took = time.process_time() - start\n'
            'print(counts() == before, took, memory() - was, flush=True)\n'
            'sys.stdin.read()\n')
        environment = dict(os.environ, PYTHONPATH=folder)
        environment.pop('PYTHONDONTWRITEBYTECODE', None)
        took, grown = [], []
        # The least of some is what it costs; the others show the machine's load.
        for turn in range(80):
            if turn >= 8 and min(took) < 0.001:
                break
            what = 'memory' if turn % 2 else 'time'
            process = subprocess.Popen([sys.executable, '-c', program, what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            same, seconds, size = process.stdout.readline().split()
            self.assertEqual(same, b'True')
            if what == 'time':
                took.append(float(seconds))
            elif turn > 1:          # the first ones compile it
                grown.append(int(size))
            until(lambda: blocked(process.pid), 'it waits')
            before = seen(process.pid)
            select.select([], [], [], 0.3)
            self.assertEqual(seen(process.pid), before)        # nothing woke up
            process.communicate()
        self.assertLess(min(took), 0.001)
        self.assertLess(min(grown), 200 << 10)

    @unittest.skipUnless(os.path.exists('/dev/pts/ptmx'), 'no pseudo-terminals')
    def test_prompt_on_the_terminal(self):
        pid, fd = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [sys.executable, '-c', INSTALL + (
                'import time\nspyhole.install(tty=signal.SIGUSR2)\n'
                'def work():\n    inside = 7\n    print("rea" + "dy", flush=True)\n    end = time.time() + 600\n'
                '    while time.time() < end and not os.path.exists(sys.argv[1]): time.sleep(0.01)\n'
                '    print("wo" + "rked", flush=True)\nwork()\n'), '/nowhere'])
        text = ['']

        def until_shown(what):
            end = time.monotonic() + PATIENCE
            while what not in text[0]:
                if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
                    raise AssertionError('%r is not in %r' % (what, text[0]))
                text[0] += os.read(fd, 1 << 16).decode('utf-8', 'replace').replace('\r', '')
            found, text[0] = text[0], ''
            return found
        try:
            until_shown('ready')
            os.kill(pid, signal.SIGUSR2)
            self.assertIn('Python prompt in <string>', until_shown('>>> '))
            os.write(fd, b'inside * 6\n')
            self.assertIn('42\n', until_shown('42\n>>> '))
            os.write(fd, b'sys.argv[1] = "/"\n')
            until_shown('>>> ')
            os.write(fd, b'\x04')
            until_shown('worked')
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(fd)

    def test_no_terminal(self):
        done = subprocess.run([sys.executable, '-c', INSTALL + 'spyhole.install(tty=signal.SIGUSR2)\nos.kill(os.getpid(), signal.SIGUSR2)\n'
                               'print("goes on")'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
                              timeout=PATIENCE)
        self.assertRegex(done.stdout.decode(), '^No prompt: there is no controlling terminal .*\ngoes on\n$')


if __name__ == '__main__':
    unittest.main()
