"""The command predict with a network that detects objects, with fixed detections."""

import json
import types

import cv2
import keras
import numpy as np
import pytest

from kerasseg import errors, images, inference, predict
from kerasseg.inference import segmenter
from kerasseg.workdir import best_model
from tests.inference.test_predict_files import read_video, write_video
from tests.support import commands, detected, levels, tiny

pytest.importorskip("pycocotools.mask")

PALETTE = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
SIZE = 64, 96


def model(image, training=False):
    """Detects an object of class 2 on the left and one of class 1 on the right."""
    del image, training
    found = {
        "boxes": [[[8, 8, 56, 40], [8, 56, 56, 88], [0, 0, 0, 0]]],
        "scores": [[0.9, 0.3, 0.0]],
        "classes": [[2, 1, 0]],
        "masks": np.ones((1, 3, 28, 28), np.float32),
        "valid": [[True, True, False]],
    }
    dtypes = {"classes": "int32", "valid": "bool"}
    return {
        key: keras.ops.convert_to_tensor(value, dtypes.get(key, "float32"))
        for key, value in found.items()
    }


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command on `tmp_path / "in"` with `model`; returns status and errors."""
    network = inference.InstanceSegmenter(model, detected.NAMES, PALETTE)
    monkeypatch.setattr(segmenter, "load", lambda *_, **__: network)
    (tmp_path / "in").mkdir()
    (tmp_path / "run").mkdir()

    def call(*arguments):
        given = f"--workdir={tmp_path}/run", f"--input={tmp_path}/in"
        out = f"--output_dir={tmp_path}/out"
        status = commands.run(predict.main, *given, out, *arguments)
        return status, capsys.readouterr().err

    return call


def write_image(folder):
    pixels = np.full((*SIZE, 3), 100, np.uint8)
    (folder / "in/a.png").write_bytes(tiny.png(pixels))


def results(folder):
    """The classes in the map, the ids, and the scores in the JSON file."""
    classes = images.read_label(folder / "out/index/a.png")
    ids = cv2.imread(str(folder / "out/instance_ids/a.png"), cv2.IMREAD_UNCHANGED)
    content = json.loads((folder / "out/instances/a.json").read_text())
    scores = [each["score"] for each in content["annotations"]]
    return np.unique(classes).tolist(), np.unique(ids).tolist(), scores


@pytest.mark.parametrize(
    ("flags", "classes", "ids"),
    [
        ([], [0, 2], [0, 1]),  # The default is 0.5.
        (["--min_score=0.25"], [0, 1, 2], [0, 1, 2]),
        (["--min_score=0.95"], [0], [0]),
    ],
)
def test_the_smallest_score_is_that_of_maps_and_overlays(
    run, tmp_path, flags, classes, ids
):
    write_image(tmp_path)
    status, stderr = run("--output=index,instance_ids,instances,overlay", *flags)
    assert status == 0, stderr
    # All detections are in the JSON file, whatever their scores.
    assert results(tmp_path) == (classes, ids, pytest.approx([0.9, 0.3]))
    overlay = images.read_image(tmp_path / "out/overlay/a.png").astype(int)
    is_drawn = [(np.abs(overlay[32, x] - 100) > 9).any() for x in (24, 72)]
    assert is_drawn == [2 in classes, 1 in classes]


def test_results_of_another_smallest_score_are_not_kept(run, tmp_path):
    write_image(tmp_path)
    assert run("--output=index")[0] == 0
    # The default is not stored, so that folders of earlier releases are resumed.
    assert "min_score" not in json.loads((tmp_path / "out/predict.json").read_text())
    assert run("--output=index", "--min_score=0.5")[0] == 0
    status, stderr = run("--output=index", "--min_score=0.25")
    assert status == 2
    assert "holds results of another network or other settings" in stderr
    assert run("--output=index", "--min_score=0.25", "--overwrite")[0] == 0
    stored = json.loads((tmp_path / "out/predict.json").read_text())
    assert stored["min_score"] == 0.25
    assert 1 in images.read_label(tmp_path / "out/index/a.png")


@pytest.mark.parametrize("value", ["-0.1", "1.5", "50", "nan"])
def test_scores_are_from_0_to_1(run, value):
    status, stderr = run(f"--min_score={value}")
    assert status == 2
    assert f"--min_score={value}: expected a number from 0 to 1" in stderr


def test_a_smallest_score_needs_a_network_that_detects_objects(tmp_path, capsys):
    workdir = levels.make_workdir(tmp_path / "run")
    (tmp_path / "a.png").write_bytes(tiny.png(levels.IMAGE))
    given = f"--workdir={workdir}", f"--input={tmp_path}/a.png", "--min_score=0.5"
    assert commands.run(predict.main, *given, f"--output_dir={tmp_path}/out") == 2
    assert "--min_score=0.5 applies to networks that detect" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_video_has_an_overlay_and_a_file_of_instances_per_frame(run, tmp_path):
    write_video(tmp_path / "in/clip.mp4", [10, 100, 200], size=SIZE)
    status, stderr = run("--output=overlay,instances,index")
    assert status == 0, stderr
    frames, rate = read_video(tmp_path / "out/overlay/clip.mp4")
    assert (frames.shape, rate) == ((3, *SIZE, 3), 10)
    # Inside: 0.35 * 255 of the green of class 2; the other score is below 0.5.
    assert np.abs(frames[:, 40, 24, 1].astype(int) - 89).max() < 25
    assert frames[:, 40, 72, 1].max() < 25
    for kind, suffix in (("instances", "json"), ("index", "png")):
        names = sorted(
            path.name for path in (tmp_path / "out" / kind / "clip").iterdir()
        )
        assert names == [f"00000{i}.{suffix}" for i in range(3)]
    content = json.loads((tmp_path / "out/instances/clip/000002.json").read_text())
    assert content["images"][0]["file_name"] == "clip.mp4"
    assert [each["category_id"] for each in content["annotations"]] == [2, 1]


def test_probabilities_of_a_video_are_refused(run, tmp_path):
    write_video(tmp_path / "in/clip.mp4", [10], size=SIZE)
    status, stderr = run("--output=probabilities")
    assert status == 2
    assert "probabilities need a network that predicts the class of each" in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--tile_size=512", "--tile_size=512 applies to networks that predict the"),
        ("--eval_scales=0.5,1", "--eval_scales=0.5,1 applies to networks that predict"),
        ("--eval_fusion=max", "--eval_fusion=max applies to networks that predict"),
        ("--flip", "--flip=True applies to networks that predict the class of each"),
    ],
)
def test_options_of_other_networks_are_refused(
    tmp_path, monkeypatch, capsys, flag, text
):
    loaded = types.SimpleNamespace(output={"boxes": None, "masks": None})
    monkeypatch.setattr(best_model, "load_best", lambda *_, **__: loaded)
    workdir = tmp_path / "run"
    (workdir / "best").mkdir(parents=True)
    values = {"model": "mask_rcnn", "num_classes": 4, "options": {}, "step": 7}
    (workdir / "best/model.json").write_text(json.dumps({**values, "scores": {}}))
    (workdir / "dataset.json").write_text(json.dumps(detected.spec().to_json()))
    (tmp_path / "a.png").write_bytes(tiny.png(levels.IMAGE))
    given = f"--workdir={workdir}", f"--input={tmp_path}/a.png", flag
    assert commands.run(predict.main, *given, f"--output_dir={tmp_path}/out") == 2
    stderr = capsys.readouterr().err
    assert text in stderr
    assert "this one detects objects" in stderr
    assert not (tmp_path / "out").exists()


def test_jobs_check_the_smallest_score(tmp_path):
    with pytest.raises(errors.UserError, match="`min_score=2`: expected a number"):
        inference.Job(workdir=str(tmp_path), output_dir="out", min_score=2)
