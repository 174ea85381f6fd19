"""The command predict."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from kerasseg import exporting, images, predict
from kerasseg.system import processes
from tests.support import commands, levels, tiny


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return levels.make_workdir(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def export_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    exporting.export_saved_model(
        levels.build_model(),
        folder,
        class_names=tiny.SPEC.class_names,
        palette=tiny.SPEC.palette,
    )
    return folder


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "inputs"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").write_bytes(tiny.png(levels.IMAGE))
    (folder / "deep/b.png").write_bytes(tiny.png(levels.red([[200, 70, 3]])))
    return folder


@pytest.fixture
def run(capsys):
    """Runs the command; returns its exit status and what it prints."""

    def call(*arguments):
        status = commands.run(predict.main, *arguments)
        return status, *capsys.readouterr()

    return call


def process(*arguments):
    """Runs the command in a new process."""
    return subprocess.run(
        [sys.executable, "-m", "kerasseg.predict", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def files(folder):
    return sorted(
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
    )


def test_a_folder_becomes_masks_and_overlays(workdir, inputs, tmp_path):
    result = process(
        f"--workdir={workdir}", f"--input={inputs}", f"--output_dir={tmp_path}/out"
    )
    assert (result.returncode, result.stdout) == (0, f"2 of 2 are in {tmp_path}/out.\n")
    assert files(tmp_path / "out") == [
        ".predict.jsonl",
        "index/a.png",
        "index/deep/b.png",
        "overlay/a.png",
        "overlay/deep/b.png",
        "predict.json",
    ]
    label = images.read_label(tmp_path / "out/index/a.png")
    assert label.tolist() == levels.CLASSES
    label = images.read_label(tmp_path / "out/index/deep/b.png")
    assert label.tolist() == [[2, 1, 0]]
    assert "predicting: 2/2" in result.stderr


def test_an_export_predicts_the_same(run, export_dir, inputs, tmp_path):
    status, _, errors = run(
        f"--export_dir={export_dir}",
        f"--input={inputs}/a.*",
        f"--output_dir={tmp_path}/out",
    )
    assert status == 0, errors
    label = images.read_label(tmp_path / "out/index/a.png")
    assert label.tolist() == levels.CLASSES


def test_bad_images_are_reported_at_the_end_and_exit_with_2(
    run, workdir, inputs, tmp_path
):
    (inputs / "page.jpg").write_bytes(b"<html>")
    status, output, errors = run(
        f"--workdir={workdir}", f"--input={inputs}", f"--output_dir={tmp_path}/out"
    )
    assert status == 2
    assert output == f"2 of 3 are in {tmp_path}/out.\n"
    lines = errors.splitlines()[-2:]
    assert lines[0] == "Failed (1):"
    assert lines[1].startswith(f"{inputs}/page.jpg is not a JPEG or PNG file but text")
    assert "Traceback" not in errors
    assert (
        len(files(tmp_path / "out")) == 7
    )  # Two kinds for each of two images, the journal, and two text files.
    assert (tmp_path / "out/failed.txt").read_text() == f"{lines[1]}\n"
    (inputs / "page.jpg").unlink()
    arguments = [f"--workdir={workdir}", f"--input={inputs}"]
    status, output, _ = run(*arguments, f"--output_dir={tmp_path}/out")
    assert (status, output) == (
        0,
        f"2 of 2 are in {tmp_path}/out, 2 of them from an earlier run.\n",
    )
    assert (tmp_path / "out/failed.txt").read_text() == ""


def test_an_image_beyond_max_pixels_is_reported(run, workdir, inputs, tmp_path):
    status, output, errors = run(
        f"--workdir={workdir}",
        f"--input={inputs}/a.png",
        f"--output_dir={tmp_path}/out",
        "--max_pixels=5",
    )
    assert status == 2
    assert output == f"0 of 1 are in {tmp_path}/out.\n"
    # levels.IMAGE is 3 wide and 2 high.
    assert "3 x 2 = 6 pixels, the maximum is 5" in errors
    assert "raise `max_pixels`" in errors


def test_the_crf_removes_a_lonely_pixel(run, workdir, tmp_path):
    pytest.importorskip("pydensecrf.densecrf")
    values = np.full((24, 32), 40)
    values[:, 16:] = 180
    expected = values // 64
    values[10, 8] = 70  # Nearly like its neighbors, but class 1.
    (tmp_path / "a.png").write_bytes(tiny.png(levels.red(values)))
    given = [
        f"--workdir={workdir}",
        f"--input={tmp_path}/a.png",
        "--crf_bilateral_srgb=40",
    ]
    for crf in ("--nocrf", "--crf"):
        assert run(*given, f"--output_dir={tmp_path}/{crf}", crf)[0] == 0
    plain = images.read_label(tmp_path / "--nocrf/index/a.png")
    refined = images.read_label(tmp_path / "--crf/index/a.png")
    assert np.argwhere(plain != expected).tolist() == [[10, 8]]
    assert (refined == expected).all()


OUT = ["--output_dir=out", "--workdir={workdir}"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            [],
            "Required flags are missing: --input, --output_dir. --help lists the fl",
        ),
        (["--input={here}", *OUT], "no image found. Give a JPEG"),
        (["--input={here}/*.gif", *OUT], "no image found. Give"),
        (
            ["--input={inputs}", "--output_dir=out"],
            "Give either --workdir or --export_dir.",
        ),
        (
            ["--input={inputs}", "--output_dir=out", "--workdir=a", "--export_dir=b"],
            "Give either --workdir or --export_dir.",
        ),
        (
            [
                "--input={inputs}",
                "--output_dir=out",
                "--export_dir={here}",
                "--output_stride=8",
            ],
            "--output_stride=8 needs a --workdir: an export has a fixed output stride.",
        ),
        (
            ["--input={inputs}", "--output_dir=out", "--workdir=/nowhere"],
            "/nowhere does not exist. Give the workdir of a run with a best model",
        ),
        (
            ["--input={inputs}", "--output_dir=/proc/out", "--workdir={workdir}"],
            "No such file or directory: '/proc/out",
        ),
        (
            ["--input={inputs}", "--output_dir=out", "--crf", "--crf_iterations=0"],
            "--crf_iterations=0: expected a whole number above 0.",
        ),
        (["--inputs=a"], "Unknown command line flag 'inputs'. Did you mean: input"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(
    run, workdir, inputs, tmp_path, arguments, text
):
    here = tmp_path / "here"
    here.mkdir()
    known = {"here": here, "inputs": inputs, "workdir": workdir}
    status, _, errors = run(*[argument.format(**known) for argument in arguments])
    assert status == 2
    assert text in errors.splitlines()[-1]
    assert "Traceback" not in errors


def test_help_names_the_flags_of_the_command():
    result = process("--help")
    assert result.returncode == 0
    assert result.stdout.startswith("Predicts the classes of images")
    for flag in ("workdir", "export_dir", "input", "output_dir", "crf_bilateral_sxy"):
        assert f"--{flag}:" in result.stdout
    assert "--records_dir" not in result.stdout


def test_a_killed_run_is_resumed(workdir, tmp_path):
    folder = tmp_path / "inputs"
    folder.mkdir()
    for i in range(60):
        image = levels.red(np.full((300, 400), 70 * (i % 3)))
        (folder / f"{i:03d}.png").write_bytes(tiny.png(image))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "kerasseg.predict", f"--workdir={workdir}"]
    command += [f"--input={folder}", f"--output_dir={out}"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while running.poll() is None and len(files(out)) < 20:
        time.sleep(0.01)
    running.kill()
    running.communicate()
    done = {name: os.stat(out / name).st_mtime_ns for name in files(out)}
    masks = [name for name in done if name.startswith("index/") and "tmp" not in name]
    assert 0 < len(masks) < 60
    lines = filter(None, (out / ".predict.jsonl").read_text().splitlines())
    noted = [f"index/{json.loads(line)['name']}.png" for line in lines]
    for name in masks:  # A file with its final name is complete.
        value = int(name[6:9]) % 3
        assert np.unique(images.read_label(out / name)).tolist() == [value]
    result = process(*command[3:])
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"60 of 60 are in {out}, ")
    # Each thread can be killed between the results of an image and its line.
    assert len(masks) - processes.num_cores() <= len(noted) <= len(masks)
    for name in noted:
        assert os.stat(out / name).st_mtime_ns == done[name]
    assert len([n for n in files(out) if n.startswith("overlay/0")]) == 60


def test_results_of_other_settings_are_not_mixed(run, workdir, inputs, tmp_path):
    given = [f"--workdir={workdir}", f"--input={inputs}"]
    given += [f"--output_dir={tmp_path}/out"]
    assert run(*given)[0] == 0
    status, _, errors = run(*given, "--flip")
    assert status == 2
    assert "holds results of another network or other settings" in errors
    status, output, errors = run(*given, "--flip", "--overwrite")
    assert (status, output) == (0, f"2 of 2 are in {tmp_path}/out.\n"), errors


def test_kinds_of_results_are_chosen(run, workdir, inputs, tmp_path):
    given = [f"--workdir={workdir}", f"--input={inputs}/a.png"]
    given += [f"--output_dir={tmp_path}/out", "--predict_batch_size=3"]
    assert run(*given, "--output=contours,probabilities")[0] == 0
    actual = ["contours/a.json", "predict.json", "probabilities/a.npy"]
    assert files(tmp_path / "out") == [".predict.jsonl", *actual]
    # Other kinds of the same network are added.
    assert run(*given, "--output=index")[0] == 0
    assert files(tmp_path / "out") == [
        *(".predict.jsonl", actual[0], "index/a.png", *actual[1:])
    ]
    status, _, errors = run(*given, "--output=mask,index")
    assert status == 2
    assert (
        "--output=mask: expected one or more of index, color, overlay, prob" in errors
    )
