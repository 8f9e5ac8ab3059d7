"""A program with an ispy shell. It does what its lines say, and answers each when it is done.

`request PATH` serves a request in a thread of its own until `finish`; `fork` makes a child that lives as long as the
program; `call NAME` calls a function whose exception is swallowed.
"""

import logging
import os
import sys
import threading

import spyhole
from spyhole.plugins.wsgi import WSGIApplicationWrapper

FOLDER = sys.argv[1]
logging.basicConfig(level=logging.INFO, filename=os.path.join(FOLDER, 'log'), format='%(name)s %(levelname)s %(message)s')
serving, finish = threading.Event(), threading.Event()


def application(environ, start_response):
    start_response('200 OK', [])
    serving.set()
    finish.wait()
    return [b'done']


wrapped = WSGIApplicationWrapper(application)
bare = application


def serve(environ, app):
    list(app(environ, lambda status, headers, exc_info=None: None))


def function():
    secret_number = 42
    raise RuntimeError('xxx')


def request(path, app):
    environ = {'REQUEST_METHOD': 'GET', 'PATH_INFO': path, 'SCRIPT_NAME': '', 'QUERY_STRING': 'page=2&token=abc',
               'wsgi.version': (1, 0), 'wsgi.input': object(), 'HTTP_COOKIE': 'id=7', 'SERVER_NAME': 'localhost'}
    serving.clear()
    finish.clear()
    thread = threading.Thread(target=serve, args=(environ, app), name='server')
    thread.daemon = True
    thread.start()
    serving.wait()
    return thread


def main():
    sys.setswitchinterval(0.001)
    manager = spyhole.ShellManager(os.path.join(FOLDER, 'ispyd.ini'))
    parent, child = os.pipe()
    thread = None
    print('ready %d' % os.getpid(), flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] in ('request', 'bare'):
            thread = request(words[1], wrapped if words[0] == 'request' else bare)
            print('serving', flush=True)
        elif words[0] == 'finish':
            finish.set()
            thread.join()
            print('finished', flush=True)
        elif words[0] == 'call':
            try:
                globals()[words[1]]()
            except RuntimeError:
                pass
            print('called', flush=True)
        elif words[0] == 'fork':
            pid = os.fork()
            if not pid:
                os.close(child)
                print('forked %d' % os.getpid(), flush=True)
                os.read(parent, 1)
                sys.exit()
        elif words[0] == 'problem':
            print(manager.problem, flush=True)
        elif words[0] == 'descriptors':
            print(' '.join(sorted(os.readlink('/proc/self/fd/' + one) for one in os.listdir('/proc/self/fd')
                                  if os.path.exists('/proc/self/fd/' + one))), flush=True)
        elif words[0] == 'exit':
            break


if __name__ == '__main__':
    main()
