"""Killed programs, full disks, missing inputs: no partial files, and resuming."""

import subprocess

import numpy as np
import pytest

from tests.evaluation.test_evaluate import IMAGES, write_records
from tests.support import faults, levels, tiny

pytestmark = pytest.mark.slow


def write_images(folder, count=3):
    folder.mkdir()
    for i in range(count):
        image = levels.red(np.full((20, 30), 70 * i))
        (folder / f"{i}.png").write_bytes(tiny.png(image))
    return folder


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def predict(workdir, inputs, out):
    return [
        *("-m", "kerasseg.predict", f"--workdir={workdir}", f"--input={inputs}"),
        *(f"--output_dir={out}", "--output=index,contours,probabilities"),
    ]


def test_predict_killed_at_any_file_ends_with_the_same_bytes(tmp_path):
    workdir = levels.make_workdir(tmp_path / "run")
    inputs = write_images(tmp_path / "in", count=1)
    whole = tmp_path / "whole"
    assert faults.run(predict(workdir, inputs, whole)).returncode == 0
    expected = contents(whole)
    out = tmp_path / "out"

    def check(_):
        for name, data in contents(out).items():
            assert data == expected[name], name

    kills = faults.crashpoints(predict(workdir, inputs, out), check)
    assert kills >= 1
    assert contents(out) == expected


def test_evaluate_killed_at_any_file_leaves_complete_files(tmp_path):
    records_dir = write_records(tmp_path / "records", IMAGES)
    workdir = levels.make_workdir(tmp_path / "run")
    arguments = [
        *("-m", "kerasseg.evaluate", f"--workdir={workdir}"),
        *(f"--records_dir={records_dir}", f"--output_dir={tmp_path / 'out'}"),
    ]
    whole = [*arguments[:-1], f"--output_dir={tmp_path / 'whole'}"]
    assert faults.run(whole).returncode == 0
    expected = contents(tmp_path / "whole")

    def check(_):
        for name in ("metrics.json", "pictures.csv"):
            actual = contents(tmp_path / "out").get(name)
            assert actual in (None, expected[name])

    assert faults.crashpoints(arguments, check) >= 2
    actual = contents(tmp_path / "out")
    for name in ("metrics.json", "pictures.csv"):
        assert actual[name] == expected[name]


def test_predict_on_a_full_disk_fails_and_can_be_resumed(tmp_path):
    workdir = levels.make_workdir(tmp_path / "run")
    inputs = tmp_path / "in"
    inputs.mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (200, 300, 3), np.uint8)
        (inputs / f"{i}.png").write_bytes(tiny.png(noise))
    with faults.small_disk(tmp_path / "disk", "900k") as disk:
        out = disk / "out"
        # Two images of 200 * 300 * 3 * 2 = 360,000 bytes fit.
        command = [*predict(workdir, inputs, out)[:-1], "--output=probabilities"]
        done = faults.run(command)
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert not [p for p in out.rglob("*") if ".tmp" in p.name]
        subprocess.run(["mount", "-o", "remount,size=9m", str(disk)], check=True)
        done = faults.run(command)
        assert done.returncode == 0, done.stderr
        assert "3 of 3 are in" in done.stdout
        assert "from an earlier run" in done.stdout
        assert len(list((out / "probabilities").iterdir())) == 3


def test_a_missing_input_is_reported_and_the_others_predicted(tmp_path):
    workdir = levels.make_workdir(tmp_path / "run")
    inputs = write_images(tmp_path / "in")
    (inputs / "3.png").symlink_to(inputs / "gone.png")
    done = faults.run(predict(workdir, inputs, tmp_path / "out"))
    assert done.returncode == 2
    assert "3 of 4 are in" in done.stdout
    assert "3.png: No such file or directory" in done.stderr
    assert (tmp_path / "out/failed.txt").read_text().count("\n") == 1


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path):
    workdir = levels.make_workdir(tmp_path / "run")
    inputs = write_images(tmp_path / "in")
    with faults.small_disk(tmp_path / "disk") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        done = faults.run(predict(workdir, inputs, disk / "out"))
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr
