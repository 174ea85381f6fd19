"""Start-up of the commands: wrong input costs little, and TensorFlow prints nothing."""

import os
import re
import subprocess
import sys

import pytest

from tests.support import faults, tiny

MAX_PROGRAM_SECONDS = 0.3  # Of `kerasseg --help`, `--version` and unknown commands.
MAX_CPU_SECONDS = 1.5  # Of `--help` and of every mistake that needs no TensorFlow.
TENSORFLOW_LINES = ("cuda", "oneDNN", "TF-TRT", "E0000", "I0000", "cpu_feature_guard")

FILES = {
    ".".join(path.relative_to(faults.ROOT).with_suffix("").parts): path
    for package in ("kerasseg", "tfrecords_tools")
    for path in sorted((faults.ROOT / package).rglob("*.py"))
}
ENTRY_POINTS = [
    name
    for name, path in FILES.items()
    if re.search(r"^ +cli\.run\(", path.read_text("utf-8"), re.M)
]
COMMANDS = [name.removesuffix(".__main__") for name in ENTRY_POINTS]

# Arguments with a file or folder that does not exist, as the last one.
MISSING = {
    "kerasseg.cli.docs": ["--flagfile=/nowhere"],
    "kerasseg.cli.fit": [
        *("--masks=/nowhere/masks", "--workdir=/tmp/nowhere/run"),
        "--images=/nowhere/images",
    ],
    "kerasseg.evaluate": ["--workdir=/nowhere"],
    "kerasseg.export": ["--export_dir=/nowhere/export", "--workdir=/nowhere"],
    "kerasseg.import_weights": ["--output=/nowhere/m.keras", "--source=/nowhere.pth"],
    "kerasseg.label_next": [
        *("--images=/nowhere/images", "--output_dir=/nowhere/out"),
        "--workdir=/nowhere",
    ],
    "kerasseg.launch": ["--flagfile=/nowhere"],
    "kerasseg.models": ["--flagfile=/nowhere"],
    "kerasseg.predict": [
        *("--input=/nowhere/image.png", "--output_dir=/nowhere/out"),
        "--workdir=/nowhere",
    ],
    "kerasseg.cli.recipes": ["--copy=shapes/quickstart", "--output_dir=/proc/nowhere"],
    "kerasseg.serve": ["--model_name=one", "--export_dir=/nowhere"],
    "kerasseg.train": [
        *("--model=enet", "--workdir=/nowhere/run"),
        "--records_dir=/nowhere",
    ],
    "kerasseg.tune_crf": ["--workdir=/nowhere"],
    "tfrecords_tools.build": [
        *("--dataset=camvid", "--records_dir=/nowhere/records"),
        "--source_dir=/nowhere",
    ],
    "tfrecords_tools.extract": ["--output_dir=/nowhere/out", "--records_dir=/nowhere"],
    "tfrecords_tools.inspect": ["--records_dir=/nowhere"],
    "tfrecords_tools.pseudo": [
        *("--records_dir=/nowhere", "--labels_dir=/nowhere"),
        "--output_records_dir=/nowhere/out",
    ],
    "tfrecords_tools.seeds": ["--workdir=/nowhere", "--output_dir=/nowhere/out"],
}


def run(arguments, tmp_path, **variables):
    """Runs Python; returns the exit status, standard error and the seconds of CPU."""
    with open(tmp_path / "stderr", "w+b") as stderr:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=faults.ROOT,
            env={**os.environ, **variables},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        text = stderr.read().decode()
    return process.returncode, text, usage.ru_utime + usage.ru_stime


def check_light(arguments, tmp_path, status, text="", most=MAX_CPU_SECONDS):
    """Checks status, text and cost of a run; the cost is the lower one of two runs."""
    seconds = []
    for _ in range(2):
        found, stderr, cpu = run(arguments, tmp_path)
        assert found == status, stderr
        assert text in stderr
        assert stderr.count("\n") == (1 if text else 0), stderr
        assert not [line for line in TENSORFLOW_LINES if line in stderr], stderr
        seconds.append(cpu)
        if cpu <= most:
            break
    assert min(seconds) <= most


def test_every_command_has_a_missing_path():
    assert sorted(MISSING) == sorted(COMMANDS)


@pytest.mark.parametrize("argument", ["--help", "--version", "trian"])
def test_the_program_is_light(argument, tmp_path):
    status, text = (2, "kerasseg trian") if argument == "trian" else (0, "")
    given = ["-m", "kerasseg", argument]
    check_light(given, tmp_path, status, text, MAX_PROGRAM_SECONDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_light(command, tmp_path):
    check_light(["-m", command, "--help"], tmp_path, 0)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--no_such_flag=1", "--seed=many"])
def test_a_wrong_flag_is_light(command, flag, tmp_path):
    name = flag.removeprefix("--").partition("=")[0]
    check_light(["-m", command, flag], tmp_path, 2, name)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_path_is_light(command, tmp_path):
    check_light(["-m", command, *MISSING[command]], tmp_path, 2, "/nowhere")


@pytest.mark.parametrize(
    "flags",
    [
        ["--train_batch_size=15", "--gradient_accumulation_steps=2"],
        ["--optimizer=adadelta"],
        ["--train_crop_size=wide"],
        ["--momentum=-1"],
        ["--repeat_classes=car"],
        ["--change_flags=sede"],
        ["--initial_checkpoint=/nowhere"],
    ],
)
def test_a_wrong_value_of_a_training_flag_is_light(flags, tmp_path):
    given = ["--model=enet", f"--records_dir={tmp_path}", f"--workdir={tmp_path}/run"]
    name = flags[0].partition("=")[0]
    check_light(["-m", "kerasseg.train", *given, *flags], tmp_path, 2, name)


@pytest.mark.parametrize("flags", [["--model=ennet"], ["--model=enet", "--loss=dise"]])
def test_an_unknown_name_is_light(flags, tmp_path):
    given = [f"--records_dir={tmp_path}", f"--workdir={tmp_path}/run"]
    text = f"Error: {flags[-1]} is not a known "
    check_light(["-m", "kerasseg.train", *given, *flags], tmp_path, 2, text)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_command_can_be_imported_without_tensorflow(name, tmp_path):
    program = (
        f"import sys, {name}; print({{'tensorflow', 'keras'}} & set(sys.modules), "
        f"file=sys.stderr)"
    )
    assert run(["-c", program], tmp_path)[:2] == (0, "set()\n")


IMPORT_ALL = """
import importlib, sys
from absl import app, flags
from kerasseg import errors
from kerasseg.system import runtime

sys.argv[0] = "library"  # The module of flags that are defined from a dataclass.
runtime.start_tensorflow()
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except errors.MissingPackageError:
        continue
    except ModuleNotFoundError as error:  # Of an extra that is not installed.
        if error.name.partition(".")[0] in ("kerasseg", "tfrecords_tools"):
            raise
        continue
    modules = flags.FLAGS.flags_by_module_dict()
    for module in modules:
        if module.partition(".")[0] in ("kerasseg", "tfrecords_tools", "library"):
            sys.exit(f"{name} defines flags: {[f.name for f in modules[module]]}")
"""


def test_library_modules_define_no_flags(tmp_path):
    library = [
        name.removesuffix(".__init__")
        for name in FILES
        if name not in ENTRY_POINTS and ".cli." not in name
    ]
    assert len(library) > 200
    assert run(["-c", IMPORT_ALL, *library], tmp_path)[:2] == (0, "")


def test_tensorflow_starts_without_its_lines(tmp_path):
    records_dir = tiny.write_records(tmp_path / "records", train=0)
    flags = ["--model=enet", f"--records_dir={records_dir}", f"--workdir={tmp_path}/r"]
    status, stderr, _ = run(["-m", "kerasseg.train", *flags], tmp_path)
    assert status == 2
    assert stderr.startswith("Error: The split 'train' has no records.")
    assert stderr.count("\n") == 1


FAILING_TENSORFLOW = """
import os
os.write(2, b"libtensorflow_framework.so.2: cannot be loaded\\n")
raise ImportError("No TensorFlow here.")
"""


def test_the_errors_of_tensorflow_appear(tmp_path):
    package = tmp_path / "packages" / "tensorflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAILING_TENSORFLOW)
    flags = ["--model=enet", f"--records_dir={tmp_path}", f"--workdir={tmp_path}/run"]
    path = os.pathsep.join([str(package.parent), str(faults.ROOT)])
    status, stderr, _ = run(["-m", "kerasseg.train", *flags], tmp_path, PYTHONPATH=path)
    assert status == 1
    assert "libtensorflow_framework.so.2: cannot be loaded\n" in stderr
    assert stderr.endswith("ImportError: No TensorFlow here.\n")


OBSERVING_TENSORFLOW = """
import gc
during = gc.isenabled()
class config:
    list_physical_devices = staticmethod(lambda: [])
"""


def test_tensorflow_is_imported_without_the_garbage_collector(tmp_path):
    package = tmp_path / "packages" / "tensorflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(OBSERVING_TENSORFLOW)
    program = (
        "import gc, sys; from kerasseg.system import runtime; "
        "runtime.start_tensorflow(); "
        "import tensorflow; print(tensorflow.during, gc.isenabled(), "
        "gc.get_freeze_count() > 0, file=sys.stderr)"
    )
    path = os.pathsep.join([str(package.parent), str(faults.ROOT)])
    status, stderr, _ = run(["-c", program], tmp_path, PYTHONPATH=path)
    assert (status, stderr) == (0, "False True True\n")
