"""The ispy shell of one client: levels, prompts, commands.

A client is a person at `telnet` or `nc`, who gets plain text, or the program
`spyhole ispy`, which says `HELLO` first. From then on everything is told in
lines of JSON: `{"out": TEXT}`, `{"ask": PROMPT}`, and answers to its questions,
which are lines that begin with the byte 1:

    \\x01hello 1           from now on JSON
    \\x01complete TEXT     {"words": [...]}: what the last word may become
    \\x01run ["plugin", "command", ...]     {"answer": {...}}

It knows commands and text; sockets are `_sides`', what runs is the plugins'.
"""

import os
import shlex
import sys
import traceback

import _thread

from . import _interrupts, _output, _plugins, _prompt, _records, _sides, _telnet, _watch

MARK = '\x01'
HELLO = 1               # version of what is spoken after it
PIECE = 1 << 14         # characters of one message
TOP = ('exit', 'help', 'plugins', 'prompt', 'shell')
INSIDE = ('exit', 'help', 'prompt')
HELP = {
    'exit': ('exit', 'Leaves this level; at the top one, the process.'),
    'help': ('help [TOPIC]', 'Lists the commands, or tells what one does.'),
    'plugins': ('plugins', 'Lists the plugins, and those that could not be loaded.'),
    'prompt': ('prompt on|off', 'Shows a prompt before each command, or does not.'),
    'shell': ('shell NAME', 'Enters a plugin, whose commands can be used then. `!NAME` is the same.'),
}
WIDTH = 79


class ShellSide(_sides.SocketSide):
    """A client that may speak JSON."""

    def __init__(self, connection):
        super(ShellSide, self).__init__(connection)
        self.spoken = False
        self.asked = ''
        self.control = None         # what answers a client's question
        self.names = None           # what tells the names of a Python prompt

    def write(self, text):
        if not self.spoken:
            super(ShellSide, self).write(text)
            return
        for at in range(0, len(text), PIECE):
            self.say('out', text[at:at + PIECE])

    def say(self, name, value):
        import json
        if not self.gone:
            try:
                self.connection.sendall(json.dumps({name: value}).encode('ascii') + b'\n')
            except (OSError, ValueError):
                self.gone = True

    def ask(self, prompt):
        self.asked = prompt
        if self.spoken:
            self.say('ask', prompt)
        else:
            self.write(prompt)

    async def line(self):
        while True:
            line = await super(ShellSide, self).line()
            if not isinstance(line, str) or line[:1] != MARK or self.control is None:
                return line
            word, _, rest = line[1:].partition(' ')
            if word == 'hello':
                self.spoken = True
                self.ask(self.asked)
            else:
                self.control(word, rest)


class Shell(object):
    """One client's session; what an interactive command gets as its first argument."""

    def __init__(self, side, manager, who):
        self.side, self.manager, self.who = side, manager, who
        self.loaded = manager.load_plugins()
        self.plugin = None
        self.prompts = True
        side.control = self.control
        self.kind = 'thread'        # for `_watch`
        self.interrupts = _interrupts.Interrupts()

    # ---- what commands may use

    def write(self, text):
        self.side.write(text)

    def show(self, value):
        self.write('%r\n' % (value,))

    def interrupt(self):
        try:
            self.interrupts.interrupt(0)
        except ImportError:
            self.write('this Python has no ctypes, so code can not be interrupted\n')

    @property
    def settings(self):
        return self.manager.settings

    @property
    def config_file(self):
        return self.manager.config_file

    # ---- lines

    def sign(self):
        if not self.prompts:
            return ''
        return '(%s:%d) ' % (self.plugin.name if self.plugin else 'ispyd', os.getpid())

    def talk(self):
        while not self.side.gone:
            self.side.ask(self.sign())
            line = _sides.at_once(self.side.line())
            if line is None:
                return
            if line is _telnet.INTERRUPT:
                self.write('\n')
            elif line is _telnet.TOO_LONG:
                self.write('the line is too long; it was thrown away\n')
            elif line.strip() and not self.obey(line):
                return

    def obey(self, line):
        """Runs one line. False: the client leaves."""
        try:
            _records.line(self.who, line)
        except Exception as error:
            self.write('an audit hook forbids it: %s\n' % type(error).__name__)
            return True
        words = split(line)
        word, rest = words[0], words[1:]
        if self.plugin is not None and word in self.plugin.commands:
            self.serve(self.plugin.commands[word], rest)
        elif word == 'exit':
            if self.plugin is None:
                return False
            self.plugin = None
        elif word in ('help', '?'):
            self.help(rest)
        elif word == 'prompt' and rest in (['on'], ['off']):
            self.prompts = rest == ['on']
        elif word == 'plugins' and self.plugin is None:
            self.plugins()
        elif word == 'shell' and self.plugin is None and len(rest) == 1:
            self.enter(rest[0])
        elif word in (TOP if self.plugin is None else INSIDE):
            self.write('usage: %s\n' % HELP[word][0])
        else:
            self.write('there is no command `%s` here; `help` lists those that are there\n' % _records.plain(word))
        return True

    def plugins(self):
        self.write('%s\n' % sorted(self.loaded.plugins))
        for entry, why in self.loaded.failures:
            self.write('%s can not be used: %s\n' % (entry, why))

    def enter(self, name):
        if name in self.loaded.plugins:
            self.plugin = self.loaded.plugins[name]
            return
        failed = [why for entry, why in self.loaded.failures if _plugins._ini.name_of(entry) == name]
        if failed:
            self.write('the plugin `%s` can not be used: %s\n' % (_records.plain(name), failed[0]))
        else:
            self.write('there is no plugin `%s`; `plugins` lists those that are there\n' % _records.plain(name))

    def commands(self):
        return sorted(TOP if self.plugin is None else set(INSIDE) | set(self.plugin.commands))

    def help(self, topics):
        if not topics:
            self.write(listed(self.commands()))
            return
        for topic in topics:
            if self.plugin is not None and topic in self.plugin.commands:
                command = self.plugin.commands[topic]
                told = command.usage, command.help
            elif topic in self.commands():
                told = HELP[topic]
            elif self.plugin is None and topic in self.loaded.plugins:
                told = topic, self.loaded.plugins[topic].help
            else:
                self.write('there is no help on `%s`\n' % _records.plain(topic))
                continue
            self.write('%s\n' % told[0])
            for line in told[1].split('\n') if told[1] else ():
                self.write(('    %s' % line.strip()).rstrip() + '\n')

    # ---- commands of plugins

    def serve(self, command, words):
        answer = self.called(command, words, self.write)
        if answer['ok']:
            self.write(answer['text'])
        else:
            self.write(answer['error']['message'] + '\n' + answer['error']['traceback'])

    def called(self, command, words, write):
        """What a command gives, whatever it does. `write` takes what it prints."""
        watch = _watch.watch(self.side, self)
        box = []
        sink = self if write == self.write else Sink(write)

        def call():
            arguments = command.converted(words)
            if command.session:
                arguments.insert(0, self)
            value = command.function(*arguments)
            box.append((_plugins.plain(value), _plugins.text_of(value)))

        # An interactive one reads the client's lines itself, and one that knows the session may hold what is
        # everybody's, which no interrupt must leave taken.
        if not command.session:
            watch.start()
        try:
            with _output.captured(('thread', _thread.get_ident()), sink):
                error = self.interrupts.run(0, call)
        finally:
            if not command.session:
                watch.stop()
        if error is None:
            return {'ok': True, 'value': box[0][0], 'text': box[0][1], 'error': None}
        if isinstance(error, _plugins.Wrong):
            kind, message, trace = 'usage', str(error), ''
        elif isinstance(error, KeyboardInterrupt):
            kind, message, trace = 'interrupted', 'KeyboardInterrupt', ''
        else:
            kind, message, trace = 'raised', 'the command `%s` failed: %s' % (command.name, _plugins.last_line(error)), traced(error)
        return {'ok': False, 'value': None, 'text': '',
                'error': {'kind': kind, 'message': message, 'type': type(error).__name__, 'traceback': trace}}

    # ---- questions of the program

    def control(self, word, rest):
        if word == 'complete':
            self.side.say('words', self.words(rest)[:500])
        elif word == 'run':
            self.side.say('answer', self.run(rest))
        else:
            self.side.say('unknown', word)

    def words(self, text):
        done = text.split(' ')
        last = done[-1]
        before = [word for word in done[:-1] if word]
        if not self.side.asked.startswith('('):
            # Of a Python prompt, or of code that asks for something.
            known = self.side.names if self.side.asked in (_prompt.FIRST, _prompt.MORE) else None
            return [] if known is None else known(text)
        if not before:
            if last.startswith('!') and self.plugin is None:
                names = ['!' + name for name in self.loaded.plugins]
            else:
                names = self.commands()
        elif before[0] in ('help', '?'):
            names = self.commands()
        elif before[0] == 'prompt':
            names = ['on', 'off']
        elif before == ['shell'] and self.plugin is None:
            names = list(self.loaded.plugins)
        elif self.plugin is not None and before[0] in self.plugin.commands:
            complete = self.plugin.commands[before[0]].complete
            try:
                names = list(complete(before[1:] + [last])) if complete else []
            except Exception:
                names = []
        else:
            names = []
        return sorted(name for name in names if isinstance(name, str) and name.startswith(last))

    def run(self, rest):
        """One command for a script."""
        import json

        def wrong(kind, message):
            return {'ok': False, 'pid': os.getpid(), 'value': None, 'text': '',
                    'error': {'kind': kind, 'message': message, 'type': None, 'traceback': ''}}

        try:
            words = json.loads(rest)
            name, command, arguments = words[0], words[1], [str(word) for word in words[2:]]
        except (ValueError, LookupError, TypeError):
            return wrong('usage', 'it is no list of a plugin, a command and arguments')
        plugin = self.loaded.plugins.get(name)
        if plugin is None:
            for entry, why in self.loaded.failures:
                if _plugins._ini.name_of(entry) == name:
                    return wrong('usage', 'the plugin `%s` can not be used: %s' % (name, why))
            return wrong('usage', 'there is no plugin `%s`, but %s' % (name, ', '.join(sorted(self.loaded.plugins))))
        if command not in plugin.commands:
            return wrong('usage', 'the plugin `%s` has no command `%s`, but %s' % (
                name, command, ', '.join(sorted(plugin.commands))))
        if plugin.commands[command].interactive:
            return wrong('usage', '`%s` talks to somebody: `spyhole ispy` is the place for it' % command)
        try:
            _records.line(self.who, ' '.join([name, command] + arguments))
        except Exception as error:
            return wrong('refused', 'an audit hook forbids it: %s' % type(error).__name__)
        printed = []
        answer = self.called(plugin.commands[command], arguments, printed.append)
        answer.update(pid=os.getpid(), text=''.join(printed) + answer['text'])
        return answer


class Sink(object):
    def __init__(self, write):
        self.write = write

    def show(self, value):
        self.write('%r\n' % (value,))


def traced(error):
    """The traceback, from the plugin's own frames on."""
    trace = error.__traceback__
    ours = [globals(), vars(_interrupts)]
    while trace is not None and any(trace.tb_frame.f_globals is one for one in ours):
        trace = trace.tb_next
    return ''.join(traceback.format_tb(trace)) if trace is not None else ''


def split(line):
    line = line.strip()
    if line.startswith('!'):
        return ['shell'] + line[1:].split()
    try:
        return shlex.split(line) or ['']
    except ValueError:              # a quote that is not closed
        return line.split()


def listed(names):
    """As Lib/cmd.py lists commands."""
    import cmd
    import io
    stream = io.StringIO()
    cmd.Cmd(stdout=stream).print_topics('Documented commands (type help <topic>):', names, 15, WIDTH + 1)
    return '\n' + stream.getvalue()
