# The agent's core: the first file that runs in a process. It speaks the words
# of WIRE.md, evaluates expressions, captures what code prints and undoes
# everything at the end. All that is needed less often lives in features: files
# that the client sends along and that are compiled when first needed.
#
# It knows nothing of how it came here. It runs in a private dict that holds
# the stub's functions. Those must be unreferenced when the agent ends, since
# the memory behind them goes then: they are named as globals at each call and
# never stored in an object, a closure, a default or a local.
#
# It is compiled at each attach, which costs about 5 us a line: comments are
# free, docstrings are not.

import builtins
import marshal
import posix
import sys

# All four are there in every running CPython, so no import adds a module.
modules = sys.modules
AGENT = globals()
PIECE = 1 << 16             # characters of printed text in one event
REAL = '__import__', '__build_class__'      # looked up without `__missing__`
SMALL = type(None), bool, int, float, str
SUPERSEDED = object()
RESTING = object()
VALUES = 100                # of a prompt that are kept

pid = posix.getpid()
gone = ended = False        # the client is; so is the session
lent = AGENT.get('stub_lent', False)    # not the main interpreter: only stayed in while there is something to do
future = 0                  # compile() flags that the code asked for
numbered = 0                # that were shown at a prompt
server = stub_tid()         # native id of the thread that reads the channel
alive = [True]              # one entry for each thread of the agent
unserved = b''              # bytes that were read
running = {}                # job -> (ident, native id) of the thread that runs it
claims = {}                 # job -> True: who pops it reads the channel from then on
captured = {}               # ident of a thread -> job that its text belongs to
streams = []                # (name, stand-in) for what was put into sys
undo = []                   # (what, step): replayed backwards at the end
kept = []                   # what cannot be undone
sources = {}                # feature -> source, until it is needed


# ---- the channel

def tell(event):
    return stub_send(marshal.dumps(event, 2))


def refusal(job, error):
    return {'ev': 'refused', 'job': job, 'message': '%s: %s' % (type(error).__name__, error)}


def receive():
    # What is already there is taken without giving up the GIL, so that
    # requests sent ahead are served in one go. None: the client is gone;
    # RESTING: it has said no more, and the stub waits for it.
    global unserved
    while not gone:
        end = 4 + int.from_bytes(unserved[:4], 'little')
        if 4 <= len(unserved) >= end:
            body, unserved = unserved[4:end], unserved[end:]
            return marshal.loads(body)
        try:
            more = stub_take()
            if more is None:
                if lent:
                    return RESTING
                more = posix.read(stub_fd, 65536)
        except OSError:
            return None
        if not more:
            return None
        unserved += more


# ---- names of evaluated code

class Names(dict):
    # The `__builtins__` of evaluated code: session, then `__main__`, then
    # loaded modules, then builtins. An entry here is found by the interpreter
    # without asking, so names that `__main__` or a module has are no entries.
    # It outlives the agent in functions that the code left in the program.
    __slots__ = ()

    def __missing__(self, name, sys=sys, builtins=builtins):
        main = getattr(sys.modules.get('__main__'), '__dict__', {})
        if name in main:
            return main[name]
        module = sys.modules.get(name)
        return builtins.__dict__[name] if module is None else module


def refresh_names():
    # Never emptied in between: abandoned code may be looking names up.
    main = getattr(modules.get('__main__'), '__dict__', {})
    real = builtins.__dict__
    names.update(real)
    for name in list(names):
        if (name in main or name in modules or name not in real) and name not in REAL:
            names.pop(name, None)
    session['__builtins__'] = names


def session_exit(*code):
    error = SystemExit(*code)
    error.spyhole_exit = True
    raise error


session_exit.__name__ = session_exit.__qualname__ = 'exit'
names = Names()
session = {'__name__': '__main__', 'exit': session_exit, 'quit': session_exit}


# ---- what the code prints

class Stream(object):
    # Stands where sys.stdout or sys.stderr was while code runs. Text of the
    # threads that run code goes to `route`, all else to what was there. A
    # reference that the code kept goes on to forward when `route` is gone.
    __slots__ = ('spyhole',)        # [what was there, route or None]

    def __init__(self, under, route):
        object.__setattr__(self, 'spyhole', [under, route])

    def write(self, text):
        under, route = self.spyhole
        if (route is None or not route(text)) and under is not None:
            return under.write(text)
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        under, route = self.spyhole
        if (route is None or not route('')) and under is not None:
            under.flush()

    def __getattr__(self, name):
        if name == 'spyhole':       # a copy that was never initialised
            raise AttributeError(name)
        return getattr(self.spyhole[0], name)

    def __setattr__(self, name, value):
        setattr(self.spyhole[0], name, value)

    # The program's other threads may ask isinstance(sys.stdout, io.TextIOBase).
    __class__ = property(lambda self: type(self.spyhole[0]))


def route_of(name):
    def route(text):
        # Whether the text belonged to a job. A child that the program forked
        # has our stand-in, too, and must not speak on the channel.
        try:
            job = captured.get(stub_ident())
            if job is None or posix.getpid() != pid:
                return False
        except NameError:           # the agent ended meanwhile
            return False
        if not isinstance(text, str):
            raise TypeError('write() argument must be str, not ' + type(text).__name__)
        for start in range(0, len(text), PIECE):
            piece = str.__getitem__(text, slice(start, start + PIECE))
            tell({'ev': 'out', 'job': job, 'stream': name, 'text': piece})
        return True
    return route


def capture():
    if not streams:
        for name in 'stdout', 'stderr':
            stream = Stream(getattr(sys, name, None), route_of(name))
            streams.append((name, stream))
            setattr(sys, name, stream)


def release():
    while streams:
        put_back(sys, *streams.pop())


def put_back(place, name, mine):
    # Put back only what is still ours. In whatever order nested agents end,
    # the last one finds the original below stand-ins that are dead by then.
    mine.spyhole[1] = None
    there = getattr(place, name, None)
    if there is mine:
        while 'spyhole' in type(there).__dict__ and there.spyhole[1] is None:
            there = there.spyhole[0]
        setattr(place, name, there)


# ---- one evaluation

def execute(job):
    # Below the frame that has the `try`, and armed.
    request = job['request']
    try:
        steps = [compile(request['code'], request['name'], 'eval', future, True)]
    except Exception:               # no expression: statements, or an error
        steps = None
    if steps is None:
        need('statements')
        steps = statements(request)
    refresh_names()
    job['kind'] = 'raised'
    job['since'] = stub_now()
    for step in steps:
        value = eval(step, session)
    event = {'ev': 'value', 'job': job['id'], 'duration': stub_now() - job['since'], 'none': value is None,
             'truncated': False, 'has_value': False}
    if request.get('console') and value is not None:
        if value is session_exit:
            session_exit()
        remember(value)
    kind, size = type(value), sys.getsizeof(value, 9999)
    if kind in SMALL and (size < 256 or size < 9999 and kind is str) and not request.get('want_value'):
        event.update(type=kind.__name__, repr=repr(value))
    text = event.get('repr')
    if text is None or len(text) * 4 > request['max'] or ' at 0x' in text:
        need('render')
        answer(event, value, request)
    job['event'] = event


def remember(value):
    # `_`, `__` for the one before, `_1`, `_2`, ... for all; the older ones are let go.
    global numbered
    numbered += 1
    session.update({'__': session.get('_'), '_': value, '_%d' % numbered: value})
    session.pop('_%d' % (numbered - VALUES), None)


def attempt(job):
    # The exception is looked at after its `except`: up to 3.8 an exception
    # raised within, however soon it is caught, would search the contexts of
    # this one for itself, and for ever if the code has made them a ring
    # (Python/errors.c, _PyErr_SetObject).
    caught = None
    try:
        job['run'](job)
    except BaseException as error:
        caught = error
    if caught is not None:
        try:
            duration = stub_now() - job['since']
            need('raised')
            job['event'] = raised(job, caught, duration)
        finally:
            caught = None


def armed(job):
    # A KeyboardInterrupt can come at any bytecode from arm to the end of
    # disarm. Each entry gets further: first the code, then only the disarming.
    if not job['begun']:
        job['begun'] = True
        stub_arm(job['id'])
        attempt(job)
    disarm(job['id'])


def disarm(number):
    # One that was asked for and has not come yet comes here, or one more: up to
    # 3.12 the interpreter does not forget it otherwise (see the stub).
    while True:
        try:
            while stub_disarm(number):
                pass
            return
        except KeyboardInterrupt:
            pass


def settle(job):
    while True:
        try:
            return armed(job)
        except BaseException as error:
            if job['event'] is None and not isinstance(error, KeyboardInterrupt):
                job['event'] = refusal(job['id'], error)


def op_eval(request):
    return run_job({'id': request['job'], 'request': request, 'run': execute, 'begun': False, 'event': None,
                    'kind': 'syntax', 'since': stub_now()})


def run_job(job):
    number, ident = job['id'], stub_ident()
    running[number] = ident, stub_tid()
    captured[ident] = number
    claims[number] = True
    capture()
    # A second interrupt may land where `settle` goes round and has no `try`,
    # a third one here. They are at least a GIL switch apart.
    while True:
        try:
            settle(job)
            break
        except BaseException:
            pass
    # A KeyboardInterrupt that passed an `exec` of text is remembered, and would
    # make the program end as if by SIGINT; the next `exec` forgets it
    # (Python/pythonrun.c, run_eval_code_obj, 3.8 on).
    exec('', {'__builtins__': names})
    if posix.getpid() != pid:       # the code forked and its child came back
        posix._exit(0)
    captured.pop(ident, None)
    if not captured:
        release()
        if captured:                # another thread began in between
            capture()
    running.pop(number, None)
    mine = claims.pop(number, None)
    if job['event'] is None:
        need('raised')
        job['event'] = raised(job, KeyboardInterrupt(), stub_now() - job['since'])
    if not ended:
        tell(job['event'])
    return mine or SUPERSEDED


# ---- features

def op_load(request):
    sources[request['feature']] = request


def need(feature):
    # A file whose run was interrupted is run again the next time.
    load = sources.get(feature)
    if load is not None:
        code = load.get('code') if AGENT.get('stub_compiled') else None
        code = marshal.loads(code) if code else compile(load['source'], '<spyhole %s>' % feature, 'exec', 0, True)
        exec(code, AGENT)
        AGENT['has_' + feature] = True
        sources.pop(feature, None)
    elif 'has_' + feature not in AGENT:
        raise LookupError('feature `%s` was not loaded' % feature)


# ---- modules

def op_loaded(request):
    tell({'ev': 'loaded', 'names': [name for name in request['names'] if name in modules]})


# ---- serving

def dispatch(request):
    op = request['op']
    if 'op_' + op not in AGENT:
        need(op)
    return AGENT['op_' + op](request)


def serve():
    while True:
        request = receive()
        if request is RESTING:
            return stub_rest(serve)
        if request is None or request.get('op') == 'bye':
            return farewell(request)
        try:
            if dispatch(request) is SUPERSEDED:
                return leave()
        except Exception as error:
            tell(refusal(request.get('job', 0), error))


def control(op, job):
    # In the stub's watcher thread, while our own may be busy.
    global gone
    try:
        gone = gone or op == 0
        if op:
            need('control')
            heed(op, job)
    except BaseException as error:
        if 'tell' in globals():     # else the agent ended meanwhile
            tell(refusal(job, error))


# ---- the program's own end

class Ending(object):
    # Stands where threading._shutdown was, which the main thread calls when
    # it has run to its end. Soon after, no other thread may run Python; one
    # that tries to is ended by pthread_exit up to 3.13 (Python/ceval_gil.h,
    # tstate_must_exit), which aborts the process where libgcc_s cannot be
    # loaded. So we are gone before.
    __slots__ = ('spyhole',)        # [what was there, step or None]

    def __init__(self, under, step):
        self.spyhole = [under, step]

    def __call__(self):
        if self.spyhole[0] is not None:
            self.spyhole[0]()
        step = self.spyhole[1]
        if step is not None:
            step()


def leave_in_time():
    # In the program's main thread: as if the client had gone. Our threads
    # close the channel when they are through with Python. AGENT may be
    # emptied at any moment after the first line.
    try:
        here, fstat, mine, lock = posix.getpid(), posix.fstat, stub_fd, modules['_thread'].allocate_lock()
        if here != pid:             # a child that the program forked
            return
        channel = fstat(mine).st_ino
        lock.acquire()
        stub_hangup()
        for _ in range(100):
            lock.acquire(True, .001)
            if fstat(mine).st_ino != channel:
                break
    except (OSError, NameError):
        pass


def see_the_end():
    threading = modules.get('threading')
    if sys.version_info >= (3, 14):
        return
    if hasattr(threading, '_shutdown'):
        ending = Ending(threading._shutdown, leave_in_time)
        threading._shutdown = ending
        undo.append(('threading._shutdown', lambda: put_back(threading, '_shutdown', ending)))
    elif 'atexit' in modules or sys.version_info >= (3, 10):
        # Before 3.10 the interpreter refers to the module, and not the other
        # way round: one that we imported could not be dropped again.
        had = 'atexit' in modules
        import atexit
        if not had:
            del modules['atexit']
        ending = Ending(None, leave_in_time)
        atexit.register(ending)
        undo.append(('atexit', lambda: atexit.unregister(ending)))


# ---- the program's forks

class OnlyOurs(object):
    # From 3.12 on a fork with more than one thread makes a DeprecationWarning
    # (Modules/posixmodule.c, warn_about_fork_with_threads). This matches it as
    # a filter's pattern where the program has but one thread, and all others
    # are ours.
    __slots__ = ()

    def match(self, text):
        try:
            if 'is multi-threaded, use of ' not in text or posix.getpid() != pid:
                return None
            tasks = '/proc/self/task/'
            if sum(not is_ours(tasks + task) for task in posix.listdir(tasks)) > 1:
                return None
            # Made for this warning, and empty but for a number.
            space = sys._getframe(1).f_globals
            if not set(space.get('__warningregistry__', 'none')) - {'version'}:
                del space['__warningregistry__']
            return True
        except (NameError, OSError):    # the agent ended meanwhile
            return None


def is_ours(task):
    # The stub names its threads, and they pass the name on.
    fd = posix.open(task + '/comm', posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 16) == b'spyhole\n'
    finally:
        posix.close(fd)


def allow_forks():
    if sys.version_info < (3, 12):
        return
    entry = 'ignore', OnlyOurs(), DeprecationWarning, None, 0
    # Two lists, while the program is in a `warnings.catch_warnings`.
    for name in 'warnings', '_warnings':
        filters = getattr(modules.get(name), 'filters', None)
        if type(filters) is list and entry not in filters:
            filters.insert(0, entry)
    undo.append(('warnings.filters', lambda: disallow_forks(entry)))


def disallow_forks(entry):
    for name in 'warnings', '_warnings':
        filters = getattr(modules.get(name), 'filters', None)
        if type(filters) is list and entry in filters:
            filters.remove(entry)


# ---- the end

def farewell(request):
    global ended
    ended = True
    left = ['job %d still runs in thread %d' % (job, place[1]) for job, place in running.copy().items()]
    left.extend(kept)
    release()
    if 'drop_session' in AGENT:
        undo.append(('names of the session', drop_session))
    while undo:
        what, step = undo.pop()
        try:
            step()
        except BaseException as error:
            left.append('%s: %s' % (what, type(error).__name__))
    if request is not None:
        tell({'ev': 'bye', 'left': left})
    leave()


def leave():
    # The last thread empties the agent. Its classes are cycles, but mostly
    # young; a program that lets many objects be young is not made to wait.
    count, rest, space, kept, me = sys.getrefcount, alive, AGENT, __builtins__, stub_ident()
    had = 'gc' in modules
    import gc
    if not had:
        del modules['gc']
    # Up to 3.12 threading keeps a dummy for a thread that asked for its own.
    known = getattr(modules.get('threading'), '_active', {})
    if type(known.get(me)).__name__ == '_DummyThread':
        del known[me]
    rest.pop()
    if not rest:
        space.clear()
        space['__builtins__'] = kept
        if gc.isenabled() and gc.get_threshold()[0] * (gc.get_count()[1] + 1) < 30000:
            gc.collect(1)
    if not had:
        # Made for us alone, and a cycle: each of its functions refers to it.
        # Unless another thread has found it meanwhile, it is taken apart.
        own = gc.__dict__
        if count(gc) <= 2 + len([1 for thing in own.values() if getattr(thing, '__self__', None) is gc]):
            own.clear()


def make_atexit():
    # Whoever ends another interpreter is made to wait for us by an exit
    # function, which the stub registers by itself where `atexit` is loaded.
    had = 'atexit' in modules
    import atexit
    guarded = stub_guard()
    if not had:
        if sys.version_info >= (3, 10):
            del modules['atexit']
        else:
            # Its interpreter knows it by a pointer of its own.
            kept.append('the module `atexit` in its sub-interpreters')
    if not guarded:
        raise SystemError('its end could not be made to wait for us')


if lent and not stub_guard():
    make_atexit()
stub_control(control)
if not lent:
    see_the_end()
allow_forks()
tell({'ev': 'hello', 'pid': pid, 'python': list(sys.version_info), 'version': sys.version, 'thread': server,
      'interpreter': AGENT.get('stub_interpreter', 0), 'executable': getattr(sys, 'executable', None) or ''})
serve()
