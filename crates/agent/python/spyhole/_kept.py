# Feature `kept`: exceptions that were caught, each with its texts and, while
# there is room, its frames alive: the store that `catch` fills and that
# `postmortem` and later clients look into.
#
# An entry is a plain dict, so that the agent of another client may read it.
# Numbers count all that were caught in this interpreter.

for _feature in 'complete', 'render', 'raised', 'sites', 'hits':
    need(_feature)

SHOWN_FRAMES = 10           # at each end of a traceback have their locals kept as text
SHOWN_LOCALS = 30           # of a frame
CALLERS = 20
SIZED = str, bytes, bytearray, list, tuple, dict, set, frozenset
MEASURED = 20000            # objects of an exception's frames that are measured
LONGEST_RING = 1000

caught = {}                 # number -> entry
watching = {}               # job -> what is in place; each has `about()`


# ---- other clients

def agents():
    # The dicts of all agents of this interpreter that may have caught some.
    found = [AGENT]
    for frame in list(sys._current_frames().values()):
        while frame is not None:
            add_agent(found, frame.f_globals)
            frame = frame.f_back
    if lent:
        # Those of another interpreter have no frame while they rest.
        for thing in own_gc().get_objects():
            if type(thing) is dict and len(thing) > 100:
                add_agent(found, thing)
    return found


def add_agent(found, space):
    if type(space.get('caught')) is dict and 'stub_fd' in space and not any(space is one for one in found):
        found.append(space)


def number_giver():
    for space in agents():
        giver = space.get('numbers')
        if giver is not None:
            return giver
    return iter(range(1, 1 << 31))


numbers = None
numbers = number_giver()


def every_entry():
    # The oldest first; with the dict that each is in.
    found = []
    for space in agents():
        own = space.get('caught')
        if own is not None:
            found.extend((number, entry, own) for number, entry in own.copy().items())
    return sorted(found, key=lambda one: one[0])


def entry_of(number):
    for one, entry, _ in every_entry():
        if one == number:
            return entry
    return None


# ---- making an entry, in the thread that it happened in

def ringed(error):
    # Up to 3.8 whatever raises while such an exception is handled never ends
    # (Python/errors.c, _PyErr_SetObject).
    context = BaseException.__dict__['__context__']
    for _ in range(LONGEST_RING):
        if error is None:
            return False
        error = context.__get__(error)
    return True


def steps_of(trace):
    steps = []
    while trace is not None:
        if not is_agents(trace.tb_frame.f_globals):
            steps.append(trace)
        trace = trace.tb_next
    return ends(steps)


def is_agents(space):
    return space is AGENT or dict.__contains__(space, 'stub_fd')


def details(error, trace, most, depth):
    # The texts of an exception: its chain, and the locals of its own frames.
    steps, omitted = steps_of(trace)
    chain = [link_of(one, relation) for one, relation in links_of(error)]
    chain[-1]['frames'] = [frame_entry(step.tb_frame, step.tb_lasti, step.tb_lineno) for step in steps]
    chain[-1]['omitted'] = omitted
    for link in chain:
        link['message'] = cut(link['message'], 10000)
    values = []
    for index, step in enumerate(steps):
        near_an_end = index < SHOWN_FRAMES or index >= len(steps) - SHOWN_FRAMES
        values.append(locals_of(step.tb_frame, most, depth) if near_an_end else [])
    return chain, values


def locals_of(frame, most, depth):
    found = []
    space = frame.f_locals
    for name in list(space):
        if len(found) == SHOWN_LOCALS:
            found.append(['\u2026', '(+%d more)' % (len(space) - SHOWN_LOCALS)])
            break
        if frame.f_code.co_name == '<module>' and type(name) is str and name.startswith('__'):
            continue
        try:
            found.append([exact(name, 200), Walker(most, depth).walk(space[name])[0]])
        except Exception as failed:
            found.append([exact(name, 200), '<%s>' % exact_type_name(type(failed))])
    return found


def weight_of(trace):
    # About how many bytes its frames keep alive: of builtin containers and
    # texts alone, for to ask others is to run code of the program.
    total, seen, waiting = 0, set(), []
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name != '<module>' and not is_agents(frame.f_globals):
            waiting.extend(frame.f_locals.values())
        trace = trace.tb_next
    while waiting and len(seen) < MEASURED:
        thing = waiting.pop()
        kind = type(thing)
        if kind not in SIZED or id(thing) in seen:
            continue
        seen.add(id(thing))
        total += sys.getsizeof(thing)
        if kind is dict:
            waiting.extend(list(thing.values())[:MEASURED])
        elif kind in (list, tuple, set, frozenset):
            waiting.extend(list(thing)[:MEASURED])
    return total


def callers_of(frame):
    # Outermost first.
    found, frame = [], frame.f_back
    while frame is not None and len(found) < CALLERS:
        if not is_agents(frame.f_globals):
            found.append(frame_entry(frame, frame.f_lasti, frame.f_lineno))
        frame = frame.f_back
    return found[::-1]


def entry_for(error, trace, request, owner, label, by):
    chain, values = details(error, trace, request['max'], request['depth'])
    callers = callers_of(trace.tb_frame) if trace is not None else []
    entry = {'at': stub_now(), 'where': label, 'by': by, 'chain': chain, 'locals': values, 'stack': callers,
             'times': 1, 'error': error, 'trace': trace, 'live': True, 'owner': owner, 'max': request['max'],
             'depth': request['depth']}
    entry.update(whose())
    entry['size'] = len(marshal.dumps([chain, values, callers], 2)) + weight_of(trace)
    return entry


def expire(owner, request):
    # What is too old, too many or too much goes, the oldest first.
    now = stub_now()
    mine = sorted(((number, entry) for number, entry in caught.copy().items() if entry['owner'] is owner),
                  key=lambda one: one[0])
    total = sum(entry['size'] for _, entry in mine)
    for index, (number, entry) in enumerate(mine):
        too_old = now - entry['at'] > request['age']
        too_many = len(mine) - index > request['last']
        if too_old or too_many or total > request['bytes'] and index < len(mine) - 1:
            total -= entry['size']
            caught.pop(number, None)


def shed(entry, request):
    # One that alone holds too much is kept as text.
    if entry['size'] > request['bytes']:
        entry.update(error=None, trace=None, live=False)
        entry['size'] = len(marshal.dumps([entry['chain'], entry['locals'], entry['stack']], 2))


# ---- telling of them

def told_entry(number, entry, job, seq, whole):
    event = {key: entry[key] for key in ('at', 'where', 'by', 'chain', 'stack', 'times', 'live', 'thread', 'name',
                                         'greenlet', 'task')}
    event.update(ev='caught', job=job, seq=seq, id=number, locals=entry['locals'] if whole else [])
    return event


def op_kept(request):
    job, what, wanted = request['job'], request['what'], request['id']
    count, about = 0, []
    if what == 'stop':
        for space in agents():
            try:
                count += space['stop_keeping']()
            except (KeyError, NameError):   # it leaves just now
                pass
    for space in agents():
        for thing in space.get('watching', {}).copy().values():
            about.append(thing.about())
    for number, entry, home in every_entry():
        if what == 'reset' or what == 'discard' and number == wanted:
            count += home.pop(number, None) is not None
        elif what == 'list' or what == 'print' and number == wanted:
            count += 1
            error = entry['error']
            if what == 'print' and entry['times'] > 1 and error is not None:
                # It went on through more frames after it was kept.
                entry['chain'], entry['locals'] = details(error, entry['trace'], entry['max'], entry['depth'])
            tell(told_entry(number, entry, job, 0, what == 'print'))
    error = entry = home = None
    tell({'ev': 'kept', 'job': job, 'count': count, 'watching': about})


def stop_keeping():
    # Called by another client's agent, in its thread.
    count = 0
    for thing in watching.copy().values():
        if thing.stays:
            thing.stop()
            count += 1
    return count


undo.append(('what was caught', caught.clear))
