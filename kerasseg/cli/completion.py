"""What a shell can complete after the name of a command."""

import importlib
import sys

from absl import flags

from kerasseg.system import packaged


def complete(module: str, word: str) -> list[str]:
    """Returns the words that can replace one at the end of a command line.

    Args:
        module: Module of the command, such as "kerasseg.train".
        word: The word, or its beginning. A shell that splits words at "=" replaces
            what follows it, so values are returned without their flags.
    """
    flag, equals, value = word.partition("=")
    if equals:
        names = list(packaged.recipes()) if flag in ("--recipe", "--copy") else []
        return [name for name in names if name.startswith(value)]
    if word.startswith("-"):
        return [name for name in _flags(module) if name.startswith(word)]
    pages = packaged.pages() if module == "kerasseg.cli.docs" else []
    return [name for name in pages if name.startswith(word)]


def _flags(module):
    """Returns the flags of a command, with "=" if they take a value."""
    sys.argv[0] = module  # The module of flags that are defined from a dataclass.
    if hasattr(importlib.import_module(module), "__path__"):
        module = sys.argv[0] = f"{module}.__main__"
        importlib.import_module(module)
    own = flags.FLAGS.get_key_flags_for_module(module)
    return sorted(f"--{flag.name}{'' if flag.boolean else '='}" for flag in own)
