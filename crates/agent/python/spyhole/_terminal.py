"""A prompt on the process's own terminal, in the frame that a signal has interrupted.

It blocks its thread until end of file, and needs the standard library alone.
Without a terminal, or where this process is not in its foreground, it only
logs.
"""

import code
import io
import posix

from . import _prompt, _records

WHAT = 'terminal prompt'


def open_prompt(number, frame):
    """A signal handler. Raises nothing."""
    try:
        descriptor = posix.open('/dev/tty', posix.O_RDWR | posix.O_CLOEXEC)
    except OSError as error:
        _records.log('spyhole', 'WARNING', 'No prompt: there is no controlling terminal (%s)', error.strerror)
        return
    try:
        if posix.tcgetpgrp(descriptor) != posix.getpgrp():
            # Reading would stop the process.
            _records.log('spyhole', 'WARNING', 'No prompt: this process is not in the foreground of its terminal')
            return
        talk(descriptor, frame)
    except BaseException as error:
        _records.log('spyhole', 'ERROR', 'the prompt failed: %r', error)
    finally:
        posix.close(descriptor)


def talk(descriptor, frame):
    who = posix.ttyname(descriptor)
    try:
        _records.connected(WHAT, who)
    except Exception as error:
        _records.refused(WHAT, who, 'an audit hook forbids it: %s' % type(error).__name__)
        return
    try:
        console = Console(descriptor, frame, who)
        console.interact('Python prompt in %s, line %d; Ctrl-D goes on' % (frame.f_code.co_filename, frame.f_lineno), '')
    except SystemExit:
        pass
    finally:
        _records.ended(WHAT, who)


class Console(code.InteractiveConsole):
    def __init__(self, descriptor, frame, who):
        self.file = io.TextIOWrapper(io.BufferedReader(io.FileIO(descriptor, 'r', closefd=False)), 'utf-8', 'replace')
        self.descriptor, self.who = descriptor, who
        space = _prompt.namespace('caller', frame)
        super(Console, self).__init__(space, '<console>')

    def write(self, text):
        data = text.encode('utf-8', 'backslashreplace')
        while data:
            data = data[posix.write(self.descriptor, data):]

    def raw_input(self, prompt=''):
        self.write(prompt)
        while True:
            try:
                line = self.file.readline()
            except KeyboardInterrupt:
                self.write('\nKeyboardInterrupt\n' + prompt)
                continue
            break
        if not line:
            raise EOFError()
        return line.rstrip('\n')

    def runcode(self, code):
        _records.line(self.who, '\n'.join(self.buffer))
        prompt = _prompt.Prompt(self.locals, self.write, self.who)
        if not prompt.run(code):
            raise SystemExit()
