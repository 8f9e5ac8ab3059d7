"""Exceptions as the client hears of them."""

import os
import sys
import types
import unittest

from stub import HERE, Session

main = sys.modules['__main__']


class Raised(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.session = Session()

    @classmethod
    def tearDownClass(cls):
        cls.session.bye()
        assert cls.session.still_referenced() == []

    def raised(self, code, **more):
        event = self.session.eval(code, **more)
        self.assertEqual(event['ev'], 'raised', event)
        return event

    def chain(self, code):
        return [(link['type'], link['message'], link['relation']) for link in self.raised(code)['chain']]

    def message(self, code):
        return self.raised(code)['chain'][-1]['message']

    def test_frames_are_the_code_and_the_program_alone(self):
        link = self.raised('def f():\n  return [g()]\ndef g():\n  1/0\nf()')['chain'][-1]
        self.assertEqual([frame[:3] for frame in link['frames']],
                         [['<eval>', 5, '<module>'], ['<eval>', 2, 'f'], ['<eval>', 4, 'g']])
        self.assertEqual((link['omitted'], link['notes'], link['syntax']), (0, [], None))
        path = os.path.join(HERE, 'stub.py')
        link = self.raised('import stub\nstub.source("nothing there")', name='<place>')['chain'][-1]
        self.assertEqual([frame[0] for frame in link['frames']], ['<place>', path])
        self.assertEqual(link['frames'][1][2], 'source')
        self.assertEqual(self.raised('1/0')['kind'], 'raised')

    def test_columns(self):
        code = '"\u20ac"; (1, 2,\n 3 / 0)'
        frames = self.raised(code)['chain'][-1]['frames']
        self.assertEqual(frames, [['<eval>', 2, '<module>'] + ([1, 6] if sys.version_info >= (3, 11) else [-1, -1])])
        frames = self.raised('"\u20ac" + len(\n0)')['chain'][-1]['frames']
        line = 1 if sys.version_info >= (3, 8) else 2    # before, a call had the line where it ends
        self.assertEqual(frames, [['<eval>', line, '<module>'] + ([8, -1] if sys.version_info >= (3, 11) else [-1, -1])])

    def test_chains(self):
        self.assertEqual(self.chain('1/0'), [('ZeroDivisionError', 'division by zero', None)])
        self.assertEqual(self.chain('try: 1/0\nexcept Exception as e: raise KeyError("k") from e'),
                         [('ZeroDivisionError', 'division by zero', 'cause'), ('KeyError', "'k'", None)])
        self.assertEqual(self.chain('try: 1/0\nexcept Exception: nowhere'),
                         [('ZeroDivisionError', 'division by zero', 'context'),
                          ('NameError', "name 'nowhere' is not defined", None)])
        self.assertEqual(self.chain('try: 1/0\nexcept Exception: raise KeyError from None'), [('KeyError', '', None)])
        self.assertEqual(self.chain('class E(Exception): pass\nraise E(1)'), [('__main__.E', '1', None)])

    def test_chains_that_never_end(self):
        self.assertEqual(self.chain('a, b = ValueError("a"), ValueError("b")\na.__cause__ = b\nb.__cause__ = a\nraise a'),
                         [('ValueError', 'b', 'cause'), ('ValueError', 'a', None)])
        self.assertEqual(self.chain('a = ValueError("a")\na.__context__ = a\nraise a'), [('ValueError', 'a', None)])
        chain = self.chain('e = None\nfor i in range(1000):\n n = ValueError(i)\n n.__cause__ = e\n e = n\nraise e')
        self.assertEqual([message for _, message, _ in chain], [str(i) for i in range(980, 1000)])

    def test_deep_tracebacks(self):
        link = self.raised('def f(n):\n  if n == 0: 1/0\n  f(n - 1)\nf(300)')['chain'][-1]
        self.assertEqual(len(link['frames']), 100)
        self.assertEqual(link['omitted'], 202)
        self.assertEqual([frame[1] for frame in link['frames']], [4] + [3] * 98 + [2])
        link = self.raised('def f(): f()\nf()')['chain'][-1]
        self.assertEqual((link['type'], len(link['frames'])), ('RecursionError', 100))

    def test_messages(self):
        for code, message in (
                ('raise ValueError', ''), ('raise ValueError()', ''), ('raise ValueError(5)', '5'), ('raise ValueError("x")', 'x'),
                ('raise ValueError(1, "a")', "(1, 'a')"), ('raise KeyError("k")', "'k'"), ('raise ValueError([1])', '[1]'),
                ('raise OSError(2, "gone", "f")', "[Errno 2] gone: 'f'"), ('import sys\nsys.exit()', ''),
                ('class E(Exception):\n def __str__(self): 1/0\nraise E', '<exception str() failed>'),
                ('class E(Exception):\n def __str__(self): return 5\nraise E', '<exception str() failed>'),
                ('class S(str):\n def __str__(self): return self\nraise ValueError(S("s"))', 's'),
                ('raise ValueError("y" * 100000)', 'y' * 65536 + '\u2026 (+34464 characters)'),
                ('class O(object):\n def __repr__(self): return "o"\nraise ValueError(O())', 'o'),
                ('class O(object):\n def __str__(self): return "o"\nraise ValueError(O())', 'o')):
            self.assertEqual(self.message(code), message, code)
        self.assertLess(len(self.message('raise KeyError("y" * 1000000)')), 66000)
        self.assertLess(len(self.message('raise ValueError(["y"] * 1000000, 1)')), 66000)

    def test_syntax_errors(self):
        event = self.raised('x = (1,\ny = 2')
        link = event['chain'][-1]
        self.assertEqual((event['kind'], link['type'], link['frames']), ('syntax', 'SyntaxError', []))
        self.assertEqual(link['syntax']['file'], '<eval>')
        self.assertNotIn('line', link['message'])
        event = self.raised('compile("1 +", "there", "exec")')
        link = event['chain'][-1]
        self.assertEqual((event['kind'], link['syntax']['file'], link['syntax']['line']), ('raised', 'there', 1))
        event = self.raised('e = SyntaxError("odd")\ne.lineno = e.offset = -5\ne.filename = e.text = 7\nraise e')
        self.assertEqual(event['chain'][-1]['syntax'], {'file': '', 'line': 0, 'column': 0, 'text': ''})
        self.assertEqual(self.raised('raise SyntaxError')['chain'][-1]['syntax']['line'], 0)

    def test_notes_and_groups(self):
        if sys.version_info < (3, 11):
            self.skipTest('there are none')
        link = self.raised('e = ValueError("x")\ne.add_note("first")\ne.add_note("second")\nraise e')['chain'][-1]
        self.assertEqual(link['notes'], ['first', 'second'])
        link = self.raised('e = ValueError("x")\ne.__notes__ = 5\nraise e')['chain'][-1]
        self.assertEqual(link['notes'], [])
        link = self.raised('e = ValueError("x")\ne.__notes__ = [5, "a" * 100000]\nraise e')['chain'][-1]
        self.assertEqual(link['notes'][0], '5')
        link = self.raised('raise ExceptionGroup("many", [ValueError(1), ExceptionGroup("in", [KeyError(2)])])')['chain'][-1]
        self.assertEqual(link['message'], 'many (2 sub-exceptions)')
        self.assertEqual(link['notes'], ['1: ValueError: 1', '2: ExceptionGroup: in (1 sub-exception)', '  1: KeyError: 2'])

    def test_what_was_missing(self):
        package = types.ModuleType('spyhole_package')
        package.raising = lambda: nowhere_in_the_program       # noqa
        package.part = types.ModuleType('spyhole_package.part')
        sys.modules['spyhole_package'] = package
        self.addCleanup(sys.modules.pop, 'spyhole_package')
        for code, missing in (
                ('nowhere', 'nowhere'), ('nowhere.at.all(1)', 'nowhere.at.all'), ('nowhere.at; nowhere.at.all', 'nowhere.at.all'),
                ('[x for x in nowhere.at.values()]', 'nowhere.at.values'), ('  nowhere.at', 'nowhere.at'),
                ('def f():\n return nowhere.at.x\nf()', 'nowhere.at.x'),
                ('spyhole_package.lost', 'spyhole_package.lost'), ('spyhole_package.lost.site', 'spyhole_package.lost.site'),
                ('spyhole_package.part.lost.site', 'spyhole_package.part.lost.site'),
                ('p = spyhole_package\np.lost.site', 'spyhole_package.lost'),
                ('spyhole_package.raising()', None), ('1/0', None), ('object().nowhere', None), ('(5).nowhere.x', None),
                ('raise NameError("nothing")', None), ('raise AttributeError("nothing")', None),
                ('def f():\n x += 1\nf()', None), ('{}["nowhere"]', None), ('import nowhere.at.all', None),
                ('nowhere.', None), ('try: nowhere\nexcept NameError: 1/0', None)):
            self.assertEqual(self.raised(code)['missing'], missing, code)
        package.__getattr__ = lambda name: exec('raise AttributeError("module \'spyhole_package\' has no attribute %r" % name)',
                                                {'name': name})
        if sys.version_info >= (3, 7):
            exec('def __getattr__(name): raise AttributeError("module %r has no attribute %r" % (__name__, name))',
                 package.__dict__)
            self.assertEqual(self.raised('spyhole_package.lost')['missing'], 'spyhole_package.lost')

    def test_hostile_texts(self):
        event = self.raised('class E(Exception): pass\nE.__qualname__ = "\\x1b]0;"\n'
                            'exec(compile("raise E", "\\udcff\\x1b[2J", "exec"))')
        self.assertEqual(event['chain'][-1]['type'], '__main__.\x1b]0;')
        self.assertEqual(event['chain'][-1]['frames'][-1][0], '\udcff\x1b[2J')

    def test_nothing_is_kept(self):
        self.assertNotIn('last_exc', vars(sys))
        self.raised('class E(Exception): pass\nimport weakref\ne = E()\nr = weakref.ref(e)\nraise e')
        event = self.session.eval('del e\nr()')
        self.assertEqual(event['repr'], 'None', event)
        for name in 'last_type', 'last_value', 'last_traceback', 'last_exc':
            self.assertFalse(hasattr(sys, name))


if __name__ == '__main__':
    unittest.main()
