"""A small server with a backdoor, in the world that the first word names. It
answers each line with the number of requests so far, and tells its ports."""

from world import FOLDER, WORLD, new_loop, tell

import os
import socket
import threading

from spyhole import backdoor

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


def ports(listener, found):
    return [listener.getsockname()[1]] + [one.getsockname()[1] for one in found if one.family != socket.AF_UNIX]


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
        import eventlet
        spawn = eventlet.spawn
    for one in found:
        spawn(backdoor.backdoor_server, one, GIVEN, TOKEN)
    backdoor.install_signals(address=os.path.join(FOLDER, 'signalled'))
    tell(*ports(listener, found))
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
    tell(*ports(listener, found))
    await asyncio.wait(tasks)
    server.close()


if WORLD in ('asyncio', 'uvloop'):
    loop = new_loop()
    loop.run_until_complete(main_async())
else:
    main()
