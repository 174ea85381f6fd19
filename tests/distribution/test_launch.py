"""kerasseg.launch: commands that start other processes, and when to restart."""

import contextlib
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasseg import errors
from kerasseg.distribution import launched, supervisor
from tests.support import faults
from tests.support.server_process import until

pytestmark = pytest.mark.skipif(
    not pathlib.Path("/proc/self/stat").exists(), reason="needs Linux"
)

# Writes its process id, and a file when it gets SIGTERM, and only then ends.
TRAINING = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def save(*_):
    time.sleep(0.3)
    (folder / 'saved').touch()
    os._exit(143)
signal.signal(signal.SIGTERM, save if sys.argv[2] == 'saves' else signal.SIG_IGN)
(folder / 'pid.tmp').write_text(str(os.getpid()))
(folder / 'pid.tmp').rename(folder / 'pid')
print('ready', flush=True)
time.sleep(120)
"""
# Starts its arguments and keeps signals from them, as `conda run` does; then ends.
KEEPS_SIGNALS = (
    "import subprocess, sys; child = subprocess.Popen(sys.argv[1:]); "
    "sys.exit(child.wait())"
)


def command(tmp_path, how, kind="saves"):
    """Returns a command that starts the training in one of several ways."""
    program = tmp_path / "training.py"
    program.write_text(TRAINING)
    training = [sys.executable, str(program), str(tmp_path), kind]
    text = shlex.join(training)
    return {
        "directly": training,
        "shell": ["bash", "-c", f"{text}; echo done"],
        "shell in the background": ["bash", "-c", f"{text} & wait"],
        "shell with a pipe": ["bash", "-c", f"trap '' HUP; {text} | cat; true"],
        "runner": [sys.executable, "-c", KEEPS_SIGNALS, *training],
        "session": ["bash", "-c", f"setsid {text}; true"],
        "orphan": ["bash", "-c", f"(setsid {text} &); sleep 120"],
    }[how]


WAYS = (
    *("directly", "shell", "shell in the background", "shell with a pipe"),
    *("runner", "session", "orphan"),
)


@contextlib.contextmanager
def launch(command, *flags):
    start = [sys.executable, "-m", "kerasseg.launch", "--workers=1", *flags, "--"]
    process = subprocess.Popen(
        [*start, *command], cwd=faults.ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def is_running(folder):
    pid = int((folder / "pid").read_text())
    with contextlib.suppress(OSError):
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
        return state.split()[0] != "Z"
    return False


@pytest.mark.parametrize("how", WAYS)
def test_a_signal_reaches_the_training_and_launch_ends(tmp_path, how):
    with launch(command(tmp_path, how)) as process:
        until((tmp_path / "pid").exists, seconds=30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    assert (tmp_path / "saved").exists()
    assert not is_running(tmp_path)


@pytest.mark.parametrize("how", ["shell", "session", "orphan"])
def test_a_training_that_ignores_the_signal_is_killed(tmp_path, how):
    given = command(tmp_path, how, "ignores")
    with launch(given, "--kill_after_seconds=1") as process:
        until((tmp_path / "pid").exists, seconds=30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    assert not is_running(tmp_path)


@pytest.mark.parametrize("how", ["shell", "runner", "orphan"])
def test_a_launch_that_is_killed_leaves_no_training(tmp_path, how):
    with launch(command(tmp_path, how)) as process:
        until((tmp_path / "pid").exists, seconds=30)
        process.kill()
        until(lambda: not is_running(tmp_path), seconds=20)
    assert (tmp_path / "saved").exists()


def test_a_training_that_its_command_leaves_behind_is_ended(tmp_path):
    text = shlex.join(command(tmp_path, "directly"))
    program = f"(setsid {text} &); until [ -e {tmp_path}/pid ]; do sleep 0.1; done"
    with launch(["bash", "-c", program]) as process:
        assert process.wait(40) == 0
    assert (tmp_path / "saved").exists()
    assert not is_running(tmp_path)


# When to restart.


def run(program, *, restarts=10, has_checkpoint=False, monkeypatch=None):
    """Runs a shell program under a supervisor; returns its status."""
    monkeypatch.setattr(supervisor.Supervisor, "_pause", lambda *_: None)
    monkeypatch.setattr(supervisor, "termination_signals", lambda: [])
    return supervisor.Supervisor(
        ["bash", "-c", program], 1, restarts, 5.0, has_checkpoint=lambda: has_checkpoint
    ).run()


@pytest.mark.parametrize(
    ("end", "has_checkpoint", "starts"),
    [
        ("exit 2", False, 1),
        ("exit 2", True, 1),
        ("exit 1", False, 3),
        pytest.param("exit 127", False, 3, marks=pytest.mark.slow),
        ("exit 1", True, 5),
        ("exit 42", False, 5),
        ("exit 137", False, 5),  # A shell whose command was killed: 128 + 9.
        ("kill -SEGV $$", False, 5),
    ],
)
def test_the_status_decides_about_restarts(
    tmp_path, monkeypatch, end, has_checkpoint, starts
):
    status = run(
        f"echo >> {tmp_path}/starts; {end}",
        restarts=4,
        has_checkpoint=has_checkpoint,
        monkeypatch=monkeypatch,
    )
    expected = 139 if "kill" in end else int(end.split()[1])  # SIGSEGV is 11.
    assert status == expected
    assert (tmp_path / "starts").read_text().count("\n") == starts


def test_a_signal_does_not_use_up_the_early_restarts(tmp_path, monkeypatch):
    # Twice killed, then three failures, of which two are restarted.
    program = (
        f"echo >> {tmp_path}/starts; "
        f"[ $(wc -l < {tmp_path}/starts) -le 2 ] && kill -KILL $$; exit 1"
    )
    assert run(program, monkeypatch=monkeypatch) == 1
    assert (tmp_path / "starts").read_text().count("\n") == 5


def test_the_end_of_the_restarts_is_explained(monkeypatch, capfd):
    assert run("exit 1", monkeypatch=monkeypatch) == 1
    assert (
        "Worker 0 ended with status 1 before the first checkpoint, after 2 restarts: "
        "nothing is restarted. Correct what it reports above."
    ) in capfd.readouterr().err


def test_a_program_that_does_not_exist_is_an_error():
    with pytest.raises(errors.MissingFileError, match=r"'nosuch', which is not a prog"):
        launched.check_program(["nosuch", "-m", "kerasseg.train"])
    launched.check_program([sys.executable])


@pytest.mark.parametrize(
    "arguments",
    [
        ["python", "-m", "kerasseg.train", "--workdir={run}"],
        ["python", "-m", "kerasseg.train", "--workdir", "{run}", "--seed=1"],
        ["python", "-m", "kerasseg.train", "-workdir={run}"],
        ["python", "-m", "kerasseg.train", "--workdir=/nowhere", "--workdir={run}"],
        ["uv", "run", "python", "-m", "kerasseg.train", "--workdir={run}"],
        ["bash", "-c", "cd / && python -m kerasseg.train --workdir='{run}' | cat"],
        ["bash", "-c", "python -m kerasseg.train --workdir=$RUN_FOLDER"],
        ["python", "-m", "kerasseg.train", "--flagfile={flags}"],
        ["python", "-m", "kerasseg.train", "--flagfile={outer}"],
    ],
)
def test_the_checkpoints_of_a_command_are_found(tmp_path, monkeypatch, arguments):
    known = {name: tmp_path / name for name in ("run", "flags", "outer")}
    monkeypatch.setenv("RUN_FOLDER", str(known["run"]))
    known["flags"].write_text(f"# The run.\n--workdir={known['run']}\n")
    known["outer"].write_text(f"--seed=2\n--flagfile={known['flags']}\n")
    given = [argument.format(**known) for argument in arguments]
    assert not launched.has_checkpoint(given)
    (known["run"] / "checkpoints").mkdir(parents=True)
    assert not launched.has_checkpoint(given)
    (known["run"] / "checkpoints/ckpt-100.index").touch()
    assert launched.has_checkpoint(given)


@given(st.lists(st.text(max_size=30) | st.sampled_from(["--workdir", "--flagfile=."])))
def test_any_command_can_be_searched_for_its_workdir(arguments):
    assert launched.has_checkpoint(arguments) in (True, False)


def test_a_flag_file_that_names_itself_is_read_a_few_times(tmp_path):
    path = tmp_path / "flags"
    path.write_text(f"--flagfile={path}\n")
    assert not launched.has_checkpoint(["train", f"--flagfile={path}"])


def test_output_of_a_pipe_that_stays_open_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(supervisor, "_READ_SECONDS", 1.0)
    reading, writing = os.pipe()
    output = supervisor._Output(b"[0] ", open(reading, "rb"))  # noqa: SIM115
    began = time.monotonic()
    output.finish()
    assert time.monotonic() - began < 10
    os.close(writing)
    output.finish()
