"""Flag files: the flags of a program as lines, and the lines as flags."""

import os
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence

from absl import app, flags

from kerasseg import errors
from kerasseg.system import files, packaged

SHARED = "kerasseg.cli"  # The module that defines the shared flags.
RECIPE = flags.DEFINE_string(
    "recipe",
    None,
    "Name of a recipe, such as shapes/quickstart. It stands for the flag file "
    "experiments/NAME.flags; if there is no such file, for the recipe of that name "
    "that is installed with the package. kerasseg recipes lists the names.",
)
_DIRECTIVE = re.compile(r"--?(flagfile|recipe)(?:=(.*))?", re.DOTALL)
_KINDS = {"flagfile": "file", "recipe": "recipe"}
_LINE = re.compile(r"--?([A-Za-z_]\w*)(=.*)?")


def as_flagfile() -> list[str]:
    """Returns the program's own flags as lines of a flag file: `--name=value`.

    The lines of a repeated flag keep their order: the last one counts.
    """
    return [line for flag in _own_flags() for line in _lines(flag)]


def default_lines() -> set[str]:
    """Returns the lines of `as_flagfile` whose flags have their default value."""
    return {
        line
        for flag in _own_flags()
        if flag.value == flag.default
        for line in _lines(flag)
    }


def check_flag_names(flag: str, names: Iterable[str]) -> None:
    """Raises `app.UsageError` if a name in the list of a flag is not a flag's name."""
    unknown = [name for name in names if name not in flags.FLAGS]
    if unknown:
        raise app.UsageError(
            f"--{flag}={','.join(names)}: {', '.join(unknown)} is not the name of a "
            f"flag. Give names without -- and values."
        )


def _own_flags():
    modules = flags.FLAGS.flags_by_module_dict()
    own = [flag for m in (SHARED, sys.argv[0]) for flag in modules.get(m, [])]
    return sorted(own, key=lambda flag: flag.name)


def _lines(flag):
    return [] if flag.value is None else flag.serialize().splitlines()


def expand(arguments: Sequence[str], *, files_first: bool = False) -> list[str]:
    """Replaces --flagfile=FILE by the flags in the file, as absl does.

    --recipe=NAME is --flagfile=experiments/NAME.flags. A relative path of this kind
    without a file stands for the recipe of the installed package.

    absl takes lines that are not flags as arguments, and repeats them in its errors,
    whatever the file is. Here an error names the file and the line, without its text.

    Args:
        arguments: Arguments of the program, without its name.
        files_first: Whether the flags of files come before all others, which then take
            precedence, and not at the place of --flagfile.

    Raises:
        app.UsageError: A file cannot be read, or a line is not a flag.
    """
    expanded: list[str] = []
    of_files: list[str] = [] if files_first else expanded
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        directive = _DIRECTIVE.fullmatch(argument)
        if directive:
            name, value = directive.groups()
            if value is None and not rest:
                raise app.UsageError(f"--{name} needs the name of a {_KINDS[name]}.")
            path = _path(name, rest.pop(0) if value is None else value)
            of_files += _flags_of_file(path, ()) if path else []
            continue
        expanded.append(argument)
        if argument == "--":
            break
        if not argument.startswith("-"):
            if not flags.FLAGS.is_gnu_getopt():
                break
        elif rest and not rest[0].startswith("-") and _takes_next(argument):
            expanded.append(rest.pop(0))
    return (of_files if files_first else []) + expanded + rest


def _path(directive, value):
    """Returns the flag file that --flagfile or --recipe names; "" for no file."""
    value = os.path.expanduser(value.strip())
    if directive == "flagfile" or not value:
        return value
    name = value.removeprefix(f"{packaged.RECIPES}/").removesuffix(".flags")
    return f"{packaged.RECIPES}/{name}.flags"


def _takes_next(argument):
    """Returns whether the value of a flag is the argument after it."""
    name = argument.lstrip("-")
    return name in flags.FLAGS and not flags.FLAGS[name].boolean


def _flags_of_file(path, outer) -> Iterator[str]:
    if path in outer:
        raise app.UsageError(f"--flagfile={path} includes itself. Remove the line.")
    takes_value = False
    for number, line in enumerate(_text(path).splitlines(), 1):
        line = line.strip()
        if not line or line.startswith(("#", "//")):
            continue
        directive = _DIRECTIVE.fullmatch(line)
        if takes_value and not line.startswith("-"):
            takes_value = False
        elif directive and directive[2] is not None:
            yield from _flags_of_file(_path(*directive.groups()), (*outer, path))
            continue
        elif directive or not _is_flag(line):
            raise app.UsageError(
                f"--flagfile={path}: line {number} is not a flag. A flag file has one "
                f"flag a line, such as --seed=1, and comments after #."
            )
        else:
            takes_value = _takes_next(line)
        yield line


def _is_flag(line):
    """Returns whether a line is a flag; after a single dash, only a known one."""
    match = _LINE.fullmatch(line)
    return bool(match and (line.startswith("--") or match[1] in flags.FLAGS))


def _text(path):
    if path.startswith(f"{packaged.RECIPES}/") and not os.path.lexists(path):
        return _packaged_text(path)
    try:
        if pathlib.Path(path).is_fifo():  # Of the shell, as in --flagfile=<(...).
            return pathlib.Path(path).read_text("utf-8-sig")
        return files.read_text(path)
    except UnicodeDecodeError as error:
        raise app.UsageError(
            f"--flagfile={path} is not UTF-8 text: {error}."
        ) from error
    except errors.UserError as error:
        raise app.UsageError(f"--flagfile: {error}") from error
    except OSError as error:
        raise app.UsageError(f"--flagfile={path}: {error.strerror}.") from error


def _packaged_text(path):
    """Returns the text of the recipe that is installed with the package."""
    name = path.removeprefix(f"{packaged.RECIPES}/").removesuffix(".flags")
    recipes = packaged.recipes()
    if name not in recipes:
        raise app.UsageError(
            f"There is no recipe {name!r}, neither installed nor in the file {path}."
            f"{packaged.suggestion(name, recipes)} kerasseg recipes lists all names."
        )
    return recipes[name].read_text("utf-8")
