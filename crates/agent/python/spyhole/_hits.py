# Feature `hits`: what is told of a passing, and the numbers that stand for many.
#
# It runs in threads of the program. It never waits for the client: there is
# room on the channel, or the event is dropped and counted.

ROOM = 1 << 17              # bytes that the client has not taken yet
BESIDE = 1300               # what the kernel counts for a small message
FOLD = 4096                 # durations that are kept one by one


# ---- what is told

def arguments_of(trace, values):
    if trace.wrapped:
        return bound(trace.site.code, trace.function, values)
    return list(zip(trace.names, values))


def texts(trace, pairs):
    return [[exact(name), text_of(trace, value)] for name, value in pairs]


def text_of(trace, value):
    walker = Walker(trace.request['max'], trace.request['depth'])
    return walker.walk(value)[0]


def whose():
    # The thread, greenlet or task that runs here.
    threading = modules.get('threading')
    thread = getattr(threading, '_active', {}).get(stub_ident())
    name = getattr(thread, '_name', None)
    return {'thread': stub_tid(), 'name': exact(name, 100) if name is not None else None,
            'greenlet': own_greenlet(), 'task': own_task()}


def own_greenlet():
    greenlet = modules.get('greenlet')
    if greenlet is None:
        return None
    try:
        current = greenlet.getcurrent()
        if current.parent is None:
            return None
        name = exact(getattr(current, 'name', None) or '', 100)
        return name or '%s at %#x' % (type(current).__name__, id(current))
    except Exception:
        return None


def own_task():
    events = modules.get('asyncio.events')
    running_loop = getattr(events, '_get_running_loop', None)
    if running_loop is None:
        return None
    try:
        loop = running_loop()
        if loop is None:
            return None
        tasks = modules['asyncio.tasks']
        task = tasks.current_task(loop) if hasattr(tasks, 'current_task') else tasks.Task.current_task(loop)
        if task is None:
            return None
        if hasattr(task, 'get_name'):
            return exact(task.get_name(), 100)
        return exact(task._coro.__qualname__, 100)
    except Exception:
        return None


def stack_of(frame):
    found = []
    while frame is not None:
        if frame.f_globals is not AGENT:
            found.append(frame)
        frame = frame.f_back
    found, _ = ends(found)
    return [frame_entry(one, one.f_lasti, one.f_lineno) for one in found]


def offer_hit(trace, record, frame):
    event = {'ev': 'hit', 'job': trace.job, 'at': record['when'], 'args': record['args'],
             'stack': record.get('stack') or [], 'line': natural(frame.f_lineno if trace.site.line else 0),
             'function': trace.site.owner, 'duration': record.get('duration'), 'result': None, 'error': None}
    event.update(record['who'])
    if record.get('error') is not None:
        error = record['error']
        event['error'] = [exact_type_name(type(error)), message_of(error)[:trace.request['max']]]
    elif not trace.site.line:
        event['result'] = text_of(trace, record.get('result', (None,))[0])
    shown = []
    if trace.shown:
        space = space_of(trace, record, frame)
        for text, code in trace.shown:
            try:
                shown.append([text, text_of(trace, eval(code, frame.f_globals, space)), True])
            except Exception as error:
                shown.append([text, '%s: %s' % (exact_type_name(type(error)), message_of(error)[:300]), False])
        space = None
    event['show'] = shown
    trace.hits += 1
    offer(trace, event)


def offer(trace, event):
    # Sent if the client has kept up, else dropped: no thread of the program
    # ever waits for the client.
    trace.sequence = number = trace.sequence + 1
    event['seq'] = number
    data = marshal.dumps(event, 2)
    size = len(data) + BESIDE
    if sum(cost for _, cost in trace.outstanding) + size > ROOM:
        trace.dropped['slow'] += 1
        return
    trace.outstanding.append((number, size))
    stub_send(data)


def tell_note(trace, text):
    offer(trace, {'ev': 'note', 'job': trace.job, 'text': text})


# ---- numbers instead of lines

def sample(trace, record):
    if record.get('error') is not None:
        trace.errors += 1
    trace.samples.append(record['duration'])
    if len(trace.samples) >= FOLD:
        fold(trace)


def fold(trace):
    # Durations in steps of a thirty-second: few numbers, however many calls.
    samples, trace.samples = trace.samples, []
    for duration in samples:
        if duration > trace.largest:
            trace.largest = duration
        size = int(duration * 1e9)
        bits = size.bit_length()
        step = size if bits <= 6 else (size >> (bits - 6)) << (bits - 6)
        trace.buckets[step] = trace.buckets.get(step, 0) + 1


def op_stats(request):
    trace = traces[request['job']]
    fold(trace)
    buckets, trace.buckets = trace.buckets, {}
    errors, trace.errors = trace.errors, 0
    largest, trace.largest = trace.largest, 0.0
    calls = sum(buckets.values())
    tell({'ev': 'stats', 'job': trace.job, 'calls': calls, 'errors': errors, 'max': largest,
          'p50': share(buckets, calls, .5), 'p99': share(buckets, calls, .99)})


def share(buckets, calls, part):
    seen = 0
    for step in sorted(buckets):
        seen += buckets[step]
        if seen >= calls * part:
            return step / 1e9
    return 0.0
