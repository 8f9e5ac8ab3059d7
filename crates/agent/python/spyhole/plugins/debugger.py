"""Exceptions that leave a function are kept, and pdb looks into them later."""

import atexit
import os
import traceback

from .. import _inner, _places, _plugins, _records, _sides, _telnet, _watch

LAST, AGE, BYTES, RATE = 20, 3600.0, 16 << 20, 10.0     # of what one probe point keeps: see `spyhole catch`
allocate_lock = _places.original('_thread', 'allocate_lock')


class Probes(object):
    """The probe points of this process, and the agent that has them."""

    def __init__(self):
        self.lock = allocate_lock()
        self.pid, self.agent, self.jobs = None, None, {}
        self.ends = False           # it is closed with the interpreter

    def here(self):
        # A child has neither its parent's agent nor its points.
        if self.pid != os.getpid():
            if self.agent is not None:
                self.agent.forget()
            self.pid, self.agent, self.jobs = os.getpid(), None, {}
        return self

    def inserted(self, name):
        if self.agent is None or self.agent.gone:
            self.agent, self.jobs = _inner.Inner(_inner.CATCHING), {}
            if not self.ends:
                self.ends = True
                atexit.register(self.close)
        event = self.agent.ask('probed', op='catch', where=name, when=None, last=LAST, age=AGE, bytes=BYTES, rate=RATE,
                               depth=2, max=200, stay=None)
        if event['ev'] != 'probed' or not event['ok']:
            raise _plugins.Wrong('\n'.join([event['message']] + event.get('hints', [])))
        self.jobs[name] = event['job']
        return event['notes']

    def removed(self, name):
        job = self.jobs.pop(name)
        self.agent.send(op='uncatch', job=job)
        self.agent.wait(lambda event: event['ev'] == 'summary' and event['job'] == job)
        if not self.jobs:
            self.close()

    def kept(self):
        """{name: (number, entry)}: the last of each; an entry is that of spyhole/_kept.py."""
        space = self.agent.session.space if self.agent is not None else {}
        found = {}
        for number, entry in sorted(space.get('caught', {}).copy().items(), key=lambda one: one[0]):
            for name, job in self.jobs.items():
                if entry['owner'].job == job:
                    found[name] = number, entry
        return found

    def forget(self, what, number=0):
        return self.agent.ask('kept', op='kept', what=what, id=number)['count']

    def close(self):
        if self.agent is not None and self.pid == os.getpid():
            self.agent.close()
            self.agent = None


probes = Probes()


def register(api):
    for function in insert, remove, list_, reset, tracebacks, print_, discard:
        api.command(function, name=function.__name__.rstrip('_'), session=True, complete=complete)
    api.command(debug, interactive=True, complete=complete)


def complete(words):
    return list(probes.here().jobs) if len(words) == 1 else []


class enabled(object):
    """The probe points, for one client at a time; if the ini file lets anybody have them."""

    def __init__(self, shell):
        if not shell.settings.debugger:
            raise _plugins.Wrong('the debugger is disabled; in %s\n    [debugger]\n    enabled = true\nenables it'
                                 % shell.config_file)

    def __enter__(self):
        if probes.pid not in (None, os.getpid()):
            probes.lock = allocate_lock()       # the fork may have left it taken
        probes.lock.acquire()
        return probes.here()

    def __exit__(self, *ignored):
        probes.lock.release()


def insert(shell, name):
    """Keeps the exceptions that leave the function NAME, which is MODULE:FUNCTION or MODULE:CLASS.METHOD.

    The debugger has to be enabled by the ini file:
    [debugger]
    enabled = true
    """
    with enabled(shell) as here:
        if name in here.jobs:
            raise _plugins.Wrong('there is a probe point `%s` already' % name)
        return here.inserted(name) or None


def remove(shell, name):
    """Takes a probe point out, with what it has kept."""
    with enabled(shell) as here:
        known(here.jobs, name, 'there is no probe point `%s`')
        here.removed(name)


def list_(shell):
    """The probe points."""
    with enabled(shell) as here:
        return sorted(here.jobs)


def reset(shell):
    """Forgets all that was kept. The probe points stay."""
    with enabled(shell) as here:
        if here.agent is not None:
            here.forget('reset')


def tracebacks(shell):
    """The last traceback of each probe point."""
    with enabled(shell) as here:
        found = {name: told(number, entry) for name, (number, entry) in sorted(here.kept().items())}
        shown = ', '.join('%r: %r' % (name, entry['trace']) for name, (_, entry) in sorted(here.kept().items()))
    return _plugins.Answer(found, '{%s}\n' % shown)


def print_(shell, name):
    """Prints the last traceback of a probe point."""
    with enabled(shell) as here:
        number, entry = known(here.kept(), name, NOTHING)
        return _plugins.Answer(told(number, entry), text_of(entry))


def discard(shell, name):
    """Forgets the last traceback of a probe point."""
    with enabled(shell) as here:
        number, _ = known(here.kept(), name, NOTHING)
        here.forget('discard', number)


NOTHING = 'nothing was kept of `%s`; `tracebacks` lists what was'


def known(found, name, why):
    if name not in found:
        raise _plugins.Wrong(why % name)
    return found[name]


def told(number, entry):
    link = entry['chain'][-1]
    return {'id': number, 'type': link['type'], 'message': link['message'], 'times': entry['times'], 'live': entry['live']}


def text_of(entry):
    if entry['error'] is not None:
        try:
            return ''.join(traceback.format_exception(type(entry['error']), entry['error'], entry['trace']))
        except Exception:           # an exception whose own methods raise
            pass
    link = entry['chain'][-1]
    return '%s: %s\n' % (link['type'], link['message'])


class Interrupted(object):
    """What `_watch` tells of a Ctrl-C."""

    kind = 'thread'

    def __init__(self, agent):
        self.interrupt = agent.interrupt


def debug(shell, name):
    """pdb on the last traceback of a probe point; `q` leaves it."""
    with enabled(shell) as here:
        number, _ = known(here.kept(), name, NOTHING)
    agent = _inner.Inner(_inner.DEBUGGING)
    try:
        converse(shell, agent, number)
    except _inner.Unanswered as error:
        raise _plugins.Wrong(str(error))
    finally:
        agent.close()


def converse(shell, agent, number):
    side, watch = shell.side, _watch.watch(shell.side, Interrupted(agent))
    request = dict(op='postmortem', id=number)
    while not side.gone:
        agent.jobs += 1
        job = request['job'] = agent.jobs
        watch.start()
        try:
            agent.send(**request)
            while True:
                event = agent.wait(lambda event: event.get('job') == job, None)
                if event['ev'] == 'out':
                    shell.write(event['text'])
                elif event['ev'] != 'probed' or not event['ok']:
                    break
        finally:
            watch.stop()
        if event['ev'] != 'ask':
            if event['ev'] in ('refused', 'probed'):
                raise _plugins.Wrong(event['message'])
            return
        side.ask(event['prompt'])
        line = _sides.at_once(side.line())
        if line in (_telnet.INTERRUPT, _telnet.TOO_LONG):
            line = ''
        if line is None:
            return
        try:
            if line:
                _records.line(shell.who, line)
        except Exception as error:
            shell.write('an audit hook forbids it: %s\n' % type(error).__name__)
            line = ''
        request = dict(op='line', text=line)
