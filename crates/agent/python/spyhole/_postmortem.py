# Feature `postmortem`: the interpreter's own pdb on an exception that is kept.
#
# Each line that the client sends runs one command of it, in the agent's thread;
# in between nothing of the program waits, and nothing of pdb is in place. It
# reads and writes the channel, never the program's stdin and stdout. What it
# needs of the standard library is imported and stays; all else is undone.

need('complete')
need('kept')

PROMPT = '(Pdb) '
CONVENIENT = '__pdb_convenience_variables'      # in the globals of frames (Lib/pdb.py, 3.12 on)

dead = None                 # the session
shown_nothing = object()


class Talk(object):
    __slots__ = ('job', 'ident', 'pdb', 'out', 'reader', 'held', 'busy', 'over', 'error', 'chain', 'files', 'points',
                 'convenient', 'known')

    def __init__(self):
        self.pdb = self.error = None
        self.held, self.busy, self.over = '', False, False
        self.out, self.reader = Stream(None, lambda text: write(self, text)), Reader(self)
        self.files, self.points, self.convenient, self.chain = None, None, [], []
        self.known = set(modules)


# ---- its input and output

def write(talk, text):
    # Text of the agent's own thread goes to the client, whole lines at once:
    # what is left is the prompt of whatever reads next.
    try:
        if captured.get(stub_ident()) is None or posix.getpid() != pid:
            return False
    except NameError:               # the agent ended meanwhile
        return False
    held = talk.held + str.__str__(text)
    lines, newline, talk.held = held.rpartition('\n')
    if newline:
        say(talk, lines + newline)
    return True


def say(talk, text):
    for start in range(0, len(text), PIECE):
        tell({'ev': 'out', 'job': talk.job, 'stream': 'stdout', 'text': exact(text[start:start + PIECE], PIECE)})


class Reader(object):
    # Stands where sys.stdin is while a command runs; for other threads it is
    # what it was.
    __slots__ = ('spyhole',)        # [what was there, session or None]

    def __init__(self, talk):
        self.spyhole = [None, talk]

    def readline(self, *size):
        under, talk = self.spyhole
        if talk is not None and talk.ident == ident_here():
            return more_input(talk)
        return under.readline(*size) if under is not None else ''

    def __iter__(self):
        return iter(self.readline, '')

    def __getattr__(self, name):
        under, talk = self.spyhole
        if under is None or talk is not None and talk.ident == ident_here():
            raise AttributeError(name)
        return getattr(under, name)


def ident_here():
    try:
        return stub_ident()
    except NameError:
        return None


def more_input(talk):
    # A command reads a line of its own. '': there is none.
    global lent, unserved
    prompt, talk.held = talk.held, ''
    disarm(talk.job)
    was_lent, lent = lent, False
    try:
        tell({'ev': 'ask', 'job': talk.job, 'prompt': exact(prompt)})
        while True:
            request = receive()
            if request is None:
                return ''
            if request['op'] == 'bye':
                data = marshal.dumps(request, 2)
                unserved = len(data).to_bytes(4, 'little') + data + unserved
                return ''
            if request['op'] == 'line':
                captured[stub_ident()] = talk.job = request['job']
                text = request['text']
                return '' if text is None else text + '\n'
            try:
                dispatch(request)
            except Exception as error:
                tell(refusal(request.get('job', 0), error))
    finally:
        lent = was_lent
        stub_arm(talk.job)


# ---- commands

def op_postmortem(request):
    global dead
    entry = entry_of(request['id'])
    if entry is None or entry['error'] is None:
        why = 'there is no exception %d' if entry is None else \
            'exception %d was kept as text alone, for its frames held too much'
        return tell({'ev': 'probed', 'job': request['job'], 'ok': False, 'kind': 'not-found',
                     'message': why % request['id'], 'hints': []})
    dead = Talk()
    dead.error, trace = entry['error'], entry['trace']
    entry = None
    undo.append(('the debugger', finish))
    tell({'ev': 'probed', 'job': request['job'], 'ok': True, 'how': 'pdb', 'label': '', 'functions': 0, 'notes': [],
          'moved': False, 'line': 0})
    return obey(request['job'], lambda: begin(dead, trace))


def op_line(request):
    if dead is None or dead.busy:
        return tell({'ev': 'refused', 'job': request['job'], 'message': 'the last command still runs'})
    text = request['text']
    return obey(request['job'], lambda: command(dead, 'EOF' if text is None else text))


def obey(number, work):
    # As code is run: interrupted by Ctrl-C, given up if it hears nothing. What
    # pdb puts into `sys` for it is put back here, where no interrupt comes.
    talk = dead
    talk.job, talk.ident, talk.busy = number, stub_ident(), True
    reader, out = talk.reader, talk.out
    before = sys.stdin, getattr(sys, 'stdout', None), sys.displayhook
    shown = builtins.__dict__.get('_', shown_nothing)
    reader.spyhole[0], out.spyhole[0] = before[0], before[1]
    job = {'id': number, 'run': lambda job: one_step(talk, job, work), 'begun': False, 'event': None,
           'kind': 'raised', 'since': stub_now(), 'request': {'code': ''}}
    try:
        return run_job(job)
    finally:
        if sys.stdin is reader:
            sys.stdin = before[0]
        if getattr(sys, 'stdout', None) is out:
            sys.stdout = before[1]
        if getattr(sys.displayhook, '__self__', None) is talk.pdb is not None:
            sys.displayhook = before[2]
        if shown is shown_nothing:          # `interact` shows values as a prompt does
            builtins.__dict__.pop('_', None)
        else:
            builtins._ = shown
        if sys.gettrace() is not None:
            sys.settrace(None)
        talk.busy = False


def one_step(talk, job, work):
    # Below what is armed. An interrupt may come anywhere.
    try:
        sys.stdin = talk.reader
        try:
            work()
        except KeyboardInterrupt:
            write(talk, '--KeyboardInterrupt--\n')
        except BaseException as error:
            write(talk, '*** %s: %s\n' % (exact_type_name(type(error)), message_of(error)))
    finally:
        if talk.job != job['id']:
            disarm(talk.job)
            stub_arm(job['id'])
    if talk.held:
        say(talk, talk.held)
        talk.held = ''
    if talk.over:
        job['event'] = {'ev': 'exit', 'job': talk.job, 'duration': 0.0}
    else:
        names_for_completion(talk)
        job['event'] = {'ev': 'ask', 'job': talk.job, 'prompt': PROMPT}


def begin(talk, trace):
    had_readline = 'readline' in modules
    if not had_readline:
        modules['readline'] = None          # it would be the program's terminal's
    delimiters = getattr(modules['readline'], 'get_completer_delims', None)
    delimiters = delimiters and delimiters()
    try:
        import pdb
        import bdb
        import linecache
        talk.files, talk.points = set(linecache.cache), len(bdb.Breakpoint.bpbynumber)
        debugger = debugger_class(pdb.Pdb, talk)(
            stdin=talk.reader, stdout=talk.out, nosigint=True, readrc=False)
    finally:
        if not had_readline and modules.get('readline', 0) is None:
            del modules['readline']
        if delimiters is not None:
            modules['readline'].set_completer_delims(delimiters)
    added = len([name for name in modules if name not in talk.known])
    if added:
        kept.append('%d modules that pdb needs, which were imported for it' % added)
    talk.pdb = debugger
    debugger.reset()
    error = talk.error
    if hasattr(debugger, '_get_tb_and_exceptions'):
        talk.chain = debugger._get_tb_and_exceptions(error)[0]
        debugger._chained_exceptions = talk.chain
        debugger._chained_exception_index = len(talk.chain) - 1
    step = trace
    while step is not None:
        note_globals(talk, step.tb_frame)
        step = step.tb_next
    for one in talk.chain:
        step = one.__traceback__
        while step is not None:
            note_globals(talk, step.tb_frame)
            step = step.tb_next
    write(talk, '%s%s\n' % (exact_type_name(type(error)), ': ' + message_of(error) if message_of(error) else ''))
    debugger.setup(None, own_part(trace))
    debugger.print_stack_entry(debugger.stack[debugger.curindex])


def own_part(trace):
    # Without frames of agents, which may be the outermost ones.
    while trace.tb_next is not None and is_agents(trace.tb_frame.f_globals):
        trace = trace.tb_next
    return trace


def note_globals(talk, frame):
    space = frame.f_globals
    if not dict.__contains__(space, CONVENIENT) and not any(space is one for one in talk.convenient):
        talk.convenient.append(space)


def command(talk, line):
    debugger = talk.pdb
    debugger.cmdqueue.append(line)
    while debugger.cmdqueue and not talk.over:
        one = debugger.precmd(debugger.cmdqueue.pop(0))
        stop = debugger.onecmd(one)
        if debugger.postcmd(stop, one):
            talk.over = True


def debugger_class(base, talk):
    class Postmortem(base):
        def do_interact(self, argument):
            """interact
            A Python prompt with the names of this frame; the end of the input gives the debugger back."""
            import code
            space = dict(self.curframe.f_globals)
            space.update(self.curframe.f_locals)
            prompt = code.InteractiveConsole(space)
            prompt.raw_input = ask_here
            prompt.write = self.stdout.write
            prompt.interact('*interactive*')

        def do_run(self, argument):
            """run
            Not here: the program goes on by itself."""
            self.error('the program goes on by itself, and can not be run again')

        def do_debug(self, argument):
            """debug
            Not here: its debugger of its own would take hold of the program's terminal."""
            self.error('one debugger in another would import readline; use `!expression`')

        do_restart = do_run

    def ask_here(prompt=''):
        talk.out.write(prompt)
        line = talk.reader.readline()
        if not line:
            raise EOFError()
        return line.rstrip('\n')

    return Postmortem


# ---- completion

plain_complete = op_complete


def names_for_completion(talk):
    frame = talk.pdb.curframe
    session.clear()
    session.update(frame.f_globals)
    session.update(frame.f_locals)


def op_complete(request):
    # The first word may be a command.
    word = request['text'].lstrip()
    before = dict(session)
    try:
        if dead is not None and dead.pdb is not None and (word + '_').isidentifier():
            session.update((name[3:], len) for name in names_in_type(type(dead.pdb)) if name.startswith('do_'))
        return plain_complete(request)
    finally:
        session.clear()
        session.update(before)


# ---- the end

def finish():
    global dead
    talk, dead = dead, None
    if talk is None:
        return
    talk.out.spyhole[1] = None
    talk.reader.spyhole[1] = None
    session.clear()
    debugger, talk.pdb = talk.pdb, None
    if debugger is not None:
        forget_points(talk.points)
        for frame, _ in debugger.stack:
            if getattr(frame.f_trace, '__self__', None) is debugger:
                frame.f_trace = None
        debugger.forget()
        for space in talk.convenient:
            dict.pop(space, CONVENIENT, None)
        cache = modules['linecache'].cache
        for name in list(cache):
            if name not in talk.files:
                cache.pop(name, None)
        debugger._chained_exceptions = ()
    talk.error = talk.chain = talk.convenient = None


def forget_points(count):
    # Numbers of breakpoints that were made here; the program's own stay.
    point = modules['bdb'].Breakpoint
    for one in point.bpbynumber[count:]:
        if one is not None:
            one.deleteMe()
    while len(point.bpbynumber) > count and point.bpbynumber[-1] is None:
        point.bpbynumber.pop()
        point.next = len(point.bpbynumber)
