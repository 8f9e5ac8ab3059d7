"""A Flask site for gunicorn, with an ispy shell. `/wait` says that it has begun, and waits for a word; both by pipes."""

import os

from flask import Flask

import spyhole.manager
from spyhole.plugins.wsgi import WSGIApplicationWrapper

FOLDER = os.environ['ISPY_FOLDER']
shell_manager = spyhole.manager.ShellManager(os.path.join(FOLDER, 'ispyd.ini'))
flask = Flask(__name__)


@flask.route('/wait')
def wait():
    with open(os.path.join(FOLDER, 'begun'), 'w') as pipe:
        pipe.write('%d\n' % os.getpid())
    with open(os.path.join(FOLDER, 'go')) as pipe:
        return pipe.readline()


application = WSGIApplicationWrapper(flask)
