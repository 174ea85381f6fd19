"""The command export."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import export
from tests.support import commands, faults, levels, tiny


@pytest.fixture
def records_dir(tmp_path):
    return tiny.write_records(tmp_path / "records", train=2, val=5)


@pytest.fixture
def workdir(tmp_path, records_dir):
    """A finished run that was validated on five images."""
    workdir = levels.make_workdir(tmp_path / "run")
    lines = ["--eval_split=val", f"--records_dir={records_dir}", "--nomirror"]
    (workdir / "flags.txt").write_text("\n".join(lines))
    return workdir


@pytest.fixture
def run(workdir, tmp_path, capsys):
    """Runs the command; returns its exit status and what it prints."""

    def call(*arguments):
        given = [f"--workdir={workdir}", f"--export_dir={tmp_path / 'out'}", *arguments]
        return commands.run(export.main, *given), *capsys.readouterr()

    return call


def metadata(folder):
    return json.loads((folder / "metadata.json").read_text())


def test_a_run_is_exported_and_compared_on_its_records(run, tmp_path):
    status, text, errors = run()
    assert status == 0, errors
    folder = tmp_path / "out" / "1"
    assert f"Exported to {folder}" in text
    assert f'tf.saved_model.load("{folder}")' in text
    actual = metadata(folder)
    assert (actual["model"], actual["step"]) == ("levels", 7)
    assert actual["dataset"]["name"] == "stripes"
    assert "--nomirror" in actual["flagfile"]
    compared = actual["formats"]["saved_model"]
    assert compared["pictures"] == 6  # All 5, and the synthetic one.
    assert compared["mean_iou"] == compared["mean_iou_of_the_model"]
    assert set(tf.saved_model.load(folder).signatures) == {"serving_default", "tensor"}


@pytest.mark.slow
def test_the_version_is_the_next_free_number_or_the_given_one(run, tmp_path):
    for version in ([], ["--version=12"], []):
        assert run("--check_images=1", *version)[0] == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["1", "12", "13"]


@pytest.mark.slow
def test_other_records_and_splits_can_be_chosen(run, workdir, tmp_path):
    (workdir / "flags.txt").unlink()
    other = tiny.write_records(tmp_path / "other", train=1, val=1, shards=1)
    status, _, errors = run(f"--records_dir={other}", "--split=train")
    assert status == 0, errors
    compared = metadata(tmp_path / "out" / "1")["formats"]["saved_model"]
    assert compared["pictures"] == 2


@pytest.mark.slow
def test_every_format_is_run_in_a_new_process(run, tmp_path):
    for module in ("ai_edge_litert", "onnx", "onnxruntime", "tf2onnx"):
        pytest.importorskip(module)
    status, _, errors = run(
        *("--format=saved_model,tflite,onnx,keras", "--calibration_pictures=2"),
        *("--check_pictures=3", "--license=CC0-1.0"),
    )
    assert status == 0, errors
    actual = metadata(tmp_path / "out" / "1")
    assert list(actual["formats"]) == [
        *("saved_model", "tflite_float32", "tflite_float16", "tflite_int8"),
        *("onnx", "keras"),
    ]
    for name, entry in actual["formats"].items():
        assert entry["pictures"] == (3 if name == "tflite_int8" else 4)
        assert entry["mean_iou"] == pytest.approx(entry["mean_iou_of_the_model"], 0.02)
    assert actual["license"] == "CC0-1.0"


def test_int8_needs_a_labeled_pixel(run, tmp_path):
    pytest.importorskip("ai_edge_litert")
    image, label = tiny.image_and_label(0)
    pairs = {"train": [(image, label)], "val": [(image, np.full_like(label, 255))]}
    other = tiny.write_images(tmp_path / "other", pairs)
    status, _, errors = run("--format=tflite_int8", f"--records_dir={other}")
    assert status == 2
    assert "none of the 1 images to compare it on has a labeled pixel" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_without_a_saved_model_no_code_for_one_is_printed(run):
    status, text, errors = run("--format=keras", "--check_images=0")
    assert status == 0, errors
    assert "see README.md there" in text and "tf.saved_model" not in text


def test_an_unknown_format_is_an_error(run, tmp_path):
    status, _, errors = run("--format=saved_model,coreml")
    assert status == 2 and "--format=coreml: expected one or more of keras" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_scales_flip_and_crf_go_into_the_graph(run, tmp_path):
    status, _, errors = run(
        *("--eval_scales=1,1.5", "--flip", "--crf", "--crf_iterations=2"),
        *("--check_images=2", "--crf_bilateral_compat=0"),
    )
    assert status == 0, errors
    actual = metadata(tmp_path / "out" / "1")
    assert actual["views"]["scales"] == [1, 1.5]
    assert actual["views"]["crf"]["iterations"] == 2
    compared = actual["formats"]["saved_model"]
    assert compared["mean_iou"] == compared["mean_iou_of_the_model"]


@pytest.mark.parametrize(
    "flag", ["--tile_size=512", "--superpixels=100", "--crf_engine=pydensecrf"]
)
def test_options_that_cannot_be_part_of_a_graph_are_errors(run, tmp_path, flag):
    status, _, errors = run(flag)
    assert status == 2
    assert "cannot be part of an exported graph" in errors
    assert not (tmp_path / "out").exists()


def test_missing_records_are_an_error(run, records_dir, tmp_path):
    shutil.rmtree(records_dir)
    status, _, errors = run()
    assert status == 2
    assert "are not in" in errors and "--check_images=0 to compare on a synth" in errors
    assert not (tmp_path / "out").exists()
    assert run("--check_images=0")[0] == 0


@pytest.mark.parametrize("version", ["one", "-3", "1.0"])
def test_a_version_must_be_a_number(run, tmp_path, version):
    status, _, errors = run(f"--version={version}")
    assert status == 2
    assert f"--version={version}: expected a whole number above 0" in errors
    assert not (tmp_path / "out").exists()


def test_an_existing_version_is_an_error(run, tmp_path):
    (tmp_path / "out" / "3").mkdir(parents=True)
    status, _, errors = run("--version=3")
    assert status == 2
    assert "Version 3 exists in" in errors
    assert os.listdir(tmp_path / "out") == ["3"]
    assert os.listdir(tmp_path / "out" / "3") == []


def test_a_folder_that_is_not_writable_is_an_error(run, tmp_path):
    (tmp_path / "file").write_text("x")
    status, _, errors = run(f"--export_dir={tmp_path / 'file'}")
    assert status == 2
    assert "is not writable" in errors


def test_both_folders_are_required():
    assert commands.run(export.main, "--workdir=x") == 2
    assert commands.run(export.main, "--export_dir=x") == 2


def test_a_full_disk_leaves_nothing_behind(workdir, tmp_path):
    with faults.small_disk(tmp_path / "small", size="16k") as folder:
        done = faults.run(
            ["-m", "kerasseg.export", f"--workdir={workdir}", f"--export_dir={folder}"]
        )
        assert done.returncode == 1, done.stderr
        assert "No space left on device" in done.stderr
        assert "bytes are free on the disk. Nothing was exported" in done.stderr
        assert os.listdir(folder) == []


@pytest.mark.slow
def test_a_killed_export_leaves_no_incomplete_version(tmp_path):
    arguments = ["-m", "tests.support.export_tiny", tmp_path]
    assert faults.run(arguments).returncode == 0

    def numbers():
        names = os.listdir(tmp_path)
        assert all(name.isdecimal() or name.startswith(".tmp-") for name in names)
        return {name for name in names if name.isdecimal()}

    def check(_):
        assert numbers() == {"1"}

    kills = faults.crashpoints(arguments, check)
    assert kills >= 3  # The files of TensorFlow, and the version.
    assert numbers() == {"1", "2"}
    for number in numbers():
        tensor = tf.saved_model.load(tmp_path / number).signatures["tensor"]
        image = tf.constant(levels.IMAGE[None], tf.float32)
        assert tensor(image=image)["classes"][0].numpy().tolist() == levels.CLASSES
