"""The ispy shell's editor on a terminal, and the debugger's commands for scripts (SPYHOLE_PROGRAM)."""

import json
import os
import unittest

from test_ispy import INI, PROGRAM, Case, program
from test_socket_console import Screen


@unittest.skipUnless(PROGRAM and os.path.exists('/dev/pts/ptmx'), 'SPYHOLE_PROGRAM names no program, or no pseudo-terminals')
class Editor(Case):
    def screen(self, at):
        screen = Screen(at, command='ispy', XDG_STATE_HOME=os.path.join(self.folder, 'state'))
        self.addCleanup(self.killed, screen.pid)
        screen.until('(ispyd')
        return screen

    def killed(self, pid):
        try:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

    def test_prepared(self):
        app = self.app()
        pid = app.pid
        screen = self.screen(self.ini)
        screen.type('conn\t\r')                         # commands are completed
        screen.until('(ispyd:%d) ' % pid)
        screen.type('!proc\t\r')                        # and plugins
        screen.until('(process:%d) ' % pid)
        screen.type('ppp\x7f\x7fid\r')
        screen.until('\n%d\n' % pid)
        screen.until('(process:%d) ' % pid)
        screen.type('nonsense')
        screen.until('nonsense')
        screen.type('\x03')                             # Ctrl-C clears the line
        screen.until_it_reads()
        screen.type('\x1b[A\r')                         # the history has the last that was run
        screen.until('\n%d\n' % pid)
        screen.until('(process:%d) ' % pid)
        screen.type('exit\r')
        screen.until('(ispyd:%d) ' % pid)
        screen.type('shell pyth\t\r')
        screen.until('(python:%d) ' % pid)
        screen.type('modules os.pa\t\r')
        screen.until('\nos.path\n')
        screen.until('(python:%d) ' % pid)
        screen.type('console\r')
        screen.until('(EmbeddedConsole)\n')
        screen.until('>>> ')
        screen.type('sys.maxunic\t + 1\r')              # names of Python, with no blank after them
        screen.until('\n1114112\n')
        screen.until('>>> ')
        screen.type('mine = {"key": 40}; print("do" + "ne")\r')
        screen.until('\ndone\n')
        screen.until('>>> ')
        screen.type('mine["k\t + 2\r')
        screen.until('\n42\n')
        screen.until('>>> ')
        screen.type('import shut\t; shutil.__name__\r')
        screen.until("\n'shutil'\n")
        screen.until('>>> ')
        screen.type('exit()\r')
        screen.until('(python:%d) ' % pid)
        screen.type('\x04')                             # leaves the process
        screen.until('(ispyd) ')
        screen.type('exit\r')
        self.assertEqual(screen.end(), 0)
        folder = os.path.join(self.folder, 'state', 'spyhole', 'history')
        for name in os.listdir(folder):
            self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o777, 0o600)
        self.assertTrue(os.listdir(folder))

    def test_unprepared(self):
        app = self.app(INI % self.folder)
        screen = self.screen(str(app.pid))
        screen.until(':%d) ' % app.pid)
        screen.type('!pyth\t\r')
        screen.until('(python:%d) ' % app.pid)
        screen.type('maxuni\t\r')
        screen.until('\n1114111\n')
        screen.until('(python:%d) ' % app.pid)
        screen.type('\x04')
        self.assertEqual(screen.end(), 0)


@unittest.skipIf(PROGRAM is None, 'SPYHOLE_PROGRAM names no program')
class DebuggerForScripts(Case):
    def run_at(self, target, *words):
        return program('plugin', 'debugger', *words + ('--target', target))

    def test_prepared(self):
        app = self.app()
        name = '__main__:function'

        def gives(*words):
            code, out, error = self.run_at(self.ini, *words)
            self.assertEqual(code, 0, error)
            return out

        gives('insert', name)
        self.assertEqual(gives('list'), name + '\n')
        self.assertEqual(app.ask('call function'), 'called')
        row, = json.loads(gives('tracebacks', '--json'))
        told = row['value'][name]
        self.assertEqual((told['type'], told['message'], told['times'], told['live']), ('RuntimeError', 'xxx', 1, True))
        self.assertIn('in function\n', gives('print', name))
        self.assertTrue(gives('print', name).endswith('RuntimeError: xxx\n'))
        gives('discard', name)
        self.assertEqual(gives('tracebacks'), '{}\n')
        gives('reset')
        code, out, error = self.run_at(self.ini, 'print', name)
        self.assertEqual((code, out), (2, ''))
        self.assertIn('nothing was kept of `%s`' % name, error)
        code, out, error = self.run_at(self.ini, 'insert', 'nowhere:nothing')
        self.assertEqual((code, out), (2, ''), error)
        code, out, error = self.run_at(self.ini, 'debug', name)
        self.assertEqual((code, out), (2, ''))
        self.assertIn('`debug` talks to somebody', error)
        gives('remove', name)
        self.assertEqual(gives('list'), '')
        app.end()
        self.assertEqual(app.process.returncode, 0)

    def test_disabled(self):
        self.app(INI % self.folder)
        for words in ('insert', 'x:y'), ('list',), ('tracebacks',):
            code, out, error = self.run_at(self.ini, *words)
            self.assertEqual((code, out), (2, ''))
            self.assertIn('the debugger is disabled; in %s' % self.ini, error)

    def test_unprepared(self):
        app = self.app()
        code, out, error = self.run_at(str(app.pid), 'insert', '__main__:function')
        self.assertEqual((code, out), (2, ''))
        self.assertIn('go with the shell that has made them', error)
        self.assertIn('spyhole catch %d WHERE' % app.pid, error)


if __name__ == '__main__':
    unittest.main()
