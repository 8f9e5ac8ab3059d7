"""spyhole: a small, safe hole into a running Python process.

For programs that leave a door of their own: `spyhole.backdoor`,
`spyhole.debugtools`. Importing this imports nothing else.

The files `_core`, `_statements`, `_render`, `_raised`, `_control` and
`_complete` are carried into other processes and run there; they are not meant
to be imported.
"""

__version__ = "0.1.0"
