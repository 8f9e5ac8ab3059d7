"""`python -m spyhole --loop asyncio|gevent|eventlet [--ipython] [SCRIPT]`"""

import sys

from spyhole import _live

sys.exit(_live.main(sys.argv[1:]))
