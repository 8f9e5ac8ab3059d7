"""What the shop has to do."""

ORDERS = [{'id': number, 'item': 'lamp', 'paid': number % 2 == 0} for number in range(1, 6)]


def register(api):
    api.command(orders)
    api.command(count)
    api.command(fail)
    api.command(talk, interactive=True)
    depth = api.settings.get('depth')
    api.command(lambda: depth, name='depth', help='What the ini file says.')


def orders(limit: int = 10, *items):
    """The orders, oldest first."""
    return [order for order in ORDERS if not items or order['item'] in items][:limit]


def count():
    print('counting')
    return len(ORDERS)


def fail():
    """Fails."""
    raise LookupError('no such \x1b[31morder')


def talk(shell):
    """Asks for a name."""
    shell.side.ask('name? ')
    from spyhole import _sides
    shell.write('hello %s\n' % _sides.at_once(shell.side.line()))
