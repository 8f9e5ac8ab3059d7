"""spyhole: a small, safe hole into a running Python process.

For programs that leave a door of their own: `install`, `ShellManager`,
`spyhole.backdoor`, `spyhole.wsgi`, `spyhole.debugtools`. Importing this imports
nothing else.

The files `_core`, `_statements`, `_render`, `_raised`, `_control` and
`_complete` are carried into other processes and run there; they are not meant
to be imported.
"""

__version__ = "0.1.0"


def install(signal=None, tty=None, locals=None, port=None):
    """Lets `spyhole console PID` and its like in without any right to trace this process.

    Sets two signal handlers and does nothing else, until somebody rings. To be
    called in the main thread. `signal` adds SIGTRAP, SIGUSR1 or SIGUSR2 (or a
    list of these); `tty` is a signal that opens a prompt on the controlling
    terminal, in the interrupted frame; `locals` is a dict of names for every
    session, or "caller" for those of the calling frame. `port` is one of the
    loopback, at which a ringer may wait instead of at a unix socket: `--port`.
    """
    import sys

    from . import _doorbell
    _doorbell.install(signal, tty, locals, sys._getframe(1) if locals == 'caller' else None, port)


def ShellManager(config_file):
    """Opens the door of the ispy shell that an ini file describes; see `spyhole.manager`."""
    from . import manager
    return manager.ShellManager(config_file)
