"""The command that trains: its flags, and what it holds a workdir to."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from absl import app
from absl.testing import flagsaver

from kerasseg import cli, train
from kerasseg.cli import running
from kerasseg.system import lock
from tests import commands

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def lines(monkeypatch):
    found = ["--model=tiny", "--seed=1", "--records_dir=here"]
    monkeypatch.setattr(cli, "as_flagfile", lambda: list(found))
    monkeypatch.setattr(cli, "default_lines", lambda: set())
    return found


def test_a_run_leaves_a_flagfile_that_repeats_it(lines, tmp_path):
    train.keep_flags(tmp_path / "run")
    text = (tmp_path / "run" / "flags.txt").read_text()
    assert text.splitlines() == lines


def test_a_run_goes_on_with_its_own_flags_only(lines, tmp_path):
    train.keep_flags(tmp_path)
    os.mkdir(tmp_path / "checkpoints")
    lines[2] = "--records_dir=elsewhere"  # The same records may move.
    train.keep_flags(tmp_path)
    lines[1] = "--seed=2"
    with pytest.raises(ValueError, match=r"--seed=1 there, --seed=2 here.*`workdir`"):
        train.keep_flags(tmp_path)


def test_a_run_goes_on_where_a_flag_is_newer_than_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["kerasseg.train"])
    lines = cli.as_flagfile()
    lines.remove("--change_flags=")  # Of one start of the program alone.
    older = [line for line in lines if not line.startswith("--max_pixels=")]
    assert len(older) == len(lines) - 1
    (tmp_path / "flags.txt").write_text("\n".join(older))
    os.mkdir(tmp_path / "checkpoints")
    with (
        flagsaver.flagsaver(max_pixels=5),
        pytest.raises(ValueError, match=r"flags: none there, --max_pixels=5 here"),
    ):
        train.keep_flags(tmp_path)
    train.keep_flags(tmp_path)
    assert (tmp_path / "flags.txt").read_text().splitlines() == lines


def test_flags_that_are_named_may_change(lines, tmp_path):
    train.keep_flags(tmp_path)
    os.mkdir(tmp_path / "checkpoints")
    lines[1] = "--seed=2"
    with pytest.raises(app.UsageError, match=r"sede is not the name of a flag\. Give"):
        train.keep_flags(tmp_path, ["sede"])
    with pytest.raises(ValueError, match=r"`change_flags=NAME,NAME`"):
        train.keep_flags(tmp_path, ["model"])
    train.keep_flags(tmp_path, ["seed"])
    assert "--seed=2" in (tmp_path / "flags.txt").read_text()
    train.keep_flags(tmp_path)


def test_a_run_that_never_began_binds_nobody(lines, tmp_path):
    train.keep_flags(tmp_path)
    lines[1] = "--seed=2"
    train.keep_flags(tmp_path)
    assert "--seed=2" in (tmp_path / "flags.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--modle=x"], "Did you mean: model"),
        (["--train_batch_size=many"], "train_batch_size"),
        (["--optimizer=adadelta"], "sgd|adam|adamw|rmsprop"),
        (["--seed=-1"], r"flag --seed=-1: -1 is not .*in the range \[0, 4294967295\]"),
        ([], "Required flags are missing: --model, --records_dir, --workdir"),
        (["extra"], r"Only flags are accepted, got \['extra'\]"),
    ],
)
def test_wrong_flags_are_told_in_one_line(arguments, message, capsys, monkeypatch):
    # Row 25: nothing is executed, the nearest name is given.
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    with flagsaver.flagsaver():
        assert running._run(train.main, sys.argv) == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert re.search(message, captured.err)


def test_a_second_run_in_the_same_workdir_is_kept_out(tmp_path, capsys):
    given = ["--model=enet", f"--records_dir={tmp_path}", f"--workdir={tmp_path}/run"]
    (tmp_path / "run").mkdir()
    with lock.hold(tmp_path / "run"):
        assert commands.run(train.main, *given) == 1
    said = f"run is locked by pid {os.getpid()}: another program writes there. Wait"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run" / "flags.txt").exists()
    assert commands.run(train.main, *given) == 2  # It comes to the records' fault.
    assert not (tmp_path / "run" / lock.LOCK_FILE).exists()


def test_unknown_names_in_a_flagfile_are_named(tmp_path):
    flagfile = tmp_path / "run.flags"
    flagfile.write_text("--model=deeplab_v3\n--base_lerning_rate=1\n")
    command = [sys.executable, "-m", "kerasseg.train", f"--flagfile={flagfile}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "base_lerning_rate" in done.stderr and "base_learning_rate" in done.stderr
