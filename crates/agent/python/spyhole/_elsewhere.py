# Feature `elsewhere`: code that runs in another place than the agent's own
# thread: in the main thread, in an event loop, in a hub, in a frame.
#
# The thread that serves waits for it here, and knows when the client has gone.
# Loops and hubs, and how to get into them, are the feature `places`.

AWAITING = 0x2000           # compile() flag: `await` outside of a function (Include/cpython/compile.h, 3.8 on)
OF_COROUTINE = 0x80            # code flag (Include/code.h)
LOOK = .05                  # seconds between two looks whether the client is there


class Misplaced(Exception):
    pass


def elsewhere(request):
    need('places')
    kind = request['place'][0]
    job = new_job(request, execute)
    job['cancelled'] = False
    try:
        if frozen and kind != 'frame':
            raise Misplaced('the interpreter is frozen, and `%s` needs it to go on; see `:thaw`' % kind)
        if kind not in PLACES:
            raise Misplaced('`%s` is not a place of this version' % kind)
        PLACES[kind](job, *request['place'][1:])
    except Misplaced as error:
        job['event'] = {'ev': 'refused', 'job': job['id'], 'message': str(error), 'misplaced': True}
    visited.pop(job['id'], None)
    return settled(job)


visited = {}                # job -> what is to be called to cancel it


def cancel(number):
    # In the watcher, or in a thread that serves.
    there = visited.get(number)
    if there is not None:
        there()


def wait_for(job, done):
    # Until the code has ended, or will not begin any more.
    global unserved
    left = False
    while not done.acquire(True, LOOK):
        if job['id'] in claims and not gone:
            try:
                more = stub_take()
            except OSError:
                more = b''
            if more:
                unserved += more
            left = left or more == b''
        if (left or gone or ended) and not job['cancelled']:
            cancel(job['id'])


def new_lock():
    lock = original('_thread', 'allocate_lock')()
    lock.acquire()
    return lock


# ---- the main thread

class Visit(object):
    # What the main thread is made to ask the truth value of: by a pending
    # call, or by a call that the client makes in it. Neither can be taken
    # back, so this may be asked when the agent has long gone.
    __slots__ = ('spyhole',)        # [step]; who pops it calls it

    def __bool__(self):
        try:
            self.spyhole.pop()()
        except BaseException:       # it was asked before, or is not wanted any more
            pass
        return False


def in_main(job):
    keep = AGENT.get('stub_keep')
    if keep is None:
        raise Misplaced('a prepared process has no way into its main thread')
    if lent:
        raise Misplaced('the main thread is a place of the main interpreter')
    done, visit = new_lock(), Visit()

    def step():
        try:
            carry_out(job)
            # An interrupt that we did not ask for was for the program.
            if job['event'] is None or job['event'].get('kind') == 'interrupted':
                if not job['cancelled']:
                    modules['_thread'].interrupt_main()
        finally:
            done.release()

    def unvisit():
        job['cancelled'] = True
        try:
            visit.spyhole.pop()
        except IndexError:              # its code runs
            return
        done.release()

    visit.spyhole = [step]
    job['visit'], job['queued'] = visit, False
    visited[job['id']] = unvisit
    visiting[job['id']] = job
    keep(visit)
    tell({'ev': 'visit', 'job': job['id'], 'object': id(visit)})
    wait_for(job, done)
    visiting.pop(job['id'], None)
    if job['id'] not in running:
        # It may still be asked: then it must be there.
        raise Misplaced('nothing of the code ran: the main thread has not come to it')
    elif not job['queued']:
        stub_drop(visit)


visiting = {}               # job -> job whose code waits for the main thread


def queue(number):
    # In the watcher: the main thread runs Python, and is asked the usual way.
    job = visiting.get(number)
    if job is not None and not job['queued']:
        job['queued'] = True
        ask_main(job['visit'])


asked = []                  # what the main thread was to be asked


def ask_main(thing):
    if not asked:
        undo.append(('pending calls', give_back))
    asked.append(thing)
    stub_queue(thing)


def give_back():
    # Who was asked is not needed any more; the others may be at any time.
    while asked:
        thing = asked.pop()
        if not thing.spyhole:
            stub_drop(thing)


# ---- an event loop

def in_loop(job):
    loops = [where for kind, where in everywhere() if kind == 'asyncio']
    if not loops:
        raise Misplaced('no asyncio loop runs in this interpreter')
    main = getattr(getattr(modules.get('threading'), '_main_thread', None), '_ident', None)
    loops.sort(key=lambda loop: getattr(loop, '_thread_id', None) != main)
    loop, done = loops[0], new_lock()
    job['run'] = advance
    job['loop'], job['coroutine'], job['task'] = loop, None, None

    def unvisit():
        job['cancelled'] = True
        try:
            loop.call_soon_threadsafe(stop)
        except RuntimeError:            # it was closed
            over()

    def stop():
        if job['task'] is None:
            over()
        else:
            job['task'].cancel()

    def over():
        if not job.get('over'):
            job['over'] = True
            done.release()

    visited[job['id']] = unvisit
    job['done'] = over
    try:
        enter('asyncio', loop, lambda: conduct(job))
    except RuntimeError as error:
        raise Misplaced('the loop cannot be entered: %s' % error)
    wait_for(job, done)
    loop = loops = None
    if job['id'] not in running:
        raise Misplaced('nothing of the code ran: the loop has not come to it')


async def conduct(job):
    if job['cancelled']:
        return job['done']()
    job['task'] = task_here()
    try:
        await Slices(job)
    finally:
        job['done']()


class Slices(object):
    # Runs the code from one wait to the next, each time armed.
    __slots__ = ('job',)

    def __init__(self, job):
        self.job = job

    def __await__(self):
        job = self.job
        job['sent'] = job['thrown'] = None
        while True:
            job['begun'], job['waits'] = False, False
            carry_out(job)
            if not job['waits'] or job['event'] is not None:
                job['coroutine'] = None
                return
            try:
                job['sent'], job['thrown'] = (yield job.pop('yielded')), None
            except GeneratorExit:
                job['coroutine'] = None
                raise
            except BaseException as error:
                job['sent'], job['thrown'] = None, error


def advance(job):
    if job['coroutine'] is None:
        job['coroutine'] = body(job, awaiting(job))
    coroutine = job['coroutine']
    try:
        if job['thrown'] is None:
            yielded = coroutine.send(job['sent'])
        else:
            yielded = coroutine.throw(job.pop('thrown'))
    except StopIteration as end:
        return conclude(job, end.value)
    except BaseException as error:
        if job['cancelled'] and type(error).__name__ == 'CancelledError':
            raise KeyboardInterrupt().with_traceback(error.__traceback__) from None
        raise
    job['yielded'], job['waits'] = yielded, True


async def body(job, steps):
    for step in steps:
        if type(step) is type(need):
            value = await step()
            continue
        value = eval(step, session)
        if step.co_flags & OF_COROUTINE:
            value = await value
    return value


def awaiting(job):
    # Code in which `await` may stand outside of a function.
    global future
    request, before = job['request'], future
    if sys.version_info >= (3, 8):
        future |= AWAITING
        try:
            return prepared(job)
        finally:
            future = before | future & ~AWAITING
    try:
        return prepared(job)
    except SyntaxError:
        if 'await' not in request['code'] and 'async' not in request['code']:
            raise
        function = in_function(request)
    refresh_names()
    job['kind'], job['since'] = 'raised', stub_now()
    return [function]


def in_function(request):
    # 3.6 and 3.7: the code is made the body of a coroutine, whose variables
    # are the session's. Text that goes over several lines is indented with it.
    code, name = request['code'], request['name']
    lines = ['    ' + line for line in code.splitlines()]

    def tree_of(*first):
        text = '\n'.join(('async def spyhole_await():',) + first + tuple(lines))
        return compile(text, name, 'exec', ONLY_TREE | future, True)

    def code_of(tree):
        for constant in compile(tree, name, 'exec', future, True).co_consts:
            if type(constant) is type(code_of.__code__):
                return constant

    own = code_of(tree_of())
    wanted = own.co_varnames + own.co_cellvars
    tree = tree_of('    global ' + ', '.join(wanted)) if wanted else tree_of()
    function = tree.body[0]
    last = function.body[-1]
    if type(last).__name__ == 'Expr':
        back = compile('def f(): return 0', name, 'exec', ONLY_TREE, True).body[0].body[0]
        back.value, back.lineno, back.col_offset = last.value, last.lineno, last.col_offset
        function.body[-1] = back
    move_up(function, 2 if wanted else 1)
    made = {}
    exec(compile(tree, name, 'exec', future, True), session, made)
    return made['spyhole_await']


def move_up(node, lines):
    if hasattr(node, 'lineno'):
        node.lineno = max(1, node.lineno - lines)
    for field in getattr(node, '_fields', ()):
        value = getattr(node, field, None)
        for part in value if isinstance(value, list) else (value,):
            if hasattr(part, '_fields'):
                move_up(part, lines)


# ---- a hub of gevent or eventlet

in_greenlets = set()        # idents of threads in whose hubs code of ours has run


def in_hub(job):
    hubs = [(kind, hub) for kind, hub in everywhere() if kind != 'asyncio' and is_open(kind, hub)]
    if not hubs:
        raise Misplaced('no hub of gevent or eventlet runs in this interpreter')
    main = getattr(getattr(modules.get('threading'), '_main_thread', None), '_ident', None)
    hubs.sort(key=lambda one: getattr(one[1], 'thread_ident', main) != main)
    (kind, hub), done, later = hubs[0], new_lock(), Later()
    hubs = None
    # An exception that is set for a thread finds whichever greenlet runs there.
    job['unarmed'], job['greenlet'] = True, None

    def begin():
        # In the hub; comes back as soon as the code waits for something.
        job['greenlet'] = modules['greenlet'].greenlet(run, hub if kind == 'gevent' else hub.greenlet)
        job['greenlet'].switch()

    def run():
        job['unit'] = job['greenlet']
        in_greenlets.add(stub_ident())
        AGENT['job_here'] = job_of_greenlet
        carry_out(job)
        # By the hub, when nothing of ours runs in its thread any more: the
        # agent may end then.
        try:
            if kind == 'gevent':
                hub.loop.run_callback(done.release)
            else:
                hub.schedule_call_global(0, done.release)
        except Exception:               # a hub that was closed meanwhile
            done.release()

    def unvisit():
        job['cancelled'] = True
        try:
            later.spyhole.pop()
        except IndexError:              # its turn has come
            if job['event'] is None and job['greenlet'] is not None:
                end_greenlet(job, kind, hub, job['greenlet'])
        else:
            done.release()

    later.spyhole = [begin]
    visited[job['id']] = unvisit
    try:
        call_in_hub(kind, hub, later)
    except Exception as error:
        raise Misplaced('the hub cannot be entered: %s' % error)
    wait_for(job, done)
    hub = job['greenlet'] = None
    if job['id'] not in running:
        raise Misplaced('nothing of the code ran: the hub has not come to it')


class Later(object):
    # What a hub is to call. That may be when the agent has long gone, but then
    # there is no step in it any more.
    __slots__ = ('spyhole',)        # [step]; who pops it calls it

    def __call__(self):
        try:
            step = self.spyhole.pop()
        except IndexError:
            return
        step()


def is_open(kind, hub):
    if kind == 'gevent':
        return hub.loop is not None and not hub.dead
    return hub.running


def job_of_greenlet():
    # The job whose code runs here: in a hub's thread by its greenlet.
    ident = stub_ident()
    if ident in in_greenlets:
        return captured.get(greenlet_here()) or captured.get(ident)
    return captured.get(ident)


def end_greenlet(job, kind, hub, greenlet):
    # While it waits, the hub throws into it. While it runs, which the hub
    # cannot see, a pending call of the main thread raises in it, and in no
    # other greenlet; a hub of another thread has to wait until it waits.
    wanted = [KeyboardInterrupt]

    def thrown():
        if wanted and not greenlet.dead and job['event'] is None:
            greenlet.throw(wanted.pop())

    def raised_there():
        if wanted and greenlet_here() is greenlet and job['event'] is None:
            raise wanted.pop()

    call_in_hub(kind, hub, thrown)
    if 'stub_keep' in AGENT:
        poke = Poke()
        poke.spyhole = [raised_there]
        stub_keep(poke)
        ask_main(poke)


class Poke(object):
    # As Visit, but for what is to be raised where it is asked.
    __slots__ = ('spyhole',)

    def __bool__(self):
        try:
            step = self.spyhole.pop()
        except IndexError:
            return False
        try:
            step()
        except NameError:               # the agent ended meanwhile
            pass
        return False


# ---- a frame of another thread

def in_frame(job, ident, number, native):
    job['run'] = lambda job: execute_in_frame(job, ident, number, native)
    carry_out(job)


def frame_of(ident, number, native):
    frame = sys._current_frames().get(ident)
    if frame is None:
        raise LookupError('thread %d runs no Python code' % native)
    for step in range(number):
        frame = frame.f_back
        if frame is None:
            raise LookupError('thread %d has no frame %d' % (native, number))
    return frame


def execute_in_frame(job, ident, number, native):
    steps = prepared(job)
    frame = frame_of(ident, number, native)
    # Copies: what the code binds is put where it belongs afterwards.
    code, known, whole = frame.f_code, dict(frame.f_locals), frame.f_globals
    module = frame.f_locals is whole
    frame = None
    space = dict(whole)
    space.update(session)
    space.update(known, __builtins__=names)
    before = dict(space)
    try:
        for step in steps:
            value = eval(step, space)
    finally:
        for name in list(space):
            if name not in before or space[name] is not before[name]:
                if name in known and not module:
                    assign(code, ident, number, native, name, space[name])
                else:
                    session[name] = space[name]
                    if module and name in known:
                        complain(job, '`%s` was bound in the session, and not in the module' % name)
        space = before = known = whole = None
    conclude(job, value)


def assign(code, ident, number, native, name, value):
    frame = frame_of(ident, number, native)
    try:
        if frame.f_code is not code:
            raise LookupError('`%s` was not assigned: the frame has returned' % name)
        if type(frame.f_locals) is not dict:
            frame.f_locals[name] = value        # 3.13 on: it writes through (Objects/frameobject.c)
        elif 'stub_assign' in AGENT:
            stub_assign((frame, name, value))
        else:
            raise LookupError('`%s` was not assigned: without the stub this version cannot' % name)
    finally:
        frame = None


def complain(job, text):
    tell({'ev': 'out', 'job': job['id'], 'stream': 'stderr', 'text': text + '\n'})


PLACES = {'main': in_main, 'loop': in_loop, 'hub': in_hub, 'frame': in_frame}
