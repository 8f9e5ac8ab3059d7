# Feature `trace`: each passing of a function or a line, told without stopping.
#
# What is not told costs next to nothing: conditions are compiled into the
# function, and the rate is looked at before anything is made into text. What
# is told never waits for the client: there is room for it on the channel, or
# it is dropped and counted. In hooks nothing raises, whatever has become of
# the agent meanwhile.

for _feature in 'complete', 'render', 'raised', 'sites', 'rewrite', 'exchange', 'hits':
    need(_feature)

LATE_NAMES = {'result', 'exception', 'duration'}
NEVER = 1e999               # a time that does not come
traces = {}                 # job -> Trace


class Trace(object):
    __slots__ = ('job', 'request', 'site', 'exchange', 'names', 'function', 'late', 'shown', 'live', 'passed', 'rate',
                 'tokens', 'filled', 'left', 'dropped', 'failures', 'told_failure', 'busy', 'sequence', 'outstanding',
                 'samples', 'errors', 'buckets', 'largest', 'stops', 'how', 'notes', 'dead', 'hook_codes', 'label',
                 'hits', 'space', 'wrapped', 'quick', 'gate', 'held')

    def __init__(self, request):
        self.job, self.request, self.label = request['job'], request, request['where']
        self.exchange, self.function, self.late, self.wrapped, self.quick = None, None, None, False, None
        self.live, self.busy, self.stops, self.notes, self.hook_codes = {}, set(), [], [], []
        # Those that got through the gate, and those that did not. The gate:
        # until when nobody gets through, and what counts them. It is closed
        # until all is in place.
        self.passed, self.held = counter(), {'rate': counter(), 'limit': counter()}
        self.gate = [NEVER, int]
        self.rate = float(request['rate'])
        self.tokens, self.filled = max(1.0, self.rate), stub_now()
        self.left = request['limit']
        self.dropped = {'rate': 0, 'limit': 0, 'slow': 0, 'busy': 0}
        self.failures, self.told_failure, self.hits, self.sequence = 0, False, 0, 0
        self.outstanding = []
        self.samples, self.errors, self.buckets, self.largest = [], 0, {}, 0.0
        self.how, self.dead = '', True      # until all of it is in place
        self.shown = []
        for text in request.get('show') or ():
            expression(text, 1)
            self.shown.append((text, compile(text.strip(), '<show>', 'eval', 0, True)))


def counter():
    # No thread can interrupt a step of it.
    return iter(range(1 << 60))


def counted(those):
    return (1 << 60) - those.__length_hint__()


# ---- the calls that are compiled in

def hooks_of(trace):
    # Every one of them may run in any thread, also when the agent has ended
    # and its names are gone, those of builtins for a moment, too.
    failures, gate, count = Exception, trace.gate, trace.passed.__next__

    def enter(values):
        # What is over the rate gets no further than this.
        try:
            if stub_now() < gate[0]:
                gate[1]()
                return False
            count()
            return admitted(trace, values, sys._getframe(1))
        except failures:
            return False

    def result(value):
        try:
            record = trace.live.get(id(sys._getframe(1)))
            if record is not None:
                record['result'] = (value,)
        except failures:
            pass
        return value

    def raised():
        try:
            record = trace.live.get(id(sys._getframe(1)))
            if record is not None:
                record['error'] = sys.exc_info()[1]
        except failures:
            pass

    def left():
        try:
            record = trace.live.pop(id(sys._getframe(1)), None)
            if record is not None:
                over(trace, record, sys._getframe(1))
        except failures:
            pass
        record = None

    def failed(values):
        # The condition raised: told once, counted, and taken as true.
        try:
            condition_failed(trace, sys.exc_info()[1])
            frame = sys._getframe(1)
            count()
            return passed_line(trace, frame) if trace.site.line else admitted(trace, values, frame)
        except failures:
            return False

    def passing():
        try:
            if stub_now() < gate[0]:
                gate[1]()
                return
            count()
            passed_line(trace, sys._getframe(1))
        except failures:
            pass

    enter.spyhole_probe = passing.spyhole_probe = [trace.exchange]
    for hook in enter, result, raised, left, failed, passing:
        # Code of its own, for `drain` to know the hooks of this trace from
        # those of another, which threads may be in at any time.
        hook.__code__ = with_parts(hook.__code__)
        trace.hook_codes.append(hook.__code__)
    return {'spyhole enter': enter, 'spyhole result': result, 'spyhole raised': raised, 'spyhole left': left,
            'spyhole failed': failed, 'spyhole passing': passing, 'spyhole Exception': Exception,
            'spyhole GeneratorExit': GeneratorExit, 'spyhole BaseException': BaseException,
            'spyhole StopAsyncIteration': StopAsyncIteration}


def taken(trace, now):
    # Whether this passing is within the rate and the limit.
    if trace.left <= 0:
        trace.dropped['limit'] += 1
        return False
    tokens = trace.tokens + (now - trace.filled) * trace.rate
    trace.filled = now
    most = trace.rate if trace.rate > 1 else 1.0
    if tokens > most:
        tokens = most
    within = tokens >= 1
    if within:
        tokens -= 1
        trace.left -= 1
    else:
        trace.dropped['rate'] += 1
    trace.tokens = tokens
    # Where nothing more has to be known of a passing, the next ones need not
    # come here.
    if trace.late is None and trace.quick is None and not trace.dead:
        if trace.left <= 0:
            trace.gate[:] = NEVER, trace.held['limit'].__next__
        elif tokens < 1:
            trace.gate[0] = now + (1 - tokens) / trace.rate
    return within


def admitted(trace, values, frame):
    if trace.dead:
        return False
    now = stub_now()
    if trace.request['stats']:
        if trace.wrapped and trace.quick is not None and not early(trace, values, frame):
            return False
        trace.live[id(frame)] = {'at': now, 'values': values if trace.late else None}
        return True
    if trace.late is not None:
        trace.live[id(frame)] = {'at': now, 'values': values}
        return True
    if trace.wrapped and trace.quick is not None and not early(trace, values, frame):
        return False
    if not taken(trace, now):
        return False
    return begun(trace, values, frame, stub_ident(), now)


def begun(trace, values, frame, ident, now):
    if posix.getpid() != pid:       # a child that the program forked
        forget_in_child(trace)
        return False
    if ident in trace.busy:
        trace.dropped['busy'] += 1
        return False
    trace.busy.add(ident)
    try:
        record = {'when': now}
        record['args'] = texts(trace, arguments_of(trace, values))
        record['who'] = whose()
        if trace.request['stack']:
            record['stack'] = stack_of(frame)
        if trace.wrapped and trace.shown:
            record['values'] = values
        record['at'] = stub_now()
        trace.live[id(frame)] = record
        return True
    finally:
        trace.busy.discard(ident)


def early(trace, values, frame):
    # The condition over the arguments, where it could not be compiled in.
    try:
        return eval(trace.quick, frame.f_globals, dict(arguments_of(trace, values)))
    except Exception as error:
        condition_failed(trace, error)
        return True


def over(trace, record, frame):
    # A call has ended, one way or the other.
    now = stub_now()
    if trace.dead:
        return
    record['duration'] = now - record['at']
    if trace.late is not None and not late(trace, record, frame):
        return
    if trace.request['stats']:
        return sample(trace, record)
    if trace.late is not None and not taken(trace, now):
        return
    ident = stub_ident()
    if posix.getpid() != pid:
        return forget_in_child(trace)
    if ident in trace.busy:
        trace.dropped['busy'] += 1
        return
    trace.busy.add(ident)
    try:
        if 'args' not in record:
            record['when'] = record['at']
            record['args'] = texts(trace, arguments_of(trace, record['values']))
            record['who'] = whose()
            if trace.request['stack']:
                record['stack'] = stack_of(frame)
        offer_hit(trace, record, frame)
    finally:
        trace.busy.discard(ident)


def late(trace, record, frame):
    try:
        return eval(trace.late, frame.f_globals, space_of(trace, record, frame))
    except Exception as error:
        condition_failed(trace, error)
        return True


def space_of(trace, record, frame):
    # The names of expressions: the frame's variables and what came of it.
    space = {}
    if not trace.wrapped:
        space.update(frame.f_locals)
    elif 'values' in record:
        space.update(arguments_of(trace, record['values']))
    own = {'result': record.get('result', (None,))[0], 'exception': record.get('error'),
           'duration': record.get('duration')}
    for name in own:
        if name not in trace.names:
            space[name] = own[name]
    return space


def passed_line(trace, frame):
    if trace.dead:
        return False
    now = stub_now()
    if trace.request['stats']:
        trace.samples.append(0.0)
        return False
    if not taken(trace, now):
        return False
    ident = stub_ident()
    if posix.getpid() != pid:
        forget_in_child(trace)
        return False
    if ident in trace.busy:
        trace.dropped['busy'] += 1
        return False
    trace.busy.add(ident)
    try:
        space = frame.f_locals
        named = [(name, space[name]) for name in parameters(frame.f_code) if name in space]
        record = {'when': now, 'args': texts(trace, named), 'who': whose()}
        if trace.request['stack']:
            record['stack'] = stack_of(frame)
        offer_hit(trace, record, frame)
    finally:
        trace.busy.discard(ident)
    return False


def condition_failed(trace, error):
    trace.failures += 1
    if not trace.told_failure:
        trace.told_failure = True
        if posix.getpid() == pid:
            tell_note(trace, 'the condition raised %s: %s; calls in which it does are told as if it were true' % (
                exact_type_name(type(error)), message_of(error)[:300]))


# ---- putting it in, and taking it out

def op_trace(request):
    more_handlers()
    trace = None
    try:
        trace = Trace(request)
        install(trace)
    except Unplaced as error:
        return tell({'ev': 'probed', 'job': request['job'], 'ok': False, 'kind': error.kind,
                     'message': str(error), 'hints': error.hints})
    traces[trace.job] = trace
    open_gate(trace)
    undo.append(('the trace of `%s`' % trace.label, lambda: remove(trace)))
    tell({'ev': 'probed', 'job': trace.job, 'ok': True, 'how': trace.how, 'label': trace.site.label,
          'functions': len(trace.exchange.changed), 'notes': trace.notes, 'moved': trace.site.moved,
          'line': trace.site.line})


def open_gate(trace):
    trace.dead = False
    trace.gate[:] = -1.0, trace.held['rate'].__next__


def close_gate(trace):
    trace.dead = True
    trace.gate[:] = NEVER, int


def install(trace):
    trace.site = site = site_of(trace.request['where'])
    code = site.code
    trace.exchange = Exchange(code)
    trace.names = parameters(code)
    trace.function = site.functions[0] if site.functions else None
    trace.space = trace.function.__globals__ if trace.function is not None else {}
    when = trace.request.get('when')
    condition = None
    if when:
        condition, read = expression(when, code.co_firstlineno)
        if not site.line and read & (LATE_NAMES - set(trace.names)):
            trace.late, condition = compile(when.strip(), '<when>', 'eval', 0, True), None
    elsewhere = others_that_watch()
    if elsewhere:
        trace.notes.append(elsewhere)
    constants = hooks_of(trace)
    old_frames = frames_of(code)
    try:
        if not site.functions:
            raise Unwritable('it is no function')
        new = rewritten(trace, condition, constants)
        compiled_in(trace.exchange, site.functions, code, new)
        trace.how = 'compiled in'
        if old_frames:
            running_already(trace, old_frames, when)
    except Unwritable as error:
        without_rewriting(trace, str(error), when, constants)
    except Unplaced:
        raise
    except Exception as error:
        # An audit hook may forbid it, and a function may refuse.
        remove(trace)
        raise Unplaced('refused', 'the code of `%s` can not be exchanged: %s: %s' % (
            site.label, exact_type_name(type(error)), message_of(error)[:300]))


def rewritten(trace, condition, constants):
    code = trace.site.code
    touched = Touched(code, trace.space)
    try:
        if not trace.site.line:
            body = watched_body(touched.node, condition, bool(code.co_flags & ASYNC_GENERATOR))
        else:
            wanted = [one for one in statements_of(touched.node) if one.lineno == trace.site.line]
            body = marked_body(touched.node, wanted[0], condition)
        return touched.with_body(body, constants)
    finally:
        touched.close()


def statements_of(node):
    # Outermost and first in each line first; of functions within, none.
    found, waiting = [], [node]
    while waiting:
        one = waiting.pop(0)
        for block in blocks_of(one):
            for inner in block:
                found.append(inner)
                if type(inner).__name__ not in SCOPES:
                    waiting.append(inner)
    return found


def without_rewriting(trace, why, when, constants):
    site = trace.site
    quick = compile(when.strip(), '<when>', 'eval', 0, True) if when else None
    if site.line:
        if not hasattr(sys, 'monitoring'):
            raise Unplaced('usage', 'line %d can not be watched: %s' % (site.line, why),
                           'name the function: MODULE:FUNCTION')
        need('lines')
        monitor(trace, site.code, site.line, checked_passing(trace, quick))
        trace.how = 'monitored'
        return
    trace.wrapped = True
    if trace.late is None:
        trace.quick = quick
    if not wrapped(trace.exchange, site.functions, site.code, constants):
        raise Unplaced('not-found', '`%s` has no live function, and can not be rewritten: %s' % (site.label, why))
    trace.how = 'wrapped'
    trace.notes.append('%s; so a function around it tells of its calls, which is seen in stacks and tracebacks' % why)


def checked_passing(trace, quick):
    def passing(frame):
        if quick is not None:
            try:
                if not eval(quick, frame.f_globals, dict(frame.f_locals)):
                    return
            except Exception as error:
                condition_failed(trace, error)
        next(trace.passed)
        passed_line(trace, frame)
    return passing


def frames_of(code):
    need('lines')
    return [frame for frame in running_frames() if frame.f_code is code]


def running_already(trace, frames, when):
    count = len(frames)
    if trace.site.line and hasattr(sys, 'monitoring'):
        quick = compile(when.strip(), '<when>', 'eval', 0, True) if when else None
        return monitor(trace, trace.site.code, trace.site.line, checked_passing(trace, quick))
    trace.notes.append('%d %s already, and %s not told of' % (
        (count, 'call runs', 'is') if count == 1 else (count, 'calls run', 'are')))


def others_that_watch():
    # Tools of others are left as they are.
    watch = getattr(sys, 'monitoring', None)
    if watch is not None:
        names = [name for name in (watch.get_tool(number) for number in range(6)) if name and name != 'spyhole']
        if names:
            return 'sys.monitoring is used by %s there, which goes on' % ', '.join(exact(name, 50) for name in names)
    # What new threads get; and what a frame of a running one tells, for the
    # function itself is its thread's alone.
    threading = modules.get('threading')
    for kind in 'trace', 'profile':
        hook = getattr(threading, '_%s_hook' % kind, None)
        if hook is not None:
            return 'a %s function is set there (%s), which goes on' % (kind, origin_of(hook))
    need('lines')
    for frame in running_frames():
        hook = frame.f_trace
        if hook is not None:
            return 'a trace function is set there (%s), which goes on' % origin_of(hook)
    return None


def origin_of(hook):
    hook = getattr(hook, 'func', hook)          # functools.partial
    name = getattr(hook, '__module__', None) or type(hook).__module__
    return exact(name if type(name) is str else '?', 50)


def remove(trace):
    close_gate(trace)
    while trace.stops:
        trace.stops.pop()()
    if trace.exchange is not None:
        take_out(trace.exchange)
    drain(trace.hook_codes)
    trace.live.clear()


def forget_in_child(trace):
    # The child has the code, but neither client nor agent.
    close_gate(trace)
    while trace.stops:
        trace.stops.pop()()
    take_out(trace.exchange)


def summary(trace):
    held = {name: counted(those) for name, those in trace.held.items()}
    return {'ev': 'summary', 'job': trace.job, 'passed': counted(trace.passed) + sum(held.values()), 'hits': trace.hits,
            'dropped': [[name, count + held.get(name, 0)] for name, count in sorted(trace.dropped.items())],
            'failures': trace.failures, 'open': len(trace.live)}


def op_untrace(request):
    trace = traces[request['job']]
    told = summary(trace)
    remove(trace)
    tell(told)


def op_ack(request):
    trace = traces.get(request['job'])
    if trace is not None:
        done = request['seq']
        trace.outstanding = [one for one in trace.outstanding if one[0] > done]


def op_check(request):
    # Whether the name still means what is watched: a reload makes new ones.
    trace = traces.get(request['job'])
    if trace is None or trace.dead or trace.site.line:
        return
    name, _, path = trace.request['where'].rpartition(':')
    try:
        thing = meant(name, path)[1]
    except Unplaced as error:
        if trace.how != 'lost':
            trace.how = 'lost'
            tell_note(trace, 'lost: %s' % error)
        return
    code = thing if type(thing) is CODE_KIND else thing.__code__
    if code is trace.site.code or told_by(code) is not None:
        return
    if trace.how == 'lost again':
        return
    fresh = Trace(trace.request)
    fresh.passed, fresh.held, fresh.dropped = trace.passed, trace.held, trace.dropped
    try:
        install(fresh)
    except Unplaced as error:
        trace.how = 'lost again'
        return tell_note(trace, 'lost: %s' % error)
    remove(trace)
    for name in 'tokens', 'filled', 'left', 'sequence', 'outstanding', 'hits', 'failures':
        setattr(fresh, name, getattr(trace, name))
    traces[trace.job] = fresh
    undo.append(('the trace of `%s`' % fresh.label, lambda: remove(fresh)))
    open_gate(fresh)
    tell_note(fresh, 'the module was loaded anew: its new function is watched now')
