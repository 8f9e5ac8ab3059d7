"""`name?` and `name??`: what is told comes from the objects and the files, and no code of the program runs."""

import os
import shutil
import sys
import tempfile
import unittest

from stub import Session

main = sys.modules['__main__']

MODULE = '''"""A module.

    Indented.
"""
ran = []


def decorated(function):
    return function


@decorated
def function(a, b=2, *rest, key, other=None, **named):
    """Does it.

        More.
    """
    if a:
        return (a,
                b)

    # the end
    return rest


lazy = lambda x, y=(): x
after = 1


class Outer(object):
    """Of the class."""

    class Inner:
        def __init__(self, one, *, two=ran):
            pass

        def method(self): return 1

    @classmethod
    def for_class(cls, x): pass

    @property
    def trap(self):
        ran.append('property')

    def __getattr__(self, name):
        ran.append(name)


def loose(a): return a
outer = Outer()
d = {'k v': function}
'''


class About(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix='spyhole-about-')
        with open(os.path.join(cls.folder, 'spyhole_about.py'), 'w') as file:
            file.write(MODULE)
        sys.path.insert(0, cls.folder)
        import spyhole_about
        cls.module = spyhole_about
        cls.session = Session()

    @classmethod
    def tearDownClass(cls):
        sys.path.remove(cls.folder)
        del sys.modules['spyhole_about']
        shutil.rmtree(cls.folder)
        cls.session.bye()
        assert cls.session.still_referenced() == []

    def about(self, text, source=False):
        self.session.send(op='about', job=3, text=text, source=source)
        event = self.session.receive()
        self.assertEqual((event['ev'], event['job']), ('out', 3), event)
        self.assertTrue(self.session.receive()['none'])
        self.assertEqual(self.module.ran, [])
        return event['text']

    def test_functions(self):
        text = self.about('spyhole_about.function')
        self.assertIn('signature  function(a, b=2, *rest, key, other=None, **named)\n', text)
        self.assertIn('type       function\n', text)
        self.assertTrue(text.endswith('\n\nDoes it.\n\nMore.\n'), text)
        self.assertIn('spyhole_about.py:12\n', text)
        self.assertIn('x, y=()', self.about('spyhole_about.lazy'))
        self.assertIn('for_class(cls, x)', self.about('spyhole_about.Outer.for_class'))
        self.assertIn('method(self)', self.about('spyhole_about.Outer.Inner.method'))
        self.assertIn('(a, b=2, ', self.about('spyhole_about.d["k v"]'))

    def test_builtins_and_values(self):
        self.assertIn('signature  len(obj, /', self.about('len'))
        self.assertIn('Return the number of items', self.about('len'))
        self.assertIn('type       type\n', self.about('dict'))
        self.assertIn('type       module\n', self.about('sys'))
        self.assertIn('A module.\n\nIndented.', self.about('spyhole_about'))
        self.assertIn('value      1\n', self.about('spyhole_about.after'))
        self.assertIn('length     1\n', self.about('spyhole_about.d'))

    def test_classes(self):
        text = self.about('spyhole_about.Outer')
        self.assertIn('Of the class.', text)
        self.assertIn('signature  Inner(one, *, two=<list>)\n', self.about('spyhole_about.Outer.Inner'))
        self.assertIn('type       spyhole_about.Outer\n', self.about('spyhole_about.outer'))

    def test_nothing_runs(self):
        for text in 'spyhole_about.outer.trap', 'spyhole_about.outer.nothing', 'no_such_name', 'f()', '1 + 1', '', '"a"', ']':
            self.assertIn('names nothing here that can be told', self.about(text))

    def test_source(self):
        text = self.about('spyhole_about.function', True)
        self.assertTrue(text.endswith('''
@decorated
def function(a, b=2, *rest, key, other=None, **named):
    """Does it.

        More.
    """
    if a:
        return (a,
                b)

    # the end
    return rest
'''), text)
        self.assertTrue(self.about('spyhole_about.loose', True).endswith('\n\ndef loose(a): return a\n'))
        self.assertTrue(self.about('spyhole_about.lazy', True).endswith('\n\nlazy = lambda x, y=(): x\n'))
        self.assertTrue(self.about('spyhole_about.Outer.Inner', True).endswith(
            '\n\nclass Inner:\n    def __init__(self, one, *, two=ran):\n        pass\n\n    def method(self): return 1\n'))
        self.assertTrue(self.about('spyhole_about', True).endswith("\nouter = Outer()\nd = {'k v': function}\n"))
        self.assertIn('it has no source in Python', self.about('len', True))

    def test_source_that_is_not_there(self):
        code = compile('def f(): pass', '/nowhere/x.py', 'exec')
        exec(code, main.__dict__)
        self.addCleanup(delattr, main, 'f')
        self.assertIn('its source can not be read: /nowhere/x.py', self.about('f', True))
        for name in '/dev/zero', '/proc/self/mem', '/dev/stdin.py':
            exec(compile('def f(): pass', name, 'exec'), main.__dict__)
            self.assertIn('can not be read', self.about('f', True))
        exec(compile('\n' * 500 + 'def f(): pass', self.module.__file__, 'exec'), main.__dict__)
        self.assertIn('its file has changed', self.about('f', True))


if __name__ == '__main__':
    unittest.main()
