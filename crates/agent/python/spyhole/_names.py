"""What a word at a Python prompt may become: the agent's own completion, which runs no code of the program.

It is loaded when somebody first asks for it, with the names that the agent's
core would give it.
"""

import builtins
import pkgutil
import posix
import sys

from . import _prompt


class Names(object):
    def __init__(self, space):
        self.space = space
        self.feature = None

    def words(self, text):
        """The words that the last one of `text` may become; words end at blanks."""
        if not text.strip():
            return []
        if self.feature is None:
            feature = dict(builtins=builtins, modules=sys.modules, names=_prompt.Names(), posix=posix, session=self.space, sys=sys)
            exec(compile(pkgutil.get_data('spyhole', '_complete.py'), '<spyhole complete>', 'exec', 0, True), feature)
            self.feature = feature
        start, found = self.feature['candidates'](text)
        prefix, last = text[start:], text.rpartition(' ')[2]
        before = last[:len(last) - len(prefix)]
        if not last.endswith(prefix):
            return []           # a file whose name has a blank
        hidden = not prefix.startswith('_')
        return sorted(before + name for name in found if isinstance(name, str) and name.startswith(prefix) and (
            found[name] in ('key', 'path') or name.isidentifier() and not (hidden and name.startswith('_'))))
