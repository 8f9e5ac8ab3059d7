"""Web requests that are being served."""

import gc
import sys
import time

from .. import _places, _plugins, _redact, debugtools, wsgi
from ..wsgi import Middleware, WSGIApplicationWrapper

__all__ = ['Middleware', 'WSGIApplicationWrapper', 'register']
FRAMES = 300            # of one stack, the outermost first: servers are there


def register(api):
    api.command(requests)


def requests():
    """The requests that are being served, with their environ and stacks. Secrets are hidden."""
    found = [told(*one) for one in active()]
    if not found:
        return _plugins.Answer([], 'No active transactions.\n')
    return _plugins.Answer(found, ''.join(text_of(one) for one in found))


def active():
    """(environ, its record or None, thread, greenlet, innermost frame): by the middleware, then by their frames."""
    frames = sys._current_frames()
    seen, found = set(), []
    for record in list(wsgi.active.values()):
        environ, _, _, thread, greenlet = record
        frame = getattr(greenlet, 'gr_frame', None) or frames.get(thread)
        seen.add(identity(environ))
        found.append((environ, record, thread, greenlet, frame))
    stacks = [(thread, None, frame) for thread, frame in frames.items()]
    if 'greenlet' in sys.modules:
        for thing in gc.get_objects():
            if _places.is_kind(thing, 'greenlet', 'greenlet') or _places.is_kind(thing, 'greenlet._greenlet', 'greenlet'):
                frame = getattr(thing, 'gr_frame', None)
                if frame is not None:
                    stacks.append((None, thing, frame))
    for thread, greenlet, frame in stacks:
        environ = environ_of(frame)
        if environ is not None and identity(environ) not in seen:
            seen.add(identity(environ))
            found.append((environ, None, thread, greenlet, frame))
    return found


def identity(environ):
    # A dict may be copied; what the request is read from is one.
    return id(environ.get('wsgi.input', environ))


def environ_of(innermost):
    """What a server handed over, of the outermost frame that has it."""
    frames, frame = [], innermost
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    for frame in frames[::-1][:FRAMES]:
        if frame.f_globals is globals():
            continue
        try:
            values = list(frame.f_locals.values())
        except Exception:           # it changed meanwhile
            continue
        for value in values:
            if type(value) is dict and 'REQUEST_METHOD' in value and 'wsgi.version' in value:
                return value
    return None


def told(environ, record, thread, greenlet, frame):
    start = record[2] if record else begun(environ)
    return {
        'id': record[1] if record else None,
        'thread': thread,
        'greenlet': greenlet and '%s at %#x' % (type(greenlet).__name__, id(greenlet)),
        'start': start,
        'duration': None if start is None else max(time.time() - start, 0.0),
        'environ': {str(key): _redact.value(str(key), value) for key, value in sorted(environ.copy().items(), key=str)
                    if not str(key).startswith('spyhole.')},
        'frames': debugtools.frames_of(frame),
    }


def begun(environ):
    # Written down by a server or a proxy, in seconds, milliseconds or microseconds.
    for name in 'mod_wsgi.request_start', 'HTTP_X_REQUEST_START', 'HTTP_X_QUEUE_START':
        try:
            number = float(str(environ[name]).strip().replace('t=', ''))
        except (LookupError, ValueError):
            continue
        number /= 1e6 if number >= 1e14 else 1e3 if number >= 1e11 else 1.0
        if -1 < time.time() - number < 30 * 86400:
            return number
    return None


def text_of(one):
    lines = ['', '==== %s ====' % ('?' if one['id'] is None else one['id']), '']
    if one['thread'] is not None:
        lines.append('thread_id = %d' % one['thread'])
    if one['greenlet']:
        lines.append('greenlet = %s' % one['greenlet'])
    if one['start'] is not None:
        lines.append('start_time = %s' % time.ctime(one['start']))
        lines.append('duration = %.6f seconds' % one['duration'])
    lines.append('')
    lines.extend('%s = %s' % item for item in one['environ'].items())
    return '\n'.join(lines) + '\n\n' + debugtools.frames_text(one['frames']) + '\n'
