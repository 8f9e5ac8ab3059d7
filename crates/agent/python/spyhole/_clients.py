"""One client of a door: it is let in or sent away, and talked to at a prompt."""

import errno

from . import _peers, _records, _sides, _telnet

CLIENTS = 64            # of one server, at the same time
TOKEN_WITHIN = 30       # seconds
TOKEN_LONGEST = 4096    # bytes


async def open_door(side, token, address):
    """The peer's name, once it may come in. Raises `Refused`."""
    try:
        number = side.fileno()
    except (AttributeError, OSError, ValueError):
        number = -1
    peer = _peers.check(number) if number >= 0 else None
    if peer is None:
        return 'file of the application' if not address else _peers.describe(address)
    if peer.needs_token:
        if not token:
            raise _peers.Refused('%s: it comes from another machine, and no token is set' % peer.name)
        side.write('token: ')
        side.lines.longest = TOKEN_LONGEST
        line = await side.within(TOKEN_WITHIN, side.line())
        if not isinstance(line, str) or not _peers.same(line, token):
            raise _peers.Refused('%s: wrong token' % peer.name)
        side.lines.longest = _telnet.LONGEST
    return peer.name


def refuse(side, what, error, who):
    reason = str(error) if isinstance(error, _peers.Refused) else 'an error: %s' % error
    _records.refused(what, who, reason)
    side.write('spyhole: refused: %s\n' % _records.plain(reason))


async def talk(side, prompt, watch):
    """Runs what the client types at a Python prompt, until it asks to leave."""
    while not side.gone:
        side.ask(prompt.sign)
        line = await side.line()
        if line is None:
            side.write('\n')
            return
        if line is _telnet.INTERRUPT:
            prompt.clear()
        elif line is _telnet.TOO_LONG:
            prompt.too_long()
        else:
            code = prompt.take(line)
            if code is not None and not await run(prompt, code, watch):
                return
        await side.rest()


async def run(prompt, code, watch):
    """Runs code. False: it asked to leave."""
    watch.start()
    try:
        return await prompt.run_async(code) if prompt.awaits else prompt.run(code)
    finally:
        watch.stop()


def reader_of(side, watch):
    """An `input` for code at the prompt."""
    def input(prompt=''):
        side.ask(str(prompt))
        # The line is this code's, and not to be kept for later.
        watch.stop()
        try:
            line = _sides.at_once(side.line())
        finally:
            watch.start()
        if line is None:
            raise EOFError()
        if line is _telnet.INTERRUPT:
            raise KeyboardInterrupt()
        return '' if line is _telnet.TOO_LONG else line
    return input


def goes_on(error):
    """Whether a listener is still good after this error of accept()."""
    return getattr(error, 'errno', None) in (
        errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EPROTO)
