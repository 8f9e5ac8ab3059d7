# Feature `statements`: code that is more than one expression, the errors of
# code that does not parse, and what the session's names need at the end.

ONLY_TREE = 0x400           # compile() flag: the syntax tree, without importing ast
FUTURES = 0x1fe0000         # compile() flags of `from __future__`, whatever the version


def parse(code, name):
    try:
        return compile(code, name, 'exec', ONLY_TREE | future, True)
    except IndentationError:
        bare = code.lstrip()
        lead = code[:len(code) - len(bare)]
    # An expression may be indented; the numbers of its lines are kept.
    return compile('\n' * lead.count('\n') + bare, name, 'exec', ONLY_TREE | future, True)


def statements(request):
    # Code objects to run one after the other; the last one's value counts.
    global future
    code, name = request['code'], request['name']
    tree = parse(code, name)
    last = tree.body.pop() if tree.body and type(tree.body[-1]).__name__ == 'Expr' else None
    body = compile(tree, name, 'exec', future, True)
    if last is None:
        steps = [body]
    else:
        wrapper = compile('0', '', 'eval', ONLY_TREE, True)
        wrapper.body = last.value
        steps = [body, compile(wrapper, name, 'eval', future, True)]
    if '__future__' in code:
        future |= body.co_flags & FUTURES & ~compile('', '', 'exec', 0, True).co_flags
    return steps


def lone_functions(space, count):
    # Functions that nothing but this dict refers to, and that refer to it.
    return [name for name, value in space.items() if type(value) is type(references)
            and value.__globals__ is space and references(value) == count]


def references(thing):
    return sys.getrefcount(thing)


def drop_session():
    # Frees what the code named without waiting for the collector, since its
    # functions and their globals are a cycle. If anything else refers to these
    # globals (a function that was put into the program) they stay whole.
    global yardstick
    yardstick = {}
    alone = references(yardstick)
    exec('def function(): pass', yardstick)
    count = 0
    while not lone_functions(yardstick, count):
        count += 1
    if references(session) == alone + len(lone_functions(session, count)):
        session.clear()


# ---- values of a prompt

VALUES = 100                # that are kept
numbered = 0                # that were shown


def remember(value):
    # `_`, `__` for the one before, `_1`, `_2`, ... for all; the older ones are let go.
    global numbered
    numbered += 1
    session.update({'__': session.get('_'), '_': value, '_%d' % numbered: value})
    session.pop('_%d' % (numbered - VALUES), None)
