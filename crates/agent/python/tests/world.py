"""The world that a program's first word names, and the folder of the second one: imported before anything else."""

import logging
import os
import sys

WORLD, FOLDER = sys.argv[1], sys.argv[2]
if WORLD == 'gevent':
    from gevent import monkey
    monkey.patch_all()
elif WORLD == 'eventlet':
    import eventlet
    eventlet.monkey_patch()

logging.basicConfig(level=logging.INFO, filename=os.path.join(FOLDER, 'log'), format='%(name)s %(levelname)s %(message)s')


def tell(*ports):
    """Tells the test who and where we are, in one step."""
    lines = [os.getpid()] + list(ports or (0, 0))
    with open(os.path.join(FOLDER, 'ports.new'), 'w') as file:
        file.write(''.join('%d\n' % line for line in lines))
    os.rename(os.path.join(FOLDER, 'ports.new'), os.path.join(FOLDER, 'ports'))


def new_loop():
    import asyncio
    if WORLD == 'uvloop':
        import uvloop
        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop
