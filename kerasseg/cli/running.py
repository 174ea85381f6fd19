"""The start and the end of every command."""

import functools
import inspect
import io
import os
import signal
import sys
import traceback
import types
from collections.abc import Callable

from absl import app, flags, logging

from kerasseg import errors
from kerasseg.cli import environment, flagfiles

TRACEBACK = flags.DEFINE_bool("traceback", False, "Show the traceback of an error.")

_WRONG_PATH = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull", "-?")


def run(
    main: Callable[[list[str]], None],
    *,
    accepts_arguments: bool = False,
    prefix: str = "",
) -> None:
    """Parses the flags, calls `main(argv)` and exits with a status.

    0: done, or `--help`. 2: wrong flags or input, reported in one line. 130 and 143:
    Ctrl-C and SIGTERM. 1: any other error; one that the system did not cause comes
    with its traceback.

    Args:
        main: Function of the program's name and the positional arguments.
        accepts_arguments: Whether there may be positional arguments, such as those
            after "--".
        prefix: Prefix of environment variables that set flags, such as KERASSEG_; "" if
            none do. The command line takes precedence over flag files, and these over
            variables.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if isinstance(sys.stdout, io.TextIOWrapper):  # File names may not be UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run(main, sys.argv, accepts_arguments, prefix)
        if sys.stdout:  # None: it was closed before the program started.
            sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # The reader of the output ended, such as `head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)


def _run(main, argv, accepts_arguments=False, prefix=""):
    own = argv[1 : argv.index("--")] if "--" in argv else argv[1:]
    if any(argument in _HELP for argument in own):
        print(_help_text(full="--helpfull" in argv))
        return 0
    variables: dict[str, str] = {}
    try:
        rest = _parse(argv, files_first=bool(prefix))
        if len(rest) > 1 and not accepts_arguments:
            raise app.UsageError(f"Only flags are accepted, got {rest[1:]}.")
        own_flags = _check_shared(main.__module__)
        if prefix:
            variables = environment.apply(own_flags, prefix)
        main(rest)
    except (flags.Error, app.UsageError) as error:
        print(f"{error} --help lists the flags.", file=sys.stderr)
        return 2
    except (errors.UserError, OSError) as error:
        if TRACEBACK.value:
            traceback.print_exc()
        message = errors.with_flags(
            str(error), functools.partial(_flag_of, variables=variables)
        )
        print(f"Error: {message}", file=sys.stderr)
        return 2 if isinstance(error, (errors.UserError, *_WRONG_PATH)) else 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _flag_of(name, variables=types.MappingProxyType({})):
    """Returns what sets an option: a variable, its flag, --model_option, or None."""
    known = flags.FLAGS
    if name in variables:
        return variables[name]
    if name in known:
        return f"--{name}"
    texts = (known["model_option"].value or []) if "model_option" in known else []
    given = {text.partition("=")[0] for text in texts}
    is_option = name in given or name in _options_of_model()
    return f"--model_option={name}" if is_option else None


def _options_of_model():
    """Returns the options of the model that is trained, once it was imported."""
    models = sys.modules.get("kerasseg.models")
    name = flags.FLAGS["model"].value if "model" in flags.FLAGS else None
    if models is None or name not in models.list_models():
        return set()
    parameters = inspect.signature(models.metadata(name).builder).parameters
    return {key for key, each in parameters.items() if each.kind is each.KEYWORD_ONLY}


def _parse(argv, files_first):
    expanded = flagfiles.expand(argv[1:], files_first=files_first)
    rest = flags.FLAGS([argv[0], *expanded])
    logging.use_absl_handler()
    return rest


def _check_shared(module):
    """Refuses shared flags that this program does not read: they have no effect.

    Returns:
        The names of the flags that it reads.
    """
    known = flags.FLAGS
    program = sys.argv[0] if module == "__main__" else module
    own = {flag.name for flag in known.get_key_flags_for_module(program)}
    foreign = [
        f"--{flag.name}"
        for flag in known.flags_by_module_dict()[flagfiles.SHARED]
        if flag.name not in own and flag.value != flag.default
    ]
    if foreign:
        raise app.UsageError(f"This program does not take {', '.join(foreign)}.")
    return {*own, TRACEBACK.name}


def _help_text(full):
    module = sys.modules["__main__"]
    text = inspect.cleandoc(module.__doc__ or "") + "\n"
    if full:
        return text + flags.FLAGS.get_help()
    known = flags.FLAGS
    known.register_key_flag_for_module(sys.argv[0], known[TRACEBACK.name])
    return text + known.main_module_help()
