"""`kerasseg.export` and `kerasseg.predict` with a network that detects objects."""

import json

import numpy as np
import pytest

from kerasseg import export, images, predict
from tests.support import commands, detected, levels, tiny

SIZES = {"a.png": (80, 60), "b.png": (150, 200)}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    levels.make_workdir(path, detected.small_network(), detected.spec())
    trained = path / "best" / "model.json"
    sides = {"min_side": 96, "max_side": 128}  # As with --min_resize_value=96.
    trained.write_text(json.dumps({**json.loads(trained.read_text()), **sides}))
    return path


@pytest.mark.slow
def test_an_export_predicts_what_its_run_predicts(workdir, tmp_path, capsys):
    out = tmp_path / "export"
    given = f"--workdir={workdir}", f"--export_dir={out}", "--check_images=0"
    assert commands.run(export.main, *given) == 0
    text = capsys.readouterr().out
    assert f'tf.saved_model.load("{out / "1"}")' in text and 'found["valid"]' in text
    (tmp_path / "images").mkdir()
    # 80 x 60 pixels become 128 x 96, and 150 x 200 become 96 x 128.
    for name, size in SIZES.items():
        (tmp_path / "images" / name).write_bytes(tiny.png(detected.noise(*size)))
    results = []
    for source in (f"--workdir={workdir}", f"--export_dir={out}"):
        folder = tmp_path / f"results{len(results)}"
        status = commands.run(
            predict.main,
            *(source, f"--input={tmp_path / 'images'}", f"--output_dir={folder}"),
            "--output=instances,instance_ids,overlay",
        )
        assert status == 0, capsys.readouterr().err
        results.append(folder)
    for name in SIZES:
        compare_files(results, name)


def compare_files(folders, name):
    """Compares what two predictions wrote for an image."""
    stem = name.removesuffix(".png")
    one, other = (
        json.loads((folder / "instances" / f"{stem}.json").read_text())
        for folder in folders
    )
    assert one["categories"] == other["categories"]
    assert len(one["annotations"]) == len(other["annotations"]) > 0
    for a, b in zip(one["annotations"], other["annotations"], strict=True):
        assert a["category_id"] == b["category_id"]
        assert a["score"] == pytest.approx(b["score"], abs=1e-3)
        np.testing.assert_allclose(a["bbox"], b["bbox"], atol=0.02)
    for kind, most in (("overlay", 20), ("instance_ids", 3)):
        read = images.read_image if kind == "overlay" else images.read_label
        a, b = (read(folder / kind / name) for folder in folders)
        assert (a != b).sum() <= most


def test_arguments_of_semantic_networks_are_refused(workdir, tmp_path, capsys):
    given = f"--workdir={workdir}", f"--export_dir={tmp_path}", "--check_images=0"
    for arguments, text in (
        (["--flip"], "Scales, flip and CRF apply to networks that predict the class"),
        (["--format=tflite_float16"], "--format=tflite_float16 cannot hold mask_rcnn"),
    ):
        assert commands.run(export.main, *given, *arguments) == 2
        assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
