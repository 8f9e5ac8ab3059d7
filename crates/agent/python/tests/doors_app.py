"""A small server with a backdoor, in the world that the first word names. It
answers each line with the number of requests so far, and tells its ports."""

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

import socket
import threading

from spyhole import backdoor

logging.basicConfig(level=logging.INFO, filename=os.path.join(FOLDER, 'log'), format='%(name)s %(levelname)s %(message)s')
requests = 0
TOKEN = 'open sesame'


def line_server():
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(16)
    return listener


def answer(connection):
    global requests
    data = b''
    while not data.endswith(b'\n'):
        more = connection.recv(100)
        if not more:
            break
        data += more
    requests += 1
    connection.sendall(b'%d\n' % requests)
    connection.close()


def accept_loop(listener, spawn):
    while True:
        connection, _ = listener.accept()
        spawn(answer, connection)


def doors():
    found = [backdoor.listen((os.environ.get('DOORS_HOST', '127.0.0.1'), 0)), backdoor.listen(os.path.join(FOLDER, 'door'))]
    try:
        found.append(backdoor.listen(('::1', 0)))
    except OSError:
        pass
    return found


def tell(listener, found):
    ports = [listener.getsockname()[1]] + [one.getsockname()[1] for one in found if one.family != socket.AF_UNIX]
    with open(os.path.join(FOLDER, 'ports.new'), 'w') as file:
        file.write('%d\n%s\n' % (os.getpid(), '\n'.join(map(str, ports))))
    os.rename(os.path.join(FOLDER, 'ports.new'), os.path.join(FOLDER, 'ports'))


GIVEN = {'given': 42}


def main():
    listener = line_server()
    found = doors()
    if WORLD == 'threads':
        def spawn(call, *arguments):
            threading.Thread(target=call, args=arguments, daemon=True).start()
    elif WORLD == 'gevent':
        import gevent
        spawn = gevent.spawn
    else:
        spawn = eventlet.spawn
    for one in found:
        spawn(backdoor.backdoor_server, one, GIVEN, TOKEN)
    backdoor.install_signals(address=os.path.join(FOLDER, 'signalled'))
    tell(listener, found)
    accept_loop(listener, spawn)


async def main_async():
    import asyncio
    loop = asyncio.get_event_loop()
    listener = line_server()
    found = doors()

    async def serve(reader, writer):
        global requests
        await reader.readline()
        requests += 1
        writer.write(b'%d\n' % requests)
        writer.close()

    server = await asyncio.start_server(serve, sock=listener)
    tasks = [loop.create_task(backdoor.serve_async(one, GIVEN, TOKEN)) for one in found]
    backdoor.install_signals(address=os.path.join(FOLDER, 'signalled'))
    tell(listener, found)
    await asyncio.wait(tasks)
    server.close()


if WORLD in ('asyncio', 'uvloop'):
    import asyncio
    if WORLD == 'uvloop':
        import uvloop
        loop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main_async())
else:
    main()
