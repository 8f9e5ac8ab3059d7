"""What an ini file of the ispy shell says.

    [ispyd]
    listen = /run/shop/ispyd-%(pid)s.sock
    plugins = shop.looks

It knows lines and settings, and nothing of sockets. The program `spyhole` has
a reader of its own, crates/session/src/ispy/ini.rs; both read the files below
golden/ini alike.
"""

LONGEST = 1 << 20       # bytes of a file
KNOWN = {'ispyd': ('listen', 'plugins', 'token'), 'python:console': ('enabled',), 'debugger': ('enabled',)}
TRUE, FALSE = ('1', 'on', 'yes', 'true'), ('0', 'off', 'no', 'false', '')
PID = '%(pid)s'


class Bad(Exception):
    """The file can not be used; the text says why."""


class Settings(object):
    def __init__(self):
        self.path = None            # of a unix socket, which may have `%(pid)s` in it
        self.host = self.port = None
        self.token = None
        self.plugins = []
        self.console = self.debugger = False
        self.own = {}               # a plugin's section: {name: {key: value}}
        self.warnings = []

    def told(self):
        """As the golden files have it."""
        listen = {'unix': self.path} if self.path else {'tcp': [self.host, self.port]}
        return {'listen': listen, 'token': self.token, 'plugins': self.plugins, 'console': self.console,
                'debugger': self.debugger, 'own': self.own, 'warnings': self.warnings}


def read(file):
    with open(file, 'rb') as opened:
        content = opened.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise Bad('it is longer than %d bytes' % LONGEST)
    return parse(content)


def parse(content):
    sections = sections_of(content.decode('utf-8', 'replace').lstrip('\ufeff'))
    settings = Settings()
    if 'ispyd' not in sections:
        raise Bad('it has no section [ispyd]')
    own = sections['ispyd']
    if not own.get('listen', (0, ''))[1]:
        raise Bad('its section [ispyd] has no `listen`')
    listen(settings, *own['listen'])
    settings.token = own.get('token', (0, ''))[1] or None
    settings.plugins = own.get('plugins', (0, ''))[1].replace(',', ' ').split()
    settings.console = enabled(settings, sections, 'python:console')
    settings.debugger = enabled(settings, sections, 'debugger')
    names = [name_of(entry) for entry in settings.plugins]
    for section, keys in sections.items():
        if section in KNOWN:
            for key, (number, _) in keys.items():
                if key not in KNOWN[section]:
                    settings.warnings.append('line %d: unknown key `%s` in [%s]' % (number, key, section))
        elif section in names:
            settings.own[section] = {key: value for key, (_, value) in keys.items() if key}
        else:
            settings.warnings.append('line %d: unknown section [%s]' % (keys[''][0], section))
    settings.warnings.sort(key=lambda text: int(text[5:text.index(':')]))
    return settings


def name_of(entry):
    """The name of a plugin that is given as a module, an entry point or a file."""
    if entry.endswith('.py'):
        return entry[:-3].rpartition('/')[2]
    return entry.rpartition('.')[2]


def sections_of(text):
    """{section: {key: (line, value)}}; the section's own line stands under an empty key, if it is not a known one."""
    sections, keys, last = {}, None, None
    for number, line in enumerate(text.split('\n'), 1):
        bare = line.strip(' \t\r')
        if not bare or bare[0] in '#;':
            continue
        if line[0] in ' \t' and last is not None:
            begun, value = keys[last]
            keys[last] = begun, (value + '\n' + without_comment(bare)).strip('\n')
            continue
        if bare[0] == '[':
            if bare[-1] != ']':
                raise Bad('line %d: `]` is missing' % number)
            name = bare[1:-1].strip(' \t')
            keys, last = sections.setdefault(name, {} if name in KNOWN else {'': (number, '')}), None
            continue
        if keys is None:
            raise Bad('line %d: it stands before any section' % number)
        at = min([place for place in (bare.find('='), bare.find(':')) if place >= 0] or [0])
        key = bare[:at].strip(' \t').lower()
        if not key:
            raise Bad('line %d: it is no `key = value`' % number)
        keys[key] = number, without_comment(bare[at + 1:].strip(' \t'))
        last = key
    return sections


def without_comment(value):
    # As Python 2's ConfigParser had it, for which such files were written.
    for mark in ' ;', '\t;':
        value = value.partition(mark)[0]
    return value.strip(' \t')


def enabled(settings, sections, name):
    number, value = sections.get(name, {}).get('enabled', (0, ''))
    if value.lower() in TRUE:
        return True
    if value.lower() not in FALSE:
        settings.warnings.append('line %d: `enabled` is 1, on, yes or true, or 0, off, no or false' % number)
    return False


def listen(settings, number, value):
    if value.startswith('/'):
        if any('%' in part.replace(PID, '') for part in value.split('%%')):
            raise Bad('line %d: `%%(pid)s` is all that can stand after a `%%`' % number)
        if '\0' in value or '\n' in value:
            raise Bad('line %d: `listen` is no path' % number)
        settings.path = value
        return
    host, _, port = value.rpartition(':')
    if host.startswith('[') and host.endswith(']'):
        host = host[1:-1]
    elif ':' in host:
        host = ''
    digits = port and all(digit in '0123456789' for digit in port) and len(port) < 6
    if not host or not digits or not 0 < int(port) < 1 << 16 or any(one in host for one in ' \t\n/%'):
        raise Bad('line %d: `listen` is an absolute path or HOST:PORT' % number)
    settings.host, settings.port = host, int(port)


def path_for(pattern, pid):
    return '%'.join(part.replace(PID, str(pid)) for part in pattern.split('%%'))
