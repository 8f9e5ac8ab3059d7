"""Which names stand before secrets, and values as they may be shown.

The program has the same list: crates/session/src/redaction.rs.
"""

import re

SECRET = 'password', 'secret', 'token', 'authorization', 'cookie', 'apikey'
HIDDEN = '<redacted>'
LONGEST = 1000          # characters
DEEPEST = 3
PLAIN = str, bytes, int, float, complex, bool, type(None)
QUERY = re.compile(r'([\w.%\[\]-]+)=([^&\'" ),;#]+)')


def is_secret(name):
    name = re.sub('[-_ .]', '', name).lower()
    return any(part in name for part in SECRET)


def hidden(name, value):
    return HIDDEN if is_secret(name) else value


def value(name, value):
    """The `repr` of a value under a name; of objects with a `repr` of their own no more than what they are."""
    if is_secret(name):
        return HIDDEN
    text = shown(value, DEEPEST)
    if '=' in text:
        text = QUERY.sub(lambda found: found.group(1) + '=' + HIDDEN if is_secret(found.group(1)) else found.group(0), text)
    return text if len(text) <= LONGEST else text[:LONGEST] + '...'


def shown(value, depth):
    if isinstance(value, str) and type(value) is not str:
        value = str.__str__(value)
    if type(value) in PLAIN:
        return repr(value[:LONGEST + 1] if type(value) in (str, bytes) else value)
    if depth and type(value) is tuple:
        return '(%s%s)' % (', '.join(shown(one, depth - 1) for one in value[:50]), ',' if len(value) == 1 else '')
    if depth and type(value) is list:
        return '[%s]' % ', '.join(shown(one, depth - 1) for one in value[:50])
    if depth and type(value) is dict:
        items = list(value.copy().items())[:50]
        return '{%s}' % ', '.join(
            '%s: %s' % (shown(key, 0), HIDDEN if is_secret(str(key)) else shown(one, depth - 1)) for key, one in items
            if type(key) in PLAIN)
    return '<%s.%s object>' % (type(value).__module__, type(value).__qualname__)
