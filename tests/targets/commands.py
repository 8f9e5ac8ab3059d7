"""Answers the test's questions: one line in on stdin, one line of JSON out on stdout.

Truth: it runs on the thread that calls serve() and starts no other. It imports nothing but what is
in sys.modules at the start of every interpreter, and leaves sys.modules as it was: a target that
serves commands under -I -S is as bare as one that does not.

Commands: `state`, `eval EXPRESSION` (its repr, in __main__), `exec STATEMENT`, `exit`.
"""
import sys
import _thread

_had_gc = "gc" in sys.modules
import gc
if not _had_gc:
    del sys.modules["gc"]
_had_signal = "_signal" in sys.modules
import _signal
if not _had_signal:
    del sys.modules["_signal"]

# The answers go where stdout pointed at the start, whatever the target does to sys.stdout later.
_out = sys.stdout


def json(value):
    """A small JSON writer, so that the module json need not be imported."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{%s}" % ",".join(json(str(k)) + ":" + json(value[k]) for k in sorted(value))
    if isinstance(value, (list, tuple)):
        return "[%s]" % ",".join(json(item) for item in value)
    out = []
    for char in str(value):
        if char in '"\\':
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            point = ord(char)
            if 0xD800 <= point <= 0xDFFF:
                # A lone surrogate is not allowed in JSON: shown as text.
                out.append("\\")
            if point > 0xFFFF:
                point -= 0x10000
                out.append("\\u%04x" % (0xD800 + (point >> 10)))
                point = 0xDC00 + (point & 0x3FF)
            out.append("\\u%04x" % point)
    return '"%s"' % "".join(out)


def _who(thing):
    """Something that tells whether it is still the same object, and what it is."""
    return "%s at %x" % (type(thing).__name__, id(thing))


def _handlers():
    found = {}
    for number in range(1, 65):
        try:
            handler = _signal.getsignal(number)
        except (ValueError, OSError):
            continue
        found[number] = handler if isinstance(handler, int) else _who(handler)
    return found


def state():
    threading = sys.modules.get("threading")
    found = {
        "modules": sorted(sys.modules),
        "threads": sorted(threading._active) if threading else [],
        "thread_count": _thread._count(),
        "trace": _who(sys.gettrace()),
        "profile": _who(sys.getprofile()),
        "switch_interval": sys.getswitchinterval(),
        "recursion_limit": sys.getrecursionlimit(),
        "excepthook": _who(sys.excepthook),
        "displayhook": _who(sys.displayhook),
        "stdin": _who(sys.stdin),
        "stdout": _who(sys.stdout),
        "stderr": _who(sys.stderr),
        "original_stdout": _who(sys.__stdout__),
        "original_stderr": _who(sys.__stderr__),
        "path": list(sys.path),
        "meta_path": [_who(item) for item in sys.meta_path],
        "path_hooks": [_who(item) for item in sys.path_hooks],
        "builtins": sorted(vars(sys.modules["builtins"])),
        "main": sorted(vars(sys.modules["__main__"])),
        "handlers": _handlers(),
        "gc_enabled": gc.isenabled(),
        "gc_callbacks": len(gc.callbacks),
        "gc_threshold": list(gc.get_threshold()),
        "gc_count": list(gc.get_count()),
        "gc_objects": 0,
    }
    for name in ("unraisablehook", "breakpointhook"):
        if hasattr(sys, name):
            found[name] = _who(getattr(sys, name))
    if threading:
        for name in ("excepthook", "_trace_hook", "_profile_hook", "_shutdown"):
            if hasattr(threading, name):
                found["threading." + name] = _who(getattr(threading, name))
    for name in ("warnings", "_warnings"):
        if name in sys.modules:
            found[name + ".filters"] = [_who(entry) for entry in sys.modules[name].filters]
    if "linecache" in sys.modules:
        found["linecache"] = sorted(sys.modules["linecache"].cache)
    if hasattr(sys, "monitoring"):
        found["monitoring"] = [sys.monitoring.get_tool(tool) for tool in range(6)]
    if hasattr(sys, "get_asyncgen_hooks"):
        found["asyncgen_hooks"] = [_who(hook) for hook in sys.get_asyncgen_hooks()]
    gc.collect()
    found["gc_objects"] = len(gc.get_objects())
    return found


def answer(line):
    name, _, rest = line.partition(" ")
    if name == "state":
        return json(state())
    space = vars(sys.modules["__main__"])
    try:
        if name == "eval":
            return json(repr(eval(rest, space)))
        if name == "exec":
            exec(rest, space)
            return json("done")
    except Exception as error:
        return json({"error": repr(error)})
    return json({"error": "no command %s" % name})


def ready(told=None):
    """The handshake: what the docstring says is true from now on."""
    # Whatever the first answer makes for good (caches, interned strings) is there before.
    json(state())
    _out.write("ready\n" if told is None else "ready %s\n" % json(told))
    _out.flush()


def serve():
    """Answers until stdin ends or `exit` comes."""
    while True:
        line = sys.stdin.readline()
        if not line or line.strip() == "exit":
            return
        _out.write(answer(line.rstrip("\n")) + "\n")
        _out.flush()
