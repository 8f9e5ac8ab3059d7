"""Candidates come from what is there, and asking runs no code of the program."""

import os
import shutil
import sys
import tempfile
import types
import unittest

from stub import Session

main = sys.modules['__main__']


class Complete(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.session = Session()
        main.spyhole_test = []

    @classmethod
    def tearDownClass(cls):
        del main.spyhole_test
        cls.session.bye()
        assert cls.session.still_referenced() == []

    def complete(self, text):
        self.session.send(op='complete', job=7, text=text)
        event = self.session.receive()
        self.assertEqual((event['ev'], event['job']), ('candidates', 7), event)
        return event['start'], dict(event['names'])

    def define(self, code):
        event = self.session.eval(code)
        self.assertEqual(event['ev'], 'value', event)

    def test_bare_names(self):
        module = sys.modules['spyhole_mod'] = types.ModuleType('spyhole_mod')
        self.addCleanup(sys.modules.pop, 'spyhole_mod')
        self.define('spyhole_mine = 1\ndef spyhole_func(): pass\nclass spyhole_Class: pass')
        self.assertEqual(self.complete('x = (spyhole_')[1], {
            'spyhole_mine': 'value', 'spyhole_func': 'function', 'spyhole_Class': 'class', 'spyhole_mod': 'module',
            'spyhole_test': 'value'})
        self.assertEqual(self.complete('lamb'), (0, {'lambda': 'keyword'}))
        self.assertEqual(self.complete('a + isin'), (4, {'isinstance': 'function'}))
        self.assertEqual(self.complete('KeyErr')[1], {'KeyError': 'class'})
        self.assertEqual(self.complete('exi')[1], {'exit': 'function'})
        self.assertEqual(self.complete('\u20ac + spyhole_mi'), (4, {'spyhole_mine': 'value'}))
        self.assertEqual(self.complete('spyhole_none')[1], {})
        start, names = self.complete('')
        self.assertIn('print', names)
        self.assertNotIn('__import__', names)
        self.assertIn('__import__', self.complete('__imp')[1])
        self.assertEqual(module.__name__, 'spyhole_mod')

    def test_attributes(self):
        self.define('''
class Base(object):
 __slots__ = ()
 def method(self): pass
 @property
 def prop(self): spyhole_test.append("prop")
 @classmethod
 def for_class(cls): pass
 @staticmethod
 def static(): pass
class Thing(Base):
 __slots__ = ("slot", "empty", "__dict__")
 plain = 5
 Inner = Base
 def __getattr__(self, name): spyhole_test.append(name)
 def __dir__(self): spyhole_test.append("dir")
thing = Thing()
thing.slot = thing.own = Thing()
thing.slot.deep = {}
''')
        start, names = self.complete('foo(thing.')
        self.assertEqual(start, 10)
        self.assertEqual(names, {
            'method': 'function', 'prop': 'property', 'for_class': 'function', 'static': 'function', 'slot': 'property',
            'empty': 'property', 'plain': 'value', 'Inner': 'class', 'own': 'value'})
        self.assertEqual(self.complete('thing.slot.own.d')[1], {})
        self.assertEqual(self.complete('thing.slot.d')[1], {'deep': 'value'})
        self.assertEqual(self.complete('thing.own.deep.set')[1], {'setdefault': 'function'})
        self.assertEqual(self.complete('thing.prop.')[1], {})
        self.assertEqual(self.complete('thing.empty.')[1], {})
        self.assertEqual(self.complete('thing.nothing.')[1], {})
        self.assertEqual(self.complete('thing.Inner.me')[1], {'method': 'function'})
        self.assertEqual(self.complete('Thing.pl')[1], {'plain': 'value'})
        self.assertEqual(self.complete('thing.plain.bit_l')[1], {'bit_length': 'function'})
        self.assertIn('__class__', self.complete('thing.__')[1])
        self.assertEqual(self.complete('sys.modul')[1], {'modules': 'value'})
        self.assertEqual(self.complete('sys.version_info.maj')[1], {'major': 'property'})
        self.assertEqual(main.spyhole_test, [])

    def test_classes_that_fight_back(self):
        self.define('''
class Meta(type):
 def __getattribute__(cls, name): spyhole_test.append(name); 1/0
 def __dir__(cls): 1/0
 @property
 def trap(cls): spyhole_test.append("trap")
class Trap(metaclass=Meta):
 x = 1
 def __getattribute__(self, name): spyhole_test.append(name); 1/0
 @property
 def __dict__(self): spyhole_test.append("dict")
class Descriptor(object):
 def __get__(self, thing, kind): spyhole_test.append("get")
class Lazy(object):
 value = Descriptor()
class Names(object): pass
trap, lazy, names = Trap(), Lazy(), Names()
names.__dict__.update({"not an identifier": 1, "fine": 2})
names.__dict__[5] = 6
''')
        self.assertEqual(self.complete('trap.x')[1], {'x': 'value'})
        self.assertEqual(self.complete('Trap.x')[1], {'x': 'value'})
        self.assertEqual(self.complete('Trap.trap.')[1], {})
        self.assertEqual(self.complete('lazy.value.')[1], {})
        self.assertEqual(self.complete('Lazy.value.')[1], {})
        self.assertEqual(self.complete('names.')[1], {'fine': 'value'})
        self.assertEqual(main.spyhole_test, [])

    def test_what_is_no_dotted_name(self):
        for text in 'foo().', '"abc".', 'x[0].', '[0].', ']].', 'x[].', 'x["a].', '1.', '.', '..', 'sys..', 'nothing.x', 'x\n.', '5':
            self.assertEqual(self.complete(text)[1], {}, text)

    def test_keys(self):
        self.define('''
class Odd(dict):
 def __getitem__(self, key): spyhole_test.append(key)
 def keys(self): spyhole_test.append("keys")
d = {"name": {"first": 1, "fi'x": [{"deep": 1}]}, "na\\\\me": 2, 5: 3, 57: 4, None: 5, (1, 2): 6, b"x": 7}
odd = Odd(one=1)
pairs = [d, (d,)]
''')
        self.assertEqual(self.complete('foo(d["na'), (6, {'"name"]': 'key'}))
        self.assertEqual(self.complete("d['"), (2, {"'name']": 'key', "'na\\\\me']": 'key'}))
        self.assertEqual(self.complete('d['), (2, {"'name']": 'key', "'na\\\\me']": 'key', '5]': 'key', '57]': 'key', 'None]': 'key',
                                                  "b'x']": 'key'}))
        self.assertEqual(self.complete('d[5'), (2, {'5]': 'key', '57]': 'key'}))
        self.assertEqual(self.complete('d["name"]["'), (10, {'"first"]': 'key', "\"fi'x\"]": 'key'}))
        self.assertEqual(self.complete('pairs[1][0]["name"]["f')[1], {'"first"]': 'key', "\"fi'x\"]": 'key'})
        self.assertEqual(self.complete('d["name"].setd')[1], {'setdefault': 'function'})
        self.assertEqual(self.complete('odd["')[1], {"\"one\"]": 'key'})
        self.assertEqual(self.complete('odd["one"].')[1], {})
        self.assertEqual(self.complete('pairs[9].')[1], {})
        self.assertEqual(main.spyhole_test, [])

    def test_modules(self):
        folder = tempfile.mkdtemp(dir='/tmp')
        self.addCleanup(shutil.rmtree, folder)
        os.makedirs(folder + '/spyhole_pack/inner')
        for name in 'spyhole_pack/__init__.py', 'spyhole_pack/part.py', 'spyhole_pack/inner/deep.py', 'spyhole_one.py', 'spyhole-no.py':
            with open(os.path.join(folder, name), 'w') as file:
                file.write('import main_spyhole_imported')
        sys.path.insert(0, folder)
        self.addCleanup(sys.path.remove, folder)
        self.assertEqual(self.complete('import spyhole_')[1], {'spyhole_pack': 'module', 'spyhole_one': 'module'})
        self.assertEqual(self.complete('import os, spyhole_o'), (11, {'spyhole_one': 'module'}))
        self.assertEqual(self.complete('from spyhole_p')[1], {'spyhole_pack': 'module'})
        self.assertEqual(self.complete('import spyhole_pack.'), (20, {'part': 'module', 'inner': 'module'}))
        self.assertEqual(self.complete('from spyhole_pack.inner import '), (31, {'deep': 'module'}))
        self.assertEqual(self.complete('from os import getpi')[1], {'getpid': 'function'})
        self.assertEqual(self.complete('from os import path, getpi'), (21, {'getpid': 'function'}))
        self.assertEqual(self.complete('import os as ')[1].get('len'), 'function')
        self.assertNotIn('spyhole_pack', sys.modules)
        self.assertIn('import', self.complete('import')[1])
        self.assertIn('import', self.complete('impor')[1])

    def test_files(self):
        folder = tempfile.mkdtemp(dir='/tmp')
        self.addCleanup(shutil.rmtree, folder)
        os.mkdir(folder + '/data')
        for name in 'data.csv', 'dat"a', '.hidden', 'other':
            open(os.path.join(folder, name), 'w').close()
        text = 'open("%s/da' % folder
        self.assertEqual(self.complete(text), (len(text) - 2, {'data/': 'path', 'data.csv': 'path'}))
        self.assertEqual(set(self.complete("x = '%s/" % folder)[1]), {'data/', 'data.csv', 'other'})
        self.assertEqual(set(self.complete("x = '%s/.h" % folder)[1]), {'.hidden'})
        self.assertEqual(self.complete('open("/nowhere/at/all/')[1], {})
        self.assertEqual(self.complete('# "%s/' % folder)[1], {})
        self.assertEqual(self.complete('"abc')[1], {})

    def test_many(self):
        self.define('class Many(object): pass\nmany = Many()\nfor i in range(2000): setattr(many, "n%04d" % i, i)\nmany._n = 1')
        start, names = self.complete('many.')
        self.assertEqual(list(names) if sys.version_info >= (3, 7) else sorted(names), ['n%04d' % i for i in range(500)])

    def test_private_ones_last(self):
        self.define('class P(object): _b = a = __c__ = 1')
        self.session.send(op='complete', job=7, text='P._')
        names = [name for name, _ in self.session.receive()['names']]
        self.assertEqual(names[0], '_b')
        self.assertIn('__c__', names)


if __name__ == '__main__':
    unittest.main()
