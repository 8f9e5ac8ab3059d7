"""Python: its version, its paths and modules, its threads, and a console."""

import os
import sys
import threading

from .. import _clients, _names, _plugins, _prompt, _redact, _sides, _watch, debugtools


def register(api):
    for function in (argv, defaultencoding, environ, executable, filesystemencoding, maxsize, maxunicode, path, platform,
                     prefix, threads, version):
        api.command(function)
    if hasattr(sys, 'maxint'):
        api.command(maxint)
    api.command(modules, complete=lambda words: list(sys.modules))
    api.command(console, interactive=True)


def argv():
    """The arguments that the program was started with."""
    return _plugins.Answer(list(sys.argv), '%r\n' % (sys.argv,))


def defaultencoding():
    """The encoding of text where none is named."""
    return sys.getdefaultencoding()


def environ(name='*'):
    """The environment, or what matches NAME (`*` and `?` stand for others). Secrets are hidden."""
    return {key: _redact.hidden(key, os.environ.get(key)) for key in _plugins.matching(os.environ, name)}


def executable():
    """The interpreter's file."""
    return sys.executable


def filesystemencoding():
    """The encoding of file names."""
    return sys.getfilesystemencoding()


def maxint():
    """The greatest short integer."""
    return sys.maxint


def maxsize():
    """The greatest size of a list."""
    return sys.maxsize


def maxunicode():
    """The greatest code point of a character."""
    return sys.maxunicode


def modules(pattern='*'):
    """The loaded modules, or those that match PATTERN."""
    return _plugins.matching(list(sys.modules), pattern)


def path():
    """Where modules are looked for."""
    return list(sys.path)


def platform():
    """The system."""
    return sys.platform


def prefix():
    """Where Python is installed."""
    return sys.prefix


def version():
    """The version of Python, with its compiler."""
    return sys.version


def threads():
    """The stack of each thread that runs Python."""
    names = {ident: thread.name for ident, thread in list(threading._active.items())}
    found = []
    for ident, frame in sorted(sys._current_frames().items()):
        if is_ours(frame):
            continue
        found.append({'thread': ident, 'name': names.get(ident), 'frames': debugtools.frames_of(frame)})
    text = ''
    for one in found:
        name = ' (%s)' % one['name'] if one['name'] else ''
        text += '\n==== %d%s ====\n\n%s' % (one['thread'], name, debugtools.frames_text(one['frames']))
    return _plugins.Answer(found, text + '\n')


OURS = 'spyhole.manager', 'spyhole._session', 'spyhole._inner'


def is_ours(frame):
    while frame.f_back is not None:
        frame = frame.f_back
    return any(frame.f_globals is vars(sys.modules[name]) for name in OURS if name in sys.modules)


def console(shell):
    """A Python prompt inside the process. `exit()` and `quit()` leave it.

    It has to be enabled by the ini file:
    [python:console]
    enabled = true
    """
    if not shell.settings.console:
        raise _plugins.Wrong('the console is disabled; in %s\n    [python:console]\n    enabled = true\nenables it'
                             % shell.config_file)
    side = shell.side
    prompt = _prompt.Prompt(_prompt.namespace(None), side.write, shell.who, 'thread')
    watch = _watch.watch(side, prompt)
    prompt.space.setdefault('input', _clients.reader_of(side, watch))
    side.write(_prompt.greeting('EmbeddedConsole'))
    names = _names.Names(prompt.space)
    # A plain client asks for no names.
    side.names = names.words
    try:
        _sides.at_once(_clients.talk(side, prompt, watch))
    finally:
        side.names = None
