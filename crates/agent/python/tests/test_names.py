"""What evaluated code sees, and what its value is."""

import sys
import types
import unittest

from stub import Session

main = sys.modules['__main__']


class Names(unittest.TestCase):
    def setUp(self):
        self.session = Session()
        self.added = []
        self.addCleanup(self.finish)

    def finish(self):
        for name in self.added:
            delattr(main, name)
        self.session.bye()
        self.assertEqual(self.session.still_referenced(), [])

    def put_in_main(self, name, value):
        setattr(main, name, value)
        self.added.append(name)

    def value(self, code, **more):
        event = self.session.eval(code, **more)
        self.assertEqual(event['ev'], 'value', event)
        return event['repr']

    def failure(self, code, **more):
        event = self.session.eval(code, **more)
        self.assertEqual(event['ev'], 'raised', event)
        return event

    def test_session_before_main_before_modules_before_builtins(self):
        loaded = types.ModuleType('spyhole_loaded')
        sys.modules['spyhole_loaded'] = loaded
        sys.modules['len'] = types.ModuleType('len')
        try:
            self.assertEqual(self.value('spyhole_loaded'), repr(loaded))
            self.assertEqual(self.value('len'), "<module 'len'>")
            self.put_in_main('len', 'of main')
            self.put_in_main('spyhole_loaded', 'in main')
            self.assertEqual(self.value('len, spyhole_loaded'), "('of main', 'in main')")
            self.value('len = 5')
            self.assertEqual(self.value('len'), '5')
            self.value('del len')
            self.assertEqual(self.value('len'), "'of main'")
        finally:
            del sys.modules['spyhole_loaded'], sys.modules['len']
        self.assertEqual(self.value('max(1, 2)'), '2')

    def test_every_kind_of_scope(self):
        self.put_in_main('of_main', 40)
        self.value('own = 2')
        for code in (
                'of_main + own', '(lambda: of_main + own)()', '[of_main + own for i in [1]][0]',
                'list(of_main + own for i in [1])[0]', '{i: of_main + own for i in [1]}[1]',
                'def f():\n return of_main + own\nf()',
                'def f():\n def g():\n  return of_main + own\n return g()\nf()',
                'class A:\n x = of_main + own\nA.x', 'class A:\n def m(self):\n  return of_main + own\nA().m()',
                'class A:\n class B:\n  x = [of_main + own for i in [1]][0]\nA.B.x',
                'def f(x=of_main + own):\n return x\nf()', 'eval("of_main + own")',
                'exec("x = of_main + own") or x', 'def f():\n global z\n z = of_main + own\nf()\nz'):
            self.assertEqual(self.value(code), '42', code)

    def test_a_function_called_by_the_program(self):
        self.put_in_main('holder', types.SimpleNamespace())
        self.put_in_main('of_main', 40)
        self.value('import sys\ndef f(x):\n return sys.maxsize and len([x]) + of_main\nholder.f = f')
        self.assertEqual(main.holder.f(1), 41)

    def test_builtins_the_interpreter_itself_looks_up(self):
        self.put_in_main('__import__', None)
        self.put_in_main('__build_class__', None)
        self.value('import os.path as p')
        self.assertEqual(self.value('class A(object):\n x = 1\nA.x'), '1')

    def test_an_unknown_name(self):
        for code in 'nowhere', '(lambda: nowhere)()', 'class A:\n x = nowhere':
            event = self.failure(code)
            self.assertEqual(event['chain'][-1]['type'], 'NameError')
            self.assertEqual(event['chain'][-1]['message'], "name 'nowhere' is not defined")
            self.assertEqual(len(event['chain']), 1)
            self.assertEqual(event['missing'], 'nowhere')

    def test_nothing_is_put_into_the_program(self):
        before = set(vars(main)), set(vars(sys.modules['builtins']))
        self.value('a = 1\nimport os\ndef f(): pass\nclass B: pass')
        self.value('1', console=True)
        self.assertEqual((set(vars(main)), set(vars(sys.modules['builtins']))), before)

    def test_statements(self):
        for code, text in (
                ('1 + 1', '2'), ('  1 + 1  ', '2'), ('\n\n  1 + 1\n\n', '2'), ('\t(1 +\n1)', '2'), ('1 + 1;', '2'),
                ('x = 5', 'None'), ('x = 5; x', '5'), ('x = 5\nx + 1', '6'), ('"""doc"""', "'doc'"),
                ('"""doc"""\n3', '3'), ('for i in range(3): pass\ni', '2'), ('if 1:\n  7', 'None'), ('', 'None'),
                ('# nothing', 'None'), ('1\n2\n# end', '2'), ('x = 1\r\nx', '1'), ('print', repr(print)),
                ('pass', 'None'), ('x: int = 3\nx', '3')):
            self.assertEqual(self.value(code), text, code)

    def test_future_imports_last(self):
        if sys.version_info < (3, 7):
            self.skipTest('there is none')
        self.value('from __future__ import annotations')
        self.assertEqual(self.value('def f(x: nowhere): pass\nf.__annotations__'), "{'x': 'nowhere'}")

    def test_code_that_does_not_compile(self):
        for code in ('1 +', 'a b', 'x = = 1', 'def f(:', '\x00', '\ud800', '"\udcff" + 1 1', 'return 1', '  x = 1\n y = 2',
                     "'abc", '(' * 5000, 'f(**a, *b', 'def f():\n\tif 1:\n        pass\n\tx', 'x = 5; = 6'):
            event = self.failure(code)
            self.assertEqual(event['kind'], 'syntax', (code, event))
            self.assertEqual([link['frames'] for link in event['chain']], [[]])
        event = self.failure('x = 1\ny = = 2')
        self.assertEqual(event['chain'][-1]['type'], 'SyntaxError')
        self.assertEqual(event['chain'][-1]['syntax']['line'], 2)
        self.assertEqual(event['chain'][-1]['syntax']['file'], '<eval>')
        self.assertEqual(event['chain'][-1]['syntax']['text'].strip(), 'y = = 2')
        self.assertEqual(self.value('1'), '1')

    def test_any_text(self):
        self.assertEqual(self.value('"\u20ac\U0001f40d\u202e"'), repr('\u20ac\U0001f40d\u202e'))
        self.assertEqual(self.value('"\\udc80"'), "'\\udc80'")
        event = self.session.eval('print("\\udc80")')
        self.assertEqual(event['stdout'], '\udc80\n')
        event = self.failure('raise ValueError("\\udc80")')
        self.assertEqual(event['chain'][-1]['message'], '\udc80')

    def test_the_last_value_in_a_console(self):
        self.value('40', console=True)
        self.assertEqual(self.value('_ + 2', console=True), '42')
        self.value('None', console=True)
        self.assertEqual(self.value('_', console=True), '42')
        self.value('1')
        self.assertEqual(self.value('_', console=True), '42')

    def test_leaving_a_console(self):
        for code in 'exit()', 'quit()', 'exit', 'quit', 'exit(3)', 'def f(): exit()\nf()', '1; exit()':
            event = self.session.eval(code, console=True)
            self.assertEqual((event['ev'], event['job']), ('exit', 1), code)
        for code in 'import sys\nsys.exit(3)', 'raise SystemExit(3)', 'raise SystemExit':
            event = self.failure(code, console=True)
            self.assertEqual((event['kind'], event['chain'][-1]['type']), ('raised', 'SystemExit'))
        event = self.failure('exit(3)')
        self.assertEqual(event['chain'][-1]['message'], '3')
        self.assertEqual(self.value('try:\n exit()\nexcept SystemExit: x = 1\nx', console=True), '1')

    def test_a_value_as_plain_data(self):
        for code, value in (
                ('None', None), ('True', True), ('-5', -5), ('2**70', 2**70), ('1.5', 1.5), ('"\u20ac"', '\u20ac'),
                ('[1, (2, "x"), {"a": None}]', [1, [2, 'x'], {'a': None}]), ('{}', {}), ('{"": 1}', {'': 1})):
            event = self.session.eval(code, want_value=True)
            self.assertTrue(event['has_value'], code)
            self.assertEqual(event['value'], value)
            self.assertIs(type(event['value']), type(value))
            self.assertFalse(self.session.eval(code)['has_value'])
        for code in ('{1: 2}', 'b""', '{1}', 'float("inf")', 'float("nan")', 'object()', '1j', '[[b""]]',
                     'type("L", (list,), {})()', 'l = []; l.append(l); l', '[0] * 100001', '"x" * (2 << 20)',
                     '1 << 20000', 'type("S", (str,), {})("x")'):
            event = self.session.eval(code, want_value=True)
            self.assertFalse(event['has_value'], code)

    def test_types(self):
        for code, name in (
                ('1', 'int'), ('None', 'NoneType'), ('object()', 'object'), ('int', 'type'),
                ('import collections\ncollections.OrderedDict()', 'collections.OrderedDict'),
                ('class A:\n class B: pass\nA.B()', '__main__.A.B'),
                ('class M(type):\n def __getattribute__(self, name): 1/0\nM("X", (), {})()', '__main__.X'),
                ('type("Y", (), {"__module__": 5})()', 'Y')):
            self.assertEqual(self.session.eval(code)['type'], name, code)

    def test_requests_that_make_no_sense(self):
        for message in ({'op': 'fly', 'job': 7}, {'op': 5}, {}, {'op': 'load'}):
            self.session.send(**message)
            event = self.session.receive()
            self.assertEqual(event['ev'], 'refused', message)
            self.assertEqual(event['job'], message.get('job', 0))
        self.assertEqual(self.value('1'), '1')

    def test_a_child_that_comes_back_from_fork_says_nothing(self):
        self.assertEqual(self.value(
            'import os\npid = os.fork()\nif pid:\n status = os.waitpid(pid, 0)[1]\nelse:\n print("child")\nstatus'), '0')
        self.assertEqual(self.value('1'), '1')


if __name__ == '__main__':
    unittest.main()
