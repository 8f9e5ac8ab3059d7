"""Who is at the other end of a connection, and may they come in?

Own uid and root come in from this machine; everybody else on it is refused,
also if it can not be found out who they are. From elsewhere a token is needed.
"""

import errno
import os
import struct
import sys

import _socket

OVERFLOW_UID = 65534            # include/linux/highuid.h
SO_DOMAIN = 39                  # include/uapi/asm-generic/socket.h
WORD = '<I' if sys.byteorder == 'little' else '>I'


class Refused(Exception):
    """The peer may not come in; the text says why."""


class Peer(object):
    """One that is let in, or has still to say the token."""

    def __init__(self, name, uid, needs_token=False):
        self.name, self.uid, self.needs_token = name, uid, needs_token


def describe(address):
    if isinstance(address, tuple) and len(address) >= 2:
        return ('[%s]:%s' if ':' in str(address[0]) else '%s:%s') % address[:2]
    return 'unix socket'


def check(number):
    """The peer of the connected socket that has this descriptor. Raises `Refused`.

    Gives None for a file that is no socket: the application made it.
    """
    connection = plain_socket(number)
    if connection is None:
        return None
    try:
        return check_socket(connection)
    finally:
        connection.close()


def plain_socket(number):
    # One that is never green, whatever was patched. Before 3.7 the family has
    # to be known.
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, os.dup(number))
    try:
        family = connection.getsockopt(_socket.SOL_SOCKET, SO_DOMAIN)
    except OSError as error:
        connection.close()
        if error.errno == errno.ENOTSOCK:
            return None
        raise
    return _socket.socket(family, _socket.SOCK_STREAM, 0, connection.detach())


def check_socket(connection):
    if connection.family == _socket.AF_UNIX:
        pid, uid, _ = struct.unpack('3i', connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
        return allowed('unix socket, pid %d' % pid, uid)
    if connection.family not in (_socket.AF_INET, _socket.AF_INET6):
        raise Refused('it comes by a kind of socket that can not be checked')
    try:
        here, there = connection.getsockname(), connection.getpeername()
    except OSError as error:
        raise Refused('it left at once (%s)' % error.strerror)
    name = describe(there)
    uid = uid_of(here, there)
    if uid is not None:
        return allowed(name, uid)
    if is_loopback(there[0]) or without_scope(there[0]) == without_scope(here[0]):
        raise Refused('%s: its user can not be determined' % name)
    return Peer(name, None, needs_token=True)


def allowed(name, uid):
    name = '%s, uid %d' % (name, uid)
    if is_nobody_known(uid):
        raise Refused('%s: its user is not known in this user namespace' % name)
    if uid not in (0, os.geteuid()):
        raise Refused('%s: another user' % name)
    return Peer(name, uid)


def is_nobody_known(uid):
    # A uid that this user namespace does not map is shown as this one.
    try:
        with open('/proc/sys/kernel/overflowuid') as file:
            if uid != int(file.read()):
                return False
        with open('/proc/self/uid_map') as file:
            return [line.split() for line in file] != [['0', '0', '4294967295']]
    except (OSError, ValueError):
        return uid == OVERFLOW_UID


def without_scope(address):
    address = address.split('%')[0].lower()
    return address[7:] if address.startswith('::ffff:') and '.' in address else address


def is_loopback(address):
    address = without_scope(address)
    return address.startswith('127.') or address == '::1'


def as_listed(address, port, family):
    # As net/ipv4/tcp_ipv4.c and net/ipv6/tcp_ipv6.c print it: words of the
    # address as this machine's numbers, then the port.
    packed = _socket.inet_pton(family, address.split('%')[0])
    words = [struct.unpack(WORD, packed[at:at + 4])[0] for at in range(0, len(packed), 4)]
    return ''.join('%08X' % word for word in words) + ':%04X' % port


def both_families(address, port):
    """An IPv4 address may be listed as itself or mapped into IPv6."""
    address = without_scope(address)
    if ':' in address:
        return [as_listed(address, port, _socket.AF_INET6)]
    return [as_listed(address, port, _socket.AF_INET), as_listed('::ffff:' + address, port, _socket.AF_INET6)]


def uid_of(here, there):
    """The uid that owns the other end, if that is on this machine.

    A socket that its owner has closed already is listed with uid 0 and no
    inode: that is nobody's, and not root's.
    """
    try:
        near, far = both_families(*here[:2]), both_families(*there[:2])
    except (OSError, UnicodeError):
        return None
    for name in 'tcp', 'tcp6':
        try:
            with open('/proc/self/net/' + name) as file:
                next(file, None)
                for line in file:
                    words = line.split(None, 10)
                    if len(words) > 9 and words[1] in far and words[2] in near and words[9] != '0':
                        return int(words[7])
        except (OSError, ValueError):
            continue
    return None


def same(text, token):
    import hmac
    return hmac.compare_digest(text.encode('utf-8', 'replace'), token.encode('utf-8', 'replace'))
