"""Flags that several entry points share, and how every entry point starts and ends."""

import dataclasses
import inspect
import signal
import sys
import traceback
import types
import typing

from absl import app, flags, logging

MODEL = flags.DEFINE_string(
    "model", None, "Architecture: a name that python -m kerasseg.models lists."
)
MODEL_OPTION = flags.DEFINE_multi_string(
    "model_option",
    [],
    "Option of the architecture's builder as key=value; may be repeated.",
)
DATASET = flags.DEFINE_string(
    "dataset", None, "Data set; not needed where the records hold a dataset.json."
)
RECORDS_DIR = flags.DEFINE_string(
    "records_dir", None, "Folder of the TFRecords that tfrecords_tools.build wrote."
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of one run: checkpoints, best model, scores, pictures."
)
SEED = flags.DEFINE_integer("seed", 1, "Start of every random number.")
TRACEBACK = flags.DEFINE_bool("traceback", False, "Show the traceback of an error.")

_OURS = ("kerasseg", "tfrecords_tools", "__main__")
_HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull", "-?")


def run(main) -> None:
    """Parses the flags, calls `main(argv)` and leaves with the promised exit status.

    0: done, or `--help`. 2: wrong flags or input, told in one line. 130 and 143:
    Ctrl-C and SIGTERM. 1: anything else, with its traceback.

    Args:
        main: Takes what is left of the command line, the program's name first.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        status = _run(main, sys.argv)
    except KeyboardInterrupt:
        status = 130
    sys.stdout.flush()
    sys.exit(status)


def _run(main, argv):
    if any(argument in _HELP for argument in argv[1:]):
        print(_help_text(full="--helpfull" in argv))
        return 0
    try:
        rest = flags.FLAGS(argv)
        logging.use_absl_handler()
        if len(rest) > 1:
            raise app.UsageError(f"Only flags are taken, got {rest[1:]}.")
        main(rest)
    except (flags.Error, app.UsageError) as error:
        print(f"{error} --help lists the flags.", file=sys.stderr)
        return 2
    except Exception as error:
        if not _is_message_for_user(error):
            traceback.print_exc()
            return 1
        if TRACEBACK.value:
            traceback.print_exc()
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def _is_message_for_user(error):
    """Tells a mistake that our code found at the door from a fault in the depth."""
    if not isinstance(error, ValueError | OSError):
        return False
    frame = error.__traceback__
    while frame.tb_next:
        frame = frame.tb_next
    return frame.tb_frame.f_globals.get("__name__", "").split(".")[0] in _OURS


def _help_text(full):
    module = sys.modules["__main__"]
    text = inspect.cleandoc(module.__doc__ or "") + "\n"
    if full:
        return text + flags.FLAGS.get_help()
    return text + flags.FLAGS.main_module_help()


def required(**values) -> None:
    """Raises `app.UsageError` that names each flag of `values` that is None."""
    missing = [f"--{name}" for name, value in values.items() if value is None]
    if missing:
        raise app.UsageError(f"Needed and not given: {', '.join(missing)}.")


def define_fields(cls) -> None:
    """Defines one flag for each field of a dataclass that has a `help` text.

    The default stands on the field alone. A flag is named as its field, or as
    `metadata["flag"]` says.
    """
    definers = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
        tuple: flags.DEFINE_list,
    }
    for field, kind in _fields(cls):
        name, text = _flag_name(field), field.metadata["help"]
        if "choices" in field.metadata:
            choices = field.metadata["choices"]
            flags.DEFINE_enum(name, field.default, choices, text, module_name=_main())
        else:
            definers[kind](name, field.default, text, module_name=_main())


def read_fields(cls, **others):
    """Makes the dataclass from the flags that `define_fields` defined.

    Args:
        cls: The dataclass.
        **others: Values of the fields that are no flags.
    """
    values = {
        field.name: flags.FLAGS[_flag_name(field)].value for field, _ in _fields(cls)
    }
    return cls(**values, **others)


def _main():
    return sys.argv[0]


def _flag_name(field):
    return field.metadata.get("flag", field.name)


def _fields(cls):
    """Yields the fields that are flags, with their plain type."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if "help" not in field.metadata:
            continue
        kind = hints[field.name]
        if isinstance(kind, types.UnionType):  # "int | None" is an int flag.
            kind = next(k for k in typing.get_args(kind) if k is not types.NoneType)
        yield field, typing.get_origin(kind) or kind


def as_flagfile() -> list[str]:
    """Lists the program's own flags as a flagfile has them, one `--name=value` each."""
    modules = flags.FLAGS.flags_by_module_dict()
    own = [*modules.get(__name__, []), *modules.get(_main(), [])]
    lines = (flag.serialize() for flag in own if flag.value is not None)
    return sorted(line for text in lines for line in text.splitlines() if line)


def model_options(builder, given) -> dict:
    """Types `key=value` texts by the signature of an architecture's builder.

    Args:
        builder: The function that `models.facts` names.
        given: Texts such as `output_stride=8`.

    Raises:
        ValueError: A text is no `key=value`, or the value is not of the kind of the
            option's default. Unknown keys are left to the builder's own error.
    """
    parameters = inspect.signature(builder).parameters
    options = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator:
            raise ValueError(
                f"--model_option takes key=value, for example output_stride=8; got "
                f"'{text}'."
            )
        default = parameters[key].default if key in parameters else None
        options[key] = _typed(key, value, default)
    return options


def _typed(key, text, default):
    lowered = text.lower()
    if lowered == "none":
        return None
    if isinstance(default, bool) or (default is None and lowered in ("true", "false")):
        if lowered not in ("true", "false", "1", "0"):
            raise ValueError(f"--model_option={key} is true or false, got '{text}'.")
        return lowered in ("true", "1")
    if isinstance(default, tuple):
        like = default[0] if default else None
        return tuple(_typed(key, part, like) for part in text.split(","))
    kinds = (type(default),) if default is not None else (int, float, str)
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValueError(
        f"--model_option={key} takes {kinds[0].__name__}, as in {key}={default}; "
        f"got '{text}'."
    )


def crop_size(text: str) -> tuple[int, int]:
    """Reads `513` or `360,480` (height, width)."""
    try:
        sides = [int(part) for part in str(text).split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise ValueError(
            f"A size is one number, or height,width, in pixels, as in 513 or 360,480; "
            f"got '{text}'."
        )
    return sides[0], sides[-1]
