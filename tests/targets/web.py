"""A web server with an application that never answers, and ends when its parent has ended. Usage: web.py KIND [logged]

KIND is a worker class of gunicorn (sync, gthread, gevent, eventlet), or uvicorn, hypercorn, werkzeug, wsgiref.
Truth: `ready` has the port on loopback; it listens before the server is up. Whenever the application begins to serve
a path it writes `serving PATH`. `/quick` is answered, though, and `/fail` raises; `logged`: errors are logged. Skips where the packages are not installed.
"""
import os
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
kind = sys.argv[1] if len(sys.argv) > 1 else ""


def say(path):
    os.write(1, ("serving %s\n" % path).encode())


def outlived():
    """A worker may outlive whoever started it: whose end ends it, too, and it has only so much time."""
    signal.alarm(300)
    return os.getppid()


def application(environ, start_response):
    password = "hunter2"
    if environ["PATH_INFO"] == "/fail":
        raise LookupError("no such page")
    if environ["PATH_INFO"] == "/quick":
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    say(environ["PATH_INFO"])
    parent = outlived()
    while os.getppid() == parent:
        # Looked up when it is called: it may have been patched since.
        time.sleep(0.5)
    os._exit(0)


async def asgi(scope, receive, send):
    import asyncio

    if scope["type"] != "http":
        return
    say(scope["path"])
    parent = outlived()
    while os.getppid() == parent:
        await asyncio.sleep(0.5)
    os._exit(0)


def skip(error):
    print("skip: %s" % error, flush=True)
    sys.exit()


def gunicorn(fd):
    from gunicorn.app.wsgiapp import run

    level = "error" if "logged" in sys.argv else "critical"
    sys.argv = ["gunicorn", "-b", "fd://%d" % fd, "-w", "1", "-k", kind, "--threads", "4", "--log-level", level,
                "--timeout", "300", "web:application"]
    if kind not in ("gthread", "sync"):
        __import__("gunicorn.workers.g" + kind)
    if kind == "sync":
        # More than one makes threads of it.
        sys.argv[7:9] = []
    return run


def main():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    listener.set_inheritable(True)
    fd = listener.fileno()
    port = listener.getsockname()[1]
    try:
        if kind == "uvicorn":
            import uvicorn

            start = lambda: uvicorn.run("web:asgi", fd=fd, log_level="critical")
        elif kind == "hypercorn":
            import asyncio
            from hypercorn.asyncio import serve
            from hypercorn.config import Config

            config = Config()
            config.bind = ["fd://%d" % fd]
            start = lambda: asyncio.run(serve(asgi, config))
        elif kind == "werkzeug":
            from werkzeug.serving import make_server

            server = make_server("127.0.0.1", port, application, threaded=True, fd=fd)
            start = server.serve_forever
        elif kind == "wsgiref":
            from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

            server = WSGIServer(("127.0.0.1", port), WSGIRequestHandler, bind_and_activate=False)
            server.socket = listener
            server.server_name, server.server_port = "localhost", port
            server.setup_environ()
            server.set_app(application)
            start = server.serve_forever
        else:
            start = gunicorn(fd)
    except (ImportError, RuntimeError) as error:
        skip(error)
    print('ready {"port": %d}' % port, flush=True)
    start()


if __name__ == "__main__":
    main()
