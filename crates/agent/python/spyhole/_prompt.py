"""One Python prompt: lines in, code to run out, and what is shown for it.

It knows names, code and exceptions. It knows no sockets and no event loops:
what reads its lines decides where and when the code runs.
"""

import ast
import builtins
import codeop
import sys
import traceback

from . import _interrupts, _output, _places, _records

TOP_LEVEL_AWAIT = 0x2000        # compile() flag of 3.8 and newer (Include/cpython/compile.h)
HAS_TOP_LEVEL_AWAIT = sys.version_info >= (3, 8)
SHOW = '__spyhole_show__'
FIRST, MORE = '>>> ', '... '
BLOCKS = 'async', 'class', 'def', 'for', 'if', 'try', 'while', 'with'
LONGEST = 4 << 20               # characters of one piece of code
JOB = 0                         # a prompt runs one piece at a time
OURS = globals(), vars(_interrupts)


class Names(dict):
    """The `__builtins__` of a prompt: `__main__`, loaded modules, builtins.

    The interpreter asks `__missing__` for names that the prompt's own
    namespace has not. It outlives the prompt in functions that were defined
    there.
    """

    __slots__ = ()

    def __missing__(self, name):
        main = getattr(sys.modules.get('__main__'), '__dict__', {})
        if name in main:
            return main[name]
        module = sys.modules.get(name)
        return builtins.__dict__[name] if module is None else module


# Looked up by the interpreter without `__missing__`.
ALWAYS = {name: getattr(builtins, name) for name in ('__import__', '__build_class__')}


class Leave(SystemExit):
    """`exit()` at a prompt."""


class Exit(object):
    """`exit` and `quit`. Those of `site` would close the program's stdin."""

    def __call__(self, code=None):
        raise Leave(code)

    def __repr__(self):
        return 'exit(), quit() or end of file leaves; the program goes on'


class Help(object):
    """`help`, without its pager and its own prompt on the program's terminal."""

    def __call__(self, *things):
        if not things:
            print('help(thing) shows the documentation of a thing.')
            return
        import pydoc
        for thing in things:
            print(pydoc.plain(pydoc.render_doc(thing, 'Help on %s')))

    def __repr__(self):
        return 'help(thing) shows the documentation of a thing.'


def namespace(given, frame=None):
    """A new namespace: the usual one, of a frame (`"caller"`), or of a dict."""
    from . import debugtools
    space = {'__name__': '__console__', '__doc__': None, '__builtins__': Names(ALWAYS)}
    space.update(debugtools=debugtools, exit=Exit(), quit=Exit(), help=Help())
    if given == 'caller':
        given = dict(frame.f_globals)
        given.update(frame.f_locals)
        given.pop('__builtins__', None)
    elif given is not None and not hasattr(given, 'keys'):
        raise TypeError('locals is a dict, "caller" or None, not ' + type(given).__name__)
    space.update(given or {})
    return space


def greeting(name='InteractiveConsole'):
    # What code.InteractiveConsole.interact says (Lib/code.py).
    return 'Python %s on %s\n%s\n(%s)\n' % (
        sys.version, sys.platform, 'Type "help", "copyright", "credits" or "license" for more information.', name)


class Prompt(object):
    """One prompt with its own namespace. `write(text)` takes what is shown."""

    def __init__(self, space, write, who='', kind='thread'):
        self.space, self.write, self.who, self.kind = space, write, who, kind
        self.awaits = kind == 'asyncio'
        self.compiler = codeop.CommandCompiler()
        if self.awaits and HAS_TOP_LEVEL_AWAIT:
            self.compiler.compiler.flags |= TOP_LEVEL_AWAIT
        self.lines = []
        self.lead = ''                  # what the first line is indented by
        self.task = None                # the task or greenlet that runs code now
        self.interrupts = _interrupts.Interrupts()
        self.interrupted = False
        self.goes_on = True

    @property
    def sign(self):
        return MORE if self.lines else FIRST

    # ---- lines

    def clear(self):
        """Ctrl-C: what was begun is forgotten."""
        del self.lines[:]
        self.write('\nKeyboardInterrupt\n')

    def too_long(self):
        del self.lines[:]
        self.write('the line is too long; it was thrown away\n')

    def take(self, line):
        """A line. Gives code to run, or None: more is needed, or it was shown why not."""
        if not self.lines:
            # A line that begins with a space is not written down; it runs all the same.
            self.lead = line[:len(line) - len(line.lstrip(' \t'))]
        if self.lead and line.startswith(self.lead):
            line = line[len(self.lead):]
        self.lines.append(line)
        source = '\n'.join(self.lines)
        if len(source) > LONGEST:
            self.too_long()
            return None
        try:
            code = self.compiled(source)
        except RecursionError:
            code = self.failed('the code is nested too deeply')
        except MemoryError:
            code = self.failed('the code is nested too deeply, or memory is short')
        except (SyntaxError, ValueError, OverflowError) as error:
            code = self.failed(''.join(traceback.format_exception_only(type(error), error)).rstrip('\n'))
        if code is None:
            return None
        del self.lines[:]
        if code is False or not source.strip():
            return None
        try:
            self.record(self.lead + source)
        except Exception as error:
            self.failed('an audit hook forbids it: %s' % type(error).__name__)
            return None
        return code

    def record(self, source):
        _records.line(self.who, source)

    def capturing(self):
        return _output.captured(_places.unit(self.kind), self)

    def failed(self, text):
        self.write(text + '\n')
        return False

    def compiled(self, source):
        # None: it is not complete.
        try:
            return self.compiler(source, '<console>', 'single')
        except SyntaxError:
            if not self.awaits or HAS_TOP_LEVEL_AWAIT:
                raise
            if not self.could_await(source):
                raise
        return self.wrapped(source)

    # ---- `await` at the top level before 3.8

    def could_await(self, source):
        return any(word in source for word in ('await', 'async', 'yield'))

    def wrapped(self, source):
        # In an `async def`, whose names are declared global.
        lines = source.split('\n')
        block = len(lines) > 1 or source.split(None, 1)[0] in BLOCKS
        if block and lines[-1].strip():
            return None
        text = 'async def __spyhole__():\n' + '\n'.join(' ' + line for line in lines)
        space = {}
        exec(compile(text, '<console>', 'exec'), space)
        tree = ast.parse(text, '<console>')
        body = tree.body[0].body
        names = space['__spyhole__'].__code__.co_varnames
        if names:
            body.insert(0, ast.copy_location(ast.Global(names=list(names)), body[0]))
        Shown().generic_visit(tree.body[0])
        exec(compile(ast.fix_missing_locations(tree), '<console>', 'exec'), space)
        return Wrapped(space['__spyhole__'].__code__)

    # ---- running

    def show(self, value):
        """What the interpreter does with the value of an expression."""
        if value is None:
            return
        if type(value) is Exit:
            raise Leave()
        self.space['_'] = None
        self.write(repr(value) + '\n')
        self.space['_'] = value

    def begin(self, code):
        """Runs code. Gives a coroutine that is still to be awaited, or None."""
        if isinstance(code, Wrapped):
            return code.start(self)
        return eval(code, self.space)

    def run(self, code):
        """Runs code here and now. False: it asked to leave."""
        with self.capturing():
            if self.kind == 'thread':
                error = self.interrupts.run(JOB, lambda: self.begin(code))
            else:
                error = self.run_in_greenlet(code)
            if error is None:
                return True
            if isinstance(error, GeneratorExit) or type(error).__name__ == 'GreenletExit':
                raise error
            return self.told(error)

    def run_in_greenlet(self, code):
        self.task = _places.greenlet_here()
        try:
            self.begin(code)
            return None
        except BaseException as error:
            return error
        finally:
            self.task = None

    def interrupt(self):
        """Ends the code that runs. From another thread, or from within the hub or loop."""
        if self.kind == 'thread':
            try:
                self.interrupts.interrupt(JOB)
            except ImportError:
                self.write('this Python has no ctypes, so code can not be interrupted\n')
        elif self.kind == 'asyncio' and self.task is not None:
            self.interrupted = True
            self.task.cancel()
        elif self.task is not None:
            self.task.throw(KeyboardInterrupt)

    async def run_async(self, code):
        """Runs code in a task of its own, so that its being cancelled is told from ours."""
        import asyncio
        self.interrupted = False
        task = self.task = asyncio.get_event_loop().create_task(self.in_task(code))
        try:
            await asyncio.wait([task])
        finally:
            self.task = None
            task.cancel()
        # Not by the task's result: 3.7 lets SystemExit out of it into the loop.
        return self.goes_on

    async def in_task(self, code):
        self.goes_on = True
        with self.capturing():
            try:
                waits = self.begin(code)
                if hasattr(waits, '__await__'):
                    await waits
            except GeneratorExit:
                raise
            except BaseException as error:
                self.goes_on = self.told(error)

    def told(self, error):
        """Shows an exception. False: it asks to leave."""
        if isinstance(error, SystemExit):
            return False
        if self.interrupted and type(error).__name__ == 'CancelledError':
            error = KeyboardInterrupt()
        # One that passed an `exec` of text is remembered, and would make the
        # program end as if by SIGINT; the next `exec` forgets it
        # (Python/pythonrun.c, run_eval_code_obj, 3.8 on).
        exec('', {})
        trace = error.__traceback__
        while trace is not None and any(trace.tb_frame.f_globals is one for one in OURS):
            trace = trace.tb_next
        try:
            lines = traceback.format_exception(type(error), error, trace)
        except Exception:               # an exception whose own methods raise
            lines = ['%s: <its text can not be shown>\n' % type(error).__name__]
        self.write(''.join(lines))
        error = trace = None
        return True


class Shown(ast.NodeTransformer):
    """Lets expressions be shown, as the mode `single` of compile() does."""

    def visit_Expr(self, node):
        name = ast.copy_location(ast.Name(id=SHOW, ctx=ast.Load()), node)
        node.value = ast.copy_location(ast.Call(func=name, args=[node.value], keywords=[]), node)
        return node

    def nested(self, node):
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = nested


class Wrapped(object):
    """Code that awaits, compiled as the body of an `async def`."""

    def __init__(self, code):
        self.code = code

    async def start(self, prompt):
        prompt.space[SHOW] = sys.displayhook
        await type(namespace)(self.code, prompt.space)()
