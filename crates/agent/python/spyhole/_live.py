"""A prompt inside a live event loop: the loop has the main thread, lines are
read in another one, and each piece of code runs inside the loop or hub.

While the prompt waits for a line, and while code waits in the loop's manner,
everything else in it goes on.
"""

import os
import sys
import traceback
import types

from . import _places, _prompt

LOOPS = 'asyncio', 'gevent', 'eventlet'


class Handed(object):
    """A value that another thread waits for. Never green, whatever was patched."""

    def __init__(self):
        self.done = ALLOCATE()
        self.done.acquire()
        self.value = None

    def give(self, value):
        self.value = value
        self.done.release()

    def take(self):
        self.done.acquire()
        return self.value


ALLOCATE = _places.original('_thread', 'allocate_lock')


class nothing(object):
    def __enter__(self):
        pass

    def __exit__(self, *ignored):
        pass


class LivePrompt(_prompt.Prompt):
    """In an interpreter of its own: what is printed goes where it goes, and nobody keeps records."""

    def record(self, source):
        pass

    def capturing(self):
        return nothing()


# ---- the worlds: the main thread's part

class AsyncioWorld(object):
    kind = 'asyncio'

    def __init__(self):
        import asyncio
        self.where = asyncio.new_event_loop()
        asyncio.set_event_loop(self.where)

    def run(self):
        self.where.run_forever()

    def end(self):
        self.where.stop()

    def close(self):
        import asyncio
        every = getattr(asyncio, 'all_tasks', None) or asyncio.Task.all_tasks
        tasks = [task for task in every(self.where) if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            self.where.run_until_complete(asyncio.wait(tasks, timeout=5))
        self.where.run_until_complete(self.where.shutdown_asyncgens())
        self.where.close()

    def interrupt(self, prompt):
        task = prompt.task
        if task is not None and _places.task_here() is task:
            raise KeyboardInterrupt()
        if task is not None:
            prompt.interrupted = True
            self.where.call_soon_threadsafe(task.cancel)
        return task is not None


class HubWorld(object):
    """What gevent and eventlet have in common."""

    def interrupt(self, prompt):
        greenlet = prompt.task
        if greenlet is not None and _places.greenlet_here() is greenlet:
            raise KeyboardInterrupt()
        if greenlet is not None:
            self.throw(greenlet)
        return greenlet is not None

    def close(self):
        pass


class GeventWorld(HubWorld):
    kind = 'gevent'

    def __init__(self):
        import gevent
        self.where = gevent.get_hub()
        self.watcher = self.where.loop.async_()

    def run(self):
        self.where.wait(self.watcher)

    def end(self):
        self.watcher.send()

    def throw(self, greenlet):
        self.where.loop.run_callback(greenlet.throw, KeyboardInterrupt)


class EventletWorld(HubWorld):
    kind = 'eventlet'

    def __init__(self):
        import eventlet.event
        import eventlet.hubs
        self.where = eventlet.hubs.get_hub()
        self.event = eventlet.event.Event()
        # A hub that watches nothing sleeps, and can not be woken.
        self.pipe = os.pipe()
        self.where.add('read', self.pipe[0], nothing, nothing, nothing)

    def run(self):
        self.event.wait()

    def end(self):
        self.event.send()

    def throw(self, greenlet):
        self.where.schedule_call_global(0, greenlet.throw, KeyboardInterrupt)
        _places.wake_eventlet(self.where)


WORLDS = {'asyncio': AsyncioWorld, 'gevent': GeventWorld, 'eventlet': EventletWorld}


# ---- the session

class Session(object):
    def __init__(self, loop, script, arguments):
        self.script = script
        # `python -m spyhole` has made itself the main module; code means its own.
        module = types.ModuleType('__main__')
        sys.modules['__main__'] = module
        sys.argv = [script or ''] + list(arguments)
        self.space = module.__dict__
        self.world = WORLDS[loop]()
        self.code = 0
        self.prompt = LivePrompt(self.space, self.write, kind=self.world.kind)
        self.reading = False

    def write(self, text):
        sys.stderr.write(text)
        sys.stderr.flush()

    def inside(self, call):
        """Runs `call` inside the loop or hub, from the reading thread, and gives what it gives."""
        handed = Handed()

        async def in_loop():
            handed.give(await call())

        def in_hub():
            self.prompt.task = _places.greenlet_here()
            try:
                result = call()
            finally:
                self.prompt.task = None
            handed.give(result)

        _places.enter(self.world.kind, self.world.where, in_loop if self.world.kind == 'asyncio' else in_hub)
        return handed.take()

    def execute(self, code):
        """One piece of code. False: it asked to leave."""
        if self.world.kind == 'asyncio':
            return self.inside(lambda: self.prompt.run_async(code))
        return self.inside(lambda: self.prompt.run(code))

    def run_script(self):
        with open(self.script, 'rb') as file:
            source = file.read()
        self.space['__file__'] = self.script
        flags = _prompt.TOP_LEVEL_AWAIT if self.prompt.awaits and _prompt.HAS_TOP_LEVEL_AWAIT else 0
        try:
            code = compile(source, self.script, 'exec', flags, True)
        except (SyntaxError, ValueError) as error:
            self.write(''.join(traceback.format_exception_only(type(error), error)))
            return True
        return self.execute(code)

    def run(self, read_all):
        """Lets the loop run until `read_all(session)`, in a thread of its own, is done."""
        import signal
        before = signal.signal(signal.SIGINT, self.on_interrupt)
        failure = []

        def read():
            try:
                if self.script is None or self.run_script():
                    read_all(self)
            except BaseException as error:
                failure.append(error)
            finally:
                # From inside, since a loop takes no orders from other threads.
                _places.enter(self.world.kind, self.world.where, end)

        async def end_loop():
            self.world.end()

        end = end_loop if self.world.kind == 'asyncio' else self.world.end
        try:
            _places.original('_thread', 'start_new_thread')(read, ())
            self.world.run()
            self.world.close()
        finally:
            signal.signal(signal.SIGINT, before)
        if failure:
            raise failure[0]

    def on_interrupt(self, *ignored):
        if not self.world.interrupt(self.prompt) and self.reading:
            del self.prompt.lines[:]
            library = readline_library()
            # What was typed, in a line that another thread is reading.
            if library is not None:
                library.rl_replace_line(b'', 0)
            self.write('\nKeyboardInterrupt\n')
            if library is None:
                self.write(self.prompt.sign)
            else:
                library.rl_on_new_line()
                library.rl_redisplay()


def readline_library():
    """The library below the module `readline`; None where it is not in use."""
    if 'readline' not in sys.modules:
        return None
    try:
        import ctypes
        library = ctypes.CDLL(sys.modules['readline'].__file__)
        for name in 'rl_replace_line', 'rl_on_new_line', 'rl_redisplay':
            getattr(library, name)
        return library
    except (ImportError, OSError, AttributeError):
        return None


# ---- the two ways to read

def read_plain(session):
    prompt, typed = session.prompt, sys.stdin.isatty()
    if typed:
        edit(session.space)
        session.write(_prompt.greeting('inside a live %s loop' % session.world.kind))
    while True:
        session.reading = True
        try:
            line = input(prompt.sign) if typed else sys.stdin.readline()
        except EOFError:
            line = ''
            session.write('\n')
            break
        finally:
            session.reading = False
        if not typed:
            if not line and not prompt.lines:
                break
            line = line.rstrip('\n')
        code = prompt.take(line)
        if code is not None and not session.execute(code):
            break


def edit(space):
    try:
        import readline
        import rlcompleter
    except ImportError:
        return
    readline.set_completer(rlcompleter.Completer(space).complete)
    readline.parse_and_bind('tab: complete')


def read_ipython(session):
    from IPython.terminal.interactiveshell import TerminalInteractiveShell
    in_loop = session.world.kind == 'asyncio'

    class Shell(TerminalInteractiveShell):
        def run_cell(self, *words, **options):
            plain = super(Shell, self).run_cell
            if in_loop:
                return plain(*words, **options)
            return session.inside(lambda: plain(*words, **options))

        def should_run_async(self, *words, **options):
            return in_loop

        def showtraceback(self, *words, **options):
            error = sys.exc_info()[1]
            if session.prompt.interrupted and type(error).__name__ == 'CancelledError':
                words = ((KeyboardInterrupt, KeyboardInterrupt(), error.__traceback__),) + words[1:]
            super(Shell, self).showtraceback(*words, **options)

        def reset(self, *words, **options):
            # At its end it would take the names away from what still runs in the loop.
            if self.keep_running:
                super(Shell, self).reset(*words, **options)

    def in_live_loop(coroutine):
        import asyncio

        async def in_task():
            session.prompt.task, session.prompt.interrupted = _places.task_here(), False
            try:
                return await coroutine
            finally:
                session.prompt.task = None

        return asyncio.run_coroutine_threadsafe(in_task(), session.world.where).result()

    Shell.clear_instance()
    shell = Shell.instance(user_module=sys.modules['__main__'], user_ns=session.space)
    if in_loop:
        shell.loop_runner = in_live_loop
    at_exit = [shell.atexit_operations, shell.history_manager.writeout_cache]
    try:
        shell.mainloop() if sys.stdin.isatty() else feed(shell)
    finally:
        # Its database is this thread's.
        import atexit
        for call in at_exit:
            atexit.unregister(call)
        shell.keep_running = False
        shell.atexit_operations()
        # An interrupt that IPython has shown is no reason to end by: see `_prompt.Prompt.told`.
        exec('', {})


def feed(shell):
    for line in sys.stdin.read().split('\n\n'):
        if line.strip():
            shell.run_cell(line, store_history=False)


def main(arguments):
    import argparse
    parser = argparse.ArgumentParser(
        prog='python -m spyhole', description='A Python prompt inside a live event loop.')
    parser.add_argument('--loop', choices=LOOPS, default='asyncio', help='whose loop (default: asyncio)')
    parser.add_argument('--ipython', action='store_true', help='the prompt of IPython, where that is installed')
    parser.add_argument('script', nargs='?', metavar='SCRIPT', help='is run first, inside the loop')
    parser.add_argument('arguments', nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        if options.ipython:
            import IPython  # noqa: F401
        if options.script is not None:
            open(options.script, 'rb').close()
        session = Session(options.loop, options.script, options.arguments)
    except ImportError as error:
        sys.stderr.write('error: this Python has no %s: %s\n' % (error.name or 'such module', sys.executable))
        return 1
    except OSError as error:
        sys.stderr.write('error: cannot read `%s`: %s\n' % (options.script, error.strerror))
        return 2
    from . import debugtools
    session.space.update(debugtools=debugtools, exit=_prompt.Exit(), quit=_prompt.Exit())
    session.run(read_ipython if options.ipython else read_plain)
    return 0
