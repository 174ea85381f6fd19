"""The command kerasseg.train: its flags, and the flags of a resumed run."""

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
from kerasseg.workdir import flag_file
from tests.support import commands

ROOT = pathlib.Path(__file__).parents[2]


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


def test_a_run_resumes_with_its_own_flags_only(lines, tmp_path):
    train.keep_flags(tmp_path)
    os.mkdir(tmp_path / "checkpoints")
    lines[2] = "--records_dir=elsewhere"  # The folder of the records may change.
    train.keep_flags(tmp_path)
    lines[1] = "--seed=2"
    with pytest.raises(ValueError, match=r"--seed=1 there, --seed=2 here.*`workdir`"):
        train.keep_flags(tmp_path)


def test_a_run_resumes_with_a_flag_that_was_added_later(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["kerasseg.train"])
    lines = cli.as_flagfile()
    lines.remove("--change_flags=")  # Not part of a run.
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


def test_flags_in_change_flags_may_change(lines, tmp_path):
    train.keep_flags(tmp_path)
    os.mkdir(tmp_path / "checkpoints")
    lines[1] = "--seed=2"
    with pytest.raises(app.UsageError, match=r"sede is not the name of a flag\. Give"):
        train.keep_flags(tmp_path, ["sede"])
    with pytest.raises(ValueError, match=r"`change_flags=seed`"):
        train.keep_flags(tmp_path, ["model"])
    train.keep_flags(tmp_path, ["seed"])
    assert "--seed=2" in (tmp_path / "flags.txt").read_text()
    train.keep_flags(tmp_path)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["--seed=1", "--seed=2", "--loss=dice"], "loss,seed"),
        (["--flip", "--noflip"], "flip"),
        (["--noflip"], "flip"),  # Its default was true when it was added.
        (["--normalize", "--nonormalize"], "normalize"),
        (["--noise=0.1"], "noise"),
    ],
)
def test_an_error_about_other_flags_names_them(lines, expected):
    assert flag_file._changed_names(lines) == expected


def test_a_run_without_a_checkpoint_may_start_with_other_flags(lines, tmp_path):
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
def test_wrong_flags_are_reported_in_one_line(arguments, message, capsys, monkeypatch):
    # Row 25: nothing is run, and a similar name is suggested.
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    with flagsaver.flagsaver():
        assert running._run(train.main, sys.argv) == 2
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert re.search(message, captured.err)


def test_a_second_run_in_the_same_workdir_is_refused(tmp_path, capsys):
    given = ["--model=enet", f"--records_dir={tmp_path}", f"--workdir={tmp_path}/run"]
    (tmp_path / "run").mkdir()
    with lock.hold(tmp_path / "run"):
        assert commands.run(train.main, *given) == 1
    expected = f"run is locked by pid {os.getpid()}: another program writes there. Wait"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "run" / "flags.txt").exists()
    assert commands.run(train.main, *given) == 2  # Fails later: there are no records.
    assert not (tmp_path / "run" / lock.LOCK_FILE).exists()


def test_unknown_flags_in_a_flag_file_are_reported(tmp_path):
    flagfile = tmp_path / "run.flags"
    flagfile.write_text("--model=deeplab_v3\n--base_lerning_rate=1\n")
    command = [sys.executable, "-m", "kerasseg.train", f"--flagfile={flagfile}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "base_lerning_rate" in done.stderr and "base_learning_rate" in done.stderr
