"""The part of spyhole that runs inside a Python process.

The files whose names begin with an underscore are carried into a process by
the program and run there; they are not meant to be imported.
"""

__version__ = "0.1.0"
