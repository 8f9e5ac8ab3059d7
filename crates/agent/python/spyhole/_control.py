# Feature `control`: records of the control channel, heard in the stub's
# watcher thread while the agent's own thread may be busy or stuck.


def heed(op, job):
    if op == ord('W'):
        need('raised')
        tell(where(job))
    elif op == ord('C') and 'has_elsewhere' in AGENT:
        cancel(job)
    elif op == ord('Q') and 'has_elsewhere' in AGENT:
        queue(job)
    elif op == ord('T'):
        alive.append(True)
        if not stub_spawn(lambda: take_over(job)):
            alive.pop()
            tell({'ev': 'refused', 'job': job, 'message': 'too many threads still run abandoned code'})


def take_over(job):
    # In the fresh thread. If the code ended meanwhile, its own thread has
    # taken the claim and reads on.
    global server
    if ended:
        return leave()
    mine = claims.pop(job, None)
    if frozen:
        abandon_freeze()
    if mine:
        server = stub_tid()
    tell({'ev': 'takeover', 'thread': server})
    return serve() if mine else leave()
