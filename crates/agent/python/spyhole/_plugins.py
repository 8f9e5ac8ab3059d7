"""Plugins of the ispy shell: what one is, and how those of others are found.

A plugin is a module with `register(api)`:

    def register(api):
        api.command(orders)

    def orders(limit: int = 10):
        '''The last orders.'''
        return [...]

What a command gives is data: it is written as text in a shell, and as JSON for
a script.
"""

import fnmatch
import glob
import os
import sys
import traceback
import types

from . import _ini, _records

BUILT_IN = 'debugger', 'process', 'python', 'wsgi'
GROUP = 'spyhole.plugins'
DEEPEST = 20            # levels of data that become JSON


class Wrong(Exception):
    """A command that was called wrongly or can not be served; the text says why."""


class Answer(object):
    """Data, with a text for people that is not simply its data."""

    def __init__(self, value, text):
        self.value, self.text = value, text


class Loaded(object):
    def __init__(self):
        self.plugins = {}       # name -> Plugin
        self.failures = []      # (entry, why)


class Plugin(object):
    """A named group of commands; what `register` gets as its `api`."""

    Answer, Wrong = Answer, Wrong

    def __init__(self, name, help='', settings=None):
        self.name, self.help = name, help
        self.settings = dict(settings or {})
        self.commands = {}

    def command(self, function=None, name=None, help=None, interactive=False, complete=None, session=False):
        """Adds a command, named after its function; its arguments are the function's.

        An annotation `int` or `float` converts one; a default makes it optional. With `interactive` or `session` the
        function's first argument is the client's session; `interactive` ones read lines of theirs, and are not for
        scripts. `complete(words)` gives the words that the last one may become.
        """
        if function is None:
            return lambda function: self.command(function, name, help, interactive, complete, session)
        command = Command(function, name or function.__name__, help, interactive, complete, session)
        self.commands[command.name] = command
        return function


class Command(object):
    def __init__(self, function, name, help, interactive, complete, session=False):
        self.function, self.name, self.interactive, self.complete = function, name, interactive, complete
        self.session = session or interactive
        self.help = (help or function.__doc__ or '').strip()
        self.arguments, self.many = arguments_of(function)
        if self.session:
            self.arguments = self.arguments[1:]

    @property
    def usage(self):
        words = [self.name]
        for name, convert, optional in self.arguments:
            words.append('[%s]' % name.upper() if optional else name.upper())
        if self.many:
            words.append('[%s]...' % self.many.upper())
        return ' '.join(words)

    def converted(self, words):
        needed = sum(1 for _, _, optional in self.arguments if not optional)
        if len(words) < needed or (len(words) > len(self.arguments) and not self.many):
            raise Wrong('usage: ' + self.usage)
        values = []
        for (name, convert, _), word in zip(self.arguments, words):
            try:
                values.append(word if convert is None else convert(word))
            except ValueError:
                raise Wrong('%s of `%s` is no %s: `%s`' % (name.upper(), self.name, convert.__name__, word))
        return values + words[len(self.arguments):]


def arguments_of(function):
    """[(name, conversion, optional)], and the name of `*rest`."""
    import inspect
    found, many = [], None
    for one in inspect.signature(function).parameters.values():
        if one.kind == one.VAR_POSITIONAL:
            many = one.name
        elif one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD):
            convert = {int: int, float: float, 'int': int, 'float': float}.get(one.annotation)
            found.append((one.name, convert, one.default is not one.empty))
    return found, many


# ---- finding them

def load(settings, folder):
    """All that the ini names, and those that are built in."""
    loaded = Loaded()
    for name in BUILT_IN:
        module = __import__('spyhole.plugins.' + name, fromlist=['register'])
        plugin = Plugin(name, first_line(module.__doc__))
        module.register(plugin)
        loaded.plugins[name] = plugin
    for entry in settings.plugins:
        try:
            name, module = found(entry, folder)
            if name in loaded.plugins:
                raise Wrong('there is a plugin `%s` already' % name)
            plugin = Plugin(name, first_line(getattr(module, '__doc__', None)), settings.own.get(_ini.name_of(entry)))
            register = module if callable(module) else getattr(module, 'register', None)
            if register is None:
                raise Wrong('it has no `register`')
            register(plugin)
            loaded.plugins[plugin.name] = plugin
        except (Exception, SystemExit) as error:
            why = str(error) if isinstance(error, Wrong) else last_line(error)
            loaded.failures.append((entry, why))
            _records.log('spyhole', 'WARNING', 'The plugin %s of the ispy shell can not be used: %s', entry, why)
    return loaded


def found(entry, folder):
    """(name, module or register function) of a file, an entry point or a module."""
    name = _ini.name_of(entry)
    if entry.endswith('.py'):
        path = os.path.join(folder, entry)
        module = types.ModuleType('spyhole_plugin_' + name)
        module.__file__ = path
        with open(path, 'rb') as file:
            code = compile(file.read(), path, 'exec')
        sys.modules[module.__name__] = module
        try:
            exec(code, module.__dict__)
        except BaseException:
            del sys.modules[module.__name__]
            raise
        return name, module
    target = entry_points().get(entry)
    if target is None:
        return name, __import__(entry, fromlist=['register'])
    module, _, attribute = target.partition(':')
    thing = __import__(module.strip(), fromlist=['register'])
    for part in attribute.split('[')[0].strip().split('.') if attribute else ():
        thing = getattr(thing, part)
    return name, thing


def entry_points():
    """{name: 'module:attribute'} of what is installed, without importlib.metadata, which 3.6 and 3.7 have not."""
    points = {}
    for folder in sys.path:
        for file in (glob.glob(os.path.join(glob.escape(folder or '.'), '*.dist-info', 'entry_points.txt')) +
                     glob.glob(os.path.join(glob.escape(folder or '.'), '*.egg-info', 'entry_points.txt'))):
            try:
                with open(file, 'rb') as opened:
                    sections = _ini.sections_of(opened.read(_ini.LONGEST).decode('utf-8', 'replace'))
            except (OSError, _ini.Bad):
                continue
            for name, (_, value) in sections.get(GROUP, {}).items():
                if name:
                    points.setdefault(name, value)
    return points


def first_line(text):
    return (text or '').strip().split('\n')[0]


def last_line(error):
    try:
        return ''.join(traceback.format_exception_only(type(error), error)).strip().split('\n')[-1]
    except Exception:               # an exception whose own methods raise
        return type(error).__name__


# ---- what a command gives

def text_of(value):
    """Data as people read it."""
    if isinstance(value, Answer):
        return value.text
    if value is None:
        return ''
    if isinstance(value, dict):
        return ''.join('%s = %r\n' % item for item in value.items())
    if isinstance(value, (list, tuple)):
        if any(isinstance(one, dict) for one in value):
            return '\n'.join(text_of(one) for one in value)
        return ''.join('%s\n' % (one,) for one in value)
    return '%s\n' % (value,)


def plain(value, depth=0):
    """Data as JSON can say it; what is none of it is told by its `repr`."""
    if isinstance(value, Answer):
        value = value.value
    if value is None or isinstance(value, (bool, int)) or type(value) is str:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if value - value == 0 else repr(value)
    if depth < DEEPEST and isinstance(value, dict):
        return {str(key): plain(one, depth + 1) for key, one in value.items()}
    if depth < DEEPEST and isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one, depth + 1) for one in value]
    return repr(value)


def matching(names, pattern):
    return sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))
