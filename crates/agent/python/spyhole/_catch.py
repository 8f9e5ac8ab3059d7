# Feature `catch`: exceptions that leave a function, or that nobody handles, are
# kept.
#
# A function is watched by events of its code alone where the interpreter has
# them for exceptions, else by a handler that is compiled into it: a call that
# raises nothing costs nothing. The hook runs in the program's threads: it
# raises nothing, waits for nobody, and keeps to a rate.

for _feature in 'rewrite', 'exchange', 'kept':
    need(_feature)


class Catch(object):
    __slots__ = ('job', 'request', 'label', 'site', 'names', 'exchanges', 'when', 'span', 'passed', 'hits', 'rate',
                 'tokens', 'filled', 'dropped', 'failures', 'told_failure', 'busy', 'sequence', 'outstanding', 'stops',
                 'how', 'notes', 'dead', 'hook_codes', 'lost', 'stays', 'until', 'points')

    def __init__(self, request):
        self.job, self.request, self.label = request['job'], request, request['where']
        self.site, self.names, self.exchanges, self.span, self.when = None, [], [], None, None
        self.passed, self.hits, self.failures, self.told_failure = iter(range(1 << 60)), 0, 0, False
        self.rate = float(request['rate'])
        self.tokens, self.filled = max(1.0, self.rate), stub_now()
        self.dropped = {'rate': 0, 'slow': 0, 'busy': 0}
        self.busy, self.sequence, self.outstanding, self.stops = set(), 0, [], []
        self.how, self.notes, self.dead, self.hook_codes, self.lost = '', [], True, [], None
        self.stays = request.get('stay') is not None
        self.until = stub_now() + request['stay'] if self.stays else None
        self.points = {}
        when = request.get('when')
        if when:
            expression(when, 1)
            self.when = compile(when.strip(), '<when>', 'eval', 0, True)

    def about(self):
        left = max(0.0, self.until - stub_now()) if self.stays else None
        count = len([1 for entry in caught.copy().values() if entry['owner'] is self])
        return [self.label, self.how, count, left]

    def stop(self):
        told = summary_of(self)
        remove_catch(self)
        watching.pop(self.job, None)
        tell(told)


# ---- in the program's threads

def hook_of(catch, exchange):
    # It may run when the agent has ended and its names are gone.
    failures = Exception

    def raised():
        try:
            left_by(catch, sys.exc_info(), sys._getframe(1))
        except failures:
            pass

    raised.spyhole_probe = [exchange]
    catch.hook_codes.append(raised.__code__)
    return raised


def left_by(catch, info, frame):
    error, trace = info[1], info[2]
    if catch.dead or issubclass(type(error), GeneratorExit):
        return          # a generator that is closed has not failed
    if catch.span is not None and not catch.span[0] <= trace.tb_lineno <= catch.span[1]:
        return
    keep(catch, error, trace, frame, 'function')


def keep(catch, error, trace, frame, by):
    if posix.getpid() != pid:       # a child that the program forked
        return forget_catch_in_child(catch)
    ident = stub_ident()
    if ident in catch.busy:
        catch.dropped['busy'] += 1
        return
    if sys.version_info < (3, 9) and ringed(error):
        next(catch.passed)
        catch.dropped['busy'] += 1
        return
    catch.busy.add(ident)
    try:
        for entry in list(caught.values()):
            if entry['error'] is error and entry['owner'] is catch:
                # Of a recursion, or told by one who heard it from another.
                entry['times'] += by == 'function'
                if trace is not None:
                    entry['trace'] = trace
                return
        if catch.when is not None and not wanted(catch, error, frame):
            return
        next(catch.passed)
        if not within_rate(catch):
            return
        entry = entry_for(error, trace, catch.request, catch, catch.label, by)
        shed(entry, catch.request)
        number = next(numbers)
        caught[number] = entry
        catch.hits += 1
        expire(catch, catch.request)
        if catch.dead:              # taken out meanwhile
            caught.pop(number, None)
            return
        offer(catch, told_entry(number, entry, catch.job, 0, False))
    finally:
        catch.busy.discard(ident)


def within_rate(catch):
    now = stub_now()
    most = catch.rate if catch.rate > 1 else 1.0
    tokens = catch.tokens + (now - catch.filled) * catch.rate
    catch.filled = now
    if tokens > most:
        tokens = most
    if tokens < 1:
        catch.tokens = tokens
        catch.dropped['rate'] += 1
        return False
    catch.tokens = tokens - 1
    return True


def wanted(catch, error, frame):
    space = {'exception': error}
    scope = {'__builtins__': builtins.__dict__}
    if catch.site is not None:
        space.update(frame.f_locals)
        scope = frame.f_globals
        if 'exception' not in catch.names:
            space['exception'] = error
    try:
        return eval(catch.when, scope, space)
    except Exception as failed:
        catch.failures += 1
        if not catch.told_failure:
            catch.told_failure = True
            tell_note(catch, 'the condition raised %s: %s; exceptions for which it does are kept as if it were true' % (
                exact_type_name(type(failed)), message_of(failed)[:300]))
        return True
    finally:
        space = scope = None


# ---- putting it in, and taking it out

def op_catch(request):
    more_handlers()
    catch = None
    try:
        catch = Catch(request)
        install_catch(catch)
    except Unplaced as error:
        return tell({'ev': 'probed', 'job': request['job'], 'ok': False, 'kind': error.kind,
                     'message': str(error), 'hints': error.hints})
    undo.append(('the catch of `%s`' % catch.label, lambda: remove_catch(catch)))
    watching[catch.job] = catch
    catch.dead = False
    site = catch.site
    tell({'ev': 'probed', 'job': catch.job, 'ok': True, 'how': catch.how, 'label': catch.label,
          'functions': sum(len(exchange.changed) for exchange in catch.exchanges), 'notes': catch.notes,
          'moved': site is not None and site.moved, 'line': site.line if site is not None else 0})


def install_catch(catch):
    if catch.request['where'] == '*':
        need('unhandled')
        return install_points(catch)
    catch.site = site = site_of(catch.request['where'])
    catch.label, catch.names = site.label, parameters(site.code)
    function = site.functions[0] if site.functions else None
    space = function.__globals__ if function is not None else {}
    if site.line:
        catch.span = span_of(site, space)
    if monitored(catch, site.code):
        catch.how = 'monitored'
        return
    exchange = Exchange(site.code)
    catch.exchanges.append(exchange)
    hook = hook_of(catch, exchange)
    running = frames_with(site.code)
    try:
        if not site.functions:
            raise Unwritable('it is no function')
        touched = Touched(site.code, space)
        try:
            new = touched.with_body(caught_body(touched.node), {'spyhole raised': hook})
        finally:
            touched.close()
        compiled_in(exchange, site.functions, site.code, new)
        catch.how = 'compiled in'
        if running:
            catch.notes.append('%d %s already, and what leaves %s is not kept' % (
                (running, 'call runs', 'it') if running == 1 else (running, 'calls run', 'them')))
    except Unwritable as error:
        around(catch, exchange, hook, str(error))
    except Unplaced:
        raise
    except Exception as error:
        # An audit hook may forbid it, and a function may refuse.
        remove_catch(catch)
        raise Unplaced('refused', 'the code of `%s` can not be exchanged: %s: %s' % (
            site.label, exact_type_name(type(error)), message_of(error)[:300]))


def around(catch, exchange, hook, why):
    site = catch.site
    constants = {'spyhole enter': lambda values: True, 'spyhole result': lambda value: value,
                 'spyhole raised': hook, 'spyhole left': lambda: None, 'spyhole GeneratorExit': GeneratorExit,
                 'spyhole BaseException': BaseException, 'spyhole StopAsyncIteration': StopAsyncIteration}
    if not wrapped(exchange, site.functions, site.code, constants):
        raise Unplaced('not-found', '`%s` has no live function, and can not be rewritten: %s' % (site.label, why))
    if catch.span is not None:
        take_out(exchange)
        raise Unplaced('usage', 'line %d can not be watched: %s' % (site.line, why),
                       'name the function: MODULE:FUNCTION')
    catch.how = 'wrapped'
    catch.notes.append('%s; so a function around it hears of its exceptions, which is seen in tracebacks' % why)


def monitored(catch, code):
    # Where exceptions that leave a code object are events of it alone.
    watch = getattr(sys, 'monitoring', None)
    if watch is None:
        return False
    tool = ([number for number in (3, 4) if watch.get_tool(number) is None] + [None])[0]
    if tool is None:
        return False
    watch.use_tool_id(tool, 'spyhole')
    failures = Exception

    def unwound(code, offset, error):
        try:
            left_by(catch, (type(error), error, error.__traceback__), sys._getframe(1))
        except failures:
            pass

    def stop():
        watch.set_local_events(tool, code, 0)
        watch.register_callback(tool, watch.events.PY_UNWIND, None)
        watch.free_tool_id(tool)

    try:
        watch.set_local_events(tool, code, watch.events.PY_UNWIND)
    except ValueError:
        watch.free_tool_id(tool)
        return False
    watch.register_callback(tool, watch.events.PY_UNWIND, unwound)
    catch.stops.append(stop)
    catch.hook_codes.append(unwound.__code__)
    return True


def frames_with(code):
    need('lines')
    return len([1 for frame in running_frames() if frame.f_code is code])


def span_of(site, space):
    # The lines of a statement without the blocks in it.
    try:
        node = statement_at(tree_of(site.code, space), site.line)[0]
    except Unwritable:
        return site.line, site.line
    last, waiting = node.lineno, [node]
    blocks = ('body', 'orelse', 'finalbody', 'handlers', 'cases')
    while waiting:
        one = waiting.pop()
        last = max(last, getattr(one, 'lineno', last))
        for name in one._fields:
            child = getattr(one, name, None)
            if not (type(child) is list and name in blocks):
                waiting.extend(part for part in (child if type(child) is list else [child]) if hasattr(part, '_fields'))
    return node.lineno, last


def remove_catch(catch):
    catch.dead = True
    while catch.stops:
        catch.stops.pop()()
    for exchange in catch.exchanges:
        take_out(exchange)
    drain(catch.hook_codes)
    for number, entry in caught.copy().items():
        if entry['owner'] is catch:
            caught.pop(number, None)


def forget_catch_in_child(catch):
    # The child has the code, but neither client nor agent.
    catch.dead = True
    while catch.stops:
        catch.stops.pop()()
    for exchange in catch.exchanges:
        take_out(exchange)
    caught.clear()


def summary_of(catch):
    return {'ev': 'summary', 'job': catch.job, 'passed': (1 << 60) - catch.passed.__length_hint__(),
            'hits': catch.hits, 'dropped': [[name, count] for name, count in sorted(catch.dropped.items())],
            'failures': catch.failures, 'open': 0}


def op_uncatch(request):
    catch = watching.get(request['job'])
    if catch is not None:
        catch.stop()


def op_took(request):
    catch = watching.get(request['job'])
    if catch is not None:
        done = request['seq']
        catch.outstanding = [one for one in catch.outstanding if one[0] > done]


def op_recheck(request):
    # What is too old goes, and a name may mean another function by now.
    catch = watching.get(request['job'])
    if catch is None or catch.dead:
        return
    expire(catch, catch.request)
    if catch.request['where'] == '*':
        return install_points(catch)
    if catch.site.line:
        return
    name, _, path = catch.request['where'].rpartition(':')
    try:
        thing = meant(name, path)[1]
        code = thing if type(thing) is CODE_KIND else thing.__code__
        if code is catch.site.code or told_by(code) is not None or catch.lost is code:
            return
        fresh = Catch(catch.request)
        catch.lost = code
        install_catch(fresh)
    except Unplaced as error:
        if catch.lost != str(error):
            catch.lost = str(error)
            tell_note(catch, 'lost: %s' % error)
        return
    for name in ('passed', 'tokens', 'filled', 'dropped', 'sequence', 'outstanding', 'hits', 'failures',
                 'told_failure', 'until'):
        setattr(fresh, name, getattr(catch, name))
    for entry in list(caught.values()):
        if entry['owner'] is catch:
            entry['owner'] = fresh
    remove_catch(catch)
    watching[catch.job] = fresh
    undo.append(('the catch of `%s`' % fresh.label, lambda: remove_catch(fresh)))
    fresh.dead = False
    tell_note(fresh, 'the module was loaded anew: its new function is watched now')
