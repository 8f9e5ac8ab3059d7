# Feature `freeze`: between two commands the whole interpreter stands still.
#
# The thread that serves keeps the GIL while it waits (the stub's `stub_still`),
# and who waits for the GIL asks for it only after two seconds. The stub ends
# that by itself when the client is gone or the time is up; here it is told.

FROZEN_INTERVAL = 2.0       # seconds
ROUNDS = 10                 # in which those that waited get their turn
latest = 0                  # seconds that the last command took


class Unfrozen(Exception):
    pass


def op_freeze(request):
    job, limit = request['job'], request['limit']
    try:
        if limit is None:
            if not frozen:
                raise Unfrozen('it is not frozen')
            thaw()
            tell({'ev': 'thawed', 'job': job, 'reason': 'asked'})
        else:
            freeze(limit, request['words'])
            tell({'ev': 'frozen', 'job': job, 'limit': limit})
    except Unfrozen as error:
        tell({'ev': 'refused', 'job': job, 'message': str(error)})


def freeze(limit, words):
    global frozen
    if 'stub_freeze' not in AGENT:
        raise Unfrozen('a prepared process cannot be frozen: nothing there waits and keeps the GIL')
    if lent:
        raise Unfrozen('only the main interpreter can be frozen')
    if len(alive) > 1 or running:
        raise Unfrozen('code of ours still runs: see `:jobs`')
    if frozen:
        thaw()
    if sys.getswitchinterval() >= FROZEN_INTERVAL:
        raise Unfrozen('its switch interval is %g s: another prompt has frozen it, or the program likes it so' %
                       sys.getswitchinterval())
    frozen = limit
    undo.append(('the freeze', thaw))
    normal = int(round(sys.getswitchinterval() * 1e6))
    stub_freeze(tuple(words) + (normal, int(FROZEN_INTERVAL * 1e6), int(limit * 1000)))
    if sys.getswitchinterval() != FROZEN_INTERVAL:      # the words are others here
        thaw()
        raise Unfrozen('its GIL is not of a known form')


def thaw():
    global frozen
    if not frozen:
        return
    frozen = False
    stub_thaw()
    # Each of these lets another thread in that was made to wait.
    for _ in range(ROUNDS):
        posix.sched_yield()


def still():
    # Until there is something to read.
    global latest
    took, latest = latest, 0
    if not stub_still():
        reason = 'late' if took >= frozen else 'idle'
        thaw()
        tell({'ev': 'thawed', 'job': 0, 'reason': reason})


def abandon_freeze():
    # Code that does not end may wait for the program.
    if frozen:
        thaw()
        tell({'ev': 'thawed', 'job': 0, 'reason': 'abandoned'})


def timed(job):
    # Others had the GIL: for as long as the code took, at most.
    global latest
    latest = stub_now() - job['since']
    if stub_yielded():
        tell({'ev': 'ran', 'job': job['id'], 'duration': latest})
