# Feature `rewrite`: code of the program with calls of ours compiled into it.
#
# It trusts no source: the untouched file must compile to the very code that
# runs, or nothing is rewritten. Trees come from compile() alone, so that no
# module is imported for them. Calls reach the code as constants: nothing is
# looked up, and frames that still run are sound when everything is over.

TREE_ONLY = 0x400           # compile() flag
SOURCE_LONGEST = 1 << 24
FLAGS_OF_DECORATORS = 0x100  # types.coroutine sets it in a copy of the code
OUR_LOCAL = '.spyhole'
DEFINITIONS = 'FunctionDef', 'AsyncFunctionDef'
SCOPES = DEFINITIONS + ('ClassDef', 'Lambda')


class Unwritable(Exception):
    # Why this code can not be rewritten.
    pass


# ---- sources

def source_of(code, space):
    name = code.co_filename
    data = None
    loader = space.get('__loader__') if type(space) is dict else None
    if not name.startswith('/') and not name.startswith('<'):
        name = posix.getcwd() + '/' + name
    try:
        data = file_content(name)
    except OSError:
        # In an archive: its importer has the text. It is the program's code,
        # but what every traceback would run, too.
        read = getattr(loader, 'get_source', None)
        if read is None or code.co_filename.startswith('<'):
            raise Unwritable('its source `%s` is not there' % code.co_filename)
        try:
            data = read(space.get('__name__'))
        except Exception:
            data = None
    if not data:
        raise Unwritable('its source `%s` is not there' % code.co_filename)
    return data


def file_content(name):
    fd = posix.open(name, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY)
    try:
        status = posix.fstat(fd)
        if status.st_mode & 0o170000 != 0o100000 or status.st_size > SOURCE_LONGEST:
            raise Unwritable('its source `%s` is no file of a usual size' % name)
        parts = []
        while True:
            part = posix.read(fd, 1 << 20)
            if not part:
                return b''.join(parts)
            parts.append(part)
    finally:
        posix.close(fd)


def tree_of(code, space):
    data = source_of(code, space)
    try:
        return compile(data, code.co_filename, 'exec', TREE_ONLY, True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unwritable('its source `%s` does not compile: %s' % (code.co_filename, error))


# ---- finding a definition in a tree

def first_line(node):
    # Where code objects say that they begin: at the first decorator.
    lines = [one.lineno for one in getattr(node, 'decorator_list', ())]
    return min(lines + [node.lineno])


def blocks_of(node):
    # The lists of statements in a statement.
    for name in 'body', 'orelse', 'finalbody':
        block = getattr(node, name, None)
        if type(block) is list:
            yield block
    for name in 'handlers', 'cases':
        for part in getattr(node, name, None) or ():
            yield part.body


def definitions(tree):
    # Every function with the statements around it, outermost first.
    waiting = [(tree, ())]
    while waiting:
        node, path = waiting.pop()
        kind = type(node).__name__
        if kind in DEFINITIONS:
            yield node, path
        inner = path + (node,) if kind in SCOPES else path
        for block in blocks_of(node):
            waiting.extend((one, inner) for one in block)


def definition_of(tree, code):
    found = [(node, path) for node, path in definitions(tree)
             if node.name == code.co_name and first_line(node) == code.co_firstlineno]
    if len(found) != 1:
        raise Unwritable('its source has changed since it was loaded, or was made by a program')
    return found[0]


def pruned(tree, path, node):
    # The module without what can not matter to this function: other
    # statements of it, and of the classes around. Imports matter: a call of
    # what the module imports is other code (Python/compile.c, is_import_originated).
    outer = path[0] if path else node
    undo = [(tree, tree.body)]
    tree.body = [top for top in tree.body if top is outer or holds(top, outer) or imports(top)]
    for index, one in enumerate(path):
        if type(one).__name__ == 'ClassDef':
            below = path[index + 1] if index + 1 < len(path) else node
            undo.append((one, one.body))
            one.body = [item for item in one.body if item is below or holds(item, below)]
        else:
            break
    return undo


def imports(statement):
    waiting = [statement]
    while waiting:
        node = waiting.pop()
        if type(node).__name__ in ('Import', 'ImportFrom'):
            return True
        if type(node).__name__ not in SCOPES:
            for block in blocks_of(node):
                waiting.extend(block)
    return False


def holds(statement, wanted):
    waiting = [statement]
    while waiting:
        node = waiting.pop()
        if node is wanted:
            return True
        if type(node).__name__ not in SCOPES:
            for block in blocks_of(node):
                waiting.extend(block)
    return False


# ---- the same code?

def same_code(one, other):
    for name in ('co_name', 'co_firstlineno', 'co_argcount', 'co_kwonlyargcount', 'co_names', 'co_varnames',
                 'co_freevars', 'co_cellvars', 'co_code'):
        if getattr(one, name) != getattr(other, name):
            return False
    for name in 'co_posonlyargcount', 'co_qualname', 'co_linetable', 'co_exceptiontable':
        if getattr(one, name, None) != getattr(other, name, None):
            return False
    if not hasattr(one, 'co_linetable') and one.co_lnotab != other.co_lnotab:
        return False
    return (one.co_flags | FLAGS_OF_DECORATORS) == (other.co_flags | FLAGS_OF_DECORATORS) and \
        same_constants(one.co_consts, other.co_consts)


def same_constants(ones, others):
    if type(ones) is not type(others):
        return False
    if type(ones) is CODE_KIND:
        return same_code(ones, others)
    if type(ones) is tuple:
        return len(ones) == len(others) and all(same_constants(*pair) for pair in zip(ones, others))
    if type(ones) in (float, complex):
        return repr(ones) == repr(others)
    return ones == others


def codes_in(code, name, line):
    found, waiting = [], [code]
    while waiting:
        one = waiting.pop()
        if one.co_name == name and one.co_firstlineno == line:
            found.append(one)
        waiting.extend(const for const in one.co_consts if type(const) is CODE_KIND)
    return found


# ---- putting calls in

class Touched(object):
    # A function's tree, opened for changes and closed again.
    def __init__(self, code, space):
        self.code, self.space = code, space
        self.tree = tree_of(code, space)
        self.node, self.path = definition_of(self.tree, code)
        self.undo = pruned(self.tree, self.path, self.node)
        self.flags = sys.flags.optimize
        if not any(same_code(one, code) for one in self.compiled()):
            self.close()
            raise Unwritable('its source has changed since it was loaded, or something rewrote it')

    def compiled(self):
        try:
            whole = compile(self.tree, self.code.co_filename, 'exec', 0, True, self.flags)
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
            raise Unwritable('its source can not be changed: %s' % error)
        return codes_in(whole, self.code.co_name, self.code.co_firstlineno)

    def with_body(self, body, constants):
        # The function's code with this body, and `constants` where their
        # names stand.
        before = self.node.body
        self.node.body = body
        try:
            found = self.compiled()
        finally:
            self.node.body = before
        if len(found) != 1:
            raise Unwritable('its source has it more than once')
        made, code = found[0], self.code
        if made.co_freevars != code.co_freevars:
            raise Unwritable('what is asked for names other variables of the functions around it')
        consts = tuple(self.constant(const, constants) for const in made.co_consts)
        # Where a condition is never true, the compiler leaves the calls out;
        # whose code this is must be seen nevertheless.
        marks = tuple(one for one in constants.values() if hasattr(one, 'spyhole_probe'))
        if not any(const is one for const in consts for one in marks):
            consts += marks[:1]
        return with_parts(made, co_consts=consts, co_flags=made.co_flags | code.co_flags & FLAGS_OF_DECORATORS)

    def constant(self, const, constants):
        if type(const) is str and const in constants:
            return constants[const]
        if type(const) is CODE_KIND:
            # Functions that are made meanwhile have the program's own code.
            for own in self.code.co_consts:
                if type(own) is CODE_KIND and same_code(own, const):
                    return own
        return const

    def close(self):
        for node, body in reversed(self.undo):
            node.body = body


def with_parts(code, **parts):
    if hasattr(code, 'replace'):
        return code.replace(**parts)

    def part(name):
        return parts.get(name, getattr(code, name))

    return CODE_KIND(*[part('co_' + name) for name in (
        'argcount', 'kwonlyargcount', 'nlocals', 'stacksize', 'flags', 'code', 'consts', 'names', 'varnames',
        'filename', 'name', 'firstlineno', 'lnotab', 'freevars', 'cellvars')])


def with_nested(code, old, new):
    # This code, where functions of the code `old` are made of `new`.
    if code is old:
        return new
    if not mentions(code, old):
        return code
    return with_parts(code, co_consts=tuple(
        with_nested(const, old, new) if type(const) is CODE_KIND else const for const in code.co_consts))


# ---- trees

def template(text, line):
    # A text called looks odd to the compiler, which would warn: therefore the
    # constant condition, of which nothing is left in the code.
    tree = compile(text, '', 'exec', TREE_ONLY, True)
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        place(node, line)
        for name in node._fields:
            child = getattr(node, name, None)
            waiting.extend(part for part in (child if type(child) is list else [child]) if hasattr(part, '_fields'))
    return tree.body


def place(node, line):
    if hasattr(node, 'lineno'):
        node.lineno, node.col_offset = line, 0
        if hasattr(node, 'end_lineno'):
            node.end_lineno, node.end_col_offset = line, 0


def copied(node):
    # Of a statement all that is statements; expressions are shared.
    new = type(node).__new__(type(node))
    for name in node._fields:
        value = getattr(node, name, None)
        if name in ('body', 'orelse', 'finalbody', 'handlers', 'cases') and type(value) is list:
            value = [copied(one) for one in value]
        setattr(new, name, value)
    for name in node._attributes:
        if hasattr(node, name):
            setattr(new, name, getattr(node, name))
    return new


def body_parts(node):
    # The docstring, declarations (told once, before everything), and the rest.
    body = list(node.body)
    head = []
    if body and type(body[0]).__name__ == 'Expr' and is_text(body[0].value):
        head.append(body.pop(0))
    rest = [copied(one) for one in body]
    declared = []
    without_declarations(rest, declared)
    return head, declared, rest


def is_text(node):
    value = getattr(node, 'value', None) if type(node).__name__ == 'Constant' else getattr(node, 's', None)
    return type(node).__name__ in ('Str', 'Constant') and type(value) is str


def without_declarations(block, declared):
    for index, one in enumerate(block):
        kind = type(one).__name__
        if kind in ('Global', 'Nonlocal'):
            declared.append(one)
            block[index] = template('pass', one.lineno)[0]
        elif kind not in SCOPES:
            for inner in blocks_of(one):
                without_declarations(inner, declared)


def with_results(block, keep_plain):
    # Statements whose returns pass their value through a call.
    block = [copied(one) for one in block]
    waiting = [block]
    while waiting:
        statements_here = waiting.pop()
        for index, one in enumerate(statements_here):
            kind = type(one).__name__
            if kind == 'Return' and not (keep_plain and one.value is None):
                new = template('return ("spyhole result" if 1 else 0)(None)', one.lineno)[0]
                if one.value is not None:
                    new.value.args[0] = one.value
                    for name in one._attributes:
                        setattr(new, name, getattr(one, name, None))
                statements_here[index] = new
            elif kind not in SCOPES:
                waiting.extend(blocks_of(one))
    return block


def parameters(code):
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & 4) + bool(code.co_flags & 8)
    return list(code.co_varnames[:count])


def parameters_tuple(node):
    # Their values as one tuple; written as the source has them, so that names
    # within classes are mangled as there.
    arguments = node.args
    names = [one.arg for one in getattr(arguments, 'posonlyargs', [])] + [one.arg for one in arguments.args]
    names += [one.arg for one in arguments.kwonlyargs]
    names += [one.arg for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return '(%s)' % ''.join(name + ', ' for name in names)


def watched_body(node, condition, is_async_generator):
    # The body twice: once watched, for passings that are taken, and once as
    # it is. Nothing of ours is a variable of the frame while the program's
    # own statements run.
    line = node.lineno
    head, declared, rest = body_parts(node)
    values = parameters_tuple(node)
    watched = with_results(rest, is_async_generator)
    wrapper = template(
        'try:\n pass\nexcept:\n ("spyhole raised" if 1 else 0)()\n raise\n'
        'finally:\n ("spyhole left" if 1 else 0)()', line)[0]
    wrapper.body = watched or wrapper.body
    if not is_async_generator:
        last = rest[-1] if rest else node
        wrapper.body = wrapper.body + template(
            'return ("spyhole result" if 1 else 0)(None)', getattr(last, 'end_lineno', None) or last.lineno)
    if condition is None:
        gate = template('if ("spyhole enter" if 1 else 0)(%s): pass\nelse: pass' % values, line)
        choice = gate[-1]
        choice.body, choice.orelse = [wrapper], rest or choice.orelse
    else:
        gate = template(
            'try:\n x = 0 and ("spyhole enter" if 1 else 0)(%s)\n'
            'except "spyhole Exception":\n x = ("spyhole failed" if 1 else 0)(%s)\n'
            'if x:\n del x\nelse:\n del x' % (values, values), line)
        gate[0].body[0].value.values[0] = condition
        choice = gate[-1]
        for assigned in gate[0].body[0], gate[0].handlers[0].body[0]:
            assigned.targets[0].id = OUR_LOCAL
        choice.test.id = choice.body[0].targets[0].id = choice.orelse[0].targets[0].id = OUR_LOCAL
        choice.body, choice.orelse = choice.body + [wrapper], choice.orelse + rest
    return head + declared + gate


def caught_body(node):
    # The body as it is, and a call for what leaves it.
    head, declared, rest = body_parts(node)
    wrapper = template('try:\n pass\nexcept:\n ("spyhole raised" if 1 else 0)()\n raise', node.lineno)[0]
    wrapper.body = rest or wrapper.body
    return head + declared + [wrapper]


def marked_body(node, wanted, condition):
    # The body with a call before one of its statements.
    line = wanted.lineno
    if condition is None:
        call = template('("spyhole passing" if 1 else 0)()', line)
    else:
        call = template(
            'try:\n if 0: ("spyhole passing" if 1 else 0)()\n'
            'except "spyhole Exception":\n ("spyhole failed" if 1 else 0)(0)', line)
        call[0].body[0].test = condition

    def marked(block):
        new = []
        for one in block:
            if one is wanted:
                new.extend(call)
                new.append(one)
            elif type(one).__name__ in SCOPES or not holds(one, wanted):
                new.append(one)
            else:
                changed = copied_once(one)
                for name in 'body', 'orelse', 'finalbody':
                    if type(getattr(changed, name, None)) is list:
                        setattr(changed, name, marked(getattr(changed, name)))
                for name in 'handlers', 'cases':
                    if type(getattr(changed, name, None)) is list:
                        parts = [copied_once(part) for part in getattr(changed, name)]
                        for part in parts:
                            part.body = marked(part.body)
                        setattr(changed, name, parts)
                new.append(changed)
        return new

    return marked(node.body)


def copied_once(node):
    new = type(node).__new__(type(node))
    for name in node._fields + node._attributes:
        if hasattr(node, name):
            setattr(new, name, getattr(node, name))
    return new


# ---- what the user wrote

UNFIT = 'Yield', 'YieldFrom', 'Await', 'NamedExpr'


def expression(text, line):
    # The tree of an expression, and the names that it reads.
    try:
        tree = compile(text.strip(), '<when>', 'eval', TREE_ONLY, True).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unplaced('usage', '`%s` is no expression: %s' % (text, error))
    read, waiting = set(), [tree]
    while waiting:
        node = waiting.pop()
        if type(node).__name__ in UNFIT:
            raise Unplaced('usage', '`%s` may only look: no assignment, await or yield' % text)
        if type(node).__name__ == 'Name':
            read.add(node.id)
        place(node, line)
        for name in node._fields:
            child = getattr(node, name, None)
            waiting.extend(part for part in (child if type(child) is list else [child]) if hasattr(part, '_fields'))
    return tree, read
