"""What prepared doors tell the application: log records and audit events.

Who came and left is a WARNING on the logger `spyhole`, each line that is run
an INFO on `spyhole.audit`. Audit events (3.8 and newer) carry the same, and a
hook that raises forbids it.
"""

import sys

LONGEST = 200


def plain(text):
    """The text in one line that no terminal takes for an order."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode('ascii', 'replace') for c in text)


def shortened(line):
    """A line of code as it may be written down."""
    if line[:1] in (' ', '\t'):
        return '(hidden)'
    return plain(line[:LONGEST]) + (' ...' if len(line) > LONGEST else '')


def log(name, level, message, *arguments):
    try:
        import logging
        logging.getLogger(name).log(getattr(logging, level), message, *arguments)
    except Exception:           # of a filter or handler of the application; or it may not read its own library
        pass


def audit(event, *arguments):
    """Raises what a hook raises."""
    if hasattr(sys, 'audit'):
        sys.audit('spyhole.' + event, *arguments)


def connected(what, who):
    audit('connect', what, who)
    log('spyhole', 'WARNING', 'Connected to %s: %s', what, who)


def ended(what, who):
    log('spyhole', 'WARNING', 'End of %s: %s', what, who)
    try:
        audit('end', what, who)
    except Exception:           # it has ended; nothing is left to forbid
        pass


def refused(what, who, reason):
    log('spyhole', 'WARNING', 'Refused at %s: %s: %s', what, who, reason)
    try:
        audit('refused', what, who, reason)
    except Exception:
        pass


def line(who, code):
    short = shortened(code)
    audit('line', who, short)
    log('spyhole.audit', 'INFO', '%s: %s', who, short)
