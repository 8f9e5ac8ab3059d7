"""Who is not let in at a door, and what is written down about it."""

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

from test_backdoor import HAS_PROC

from spyhole import _clients, _peers, _records, _telnet, backdoor

PATIENCE = 60
STRANGER = 65532        # neither root, nor us, nor the one that stands for unknown ones

CONNECT = """
import os, socket, sys
address = sys.argv[1] if sys.argv[2] == 'unix' else ('127.0.0.1', int(sys.argv[1]))
os.setgid(%d); os.setuid(%d)
s = socket.socket(socket.AF_UNIX if sys.argv[2] == 'unix' else socket.AF_INET)
s.settimeout(%d)
try:
    s.connect(address)
    if sys.argv[2] == 'leaver':
        s.sendall(b'1 + 1\\n'); s.close(); sys.exit()
    s.sendall(b'open sesame\\n1 + 1\\n')
    while True:
        data = s.recv(1000)
        if not data:
            break
        sys.stdout.write(data.decode())
except OSError as error:
    sys.stdout.write(type(error).__name__)
""" % (STRANGER, STRANGER, PATIENCE)


class Kept(logging.Handler):
    def __init__(self):
        super(Kept, self).__init__()
        self.lines, self.changed = [], threading.Condition()

    def emit(self, record):
        with self.changed:
            self.lines.append('%s %s %s' % (record.name, record.levelname, record.getMessage()))
            self.changed.notify_all()

    def wait(self, text):
        with self.changed:
            if not self.changed.wait_for(lambda: any(text in line for line in self.lines), PATIENCE):
                raise AssertionError('%r is not in %r' % (text, self.lines))


@unittest.skipUnless(HAS_PROC, 'no /proc')
class Doors(unittest.TestCase):
    def setUp(self):
        self.kept, self.logger = Kept(), logging.getLogger('spyhole')
        before = self.logger.level, self.logger.propagate
        self.logger.addHandler(self.kept)
        self.logger.setLevel(logging.INFO)
        self.logger.propagate = False

        def restore():
            self.logger.removeHandler(self.kept)
            self.logger.level, self.logger.propagate = before
        self.addCleanup(restore)

    def serve(self, address=('127.0.0.1', 0), token=None):
        listener = backdoor.listen(address)
        name = listener.getsockname()
        thread = threading.Thread(target=backdoor.backdoor_server, args=(listener, None, token))
        thread.start()

        def end():
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive())
            listener.close()
        self.addCleanup(end)
        return name

    def talk(self, address, text):
        with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
            client.settimeout(PATIENCE)
            client.connect(address)
            client.sendall(text)
            data = b''
            while True:
                more = client.recv(1000)
                if not more:
                    return data.decode()
                data += more

    def as_stranger(self, address, how):
        done = subprocess.run([sys.executable, '-I', '-S', '-c', CONNECT, str(address), how],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
        return done.stdout.decode()

    @unittest.skipUnless(os.getuid() == 0, 'only root can be another user')
    def test_another_user_by_tcp(self):
        for token in None, 'open sesame':
            port = self.serve(token=token)[1]
            text = self.as_stranger(port, 'tcp')
            self.assertRegex(text, r'^spyhole: refused: 127\.0\.0\.1:\d+, uid %d: another user\n$' % STRANGER)
            self.kept.wait('spyhole WARNING Refused at backdoor: 127.0.0.1:')

    @unittest.skipUnless(os.getuid() == 0, 'only root can be another user')
    def test_another_user_who_has_left_is_not_root(self):
        # Such a socket is listed with uid 0.
        port = self.serve()[1]
        for _ in range(30):
            self.as_stranger(port, 'leaver')
        self.assertEqual([line for line in self.kept.lines if 'Connected' in line or 'audit' in line], [])

    @unittest.skipUnless(os.getuid() == 0, 'only root can be another user')
    def test_another_user_by_unix_socket(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o755)
        path = self.serve(os.path.join(folder, 'door'))
        self.assertEqual(self.as_stranger(path, 'unix'), 'PermissionError')
        os.chmod(path, 0o666)       # somebody thought that this would help
        self.assertRegex(self.as_stranger(path, 'unix'), r'^spyhole: refused: unix socket, pid \d+, uid %d: another' % STRANGER)

    def pretend_elsewhere(self):
        real = _peers.check_socket
        _peers.check_socket = lambda connection: _peers.Peer('192.0.2.7:4711', None, needs_token=True)
        self.addCleanup(setattr, _peers, 'check_socket', real)

    def test_from_another_machine(self):
        self.pretend_elsewhere()
        address = self.serve()
        self.assertIn('refused: 192.0.2.7:4711: it comes from another machine, and no token', self.talk(address, b'1\n'))
        address = self.serve(token='open sesame')
        for wrong in b'open\n', b'\n', b'x' * 5000 + b'\n', b'\xff\xf4\n', b'open sesame2\n':
            self.assertIn('refused: 192.0.2.7:4711: wrong token', self.talk(address, wrong))
        text = self.talk(address, b'open sesame\r\n1 + 1\nexit()\n')
        self.assertTrue(text.startswith('token: Python ') and text.endswith('>>> 2\n>>> '), text)

    def test_addresses(self):
        for name in '127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1':
            self.assertTrue(_peers.is_loopback(name), name)
        for name in '10.0.0.1', '1.127.0.0', '::2', 'fe80::1%eth0', '::ffff:10.0.0.1':
            self.assertFalse(_peers.is_loopback(name), name)
        self.assertEqual(_peers.as_listed('127.0.0.1', 80, socket.AF_INET), '0100007F:0050')
        self.assertEqual(_peers.as_listed('::1', 80, socket.AF_INET6), '0' * 24 + '01000000:0050')
        self.assertIsNone(_peers.uid_of(('127.0.0.1', 1), ('127.0.0.1', 2)))
        self.assertIsNone(_peers.uid_of(('not an address', 1), ('127.0.0.1', 2)))

    def test_own_user_over_both_families(self):
        listener = socket.socket(socket.AF_INET6)
        self.addCleanup(listener.close)
        try:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(('::', 0))
        except OSError:
            self.skipTest('no IPv6')
        listener.listen(4)
        for name in '127.0.0.1', '::1':
            client = socket.create_connection((name, listener.getsockname()[1]), PATIENCE)
            self.addCleanup(client.close)
            connection = listener.accept()[0]
            self.addCleanup(connection.close)
            self.assertEqual(_peers.check(connection.fileno()).uid, os.getuid())
            client.close()
            self.assertRaises(_peers.Refused, _peers.check, connection.fileno())

    def test_too_many(self):
        address = self.serve()
        clients = [socket.create_connection(address, PATIENCE) for _ in range(_clients.CLIENTS + 3)]
        self.kept.wait('Refused at backdoor: 127.0.0.1:')
        for client in clients:
            client.close()

    def test_a_port_in_use_and_a_place_that_is_none(self):
        address = self.serve()
        self.assertRaises(OSError, backdoor.listen, address)
        self.assertRaises(OSError, backdoor.listen, '/no/such/folder/door')
        self.assertRaises(TypeError, backdoor._prompt.namespace, 5)

    def test_what_is_written_down(self):
        self.talk(self.serve(), b' "a secret"\n"\x1b[2J"\nexit()\n')
        self.kept.wait('End of backdoor')
        audit = [line.split(': ', 1)[1] for line in self.kept.lines if line.startswith('spyhole.audit INFO')]
        self.assertEqual(audit, ['(hidden)', '"\\x1b[2J"', 'exit()'])
        self.assertEqual(_records.shortened('x' * 201), 'x' * 200 + ' ...')

    def test_a_port_in_use_and_a_folder_that_is_not_there(self):
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind(('127.0.0.1', 0))
        taken.listen(1)
        for address in taken.getsockname(), '/nowhere/door':
            self.assertIsNone(backdoor.Opener(address, None, None, None).begin())
            self.assertRaises(OSError, backdoor.listen, address)
        self.kept.wait('spyhole WARNING The backdoor can not be opened at 127.0.0.1:%d: ' % taken.getsockname()[1])
        self.kept.wait('spyhole WARNING The backdoor can not be opened at /nowhere/door: ')

    @unittest.skipUnless(hasattr(sys, 'addaudithook'), 'no audit events')
    def test_audit_events(self):
        # A hook stays for ever, so it is set in a program of its own.
        program = (
            'import sys, threading, socket, logging\n'
            'logging.disable(50)\n'
            'from spyhole import backdoor\n'
            'def hook(event, arguments):\n'
            '    if event.startswith("spyhole."):\n'
            '        print(event, arguments[-1])\n'
            '        if "forbidden" in str(arguments): raise PermissionError("no")\n'
            'sys.addaudithook(hook)\n'
            'listener = backdoor.listen(("127.0.0.1", 0))\n'
            'threading.Thread(target=backdoor.serve, args=(listener,), daemon=True).start()\n'
            's = socket.create_connection(listener.getsockname())\n'
            's.sendall(b"1\\n\'forbidden\'\\nexit()\\n")\n'
            'data = b""\n'
            'while True:\n'
            '    more = s.recv(1000)\n'
            '    if not more: break\n'
            '    data += more\n'
            'sys.stdout.write(data.decode())\n')
        done = subprocess.run([sys.executable, '-W', 'ignore', '-c', program], stdout=subprocess.PIPE, timeout=PATIENCE)
        text = done.stdout.decode()
        for part in 'spyhole.connect 127.0.0.1:', 'spyhole.line 1\n', ">>> an audit hook forbids it: PermissionError\n":
            self.assertIn(part, text)
        self.assertNotIn(">>> 'forbidden'", text)

    def test_blocked_loops_are_refused(self):
        import asyncio
        listener = backdoor.listen(('127.0.0.1', 0))
        self.addCleanup(listener.close)

        async def wrong():
            backdoor.backdoor_server(listener)
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        with self.assertRaisesRegex(RuntimeError, 'serve_async'):
            loop.run_until_complete(wrong())


class Telnet(unittest.TestCase):
    def test_any_cut_of_the_bytes_gives_the_same_lines(self):
        data = b'ab\xff\xfd\x01c\r\nd\r\0\xff\xfa\x18\x00\xff\xff\xff\xf0e\xff\xff\n\xff\xf4f\xff\xfe\x03\n'
        results = set()
        for size in range(1, len(data) + 1):
            lines = _telnet.Lines()
            for at in range(0, len(data), size):
                lines.feed(data[at:at + size])
            results.add((tuple('^C' if line is _telnet.INTERRUPT else line for line in lines.lines), lines.reply))
        self.assertEqual(results, {(('abc', 'd', 'e\ufffd', '^C', 'f'), b'\xff\xfc\x01')})

    def test_a_line_has_an_end(self):
        lines = _telnet.Lines(longest=10)
        lines.feed(b'x' * 10 + b'\n' + b'x' * 11 + b'\nshort\n')
        self.assertEqual(list(lines.lines), ['x' * 10, _telnet.TOO_LONG, 'short'])

    def test_answers_have_an_end(self):
        lines = _telnet.Lines()
        lines.feed(b'\xff\xfb\x01' * 1000)
        self.assertEqual(len(lines.reply), 3 * _telnet.ANSWERS)


if __name__ == '__main__':
    unittest.main()
