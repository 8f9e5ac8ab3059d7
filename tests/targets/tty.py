"""Opens the prompt on its own terminal, by a signal, in the middle of a function; then goes on and ends."""
import os
import signal

import spyhole

spyhole.install(tty=signal.SIGUSR2)


def work():
    inside = 7
    os.kill(os.getpid(), signal.SIGUSR2)
    for _ in range(3):          # the handler runs between two bytecodes
        pass
    print("went on with %d" % inside, flush=True)


work()
