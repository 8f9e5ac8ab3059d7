"""A web server with an application that never answers, and ends when its parent has ended. Usage: web.py KIND [logged]

KIND is a worker class of gunicorn (sync, gthread, gevent, eventlet), or uvicorn, hypercorn, werkzeug, wsgiref; or a
framework: flask (under werkzeug), starlette, fastapi, fastapi-thread, django, django-thread (under uvicorn).
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


def wait():
    """A view of a framework that is a plain function."""
    parent = outlived()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def flask():
    from flask import Flask, request

    site = Flask("site")

    @site.route("/<path:rest>")
    def application(rest):
        say(request.path)
        wait()

    return site


def starlette():
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.routing import Route

    async def through(request, call_next):
        return await call_next(request)

    async def application(request):
        await asgi(request.scope, None, None)

    # This middleware gives the rest of the request to a task of its own.
    layers = [Middleware(BaseHTTPMiddleware, dispatch=through)]
    return Starlette(routes=[Route("/{rest:path}", application)], middleware=layers)


def fastapi(in_thread):
    from fastapi import FastAPI, Request

    site = FastAPI()
    if in_thread:
        @site.get("/{rest:path}")
        def application(request: Request):
            say(request.url.path)
            wait()
    else:
        @site.get("/{rest:path}")
        async def application(request: Request):
            await asgi(request.scope, None, None)

    return site


def django(in_thread):
    from django.conf import settings

    settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="hunter2", LOGGING_CONFIG=None)
    from django.core.asgi import get_asgi_application
    from django.urls import re_path

    def application(request):
        say(request.path)
        wait()

    async def waits(request):
        await asgi(request.scope, None, None)

    globals()["urlpatterns"] = [re_path("", application if in_thread else waits)]
    return get_asgi_application()


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
        frameworks = {
            "uvicorn": lambda: asgi, "starlette": starlette, "fastapi": lambda: fastapi(False),
            "fastapi-thread": lambda: fastapi(True), "django": lambda: django(False),
            "django-thread": lambda: django(True),
        }
        if kind in frameworks:
            import uvicorn

            site = frameworks[kind]()
            start = lambda: uvicorn.run(site, fd=fd, log_level="critical")
        elif kind == "hypercorn":
            import asyncio
            from hypercorn.asyncio import serve
            from hypercorn.config import Config

            config = Config()
            config.bind = ["fd://%d" % fd]
            start = lambda: asyncio.run(serve(asgi, config))
        elif kind in ("werkzeug", "flask"):
            from werkzeug.serving import make_server

            site = flask() if kind == "flask" else application
            server = make_server("127.0.0.1", port, site, threaded=True, fd=fd)
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
