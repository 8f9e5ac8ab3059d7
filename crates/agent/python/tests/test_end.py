"""What is left when the agent has ended: nothing of it, all of the program."""

import gc
import os
import subprocess
import sys
import threading
import unittest

from stub import HERE, Session

main = sys.modules['__main__']


class End(unittest.TestCase):
    def setUp(self):
        self.kept = main.spyhole_test = {}
        self.addCleanup(main.__dict__.pop, 'spyhole_test', None)

    def keep(self, code, **more):
        session = Session()
        result = session.eval('spyhole_test["session"] = globals()\n' + code, **more)
        self.assertIn(result['ev'], ('value', 'raised'), result)
        self.assertEqual(session.bye()['left'], [])
        self.assertEqual(session.still_referenced(), [], code)
        return self.kept

    def test_whatever_the_code_kept(self):
        for code in (
                '1', '1/0', 'import sys\nspyhole_test["out"] = sys.stdout', 'spyhole_test["exit"] = exit',
                'import sys\nspyhole_test["frame"] = sys._getframe()',
                'import sys\ntry: 1/0\nexcept Exception: spyhole_test["exc"] = sys.exc_info()',
                'e = ValueError()\nspyhole_test["e"] = e\nraise e', 'spyhole_test["builtins"] = __builtins__',
                'def f():\n  yield 1\n  yield 2\ng = spyhole_test["generator"] = f()\nnext(g)',
                'import sys\nframe = sys._getframe()\nwhile frame:\n spyhole_test[frame] = frame.f_locals and 1\n frame = frame.f_back',
                'import sys\nspyhole_test["methods"] = sys.stdout.write, sys.stdout.flush, type(sys.stdout), __builtins__.__missing__',
                'import sys\ndef f(): raise KeyError\ndef trace(*a): return trace\nspyhole_test["f"] = f\nf()',
                'class A(object):\n def __repr__(self):\n  spyhole_test["frame"] = sys._getframe()\n  return "A"\nimport sys\n[A()]',
                'class A(object):\n def __repr__(self):\n  e = ValueError()\n  spyhole_test["e"] = e\n  raise e\nA()',
                'class E(Exception):\n def __str__(self):\n  spyhole_test["e"] = self, sys.exc_info()\n  return ""\nimport sys\nraise E'):
            self.keep(code)
            self.kept.clear()
            self.assertEqual(self.keep(code, console=True).pop('session').get('__name__', '__main__'), '__main__')

    def test_functions_put_into_the_program_go_on(self):
        kept = self.keep('import os\ndef helper(x): return len([x]) + limit\nlimit = 5\ndef f(x): return helper(x), os.sep, main_name\n'
                         'class C(object):\n def m(self): return helper(1)\nspyhole_test.update(f=f, c=C())')
        main.main_name = 'of main'
        try:
            self.assertEqual(kept['f'](1), (6, os.sep, 'of main'))
            self.assertEqual(kept['c'].m(), 6)
            self.assertRaises(NameError, lambda: eval('nowhere', kept['f'].__globals__))
        finally:
            del main.main_name

    def test_exit_that_was_kept(self):
        leave = self.keep('spyhole_test["exit"] = exit')['exit']
        stdin = sys.stdin
        self.assertRaises(SystemExit, leave)
        self.assertRaises(SystemExit, leave, 3)
        self.assertFalse(stdin is not None and stdin.closed)

    def test_what_the_code_named_is_freed_at_once(self):
        gc.disable()
        self.addCleanup(gc.enable)
        freed = []

        class Witness(object):
            def __del__(self):
                freed.append(1)

        for code in ('w = spyhole_test["new"]()', 'w = spyhole_test["new"]()\ndef f(): return f, w\ndef g(): return f',
                     'w = spyhole_test["new"]()\n1/0', 'w = _ = spyhole_test["new"]()\nw'):
            self.kept['new'] = Witness
            session = Session()
            session.eval(code, console=True)
            self.assertEqual(freed, [])
            session.bye()
            self.assertEqual(freed, [1], code)
            del freed[:]

    def test_no_object_stays(self):
        def round_trip():
            session = Session()
            session.eval('def f(): return 1\nimport os\nx = [1, {2: f}]\nx')
            session.eval('1/0')
            session.send(op='complete', job=1, text='os.')
            session.receive()
            session.bye()
            session.functions.clear()       # a cycle of the test's own

        for _ in range(3):
            round_trip()
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(30):
            round_trip()
        without_full_collection = len(gc.get_objects())
        self.assertLess(without_full_collection - before, 500)

    def test_threads_that_threading_knows(self):
        before = set(threading._active)
        session = Session()
        event = session.eval('import threading\nthreading.current_thread().name')
        self.assertIn('Dummy', event['repr'])
        session.bye()
        self.assertEqual(set(threading._active), before)

    def test_hanging_up(self):
        session = Session()
        session.eval('x = 1')
        session.hang_up()
        self.assertEqual(session.still_referenced(), [])
        session = Session()
        session.client.close()
        session.finish()
        self.assertEqual(session.still_referenced(), [])

    def test_a_request_that_ends_halfway(self):
        session = Session()
        session.client.sendall(b'\x50\x00\x00\x00abc')
        session.hang_up()
        self.assertEqual(session.still_referenced(), [])

    def test_a_client_that_goes_while_the_code_prints(self):
        session = Session()
        session.request('for i in range(9000): print("x" * 100)')
        session.exactly(1000)
        session.client.close()
        session.finish()
        self.assertEqual(session.still_referenced(), [])

    def test_requests_sent_ahead(self):
        # Nobody reads yet: no more than fits.
        session = Session(features=('statements', 'render', 'raised', 'control'),
                          before=[dict(op='eval', job=1, code='5', name='x', max=100), dict(op='bye')])
        self.assertEqual(session.receive()['repr'], '5')
        self.assertEqual(session.receive(), {'ev': 'bye', 'left': []})
        session.finish()
        self.assertEqual(session.still_referenced(), [])

    def test_steps_that_are_undone_backwards(self):
        done = self.kept['done'] = []
        session = Session(features=('statements', 'raised', 'render'))
        session.send(op='load', feature='probe', source=(
            'def op_probe(request):\n done = modules["__main__"].spyhole_test["done"]\n'
            ' for name in "abc": undo.append((name, lambda name=name: done.append(name) if name != "b" else 1/0))\n'
            ' tell({"ev": "probe", "job": request["job"]})\n'))
        session.send(op='probe', job=1)
        self.assertEqual(session.receive(), {'ev': 'probe', 'job': 1})
        self.assertEqual(session.bye()['left'], ['b: ZeroDivisionError'])
        self.assertEqual(done, ['c', 'a'])
        self.assertEqual(session.still_referenced(), [])


BARE = r'''
import sys, posix, marshal
modules = sorted(sys.modules)
stdout = sys.stdout
core, features, sent, at = sys.argv[1], sys.argv[2:], [], [0]
requests = [dict(op='load', feature=f.split('\0')[0], source=f.split('\0')[1])
            for f in [f.replace('\\0', '\0', 1) for f in features]]
for job, code in enumerate(['1', 'x = [1, {2: "a"}]\nx', '1/0', 'nowhere.at', 'print(5)', '{3, 1}', 'a b', 'lambda: 0']):
    requests.append(dict(op='eval', job=job, code=code, name='x', max=1000, want_value=True, console=True))
requests += [dict(op='complete', job=9, text='sys.'), dict(op='where'), dict(op='bye')]
data = b''
for request in requests:
    body = marshal.dumps(request, 2)
    data += len(body).to_bytes(4, 'little') + body
first = [data]
seen = []
def stub_send(body):
    sent.append(marshal.loads(body)['ev'])
    seen.append(sorted(sys.modules))
    return True
def stub_take():
    return first.pop() if first else b''
space = {'__builtins__': __builtins__.__dict__, '__name__': 'spyhole', 'stub_fd': 0, 'stub_now': lambda: 0.0,
         'stub_ident': lambda: 1, 'stub_tid': lambda: 1, 'stub_send': stub_send, 'stub_take': stub_take,
         'stub_arm': lambda job: None, 'stub_disarm': lambda job: None, 'stub_spawn': lambda call: False,
         'stub_control': lambda call: call(87, 1), 'stub_hangup': lambda: None}
exec(compile(core, 'core', 'exec'), space)
assert sorted(sys.modules) == modules, set(sys.modules) ^ set(modules)
assert all(names == modules for names in seen), [set(names) ^ set(modules) for names in seen]
assert list(space) == ['__builtins__'], list(space)
assert sys.stdout is stdout
print(' '.join(sent))
'''


class Modules(unittest.TestCase):
    def test_a_bare_interpreter_keeps_its_modules(self):
        from stub import FEATURES, source
        features = [name + '\\0' + source(name) for name in FEATURES]
        done = subprocess.run([sys.executable, '-I', '-S', '-c', BARE, source('core')] + features,
                              stdout=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout.decode().split(), [
            'refused', 'hello', 'value', 'value', 'raised', 'raised', 'out', 'out', 'value', 'value', 'raised', 'value',
            'candidates', 'refused', 'bye'])

    def test_importing_the_package_runs_nothing(self):
        done = subprocess.run(
            [sys.executable, '-I', '-S', '-c',
             'import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules); import spyhole\n'
             'assert set(sys.modules) - before == {"spyhole"}; assert spyhole.__version__ and spyhole.__doc__',
             os.path.dirname(HERE)], timeout=60)
        self.assertEqual(done.returncode, 0)


if __name__ == '__main__':
    unittest.main()
