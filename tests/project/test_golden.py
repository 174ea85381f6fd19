"""Files of an earlier release (tests/golden) are read, served and gone on with."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasseg
from kerasseg import evaluate, models, predict
from kerasseg.serve import engine
from tests.golden import make
from tests.support import commands
from tfrecords_tools import build

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
ORIGIN = json.loads((GOLDEN / "origin.json").read_text())


@pytest.fixture
def golden(tmp_path, monkeypatch):
    """A copy to work in; paths in the files are relative to it."""
    folder = tmp_path / "golden"
    shutil.copytree(GOLDEN, folder)
    monkeypatch.chdir(folder)
    return folder


def same_machine():
    """Whether sums come out bit-equal: the same kernels on the same processor."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith("flags"))
    processor = hashlib.sha256(flags.encode()).hexdigest()[:16]
    found = tf.__version__, keras.__version__, processor
    return found == (ORIGIN["tensorflow"], ORIGIN["keras"], ORIGIN["processor"])


def tensors(path):
    reader = tf.train.load_checkpoint(str(path))
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names if "OBJECT" not in name}


def test_a_run_resumes_to_the_same_bits(golden):
    checkpoints = golden / "run" / "checkpoints"
    expected = tensors(checkpoints / "ckpt-12")
    for path in checkpoints.glob("ckpt-12.*"):
        path.unlink()
    command = [sys.executable, "-m", "kerasseg.train", "--flagfile=run/flags.txt"]
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    path = os.pathsep.join([str(GOLDEN.parent.parent), *filter(None, sys.path)])
    subprocess.run(
        command, check=True, env={**os.environ, **threads, "PYTHONPATH": path}
    )
    found = tensors(checkpoints / "ckpt-12")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if same_machine():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            # Rounding errors are in proportion to the largest entries of a variable.
            atol = 1e-3 * max(1.0, np.abs(value).max(initial=0))
            np.testing.assert_allclose(
                found[name], value, rtol=1e-2, atol=atol, err_msg=name
            )


def test_a_run_is_scored_as_it_was(golden):
    expected = json.loads((golden / "run" / "metrics.json").read_text())
    assert commands.run(evaluate.main, "--workdir=run", "--noreport") == 0
    found = json.loads((golden / "run" / "metrics.json").read_text())
    assert found.keys() == expected.keys()
    assert found["iou"] == pytest.approx(expected["iou"], abs=1e-3)


def test_a_run_is_loaded_from_python(golden):
    model = kerasseg.load(golden / "run")
    assert model.class_names == make.CLASSES
    image, _ = make.image_and_label(2)
    index = tf.io.read_file(str(golden / "predictions" / "index" / "2.png"))
    expected = tf.io.decode_png(index, channels=3).numpy()
    agree = model.palette[model.predict(image)] == expected
    assert agree.mean() > 0.999


def test_every_registered_class_is_loaded_from_a_file():
    model = keras.models.load_model(GOLDEN / "layers.keras")
    expected = np.load(GOLDEN / "layers_outputs.npz")
    found = model(make.image_and_label(5)[0][None].astype("float32"), training=False)
    assert set(found) == set(expected)
    for name, value in found.items():
        np.testing.assert_allclose(
            np.asarray(value)[:, ::8, ::8], expected[name], rtol=1e-3, atol=1e-3
        )


def test_the_file_holds_every_class_that_was_registered_then():
    """A class registered since needs no place in the file; none of then may go."""
    models.list_models()
    known = keras.saving.get_custom_objects()
    with open(GOLDEN / "origin.json", encoding="utf-8") as file:
        for name in json.load(file)["registered"]:
            assert f"kerasseg>{name}" in known


def test_an_export_is_loaded_and_served(golden):
    image, _ = make.image_and_label(2)
    data = (golden / "source" / "images" / "val" / "2.png").read_bytes()
    expected = kerasseg.load(golden / "run").predict(image)
    loaded = kerasseg.load(golden / "export")
    assert loaded.class_names == make.CLASSES
    assert (loaded.predict(image) == expected).mean() > 0.999
    signatures = tf.saved_model.load(str(golden / "export" / "1")).signatures
    masks = signatures["serving_default"](image_bytes=tf.constant([data]))
    mask = tf.io.decode_png(masks["mask_png_bytes"][0]).numpy()[..., 0]
    assert (mask == expected).mean() > 0.999
    outputs = signatures["tensor"](image=tf.cast(image[None], tf.float32))
    assert set(outputs) == {"logits", "probabilities", "classes"}
    served = engine.Engine(golden / "export" / "1")
    served.warm_up()
    assert (served.masks([image])[0] == expected).mean() > 0.999


def test_predictions_go_on_where_they_stopped(golden, capsys):
    results = golden / "predictions"
    before = {path: path.read_bytes() for path in results.rglob("2.png")}
    # The order in which the files were written; copies are all of now.
    for age, paths in enumerate(
        (
            results.rglob("2.png"),
            [results / "predict.json"],
            golden.rglob("images/**/*"),
        )
    ):
        for path in paths:
            os.utime(path, (1e9 - age, 1e9 - age))
    arguments = "--input=source/images/val", "--output_dir=predictions"
    kinds = "--output=index,color"
    assert commands.run(predict.main, "--workdir=run", *arguments, kinds) == 0
    assert "1 of them from an earlier run" in capsys.readouterr().out
    assert {p.name for p in (results / "index").iterdir()} == {"2.png", "3.png"}
    assert {path: path.read_bytes() for path in before} == before


def test_records_are_built_with_the_same_bytes(golden):
    arguments = [
        "--dataset=folder",
        "--images=source/images/{split}/*.png",
        "--masks=source/masks/{split}/*.png",
        f"--classes={','.join(make.CLASSES)}",
        "--splits=train,val",
    ]
    assert commands.run(build.main, *arguments, "--records_dir=built") == 0
    names = ["dataset.json", *(p.name for p in golden.glob("records/*.tfrecord"))]
    assert len(names) == 3
    for name in names:
        built = (golden / "built" / name).read_bytes()
        assert built == (golden / "records" / name).read_bytes(), name
