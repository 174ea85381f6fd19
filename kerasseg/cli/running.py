"""How every entry point starts and ends."""

import inspect
import signal
import sys
import traceback

from absl import app, flags, logging

from kerasseg.cli import flagfiles

TRACEBACK = flags.DEFINE_bool("traceback", False, "Show the traceback of an error.")

_OURS = ("kerasseg", "tfrecords_tools", "__main__")
_WRONG_PATH = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull", "-?")


def run(main, *, takes_words=False) -> None:
    """Parses the flags, calls `main(argv)` and leaves with the promised exit status.

    0: done, or `--help`. 2: wrong flags or input, told in one line. 130 and 143:
    Ctrl-C and SIGTERM. 1: anything else, with its traceback.

    Args:
        main: Takes what is left of the command line, the program's name first.
        takes_words: Whether something may be left, such as what stands after "--".
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        status = _run(main, sys.argv, takes_words)
    except KeyboardInterrupt:
        status = 130
    sys.stdout.flush()
    sys.exit(status)


def _run(main, argv, takes_words=False):
    own = argv[1 : argv.index("--")] if "--" in argv else argv[1:]
    if any(argument in _HELP for argument in own):
        print(_help_text(full="--helpfull" in argv))
        return 0
    try:
        rest = flags.FLAGS(argv)
        logging.use_absl_handler()
        if len(rest) > 1 and not takes_words:
            raise app.UsageError(f"Only flags are taken, got {rest[1:]}.")
        _check_shared(main.__module__)
        main(rest)
    except (flags.Error, app.UsageError) as error:
        print(f"{error} --help lists the flags.", file=sys.stderr)
        return 2
    except Exception as error:
        status = _status(error)
        if TRACEBACK.value or not status:
            traceback.print_exc()
        if status:
            print(f"Error: {error}", file=sys.stderr)
        return status or 1
    return 0


def _check_shared(module):
    """Refuses a flag of other programs: known here as well, it would change nothing."""
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


def _status(error):
    """Returns the exit status of an error told in one line, None for any other.

    A mistake that our code found at the door, an extra that is not installed, or a
    path that is wrong, is the user's; what else the system refuses, such as a full
    disk, is nobody's.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return 2 if isinstance(error, _WRONG_PATH) else 1
    if isinstance(error, ValueError | OSError | ImportError) and _is_ours(error):
        return 2
    return None


def _is_ours(error):
    frame = error.__traceback__
    while frame.tb_next:
        frame = frame.tb_next
    return frame.tb_frame.f_globals.get("__name__", "").split(".")[0] in _OURS


def _help_text(full):
    module = sys.modules["__main__"]
    text = inspect.cleandoc(module.__doc__ or "") + "\n"
    if full:
        return text + flags.FLAGS.get_help()
    known = flags.FLAGS
    known.register_key_flag_for_module(sys.argv[0], known[TRACEBACK.name])
    return text + known.main_module_help()
