"""Faults of a build: rows 10 to 13 of docs/datasets.md."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from kerasseg.system import lock
from tests.support import faults, trees
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import planning, writer


@pytest.fixture
def source(tmp_path):
    return pairs.Source(trees.camvid(tmp_path / "CamVid", splits=[("train", 4)]))


@pytest.fixture(autouse=True)
def two_images_per_file(monkeypatch):
    monkeypatch.setattr(planning, "SHARD_IMAGES", 2)


def command(source, folder, *more):
    return [
        *("-m", "tests.support.build_tiny", "--dataset=camvid", "--splits=train"),
        *(f"--source_dir={source.source_dir}", f"--records_dir={folder}", *more),
    ]


def build(source, folder, **options):
    return writer.build_records("camvid", source, folder, splits=["train"], **options)


def image_file(source, name="train_01"):
    return source.source_dir / "train" / f"{name}.png"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.tfrecord")}


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


# Row 10: an image that crashes the process that reads it.


def deadly_build(source, folder, deaths, *more, **environment):
    deaths.mkdir(exist_ok=True)
    arguments = command(source, folder, "--workers=2", *more)
    arguments[1] = "tests.support.build_deadly"
    names = {f"KERASSEG_TEST_{key}": value for key, value in environment.items()}
    environ = {**faults.ENVIRONMENT, "KERASSEG_TEST_DEATHS": str(deaths), **names}
    done = faults.run(arguments, env=environ)
    return done, {path.name: len(path.read_text()) for path in deaths.iterdir()}


def test_an_image_that_crashes_its_reader_twice_is_skipped(source, tmp_path):
    folder = tmp_path / "records"
    done, deaths = deadly_build(
        source, folder, tmp_path / "deaths", "--on_error=skip", DEADLY="train_01"
    )
    assert done.returncode == 0, done.stderr
    assert "train: 3 records" in done.stdout and "1 bad pair was" in done.stdout
    assert deaths == {"train_01": 2}
    (line,) = (folder / writer.REJECTED_FILE).read_text().splitlines()
    assert json.loads(line)["name"] == "train_01"
    assert "it crashed the process that read it, twice" in line
    # The other records are as if the image were bad for another reason.
    image_file(source).write_bytes(b"")
    build(source, tmp_path / "bad", skip_bad=True)
    assert contents(folder) == contents(tmp_path / "bad")
    files = {path.name for path in folder.iterdir() if path.name[0] == "."}
    assert not files  # No notes, no incomplete files, no lock.


def test_images_that_take_too_long_or_too_much_memory_are_skipped(source, tmp_path):
    # One second of processor time and 3.6 GB; np.ones would take 8 TB.
    folder = tmp_path / "records"
    done, _ = deadly_build(
        source,
        folder,
        tmp_path / "deaths",
        "--on_error=skip",
        BUSY="train_01",
        HUNGRY="train_02",
    )
    assert done.returncode == 0, done.stderr
    assert "train: 2 records" in done.stdout and "2 bad pairs" in done.stdout
    lines = (folder / writer.REJECTED_FILE).read_text().splitlines()
    reasons = {json.loads(line)["name"]: json.loads(line)["reason"] for line in lines}
    assert "or took more than 1 seconds of processor time" in reasons["train_01"]
    assert reasons["train_02"] == (
        "reading it takes more than 3,633,741,824 bytes of memory"
    )


def test_such_an_image_stops_the_build_by_default(source, tmp_path):
    done, deaths = deadly_build(
        source, tmp_path / "records", tmp_path / "deaths", DEADLY="train_01"
    )
    assert done.returncode == 2 and deaths == {"train_01": 2}
    error = done.stderr.splitlines()[-1]
    assert "pair 'train_01' is bad: it crashed the process" in error
    assert "Traceback" not in done.stderr


def test_images_that_crash_their_reader_once_are_kept(source, tmp_path):
    build(source, tmp_path / "undisturbed")
    folder = tmp_path / "records"
    done, deaths = deadly_build(
        source, folder, tmp_path / "deaths", ONCE="train_00,train_01,train_03"
    )
    assert done.returncode == 0, done.stderr
    assert deaths == {"train_00": 1, "train_01": 1, "train_03": 1}
    assert contents(folder) == contents(tmp_path / "undisturbed")


# Row 12: two builds in one folder.


def test_a_second_build_is_refused_until_the_first_has_ended(source, tmp_path):
    folder = tmp_path / "records"
    build(source, tmp_path / "undisturbed")
    arguments = command(source, folder, "--workers=1")
    arguments[1] = "tests.support.build_deadly"
    first = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=faults.ROOT,
        env={**faults.ENVIRONMENT, "KERASSEG_TEST_STALLED": "train_01"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for((folder / lock.LOCK_FILE).exists)
    wait_for(lambda: (folder / lock.LOCK_FILE).read_text())
    second = faults.run(command(source, folder))
    assert second.returncode == 2
    assert f"records is locked by pid {first.pid}: another program" in second.stderr
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (folder / lock.LOCK_FILE).exists()  # It locks nothing now.
    build(source, folder)
    assert contents(folder) == contents(tmp_path / "undisturbed")
    assert not (folder / lock.LOCK_FILE).exists()


def test_an_error_releases_the_lock(source, tmp_path):
    image_file(source).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(planning.BuildError, match="'train_01' is bad"):
            build(source, tmp_path / "records")


def test_a_lock_that_was_removed_while_it_was_opened_does_not_count(
    tmp_path, monkeypatch
):
    # Between opening and locking, the build that held it ends and removes the file.
    path = tmp_path / lock.LOCK_FILE
    real, calls = lock._is_at, []

    def remove_once(file, path):
        if not calls:
            path.unlink()
        calls.append(path)
        return real(file, path)

    monkeypatch.setattr(lock, "_is_at", remove_once)
    with lock.hold(tmp_path):
        assert path.read_text() == f"{os.getpid()}\n"
        with (
            pytest.raises(lock.LockedError, match=f"locked by pid {os.getpid()}:"),
            lock.hold(tmp_path),
        ):
            pass
    assert len(calls) == 2 and not path.exists()


# Row 13: a source that changes during the build.


def change_after(monkeypatch, path, change):
    """Changes a file right after it was read."""
    real = pairs.read_files

    def read(pair):
        contents = real(pair)
        if str(path) in pair.files:
            change()
        return contents

    monkeypatch.setattr(pairs, "read_files", read)


def test_an_image_that_changes_while_it_is_read_stops_the_build(
    source, tmp_path, monkeypatch
):
    path = image_file(source)
    change_after(monkeypatch, path, lambda: trees.save(path, trees.image(99)))
    for skip_bad in (False, True):
        with pytest.raises(
            planning.BuildError, match=r"pair 'train_01': .*01\.png chan"
        ):
            build(source, tmp_path / "records", skip_bad=skip_bad)
    assert not (tmp_path / "records" / "dataset.json").exists()
    monkeypatch.undo()
    build(source, tmp_path / "records")


def test_an_image_that_changed_after_the_plan_stops_the_build(
    source, tmp_path, monkeypatch
):
    real = planning.make_plan

    def make_plan(*arguments):
        plan = real(*arguments)
        os.utime(image_file(source), ns=(1, 1))  # Only its modification time.
        return plan

    monkeypatch.setattr(planning, "make_plan", make_plan)
    with pytest.raises(
        planning.BuildError, match=r"train_01\.png changed while the re"
    ):
        build(source, tmp_path / "records")


def test_a_label_that_vanishes_stops_the_build(source, tmp_path, monkeypatch):
    label = source.source_dir / "trainannot" / "train_01.png"
    change_after(monkeypatch, label, label.unlink)
    with pytest.raises(planning.BuildError, match=r"trainannot/train_01\.png changed"):
        build(source, tmp_path / "records", skip_bad=True)
