"""Lines out of what a telnet client, `nc` or a program sends.

It knows bytes and nothing of sockets. Negotiations of telnet (RFC 854) are
answered and do not get into the lines; a line has a limit, and what goes
beyond is thrown away as it comes.
"""

from collections import deque

IAC, DONT, DO, WONT, WILL, SB, SE, IP, BRK = 255, 254, 253, 252, 251, 250, 240, 244, 243
TIMING_MARK = 6
LONGEST = 1 << 20       # bytes of a line
ANSWERS = 64            # at most, to one client: two machines could go on for ever

INTERRUPT = object()    # in the place of a line: Ctrl-C
TOO_LONG = object()     # in the place of a line


class Lines(object):
    """Feed bytes, take lines, and send what is in `reply`."""

    def __init__(self, longest=LONGEST):
        self.longest = longest
        self.reply = b''
        self.answered = 0
        self.state = ''         # what a telnet sequence has begun with
        self.line = bytearray()
        self.over = False
        self.returned = False       # the last byte was a carriage return
        self.lines = deque()
        self.kept = 0               # bytes of the lines, with their ends

    def feed(self, data):
        if not self.state and IAC not in data:
            self.text(data)
            return
        start = 0
        for at, byte in enumerate(data):
            if not self.state:
                if byte == IAC:
                    self.text(data[start:at])
                    self.state = 'iac'
                continue
            self.sequence(byte)
            start = at + 1
        if not self.state:
            self.text(data[start:])

    def sequence(self, byte):
        state, self.state = self.state, ''
        if state == 'iac':
            if byte == IAC:
                self.text(b'\xff')
            elif byte in (DO, DONT, WILL, WONT):
                self.state = byte
            elif byte == SB:
                self.state = 'sb'
            elif byte in (IP, BRK):
                self.interrupt()
        elif state == 'sb':
            self.state = 'sb iac' if byte == IAC else 'sb'
        elif state == 'sb iac':
            self.state = '' if byte == SE else 'sb'
        elif self.answered < ANSWERS:
            # No option is wanted. A client that has sent an interrupt shows
            # nothing until the timing mark is answered.
            answer = {DO: WILL if byte == TIMING_MARK else WONT, WILL: DONT}.get(state)
            if answer is not None:
                self.answered += byte != TIMING_MARK
                self.reply += bytes([IAC, answer, byte])

    def interrupt(self):
        del self.line[:]
        self.over = False
        self.lines.append(INTERRUPT)

    def text(self, data):
        if self.returned:
            data = b'\r' + data
        self.returned = data.endswith(b'\r')
        if self.returned:
            data = data[:-1]
        # Telnet sends the Enter key as either of two pairs.
        data = data.replace(b'\r\0', b'\n').replace(b'\r\n', b'\n').replace(b'\0', b'')
        for at, part in enumerate(data.split(b'\x03')):
            if at:
                self.interrupt()
            pieces = part.split(b'\n')
            for piece in pieces[:-1]:
                self.more(piece)
                self.end()
            self.more(pieces[-1])

    def more(self, piece):
        if self.over or len(self.line) + len(piece) > self.longest:
            self.over = True
            del self.line[:]
        else:
            self.line += piece

    def end(self):
        self.kept += len(self.line) + 1
        if self.over:
            self.lines.append(TOO_LONG)
        else:
            self.lines.append(bytes(self.line).decode('utf-8', 'replace'))
        del self.line[:]
        self.over = False

    def take(self):
        """The next line, `INTERRUPT`, `TOO_LONG`, or None if there is none yet."""
        line = self.lines.popleft() if self.lines else None
        if not self.lines:
            self.kept = 0
        return line

    def drop_to_interrupt(self):
        """Whether there is an `INTERRUPT`. It is taken out, with all that came before it."""
        if INTERRUPT not in self.lines:
            return False
        while INTERRUPT in self.lines:
            self.lines.popleft()
        return True

    def rest(self):
        """What was begun when the client ended its side."""
        line = bytes(self.line).decode('utf-8', 'replace')
        del self.line[:]
        return line or None
