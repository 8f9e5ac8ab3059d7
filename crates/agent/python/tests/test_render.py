"""Texts of values: as Python's own where they fit, bounded where they do not."""

import array
import collections
import resource
import subprocess
import sys
import unittest

from stub import HERE, Session

main = sys.modules['__main__']
MIB = 1 << 20

try:
    import dataclasses
except ImportError:         # 3.6
    dataclasses = None


class Rendering(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.session = Session()

    @classmethod
    def tearDownClass(cls):
        cls.session.bye()
        assert cls.session.still_referenced() == []

    def setUp(self):
        main.spyhole_test = None
        self.addCleanup(delattr, main, 'spyhole_test')

    def render(self, value, **more):
        main.spyhole_test = value
        event = self.session.eval('spyhole_test', **more)
        self.assertEqual(event['ev'], 'value', event)
        return event

    def assertOwn(self, *values):
        for value in values:
            event = self.render(value)
            self.assertEqual(event['repr'], repr(value))
            self.assertFalse(event['truncated'], value)

    def test_as_python_does(self):
        Point = collections.namedtuple('Point', 'x y')

        class Sub(Point):
            pass

        class L(list):
            pass

        class D(dict):
            pass

        class S(set):
            pass

        class F(frozenset):
            pass

        class B(bytearray):
            pass

        class T(str):
            pass

        class N(int):
            pass

        class Q(collections.deque):
            pass

        class C(collections.Counter):
            pass

        counter = collections.Counter('abracadabra')
        ordered = collections.OrderedDict([('b', 1), ('a', [2])])
        default = collections.defaultdict(list, {1: [2]})
        self.assertOwn(
            None, True, 0, -1, 10**300, 1.5, float('nan'), 1j, '', 'x', "it's", '"', '\x00\u20ac\ud800', b'', b'\xff"',
            bytearray(b'a'), B(b'a'), T('t'), N(5), (), (1,), (1, 2), [], [1, [2]], L([1]), {}, {'b': 1, 'a': {}}, D(a=1),
            set(), {1}, {1, 2, 10}, S([1]), S(), F(), F([2]), frozenset(), frozenset([1]), Point(1, [2]), Sub(1, 2),
            ordered, collections.OrderedDict(), default, counter, C('aab'), collections.Counter(),
            collections.deque([1, 2]), collections.deque([1], 3), Q([1]), {1: 2}.keys(), {1: 2}.values(), {1: 2}.items(),
            ordered.keys(), ordered.values(), ordered.items(), type.__dict__['__dict__'], int.__dict__.__class__({1: [2]}),
            ValueError(), ValueError('x'), KeyError(1, [2]), OSError(2, 'x', 'f'), array.array('d', [1.5]), array.array('d'),
            range(5), slice(1), int, len, sys, object, Ellipsis, [None, (True, {1.5: b'x'})], memoryview(b'')[0:0].format)

    def test_dataclasses(self):
        if dataclasses is None:
            self.skipTest('there are none')
        Plain = dataclasses.make_dataclass('Plain', [('a', int), ('b', list, dataclasses.field(default_factory=list)),
                                                     ('hidden', int, dataclasses.field(default=0, repr=False))])
        Frozen = dataclasses.make_dataclass('Frozen', ['x'], frozen=True)

        class Own(Plain):
            def __repr__(self):
                return 'own'

        cycle = Plain(1)
        cycle.b.append(cycle)
        self.assertOwn(Plain(1), Plain(1, [Frozen('y')]), Frozen(Plain(2)), Own(1), cycle)
        event = self.render(Plain(1, 'x' * (2 * MIB)))
        self.assertTrue(event['truncated'])
        self.assertLess(len(event['repr']), MIB + 100)
        half = object.__new__(Plain)
        self.assertIn('repr raised AttributeError', self.render(half)['repr'])

    def test_cycles(self):
        l, d, t, o = [], {}, ([],), collections.OrderedDict()
        l.append(l)
        d[1] = d
        t[0].append(t)
        o[1] = o
        q = collections.deque()
        q.append(q)
        default = collections.defaultdict(list)
        default[1] = default
        view = {}
        view[1] = view.values()
        error = ValueError()
        error.args = (error,)
        self.assertOwn(l, d, t, o, q, default, view)
        self.assertEqual(self.render(error)['repr'], 'ValueError(ValueError(...))' if sys.version_info >= (3, 7)
                         else 'ValueError(ValueError(...),)')

    def test_sets_are_in_order(self):
        words = {'pear', 'apple', 'fig'}
        self.assertEqual(self.render(words)['repr'], "{'apple', 'fig', 'pear'}")
        self.assertEqual(self.render({1, 'a', None, (2,)})['repr'], "{'a', (2,), 1, None}")
        self.assertEqual(self.render(frozenset(words))['repr'], "frozenset({'apple', 'fig', 'pear'})")
        self.assertIsNone(self.render(words)['key'])

    def test_keys(self):
        thing = object()
        text = repr(thing)
        for value, key in (
                ({'b': 1, 'a': 2}, "{'a': 2, 'b': 1}"), ({'a': 1}, None), ([{'b': 1, 'a': 2}], "[{'a': 2, 'b': 1}]"),
                (thing, '<object object>'), ([thing, 1], '[<object object>, 1]'), ({thing: thing}, '{<object object>: <object object>}'),
                (1, None), ('x at 0x12', "'x'"), (collections.OrderedDict([('b', 1), ('a', 2)]), None),
                ({'x': {'b': {2, 1}, 'a': ()}}, "{'x': {'a': (), 'b': {1, 2}}}")):
            self.assertEqual(self.render(value).get('key'), key, text)

    def test_a_repr_that_fails(self):
        for body, why in (
                ('1/0', 'ZeroDivisionError: division by zero'), ('return 5', 'TypeError: '), ('return None', 'TypeError: '),
                ('raise SystemExit(3)', 'SystemExit: 3'),
                ('return self.__repr__()', 'RecursionError: maximum recursion depth exceeded')):
            event = self.session.eval('class A(object):\n def __repr__(self):\n  %s\n[1, A(), 2]' % body)
            self.assertRegex(event['repr'], r'^\[1, <__main__.A object at 0x[0-9a-f]+ \(repr raised ')
            self.assertIn(why, event['repr'])
            self.assertTrue(event['repr'].endswith(')>, 2]'))
            self.assertNotIn(' at 0x', event['key'])
        event = self.session.eval('class E(Exception):\n def __str__(self): 1/0\nclass A(object):\n def __repr__(self): raise E\nA()')
        self.assertIn('(repr raised __main__.E: <exception str() failed>)', event['repr'])
        event = self.session.eval('class S(str):\n def __getitem__(self, i): 1/0\n def __str__(self): 1/0\n'
                                  'class A(object):\n def __repr__(self): return S("fine")\nA()')
        self.assertEqual(event['repr'], 'fine')

    def test_a_repr_that_fails_with_a_ring_of_exceptions(self):
        event = self.session.eval(
            'class E(Exception):\n def __str__(self):\n  try: 1/0\n  except ZeroDivisionError: return "odd"\n'
            'class A(object):\n def __repr__(self):\n  a, b, c = E(), E(), E()\n'
            '  a.__context__, b.__context__, c.__context__ = b, c, b\n  raise a\nA()')
        self.assertIn('(repr raised __main__.E: odd)', event['repr'])

    def test_hostile_classes(self):
        for code in (
                'class M(type):\n def __getattribute__(c, n): 1/0\nM("A", (list,), {})([1])',
                'class A(list):\n def __len__(self): 1/0\n def __iter__(self): 1/0\n def __getitem__(self, i): 1/0\nA([1])',
                'class A(dict):\n def items(self): 1/0\n def __len__(self): 1/0\nA({1: 2})',
                'class A(str):\n def __len__(self): 1/0\n def __getitem__(self, i): 1/0\nA("x" * 20)',
                'class A(object):\n __class__ = property(lambda s: list)\nA()',
                'class A(object):\n def __getattribute__(self, n): 1/0\nA()',
                'class A(tuple):\n _fields = 5\nA((1,))'):
            self.assertEqual(self.session.eval(code)['ev'], 'value', code)

    def test_deep_nesting(self):
        deep_list, deep_tuple, deep_dict = [], (), {}
        for _ in range(10000):
            deep_list, deep_tuple, deep_dict = [deep_list], (deep_tuple,), {1: deep_dict}
        for value in deep_list, deep_tuple, deep_dict:
            event = self.render(value, want_value=True)
            self.assertTrue(event['truncated'])
            self.assertIn('\u2026', event['repr'])
            self.assertFalse(event['has_value'])

    def test_cuts(self):
        for value, limit, start, end in (
                ('x' * 5000, 100, "'xxx", '\u2026 (+4900 characters)'), (b'x' * 5000, 100, "b'xxx", '\u2026 (+4900 bytes)'),
                ([1] * 5000, 90, '[1, 1,', '1, \u2026 (+4970 more)]'), ({i: i for i in range(5000)}, 90, '{0: 0, 1: 1', ' more)}'),
                ((1,) * 5000, 90, '(1, 1,', '1, \u2026 (+4970 more))'), (set(range(5000)), 90, '{0, 1, 2', ' more)}'),
                (bytearray(5000), 100, "bytearray(b'\\x00", ' bytes))')):
            event = self.render(value, max=limit)
            self.assertTrue(event['truncated'])
            self.assertTrue(event['repr'].startswith(start), event['repr'])
            self.assertTrue(event['repr'].endswith(end), event['repr'])
            self.assertLess(len(event['repr']), limit + 60)
            full = self.render(value, max=limit, full=True)
            self.assertEqual((full['repr'], full['truncated']), (repr(value), False))

    def test_what_a_cut_leaves_is_counted_right(self):
        for text in '\x00' * 5000, '\u20ac' * 5000, '\U0010ffff' * 5000, '\xe9' * 5000, "'\"" * 2500:
            rendered = self.render(text, max=1000)['repr']
            shown, more = rendered.split('\u2026 (+')
            self.assertEqual(len(eval(shown)) + int(more.split()[0]), 5000)
            self.assertLessEqual(len(rendered.encode('utf-8')), 2100)

    def test_long_texts_of_others(self):
        event = self.session.eval('class A(object):\n def __repr__(self): return "y" * (3 << 20)\n[A(), 5]')
        self.assertTrue(event['repr'].startswith('[yyy'))
        self.assertTrue(event['repr'].endswith('characters), \u2026 (+1 more)]'), event['repr'][-60:])
        self.assertLess(len(event['repr']), MIB + 100)

    def test_integers(self):
        for number in 10**5000, -10**5000, 1 << 20000:
            self.assertEqual(self.render(number)['repr'], hex(number))
        for number in 1 << 40000000, -(1 << 40000000):
            event = self.render(number)
            self.assertTrue(event['truncated'])
            self.assertTrue(event['repr'].endswith('hex digits)'))
            self.assertLess(len(event['repr']), MIB + 100)
            shown, more = event['repr'].split('\u2026 (+')
            self.assertEqual(int(shown, 16) << 4 * int(more.split()[0]), number)

    def test_changed_while_it_is_rendered(self):
        event = self.session.eval(
            'class A(object):\n def __repr__(self):\n  d[len(d)] = 1\n  return "A"\n'
            'd = {i: A() for i in range(2000)}\nd')
        self.assertTrue(event['truncated'])
        self.assertIn('(changed meanwhile)', event['repr'])
        event = self.session.eval('class A(object):\n def __repr__(self):\n  del l[:]\n  return "A"\nl = [A(), A()]\nl')
        self.assertEqual(event['repr'], '[A]')

    def test_large_answers(self):
        size = 70 * MIB
        for value, start in (('x' * size, "'xx"), ('\xe9' * size, "'\xe9"), ([' at 0x1' * 9999] * (size // 70000), "[' at")):
            event = self.render(value, full=True, want_value=True)
            self.assertTrue(event['truncated'])
            self.assertTrue(event['repr'].startswith(start))


HUGE = {
    'str': "'x' * (1 << 30)", 'bytes': "b'x' * (1 << 30)", 'list': '[1234] * (1 << 27)',
    'wide str': "'\\U0001f40d' * (1 << 26)", 'escaped str': "'\\x00' * (1 << 28)",
    'two-byte str': "'\\u20ac' * (1 << 27)", 'bytearray': 'bytearray(1 << 28)',
    'list of lists': '[[1, "a"]] * (1 << 25)', 'tuple': '(None,) * (1 << 25)',
    'nested': '{"a": ["x" * (1 << 28)]}', 'int': '1 << (1 << 30)', 'error': 'ValueError(["x"] * (1 << 25))',
}

MEASURE = '''
import resource, sys
sys.path.insert(0, sys.argv[1])
from stub import Session
session = Session()
session.eval('[object()]')
session.eval('value = ' + sys.argv[2])
session.eval('class Own(object): pass')
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
session.request(sys.argv[3], 9)
body = 0
import struct
head = struct.unpack('<I', session.exactly(4))[0]
left, chunk = head, bytearray(1 << 16)
while left:                      # not kept: only the agent's side counts
    left -= session.client.recv_into(chunk, min(left, len(chunk)))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(head, after - before)
'''


class Memory(unittest.TestCase):
    def measure(self, value, code):
        done = subprocess.run([sys.executable, '-c', MEASURE, HERE, value, code], stdout=subprocess.PIPE, timeout=120)
        self.assertEqual(done.returncode, 0)
        return [int(number) for number in done.stdout.split()]

    def test_a_huge_value_costs_little(self):
        if resource.getrlimit(resource.RLIMIT_AS)[0] not in (-1, resource.RLIM_INFINITY):
            self.skipTest('memory is limited')
        for what, value in HUGE.items():
            with self.subTest(what):
                length, kib = self.measure(value, 'value')
                self.assertLess(length, 4 * MIB)
                self.assertLess(kib, 8 << 10, '%s: %d KiB for %d bytes' % (what, kib, length))

    def test_so_does_an_exception_about_it(self):
        for value in "'x' * (1 << 28)", '["x"] * (1 << 25)':
            for code in 'raise ValueError(value)', 'raise KeyError(value)':
                with self.subTest(value + code):
                    length, kib = self.measure(value, code)
                    self.assertLess(length, MIB)
                    self.assertLess(kib, 8 << 10)


if __name__ == '__main__':
    unittest.main()
