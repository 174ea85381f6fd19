"""The program `kerasseg`: starts a command by its short name.

`kerasseg train` is the same as `python -m kerasseg.train`, and `kerasseg build` the
same as `python -m tfrecords_tools.build`. A module of
these packages, or of `kerasseg.cli`, that can be started is a command; `tune_crf` is
written `tune-crf`.
"""

import difflib
import importlib.util
import os
import pathlib
import re
import runpy
import sys
from typing import NamedTuple

import kerasseg

_PACKAGES = "kerasseg", "kerasseg.cli", "tfrecords_tools"
_STARTED = 'if __name__ == "__main__":'
_USAGE = """\
Semantic and instance segmentation in Keras 3.

kerasseg COMMAND [--flag=value ...]
kerasseg --version

{commands}

kerasseg COMMAND --help describes a command and its flags. kerasseg docs lists the pages
of the documentation. kerasseg train is the same as python -m kerasseg.train, and so on;
{tools} are in tfrecords_tools.

Completion in bash, and in zsh after `autoload -U +X bashcompinit && bashcompinit`:
complete -o default -C 'kerasseg --complete' kerasseg"""


class Command(NamedTuple):
    """A command: the module that is started, and the first line of its help."""

    module: str
    summary: str


def commands() -> dict[str, Command]:
    """Returns the commands by name, sorted. No module is imported."""
    found = {}
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in spec.submodule_search_locations or [] if spec else []:
            for path in pathlib.Path(folder).glob("*"):
                command = _command(f"{package}.{path.stem}", path)
                if command and path.stem != "__main__":
                    found[path.stem.replace("_", "-")] = command
    return dict(sorted(found.items()))


def _command(module, path):
    """Returns the command of a file or folder of a package; None if it is none."""
    file = path / "__main__.py" if path.is_dir() else path
    if file.suffix != ".py" or not file.exists():
        return None
    text = file.read_text("utf-8")
    if _STARTED not in text:
        return None
    summary = re.match(r'r?"""(.*?)\.?(?:"""|$)', text, re.M)
    return Command(module, summary[1] if summary else "")


def usage() -> str:
    """Returns the help text."""
    known = commands()
    width = max(map(len, known))
    lines = [f"  {name:<{width}}  {each.summary}" for name, each in known.items()]
    tools = [name for name, each in known.items() if each.module.startswith("tfrecord")]
    return _USAGE.format(
        commands="\n".join(lines), tools=f"{', '.join(tools[:-1])} and {tools[-1]}"
    )


def _unknown(name, known):
    similar = difflib.get_close_matches(name.replace("_", "-"), known, n=1)
    proposal = f" Did you mean kerasseg {similar[0]}?" if similar else ""
    return (
        f"kerasseg {name}: there is no such command.{proposal} kerasseg --help lists "
        f"the commands."
    )


def completions(line: str) -> list[str]:
    """Returns the words that can stand at the end of a command line.

    Args:
        line: Up to the cursor, such as "kerasseg tr". Completed are commands, their
            flags, the values of --recipe and --copy, and the pages of `docs`.
    """
    words = line.split(" ")
    known = commands()
    if len(words) == 2:
        names = list(known)
    elif words[1].replace("_", "-") not in known:
        return []
    else:
        from kerasseg.cli import completion  # Imports absl.

        module = known[words[1].replace("_", "-")].module
        return completion.complete(module, words[-1])
    return [name for name in names if name.startswith(words[-1])]


def main() -> None:
    """Starts the command that the first argument names, in this process."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("--help", "-help", "-h", "help"):
        print(usage())
    elif name == "--version":
        print(f"kerasseg {kerasseg.__version__}")
    elif name == "--complete":
        line = os.environ.get("COMP_LINE", "")
        print("\n".join(completions(line[: int(os.environ.get("COMP_POINT", 0))])))
    else:
        known = commands()
        command = known.get(name.replace("_", "-"))
        if command is None:
            print(_unknown(name, known), file=sys.stderr)
            sys.exit(2)
        sys.argv[1:] = rest
        runpy.run_module(command.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
