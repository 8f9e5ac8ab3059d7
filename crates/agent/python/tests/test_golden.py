"""The messages that the Rust side committed, read and made by Python."""

import ast
import marshal
import os
import unittest

from stub import FEATURES, HERE, Session, source

# Events that only what watches tells: a running trace, what keeps exceptions, their debugger.
OF_WATCHERS = {'probed', 'unplaced', 'hit', 'stats', 'summary', 'note', 'caught', 'kept', 'ask'}
# Told where code runs in another place, or the interpreter stands still.
OF_PLACES = {'visit', 'frozen', 'thawed', 'ran'}
PATH = os.path.join(os.path.dirname(os.path.dirname(HERE)), 'golden', 'messages.txt')


def golden():
    with open(PATH, encoding='utf-8') as file:
        entries = file.read().split('\n\n')
    for entry in entries:
        if entry.strip():
            title, text, data = entry.strip().split('\n')
            side, name = title.split()
            yield side, name, text, bytes.fromhex(data)


class Features(unittest.TestCase):
    def test_none_overwrites_what_another_has(self):
        # They all run in one namespace.
        owners = {}
        for name in ('core',) + FEATURES + (
                'sites', 'lines', 'rewrite', 'exchange', 'hits', 'trace', 'kept', 'catch', 'unhandled', 'postmortem',
                'places', 'elsewhere', 'freeze'):
            for node in ast.parse(source(name)).body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                    names = [node.name]
                else:
                    targets = node.targets if isinstance(node, ast.Assign) else []
                    names = [one.id for target in targets for one in ast.walk(target)
                             if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]
                # The debugger completes its own words.
                for one in names if name != 'postmortem' else set(names) - {'op_complete'}:
                    self.assertEqual(owners.setdefault(one, name), name, one)


class Golden(unittest.TestCase):
    def setUp(self):
        self.messages = {(side, name): (text, data) for side, name, text, data in golden()}

    def test_marshal_reads_and_writes_the_same(self):
        for (side, name), (text, data) in self.messages.items():
            if side != 'control':
                value = ast.literal_eval(text)
                self.assertEqual(marshal.loads(data), value, name)
                self.assertEqual(marshal.dumps(value, 2), data, name)

    def assertAlike(self, made, example, where):
        """The same keys, in the same order, and types."""
        if isinstance(example, dict):
            self.assertEqual(list(made), list(example), where)
            for key in example:
                if example[key] is not None and made[key] is not None and key != 'value':
                    self.assertAlike(made[key], example[key], '%s %s' % (where, key))
        else:
            self.assertIs(type(made), type(example), where)
            if isinstance(example, list) and len({type(item) for item in example}) > 1:
                self.assertEqual([type(item) for item in made], [type(item) for item in example], where)
            elif isinstance(example, list):
                for item in made:
                    self.assertAlike(item, example[-1], where)

    def test_the_agent_speaks_like_the_examples(self):
        examples = {name: ast.literal_eval(text) for (side, name), (text, _) in self.messages.items() if side == 'event'}
        session = Session()
        heard = [session.hello]
        request = dict(ast.literal_eval(self.messages['request', 'eval'][0]), console=True)
        for code in 'print(1)', '{"b": 1, "a": 2}', '1/0', 'a b', 'exit()':
            session.send(**dict(request, code=code))
            heard += session.result()
        session.send(**ast.literal_eval(self.messages['request', 'complete'][0]))
        heard.append(session.receive())
        session.send(**dict(ast.literal_eval(self.messages['request', 'load'][0]), feature='none'))
        session.send(**dict(ast.literal_eval(self.messages['request', 'loaded'][0]), names=['sys', 'nothing']))
        heard.append(session.receive())
        self.assertEqual(heard[-1]['names'], ['sys'])
        session.send(op='none', job=5)
        heard.append(session.receive())
        session.control('W', 1)
        heard.append(session.receive())
        session.control('T', 1)
        heard.append(session.receive())
        session.send(**ast.literal_eval(self.messages['request', 'bye'][0]))
        heard.append(session.receive())
        session.finish()
        self.assertEqual({event['ev'] for event in heard}, set(examples) - OF_WATCHERS - OF_PLACES)
        for event in heard:
            self.assertAlike(event, examples[event['ev']], event['ev'])


if __name__ == '__main__':
    unittest.main()
