"""Commands of the documentation, to be run on small data."""

import importlib
import pathlib
import re
import shlex

from tests.support import commands

ROOT = pathlib.Path(__file__).parents[2]


def command(page, containing):
    """Returns the module and the arguments of the one command that contains a text."""
    text = (ROOT / "docs" / page).read_text().replace("\\\n", " ")
    lines = re.findall(r"^ +(python -m .*)$", text, re.M)
    (line,) = [line for line in lines if containing in line]
    _, _, module, *arguments = shlex.split(line)
    return module, arguments


def run(page, containing, *more):
    """Runs that command in the current folder; returns its exit status."""
    module, arguments = command(page, containing)
    return commands.run(importlib.import_module(module).main, *arguments, *more)
