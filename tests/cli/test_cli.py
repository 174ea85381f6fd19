"""Exit statuses of real processes; conversion of flags."""

import dataclasses
import functools
import importlib
import inspect
import pathlib
import re
import signal
import subprocess
import sys

import pytest
from absl import app, flags

from kerasseg import cli, errors
from kerasseg.cli import running
from kerasseg.training import augmentation_options
from kerasseg.workdir import flag_file

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = r'''
r"""Runs the action of --action.

python program.py --action=NAME
"""
import dataclasses, json, os, signal, time
from absl import app, flags
from kerasseg import cli, errors

_ACTION = flags.DEFINE_string("action", "nothing", "What happens.")
flags.declare_key_flag("workdir")
flags.declare_key_flag("model_option")

@dataclasses.dataclass
class Recipe:
    training_number_of_steps: int = dataclasses.field(
        default=30, metadata={"help": "Updates."}
    )
    decay: float | None = dataclasses.field(default=None, metadata={"help": "Decay."})
    flip: bool = dataclasses.field(default=True, metadata={"help": "Flip."})

cli.define_fields(Recipe)

def foreign():
    json.loads("no json")  # A ValueError of other code.

def user_error():
    raise errors.UserError("`action`: got 7 apples, expected 8. Add one.")

def package():
    raise errors.MissingPackageError("The dense CRF needs pydensecrf.")

def wait():
    print("waiting", flush=True)
    time.sleep(60)

def missing():
    cli.required(workdir=cli.WORKDIR.value, action=_ACTION.value)

def folder():
    os.makedirs("/proc/nothing/here")  # A wrong path, raised in the standard library.

def full():
    with open("/dev/full", "w", buffering=1) as file:
        file.write("x\n")

def flagfile():
    print("\n".join(cli.as_flagfile()))
    print(cli.read_fields(Recipe))

def main(argv):
    action = {"nothing": print}.get(_ACTION.value) or globals()[_ACTION.value]
    action()

if __name__ == "__main__":
    cli.run(main)
'''


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "program.py"
    path.write_text(PROGRAM)
    return path


def run(program, *arguments):
    return subprocess.run(
        [sys.executable, program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_program_that_ends_well_exits_with_0(program):
    assert run(program).returncode == 0


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help_is_the_docstring_and_the_flags_and_exits_with_0(program, flag):
    result = run(program, "--action=user_error", flag)
    assert result.returncode == 0
    assert result.stdout.startswith("Runs the action of --action.")
    assert "--training_number_of_steps: Updates." in result.stdout
    assert "--workdir" in result.stdout
    assert "traceback: Show the traceback" in result.stdout
    assert ("--seed" in result.stdout) == (flag == "--helpfull")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--acton=user_error"],
            "Unknown command line flag 'acton'. Did you mean: action ?",
        ),
        (["--training_number_of_steps=many"], "training_number_of_steps=many"),
        (["image.png"], r"Only flags are accepted, got ['image.png']."),
        (["--flagfile=/nowhere.flags"], "/nowhere.flags"),
        (["--split=train"], "This program does not take --split."),
        (["--action=missing"], "Required flags are missing: --workdir. --help lists"),
    ],
)
def test_wrong_flags_exit_with_2_and_one_line(program, arguments, text):
    result = run(program, *arguments)
    assert result.returncode == 2
    assert text in result.stderr
    assert result.stderr.count("\n") == 1


PROGRAMS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("kerasseg", "tfrecords_tools")
    for path in (ROOT / package).rglob("*.py")
    if re.search(r"^ +cli\.run\(", path.read_text(), re.M)
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_accepts_the_shared_flags_that_it_reads_and_no_others(name):
    program = importlib.import_module(name)
    modules = {m for m in vars(program).values() if inspect.ismodule(m)}
    texts = inspect.getsource(program)
    texts += "".join(
        inspect.getsource(m) for m in modules if m.__name__.endswith("_flags")
    )
    read = set(re.findall(r"\bcli\.([A-Z_]+|engine\()", texts))
    key = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(name)}
    shared = flags.FLAGS.flags_by_module_dict()["kerasseg.cli"]
    assert key & {f.name for f in shared} == {n.strip("(").lower() for n in read}


def test_an_error_of_the_user_is_one_line_and_exits_with_2(program):
    result = run(program, "--action=user_error")
    assert (result.returncode, result.stderr) == (
        2,
        "Error: --action: got 7 apples, expected 8. Add one.\n",
    )


def test_a_missing_package_is_one_line_and_exits_with_2(program):
    result = run(program, "--action=package")
    assert (result.returncode, result.stderr) == (
        2,
        "Error: The dense CRF needs pydensecrf.\n",
    )


def test_the_traceback_of_an_error_of_the_user_is_shown_on_request(program):
    result = run(program, "--action=user_error", "--traceback")
    assert result.returncode == 2
    assert result.stderr.startswith("Traceback")
    assert result.stderr.endswith(
        "Error: --action: got 7 apples, expected 8. Add one.\n"
    )


def test_options_of_the_builder_are_reported_as_model_options(monkeypatch):
    monkeypatch.setattr(flags.FLAGS["model_option"], "value", ["filters=0"])
    message = "`filters=0` and `seed` are wrong, and `unknown` is no flag."
    assert errors.with_flags(message, running._flag_of) == (
        "--model_option=filters=0 and --seed are wrong, and `unknown` is no flag."
    )


def test_a_wrong_path_is_one_line_and_exits_with_2(program):
    result = run(program, "--action=folder")
    assert result.returncode == 2
    assert result.stderr.startswith("Error: [Errno 2] No such file or directory")
    assert "/proc/nothing" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_full_disk_is_one_line_and_exits_with_1(program):
    result = run(program, "--action=full")
    assert result.returncode == 1
    assert result.stderr == "Error: [Errno 28] No space left on device\n"


def test_any_other_error_shows_its_traceback_and_exits_with_1(program):
    result = run(program, "--action=foreign")
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback")
    assert "JSONDecodeError" in result.stderr


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_exits_with_128_and_its_number(program, number, status):
    # Background processes of a shell ignore Ctrl-C, and so would their children.
    listen = functools.partial(signal.signal, number, signal.SIG_DFL)
    with subprocess.Popen(
        [sys.executable, program, "--action=wait"],
        stdout=subprocess.PIPE,
        preexec_fn=listen,
    ) as process:
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(number)
        try:
            process.wait(timeout=60)
        finally:
            process.kill()
    assert process.returncode == status


def test_the_flagfile_repeats_the_run(program, tmp_path):
    given = [
        "--training_number_of_steps=70",
        "--noflip",
        "--decay=0.25",
        "--model_option=output_stride=8",
        "--model_option=output_stride=16",  # Counts, though "1" sorts before "8".
        "--action=flagfile",
    ]
    first = run(program, *given).stdout
    expected = "Recipe(training_number_of_steps=70, decay=0.25, flip=False)"
    assert expected in first
    path = tmp_path / "flags.txt"
    path.write_text(first[: first.index("Recipe")])
    assert run(program, f"--flagfile={path}").stdout == first
    values = flag_file.read(tmp_path)
    assert values["training_number_of_steps"] == "70"
    assert values["model_option"] == "output_stride=16"
    assert "workdir" not in values  # None has no line.
    assert not any("traceback" in name for name in first.splitlines())


def test_a_reader_that_ends_early_is_no_error(program):
    command = f"{sys.executable} {program} --help | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


def test_fields_without_help_are_not_flags():
    @dataclasses.dataclass
    class Settings:
        shown: int = dataclasses.field(default=3, metadata={"help": "A number."})
        hidden: int = 4

    cli.define_fields(Settings)
    try:
        flags.FLAGS["shown"].value = 5
        assert cli.read_fields(Settings, hidden=6) == Settings(5, 6)
        assert "hidden" not in flags.FLAGS
    finally:
        del flags.FLAGS.shown


def builder(
    num_classes,
    *,
    image_size=(None, None),
    backbone="lite0",
    backbone_weights=None,
    output_stride=16,
    dropout=0.1,
    aux=False,
    rates=(6, 12),
):
    """Stands for an architecture."""


def test_a_missing_folder_of_records_says_how_to_build_them(tmp_path):
    path = str(tmp_path / "records")
    with pytest.raises(
        errors.MissingFileError,
        match=f"`records_dir={path}` does not exist. Build the records with python -m "
        "tfrecords_tools.build, or correct the path.",
    ):
        cli.check_exists(records_dir=path)
    with pytest.raises(errors.MissingFileError, match=r"not exist\. Correct the path"):
        cli.check_exists(initial_checkpoint=path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("output_stride=8", 8),
        ("dropout=0", 0.0),
        ("backbone=50", "50"),  # Text, as its default is.
        ("backbone_weights=imagenet", "imagenet"),
        ("backbone_weights=none", None),
        ("backbone_weights=/a=b.h5", "/a=b.h5"),
        ("aux=true", True),
        ("aux=0", False),
        ("rates=1,2,4", (1, 2, 4)),
        ("image_size=360,480", (360, 480)),
        ("misspelled=1.5", 1.5),  # The builder reports it.
    ],
)
def test_model_options_are_typed_by_the_builder(text, value):
    key = text.partition("=")[0]
    typed = cli.model_options(builder, [text])[key]
    assert typed == value
    assert type(typed) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("output_stride", "takes key=value, for example output_stride=8; got 'output"),
        ("output_stride=eight", "=output_stride takes int, as in output_stride=16; go"),
        ("dropout=much", "dropout takes float, as in dropout=0.1; got 'much'"),
        ("aux=maybe", "aux is true or false, got 'maybe'"),
        ("rates=1,two", "rates takes int, as in rates=6; got 'two'"),
        ("num_classes=5", "num_classes is not an option: another flag or the data set"),
    ],
)
def test_wrong_model_options_say_what_is_expected(text, message):
    with pytest.raises(app.UsageError, match=message):
        cli.model_options(builder, [text])


def test_the_last_of_equal_model_options_counts():
    given = ["output_stride=8", "output_stride=32"]
    assert cli.model_options(builder, given) == {"output_stride": 32}


@pytest.mark.parametrize(
    ("text", "size"), [("513", (513, 513)), ("360,480", (360, 480))]
)
def test_a_crop_size_is_one_side_or_height_and_width(text, size):
    assert augmentation_options.crop_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "5,6,7", "wide", "360x480", "-3"])
def test_a_wrong_crop_size_says_what_is_expected(text):
    message = f"`train_crop_size={text}` is not a size in pixels.*513 or 360,480"
    with pytest.raises(errors.UserError, match=message):
        augmentation_options.crop_size(text)
