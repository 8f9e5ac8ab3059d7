# Feature `raised`: exceptions as the chain of links that WIRE.md describes,
# and the frames of tracebacks and of threads.

FRAMES = 50                 # at each end of a traceback
LINKS = 20
NOTES = 20
LONGEST = 1 << 16           # characters of a message


def exact(text, longest=1 << 12):
    # marshal takes no subclass of str, and the program may have one anywhere.
    return str.__getitem__(text, slice(longest)) if isinstance(text, str) else ''


def cut(text, longest):
    over = str.__len__(text) - longest
    return exact(text, longest) + ('\u2026 (+%d characters)' % over if over > 0 else '')


def natural(value):
    return value if type(value) is int and 0 <= value < 1 << 31 else 0


def exact_type_name(kind):
    # Never through a metaclass's own attribute access.
    module = type.__dict__['__module__'].__get__(kind)
    name = exact(type.__dict__['__qualname__'].__get__(kind))
    if not isinstance(module, str) or module == 'builtins':
        return name
    return exact(module) + '.' + name


# ---- frames

def columns(code, lasti, line):
    # UTF-8 byte offsets of the running expression, as far as it is on `line`.
    if lasti >= 0 and hasattr(code, 'co_positions'):
        for index, (start, end, first, last) in enumerate(code.co_positions()):
            if index == lasti >> 1:
                if start != line or first is None:
                    break
                return first, last if end == line and last is not None else -1
    return -1, -1


def frame_entry(frame, lasti, line):
    code = frame.f_code
    line = natural(line)
    first, last = columns(code, lasti, line)
    return [exact(code.co_filename), line, exact(getattr(code, 'co_qualname', code.co_name)), first, last]


def ends(items):
    # (first and last ones, how many were left out in the middle)
    over = len(items) - 2 * FRAMES
    return (items, 0) if over <= 0 else (items[:FRAMES] + items[-FRAMES:], over)


def traceback_frames(trace):
    steps = []
    while trace is not None:
        if trace.tb_frame.f_globals is not AGENT:
            steps.append(trace)
        trace = trace.tb_next
    steps, omitted = ends(steps)
    return [frame_entry(step.tb_frame, step.tb_lasti, step.tb_lineno) for step in steps], omitted


def where(job):
    ident, native = running.get(job, (0, 0))
    frame = sys._current_frames().get(ident)
    frames = []
    while frame is not None:
        if frame.f_globals is not AGENT:
            frames.append(frame)
        frame = frame.f_back
    frames, omitted = ends(frames[::-1])
    return {'ev': 'where', 'job': job, 'thread': native, 'omitted': omitted,
            'frames': [frame_entry(frame, frame.f_lasti, frame.f_lineno) for frame in frames]}


# ---- texts; all of them may run the program's code

def message_of(error):
    # What str() of an exception does with its arguments, but bounded.
    kind, args = type(error), BaseException.args.__get__(error)
    try:
        if isinstance(error, SyntaxError) and isinstance(error.msg, str):
            return cut(error.msg, LONGEST)
        if kind.__str__ is KeyError.__str__ and len(args) == 1:
            return bounded(args[0])
        if kind.__str__ is BaseException.__str__:
            if len(args) > 1:
                return bounded(args)
            if args and not isinstance(args[0], str) and type(args[0]).__str__ is object.__str__:
                return bounded(args[0])
        return cut(str(error), LONGEST)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return '<exception str() failed>'


def bounded(value):
    need('render')
    return rendered(value, LONGEST)['repr']


def notes_of(error, level=0):
    try:
        notes = getattr(error, '__notes__', None)
        notes = list(notes[:NOTES]) if isinstance(notes, (list, tuple)) else []
        notes = [cut(note, LONGEST) if isinstance(note, str) else bounded(note) for note in notes]
        group = getattr(builtins, 'BaseExceptionGroup', None)
        if group is not None and isinstance(error, group):
            inner = error.exceptions
            for index, one in enumerate(inner[:NOTES]):
                text = message_of(one)
                text = exact_type_name(type(one)) + (': ' + text if text else '')
                notes.append('%s%d: %s' % ('  ' * level, index + 1, text))
                if level < 3:
                    notes.extend(notes_of(one, level + 1))
            if len(inner) > NOTES:
                notes.append('%s\u2026 (+%d more)' % ('  ' * level, len(inner) - NOTES))
        return notes[:10 * NOTES]
    except KeyboardInterrupt:
        raise
    except BaseException:
        return []


def syntax_of(error):
    if not isinstance(error, SyntaxError):
        return None
    text = error.text
    if isinstance(text, bytes):     # of a file in another encoding
        text = text.decode('utf-8', 'replace')
    return {'file': exact(error.filename), 'line': natural(error.lineno),
            'column': natural(error.offset), 'text': exact(text)}


# ---- the chain

def links_of(error):
    # Innermost first; (exception, its relation to the one that follows).
    links, seen, relation = [], set(), None
    while error is not None and id(error) not in seen and len(links) < LINKS:
        seen.add(id(error))
        links.append((error, relation))
        if error.__cause__ is not None:
            error, relation = error.__cause__, 'cause'
        elif error.__suppress_context__:
            error = None
        else:
            error, relation = error.__context__, 'context'
    return links[::-1]


def link_of(error, relation):
    frames, omitted = traceback_frames(error.__traceback__)
    return {'type': exact_type_name(type(error)), 'message': message_of(error), 'relation': relation,
            'frames': frames, 'omitted': omitted, 'syntax': syntax_of(error), 'notes': notes_of(error)}


def raised(job, error, duration):
    request = job['request']
    if request.get('console') and getattr(error, 'spyhole_exit', False) is True:
        return {'ev': 'exit', 'job': job['id'], 'duration': duration}
    kind = 'interrupted' if isinstance(error, KeyboardInterrupt) else job['kind']
    chain = [link_of(one, relation) for one, relation in links_of(error)]
    missing = missing_name(error, chain[-1]['message'], request) if kind == 'raised' else None
    return {'ev': 'raised', 'job': job['id'], 'kind': kind, 'chain': chain, 'missing': missing, 'duration': duration}


# ---- what was not there

def missing_name(error, message, request):
    # Only if the evaluated code itself asked for it: an error inside the
    # program is no lack of a module here.
    trace, before, last = error.__traceback__, None, None
    while trace is not None:
        before, last = last, trace.tb_frame
        trace = trace.tb_next
    if last is not None and last.f_code.co_name == '__getattr__':
        last = before               # of a module, PEP 562
    if last is None or last.f_globals is not session:
        return None
    parts = message.split("'")
    if type(error) is NameError and len(parts) == 3 and parts[2] == ' is not defined':
        return longest_dotted(request, parts[1])
    if type(error) is AttributeError and len(parts) >= 5 and parts[0].endswith('module '):
        if parts[2].endswith(' has no attribute '):
            return longest_dotted(request, parts[1] + '.' + parts[3])
    return None


def longest_dotted(request, name):
    # The longest dotted name of the code that begins with `name`.
    best = name
    try:
        tree = compile(request['code'].strip(), '', 'exec', 0x400, True)
    except SyntaxError:             # `await` of a place that has it
        return best
    nodes = [tree]
    for node in nodes:
        if len(nodes) > 20000:
            break
        dotted = dotted_name(node)
        if dotted is not None and dotted.startswith(name + '.') and len(dotted) > len(best):
            best = dotted
        for field in getattr(node, '_fields', ()):
            child = getattr(node, field, None)
            for part in child if type(child) is list else (child,):
                if hasattr(part, '_fields'):
                    nodes.append(part)
    return exact(best)


def dotted_name(node):
    parts = []
    while type(node).__name__ == 'Attribute' and len(parts) < 100:
        parts.append(node.attr)
        node = node.value
    if type(node).__name__ != 'Name':
        return None
    return '.'.join([node.id] + parts[::-1])
