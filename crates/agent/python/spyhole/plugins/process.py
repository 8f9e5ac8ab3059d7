"""The process: its id, its user, its folder."""

import os


def register(api):
    for function in cwd, egid, euid, gid, pid, uid:
        api.command(function)


def cwd():
    """The current working folder."""
    return os.getcwd()


def egid():
    """The effective group id."""
    return os.getegid()


def euid():
    """The effective user id."""
    return os.geteuid()


def gid():
    """The real group id."""
    return os.getgid()


def pid():
    """The process id, as the process itself sees it."""
    return os.getpid()


def uid():
    """The real user id."""
    return os.getuid()
