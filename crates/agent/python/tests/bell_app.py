"""A program with a doorbell, idle in the world that the first word names."""

from world import WORLD, new_loop, tell

import os
import sys
import threading
import time

import spyhole

answer = 42


def main():
    port = os.environ.get('BELL_PORT')
    spyhole.install(locals={'given': 43}, port=int(port) if port else None)
    if WORLD not in ('asyncio', 'uvloop', 'flask', 'forked'):     # these tell it when they serve
        tell()
    if WORLD == 'lock':
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    elif WORLD == 'busy':
        end = time.time() + 600
        while time.time() < end:
            pass
    elif WORLD == 'forked':
        child = os.fork()
        if child == 0:
            tell()
        else:
            os.waitpid(child, 0)
        time.sleep(600)
    elif WORLD == 'hidden':
        # As a hardened host would have it: not to be traced by its own user.
        import ctypes

        from spyhole import _prompt, _session, debugtools   # whose files it may not read any more then
        sys.modules['kept'] = (_prompt, _session, debugtools)
        os.setgroups([])
        os.setgid(int(os.environ['STRANGER']))
        os.setuid(int(os.environ['STRANGER']))
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
        time.sleep(600)
    elif WORLD == 'gevent':
        import gevent.event
        gevent.event.Event().wait(600)
    elif WORLD == 'eventlet':
        import eventlet.event
        eventlet.event.Event().wait()
    elif WORLD in ('asyncio', 'uvloop'):
        loop = new_loop()
        loop.call_soon(tell)
        loop.run_forever()
    elif WORLD == 'flask':
        import flask
        from werkzeug.serving import make_server
        server = make_server('127.0.0.1', 0, flask.Flask('bell'))
        tell()
        server.serve_forever()
    else:
        time.sleep(600)


def application(environ, start_response):
    start_response('200 OK', [])
    return [b'ok\n']


if WORLD == 'gunicorn':
    from gunicorn.app.base import BaseApplication

    class App(BaseApplication):
        def load_config(self):
            self.cfg.set('bind', '127.0.0.1:0')
            self.cfg.set('workers', 1)
            self.cfg.set('post_worker_init', lambda worker: (spyhole.install(locals={'given': 43}), tell()))

        def load(self):
            return application
    App().run()
else:
    main()
