# Feature `unhandled`: exceptions that nobody handled, wherever they are told.
#
# There is no one place: a thread ends with them, a task, the program; and what
# serves requests writes them into a log, or prints them. So each of these says
# so by one call, made only where there is an exception. What is not imported
# yet is looked for again from time to time.

LOUD = 40                   # logging.ERROR


class Watched(object):
    # Stands where a hook of the interpreter or of `threading` was.
    __slots__ = ('spyhole',)        # [what was there, step or None]

    def __init__(self, under, step):
        self.spyhole = [under, step]

    def __call__(self, *given):
        under, step = self.spyhole
        if step is not None:
            step(*given)
        return under(*given) if under is not None else None


def install_points(catch):
    catch.how = 'unhandled'
    hooks(catch)
    # (module, name, what is called, what says that there is something, how it is told)
    for module, name, condition, by in (
            ('logging', 'Logger.handle', 'record.exc_info', from_record),
            ('asyncio.base_events', 'BaseEventLoop.call_exception_handler', None, from_context),
            ('traceback', 'print_exception', None, from_print),
            ('traceback', 'format_exc', None, from_format),
            # They import what they print by when there is something to print.
            ('wsgiref.handlers', 'BaseHandler.log_exception', None, from_format),
            ('socketserver', 'BaseServer.handle_error', None, from_format)):
        key = module + ':' + name
        if key in catch.points or modules.get(module) is None:
            continue
        try:
            catch.points[key] = True
            announce(catch, key, condition, by)
        except Unplaced as error:
            catch.notes.append('what `%s` is told is not seen: %s' % (key, error))


# ---- what is told, and how

def step_of(catch, read):
    # It may run when the agent has ended and its names are gone.
    failures = Exception

    def step(*given):
        try:
            if not catch.dead:
                found = read(*given)
                if found is not None:
                    unhandled(catch, found)
        except failures:
            pass

    catch.hook_codes.append(step.__code__)
    return step


def unhandled(catch, found):
    by, error, trace = found
    if issubclass(type(error), BaseException) and not issubclass(type(error), (SystemExit, GeneratorExit)):
        keep(catch, error, trace if trace is not None else error.__traceback__, None, by)


def from_record(given):
    if isinstance(given[0], tuple):         # of a function that was put around it
        given = given[0]
    record = given[1]
    info = record.exc_info
    if type(info) is tuple and len(info) == 3 and record.levelno >= LOUD:
        return 'log', info[1], info[2]
    return None


def from_context(given):
    if isinstance(given[0], tuple):
        given = given[0]
    error = given[1].get('exception')
    return None if error is None else ('task', error, None)


def from_print(given):
    if isinstance(given[0], tuple):
        given = given[0] + tuple(given[1].values())
    for thing in given:
        if type(thing).__name__ == 'StringIO':
            return None                     # made into a text, and not told
    # The exception itself may not know its traceback, as in mod_wsgi.
    traces = [thing for thing in given if type(thing).__name__ == 'traceback']
    for thing in given:
        if issubclass(type(thing), BaseException):
            return 'print', thing, traces[0] if traces else None
    return None


def from_format(given):
    return 'print', sys.exc_info()[1], None


def announce(catch, where, condition, read):
    # One call at the beginning of a function, which goes on as it is.
    site = site_of(where)
    exchange = Exchange(site.code)
    step = step_of(catch, read)

    def seen(values):
        step(values)
        return False        # of a function that was put around it: it is as it was

    seen.spyhole_probe = [exchange]
    catch.hook_codes.append(seen.__code__)
    catch.exchanges.append(exchange)
    space = site.functions[0].__globals__ if site.functions else {}
    try:
        touched = Touched(site.code, space)
        try:
            new = touched.with_body(announced_body(touched.node, condition), {
                'spyhole seen': seen, 'spyhole Exception': Exception})
        finally:
            touched.close()
        compiled_in(exchange, site.functions, site.code, new)
    except Unwritable:
        nothing = {'spyhole enter': seen, 'spyhole result': None, 'spyhole raised': None, 'spyhole left': None}
        if not wrapped(exchange, site.functions, site.code, nothing):
            raise Unplaced('not-found', 'no live function makes it')
    except Unplaced:
        raise
    except Exception as error:
        raise Unplaced('refused', '%s: %s' % (exact_type_name(type(error)), message_of(error)[:300]))


# ---- hooks that are made to be replaced

def hooks(catch):
    threading = modules.get('threading')
    if hasattr(threading, 'excepthook'):
        stand_in(catch, threading, 'excepthook', lambda given: (
            'thread', given.exc_value, given.exc_traceback))
    elif hasattr(threading, '_format_exc'):
        # Up to 3.7 this is what a thread that ends so prints.
        stand_in(catch, threading, '_format_exc', lambda: ('thread', sys.exc_info()[1], None))
    stand_in(catch, sys, 'excepthook', lambda kind, error, trace: ('program', error, trace))
    if hasattr(sys, 'unraisablehook'):
        stand_in(catch, sys, 'unraisablehook', from_unraisable)


def from_unraisable(given):
    if 'thread started by' in (given.err_msg or ''):
        return 'thread', given.exc_value, given.exc_traceback
    return None


def stand_in(catch, place, name, read):
    key = place.__name__ + '.' + name
    if key in catch.points:
        return
    catch.points[key] = True
    mine = Watched(getattr(place, name, None), step_of(catch, read))
    setattr(place, name, mine)
    catch.stops.append(lambda: put_back(place, name, mine))
