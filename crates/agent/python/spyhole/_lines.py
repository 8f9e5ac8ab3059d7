# Feature `lines`: the code behind FILE:LINE.
#
# It knows functions that live, frames that run, and the source if there is
# one. Without a source it knows the lines that code objects tell.


def line_site(name, line):
    functions, frames = in_file(name)
    files = sorted({one.__code__.co_filename for one in functions} | {one.f_code.co_filename for one in frames})
    if not files:
        raise Unplaced('not-loaded', 'nothing there runs code of a file `%s`' % name, *near_files(name))
    if len(files) > 1:
        raise Unplaced('usage', '`%s` is the end of %d files that are loaded there' % (name, len(files)),
                       *['name one: %s:%d' % (one, line) for one in files[:5]])
    code = functions[0].__code__ if functions else frames[0].f_code
    space = functions[0].__globals__ if functions else frames[0].f_globals
    try:
        tree = tree_of(code, space)
    except Unwritable:
        return without_source(name, line, functions, frames)
    node, path = statement_at(tree, line)
    if node is None:
        raise Unplaced('usage', '`%s` has no code in line %d or after it' % (files[0], line))
    scope = path[-1] if path else None
    if type(scope).__name__ not in DEFINITIONS:
        return outside(name, line, node, scope, frames)
    wanted = scope.name, first_line(scope)
    found = []
    for one in [one.__code__ for one in functions] + [one.f_code for one in frames]:
        for inner in codes_in(pristine(one), *wanted):
            if not any(inner is other for other in found):
                found.append(inner)
    if not found:
        raise Unplaced('not-found', 'no live function has line %d of `%s`' % (node.lineno, files[0]))
    label = '%s:%d' % (name, node.lineno)
    code = found[0]
    site = Site(label, code, holders(code, None), node.lineno, node.lineno != line,
                getattr(code, 'co_qualname', code.co_name))
    return site


def in_file(name):
    short = '/' + name.lstrip('./')

    def fits(code):
        return code.co_filename == name or code.co_filename.endswith(short)

    functions = [thing for thing in own_gc().get_objects() if type(thing) is FUNCTION_KIND and fits(thing.__code__)]
    frames = [frame for frame in running_frames() if fits(frame.f_code)]
    return functions, frames


def running_frames():
    found = []
    for frame in sys._current_frames().values():
        while frame is not None:
            if frame.f_globals is not AGENT:
                found.append(frame)
            frame = frame.f_back
    return found


def near_files(name):
    names = [getattr(module, '__file__', None) for module in list(modules.values())]
    short = {one.rpartition('/')[2]: one for one in names if type(one) is str}
    return near(name.rpartition('/')[2], list(short))


def statement_at(tree, line):
    # The first statement at or after the line, with the scopes around it.
    best, best_path = None, ()
    waiting = [(tree, ())]
    while waiting:
        node, path = waiting.pop()
        inner = path + (node,) if type(node).__name__ in SCOPES else path
        for block in blocks_of(node):
            for index, one in enumerate(block):
                kind = type(one).__name__
                docstring = index == 0 and kind == 'Expr' and is_text(one.value)
                if kind not in DEFINITIONS and kind not in ('Global', 'Nonlocal') and not docstring:
                    if line <= one.lineno and (best is None or one.lineno < best.lineno):
                        best, best_path = one, inner
                waiting.append((one, inner))
    return best, best_path


def outside(name, line, node, scope, frames):
    # Code of a module or a class runs once: only where it runs now.
    wanted = '<module>' if scope is None else scope.name
    codes = [frame.f_code for frame in frames if frame.f_code.co_name == wanted]
    if codes and hasattr(sys, 'monitoring'):
        return Site('%s:%d' % (name, node.lineno), codes[0], [], node.lineno, node.lineno != line, wanted)
    raise Unplaced('usage', 'line %d of `%s` is in no function: it runs once, when the module is imported'
                   % (node.lineno, name), 'name a line of a function')


def without_source(name, line, functions, frames):
    if not hasattr(sys, 'monitoring'):
        raise Unplaced('usage', 'the source of `%s` is not there, so no line of it can be watched' % name,
                       'name a function: MODULE:FUNCTION')
    best = None
    for code in [one.__code__ for one in functions] + [one.f_code for one in frames]:
        for inner in all_codes(code):
            for _, _, number in inner.co_lines():
                if number is not None and number >= line and (best is None or number < best[0]):
                    best = number, inner
    if best is None:
        raise Unplaced('usage', '`%s` has no code in line %d or after it' % (name, line))
    return Site('%s:%d' % (name, best[0]), best[1], [], best[0], best[0] != line, best[1].co_qualname)


def all_codes(code):
    found, waiting = [], [code]
    while waiting and len(found) < 10000:
        one = waiting.pop()
        found.append(one)
        waiting.extend(const for const in one.co_consts if type(const) is CODE_KIND)
    return found


# ---- frames that run already, and code without a source (3.12+)

def monitor(probe, code, line, passing):
    # Events of one code object alone: nothing else slows down.
    watch = sys.monitoring
    tool = None
    for number in 3, 4:
        if watch.get_tool(number) is None:
            watch.use_tool_id(number, 'spyhole')
            tool = number
            break
    if tool is None:
        raise Unplaced('refused', 'the tool numbers 3 and 4 of sys.monitoring are taken',
                       'name a function: MODULE:FUNCTION')
    disable = watch.DISABLE

    def at_line(code, number):
        if number != line:
            return disable
        passing(sys._getframe(1))

    def safe(code, number):
        try:
            return at_line(code, number)
        except Exception:
            return None

    watch.register_callback(tool, watch.events.LINE, safe)
    watch.set_local_events(tool, code, watch.events.LINE)

    def stop():
        watch.set_local_events(tool, code, 0)
        watch.register_callback(tool, watch.events.LINE, None)
        watch.free_tool_id(tool)
    probe.stops.append(stop)
