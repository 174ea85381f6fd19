"""Prediction from a TFLite file, without TensorFlow."""

import json
import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

import kerasseg
from kerasseg import errors, exporting, inference
from kerasseg.exporting.formats import tflite as tflite_format
from tests.support import faults, levels, tiny

MAX_CPU_SECONDS = 1.5
NAMES = tiny.SPEC.class_names
PALETTE = tiny.SPEC.palette
# Fails if any module of TensorFlow, or Keras, is imported by then.
PROGRAM = """\
import sys
from kerasseg import cli, predict
try:
    cli.run(predict.main)
finally:
    loaded = {name.partition(".")[0] for name in sys.modules}
    print("Loaded:", sorted(loaded & {"tensorflow", "keras", "jax", "torch"}))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The TFLite file of an export of `levels`."""
    pytest.importorskip("ai_edge_litert")
    version = exporting.export_model(
        levels.build_model(),
        tmp_path_factory.mktemp("export"),
        class_names=NAMES,
        palette=PALETTE,
        format_names=["tflite_float32"],
        fresh_process=False,
    )
    return pathlib.Path(exporting.file_of(version, "tflite_float32"))


def write_image(path, values=levels.IMAGE):
    cv2.imwrite(os.fspath(path), values[..., ::-1])
    return path


def test_predict_imports_no_tensorflow_and_takes_little_time(exported, tmp_path):
    image = write_image(tmp_path / "image.png")
    with open(tmp_path / "log", "w+") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", PROGRAM, f"--export_dir={exported}"),
                *(f"--input={image}", f"--output_dir={tmp_path / 'out'}"),
                "--output=index,overlay,confidence,probabilities",
            ],
            cwd=faults.ROOT,
            stdout=log,
            stderr=log,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read()
    assert process.returncode == 0, text
    assert "1 of 1 are in" in text and "Loaded: []\n" in text
    assert "XNNPACK" not in text
    # With the worker process that reads the image, which it waits for.
    assert usage.ru_utime + usage.ru_stime < MAX_CPU_SECONDS
    mask = Image.open(tmp_path / "out/index/image.png")
    np.testing.assert_array_equal(mask, levels.CLASSES)


def test_it_predicts_what_the_keras_model_predicts(exported):
    from_file = kerasseg.load(exported)
    from_model = inference.Segmenter(levels.build_model(), NAMES, PALETTE)
    assert from_file.class_names == NAMES
    np.testing.assert_array_equal(from_file.palette, PALETTE)
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    np.testing.assert_array_equal(from_file.predict(levels.IMAGE), levels.CLASSES)
    np.testing.assert_array_equal(from_file.predict(image), from_model.predict(image))
    np.testing.assert_allclose(
        from_file.probabilities(image), from_model.probabilities(image), atol=1e-5
    )
    mask, confidence = from_file.predictor.confident_classes(image[None])
    np.testing.assert_array_equal(mask[0], from_model.predict(image))
    np.testing.assert_allclose(
        confidence[0], from_model.probabilities(image).max(-1), atol=1e-5
    )


def test_tiles_give_the_same_as_the_whole_image(exported):
    # The network sees one pixel at a time, so tiles change nothing. 200 pixels are two
    # tiles of 128, which share 32.
    image = np.random.default_rng(1).integers(0, 256, (200, 130, 3), np.uint8)
    whole, tiled = (
        inference.load(exported, tile_size=size).probabilities(image)
        for size in (0, 128)
    )
    np.testing.assert_allclose(tiled, whole, atol=1e-6)


def test_an_image_that_does_not_fit_into_memory_is_predicted_in_tiles(
    exported, monkeypatch
):
    # 8,000 bytes a pixel, and half of the memory: 128 * 128 pixels fit, 129 do not.
    monkeypatch.setattr(inference.memory_estimate, "HIDDEN_BYTES", 8000)
    monkeypatch.setattr("kerasseg.system.memory.available", lambda: 2 * 8000 * 128**2)
    segmenter = inference.load(exported)
    sizes = []
    whole = segmenter.model.logits
    monkeypatch.setattr(
        segmenter.model, "logits", lambda x: sizes.append(x.shape[:2]) or whole(x)
    )
    image = np.random.default_rng(2).integers(0, 256, (129, 128, 3), np.uint8)
    segmenter.predict(image[:128])
    assert sizes == [(128, 128)]
    segmenter.predict(image)
    assert sizes[1:] == [(128, 128), (33, 128)]  # The second starts at 96.


def test_a_file_without_metadata_numbers_its_classes(exported, tmp_path, caplog):
    copy = tmp_path / "model.tflite"
    copy.write_bytes(exported.read_bytes())
    assert inference.load(copy).class_names == ("0", "1", "2")
    assert "metadata.json is missing: its 3 classes are named 0 to 2" in caplog.text


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([{"name": "a"}], "is damaged"),
        ([{"name": "a", "color": [0, 0, 0]}], "lists 1 classes, and .* has 3"),
    ],
)
def test_wrong_metadata_is_reported(exported, tmp_path, classes, message):
    copy = tmp_path / "model.tflite"
    copy.write_bytes(exported.read_bytes())
    (tmp_path / "metadata.json").write_text(json.dumps({"classes": classes}))
    with pytest.raises(errors.UserError, match=message):
        inference.load(copy)


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_damaged_file_is_reported(exported, tmp_path, share):
    content = exported.read_bytes()
    damaged = tmp_path / "model.tflite"
    damaged.write_bytes(content[: int(share * len(content))])
    with pytest.raises(errors.UserError, match=r"model\.tflite is not a TFLite file"):
        inference.load(damaged)


@pytest.mark.parametrize("options", [{"scales": (0.5, 1.0)}, {"flip": True}])
def test_scales_and_flipping_are_refused(exported, options):
    with pytest.raises(errors.UserError, match="at one scale, without flipping"):
        inference.load(exported, **options)


def test_nan_logits_are_reported(exported, monkeypatch):
    segmenter = inference.load(exported)
    monkeypatch.setattr(
        segmenter.model, "logits", lambda x: np.full((*x.shape[:2], 3), np.nan)
    )
    with pytest.raises(errors.UserError, match=r"logits of image a\.png are NaN"):
        segmenter.predictor.classes(levels.IMAGE[None], names=["a.png"])


def test_a_network_that_detects_objects_is_refused(tmp_path):
    import tensorflow as tf

    pytest.importorskip("ai_edge_litert")

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], name="image")])
    def detect(image):
        return {"boxes": tf.reduce_mean(image, [1, 2])}

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [detect.get_concrete_function()], tf.Module()
    )
    path = tmp_path / "model.tflite"
    path.write_bytes(converter.convert())
    with pytest.raises(errors.UserError, match="returns boxes, and not the logits"):
        inference.load(path)


def test_both_loaders_of_tflite_files_agree(exported):
    logits = tflite_format.load(os.fspath(exported)).tensor(
        levels.IMAGE[None].astype(np.float32)
    )["logits"][0]
    np.testing.assert_array_equal(
        logits, inference.TFLiteModel(exported).logits(levels.IMAGE)
    )


def test_a_tflite_file_cannot_be_exported_again(exported, tmp_path):
    with pytest.raises(errors.UserError, match="is an export, which cannot"):
        kerasseg.load(exported).export(tmp_path)
