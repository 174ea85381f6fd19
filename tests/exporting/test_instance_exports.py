"""Exports of networks that detect objects: written, loaded again and compared."""

import dataclasses
import json
import os
import pathlib
import re
import warnings

import cv2
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import exporting, images, inference, models
from kerasseg.exporting import (
    formats,
    instance_checking,
    instance_signatures,
    runtimes,
    signatures,
)
from kerasseg.instances import pasting
from tests.support import detected, tiny

NAMES = detected.NAMES
FORMATS = formats.all_formats()
POSSIBLE = [name for name, form in FORMATS.items() if form.detection_usage]
MODELS = models.list_models("instance")
CASES = [
    pytest.param(model, form, marks=() if quick else pytest.mark.slow)
    for model in MODELS
    for form in POSSIBLE
    for quick in [(model, form) == ("mask_rcnn", "saved_model")]
]
slow = pytest.mark.slow


noise, build = detected.noise, detected.small_network


def export(model, folder, *names, **options):
    options = {
        "class_names": NAMES,
        "palette": detected.spec().palette,
        "samples": [exporting.Sample(tiny.png(noise()))],
        "fresh_process": False,
        **options,
    }
    return pathlib.Path(
        exporting.export_model(
            model, folder, format_names=names or ["saved_model"], **options
        )
    )


@pytest.fixture(scope="module")
def network():
    """Returns a function of the name of an architecture to a small network."""
    built = {}

    def get(name):
        if name not in built:
            built[name] = build(name)
        return built[name]

    return get


@pytest.fixture(scope="module")
def version(network, tmp_path_factory):
    """Returns a function of architecture and format to an exported version."""
    versions = {}

    def get(name, form="saved_model"):
        for package in FORMATS[form].packages:
            pytest.importorskip(package)
        if (name, form) not in versions:
            folder = tmp_path_factory.mktemp(f"{name}_{form}")
            versions[name, form] = export(network(name), folder, form)
        return versions[name, form]

    return get


def outputs_of(model, image):
    found = signatures.named(model(image[np.newaxis].astype(np.float32)))
    return {name: np.asarray(value)[0] for name, value in found.items()}


# Every format.


@pytest.mark.parametrize(("name", "form"), CASES)
def test_an_export_has_the_detections_of_the_model(version, network, name, form):
    path = exporting.file_of(version(name, form), form)
    image = noise(57, 120, seed=7)
    found = runtimes.predict(path, image, tiny.png(image))
    expected = outputs_of(network(name), image)
    assert expected["valid"].any()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=1e-3, err_msg=key)
        assert found[key].dtype == value.dtype


@pytest.mark.parametrize(("name", "form"), CASES)
def test_metadata_and_card_hold_the_comparison(version, network, name, form):
    folder = version(name, form)
    metadata = json.loads((folder / "metadata.json").read_text())
    count, cells = network(name).output["masks"].shape[1:3]
    assert metadata["kind"] == "instance"
    assert metadata["detections"] == {
        **{"num_detections": count, "cells": cells, "min_score": 0.5},
        "detection_masks": "full",
    }
    assert [each["name"] for each in metadata["classes"]] == list(NAMES)
    entry = metadata["formats"][form]
    assert entry["pictures"] == 2  # The sample and the synthetic image.
    assert entry["detections"] > count
    assert entry["detections_without_match"] == 0
    assert entry["largest_box_difference"] <= entry["tolerance"]
    assert entry["largest_score_difference"] <= 10 * entry["tolerance"]
    card = (folder / "README.md").read_text()
    assert "instance segmentation" in card and "logits" not in card
    assert f"[N, {count}, 4]" in card or f"[1, {count}, 4]" in card or form == "keras"
    assert f"{cells}, {cells}]" in card


@pytest.mark.parametrize(("name", "form"), CASES)
def test_the_code_of_the_card_detects_objects(
    version, network, name, form, tmp_path, monkeypatch, capsys
):
    folder = version(name, form)
    code = exporting.how_to_call("PATH/OF/THIS/FOLDER", form, "instance")
    assert code in (folder / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    image = noise()
    pathlib.Path("image.jpg").write_bytes(tiny.png(image))
    variables = {}
    plain = "\n".join(line[4:] for line in code.splitlines())
    with warnings.catch_warnings():  # The short example does not close its files.
        warnings.simplefilter("ignore", ResourceWarning)
        exec(plain.replace("PATH/OF/THIS/FOLDER", str(folder)), variables)
    expected = outputs_of(network(name), image)
    found = variables["found"]
    if form == "keras":
        scores, lines = found.scores, capsys.readouterr().out.splitlines()
        assert len(lines) >= len(scores) == expected["valid"].sum()
    else:
        scores = np.asarray(found["scores"])[0]
        scores = scores[np.asarray(found["valid"])[0]]
    np.testing.assert_allclose(scores, expected["scores"][expected["valid"]], atol=1e-3)
    if form == "saved_model":
        lines = capsys.readouterr().out.splitlines()
        assert len([line for line in lines if "[" in line]) == expected["valid"].sum()
        assert images.read_label("mask.png").shape == image.shape[:2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    [pytest.param(f, marks=() if f == "saved_model" else slow) for f in POSSIBLE],
)
def test_a_network_that_differs_is_an_error(form, network, tmp_path, monkeypatch):
    for package in FORMATS[form].packages:
        pytest.importorskip(package)
    write = FORMATS[form].write
    other = build()
    kernel = other.get_layer("box_head").get_layer("box_scores").kernel
    kernel.assign(kernel[::-1])

    def write_other(source, path):
        write(dataclasses.replace(source, model=other, folded=other), path)

    changed = dataclasses.replace(FORMATS[form], write=write_other)
    monkeypatch.setitem(FORMATS, form, changed)
    with pytest.raises(ValueError, match=rf"exported {form} .* \d+ of \d+ detections"):
        export(network("mask_rcnn"), tmp_path, form)
    assert os.listdir(tmp_path) == []


# SavedModels.


def test_full_masks_and_files_are_pasted_like_in_python(version):
    signature = tf.saved_model.load(version("mask_rcnn")).signatures
    batch = np.stack([noise(40, 70, seed) for seed in (1, 2)])
    outputs = signature["tensor"](image=tf.constant(batch, tf.float32))
    files = [tiny.png(image) for image in batch]
    of_files = signature["serving_default"](image_bytes=tf.constant(files))
    names = {"boxes", "scores", "classes", "valid"}
    assert set(outputs) == names | {"masks", "mask_probabilities"}
    assert set(of_files) == names | {"mask_png_bytes", "instance_png_bytes"}
    assert outputs["masks"].dtype == tf.bool
    for i in range(2):
        found = {name: value[i].numpy() for name, value in outputs.items()}
        expected = pasting.paste(found["mask_probabilities"], found["boxes"], 40, 70)
        assert (found["masks"] != expected).sum() <= 2  # Rounding at 0.5.
        above = instance_checking.detections(found, (40, 70)).above(0.5)
        assert len(above) and above.id_map((40, 70)).any()
        file = np.frombuffer(of_files["instance_png_bytes"][i].numpy(), np.uint8)
        ids = cv2.imdecode(file, cv2.IMREAD_UNCHANGED)
        assert ids.dtype == np.uint16
        assert (ids != above.id_map((40, 70))).sum() <= 2
        mask = images.read_label(of_files["mask_png_bytes"][i].numpy())
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, np.append(0, found["classes"])[ids])
        for name in names:
            np.testing.assert_allclose(of_files[name][i], found[name], atol=1e-3)


def test_the_first_of_overlapping_masks_wins_and_low_scores_do_not_count():
    # All cells of the masks are 1. Boxes: 0 covers rows 0 and 1, 1 covers rows 1 and 2,
    # 2 covers row 3 with a score of 0.4, which is too low.
    boxes = tf.constant([[0, 0, 2, 4], [1, 0, 3, 4], [3, 0, 4, 4]], tf.float32)
    ids = instance_signatures.id_map(
        tf.ones([3, 2, 2]), boxes, tf.constant([0.7, 0.7, 0.4]), 4, 4
    )
    inner = ids.numpy()[:, 1:3]  # Between the centers of the outer cells.
    np.testing.assert_array_equal(inner, [[1, 1], [1, 1], [2, 2], [0, 0]])


def test_no_files_are_no_detections(version):
    signature = tf.saved_model.load(version("mask_rcnn")).signatures["serving_default"]
    found = signature(image_bytes=tf.constant([], tf.string))
    assert found["boxes"].shape == (0, 10, 4) and found["valid"].shape == (0, 10)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_files_are_checked_like_those_of_semantic_exports(version, data):
    signature = tf.saved_model.load(version("mask_rcnn")).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="truncated, or not a"):
        signature(image_bytes=tf.constant([data]))


def test_a_graph_has_no_python(version):
    loaded = tf.saved_model.load(version("mask_rcnn"))
    for function in loaded.signatures.values():
        names = exporting.operations(function)
        assert not [name for name in names if "PyFunc" in name or "File" in name]


def test_masks_of_the_size_of_the_image_can_be_left_out(network):
    functions = instance_signatures.build(network("mask_rcnn"), "boxes")
    assert "masks" not in functions["tensor"].structured_outputs
    assert "mask_probabilities" in functions["tensor"].structured_outputs


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["saved_model", "keras"])
def test_a_loaded_export_detects_what_the_model_detects(
    version, network, kind, tmp_path
):
    image = noise(50, 80, seed=3)
    model = network("mask_rcnn")
    if kind == "keras":
        path = tmp_path / "model.keras"
        model.save(path)
        names = tuple("0123")
    else:
        path, names = version("mask_rcnn"), NAMES
    loaded = inference.segmenter.load(path)
    assert isinstance(loaded, inference.segmenter.InstanceSegmenter)
    assert loaded.class_names == names
    expected = inference.segmenter.InstanceSegmenter(model, NAMES, loaded.palette)
    for side in (None, 100):  # As given, and resized.
        options = {"min_side": side, "max_side": None}
        one, other = (
            type(loaded)(each.model, NAMES, each.palette, **options).detect(image)
            for each in (loaded, expected)
        )
        assert len(one) == len(other) > 0
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.01)
        np.testing.assert_array_equal(one.classes, other.classes)
        maps = [each.id_map((50, 80)) for each in (one, other)]
        assert (maps[0] != maps[1]).mean() < 0.001


def test_options_of_semantic_networks_are_refused_by_an_export(version):
    with pytest.raises(ValueError, match=r"`flip=True` applies to networks that pred"):
        inference.segmenter.load(version("mask_rcnn"), flip=True)


# The comparison.


def found(boxes, scores=None, classes=None, count=4):
    """Outputs with boxes, and padding up to `count`."""
    n = len(boxes)
    outputs = {
        "boxes": np.zeros((count, 4), np.float32),
        "scores": np.zeros(count, np.float32),
        "classes": np.zeros(count, np.int32),
        "valid": np.arange(count) < n,
        "mask_probabilities": np.zeros((count, 2, 2), np.float32),
    }
    outputs["boxes"][:n] = np.reshape(boxes, (-1, 4))
    outputs["scores"][:n] = [0.9] * n if scores is None else scores
    outputs["classes"][:n] = [1] * n if classes is None else classes
    outputs["mask_probabilities"][:n] = 1
    return outputs


def compare(actual, expected):
    check = instance_checking._Check("onnx", 1e-4)
    check.add(actual, expected, (100, 100))
    return check.result()


A, B = (10, 10, 30, 30), (50, 50, 90, 90)


def test_equal_scores_may_be_in_another_order():
    result = compare(found([A, B]), found([B, A]))
    assert (result["detections"], result["detections_without_match"]) == (2, 0)
    assert result["largest_box_difference"] == 0


def test_differences_are_relative_to_the_longer_side():
    # 0.005 pixels of 100 are 5e-5; the tolerance 1e-4 is 0.01 pixels.
    moved = (10, 10.005, 30, 30)
    result = compare(found([moved, B]), found([A, B]))
    assert result["largest_box_difference"] == pytest.approx(5e-5, rel=0.01)


@pytest.mark.parametrize(
    "actual",
    [
        pytest.param(found([(10, 10.02, 30, 30), B]), id="box"),
        pytest.param(found([A, B], scores=[0.9, 0.898]), id="score"),
        pytest.param(found([A, B], classes=[1, 2]), id="class"),
        pytest.param(found([A]), id="missing"),
        pytest.param(found([A, B, B]), id="additional"),
        pytest.param(
            {**found([A, B]), "mask_probabilities": np.zeros((4, 2, 2), np.float32)},
            id="mask",
        ),
    ],
)
def test_a_detection_without_a_match_is_an_error(actual):
    with pytest.raises(ValueError, match=r"onnx .* [12] of 2 detections have no match"):
        compare(actual, found([A, B]))


def test_two_of_a_hundred_detections_may_have_no_match():
    rows = [(i, 0, i + 1, 10) for i in range(100)]
    two, three = (found([*rows[:-k], *[B] * k], count=101) for k in (2, 3))
    expected = found(rows, count=101)
    assert compare(two, expected)["detections_without_match"] == 2
    with pytest.raises(ValueError, match="3 of 100 detections have no match"):
        compare(three, expected)


def test_rounding_decides_at_the_end_of_a_full_list():
    # Of three equal scores two fit into the list.
    scores = [0.9, 0.5]
    result = compare(found([A, B], scores, count=2), found([A, A], scores, count=2))
    assert result["detections_without_match"] == 0


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"boxes": np.zeros((3, 4), np.float32)}, r"boxes is \(\(3, 4\)"),
        ({"classes": np.zeros(4, np.int64)}, "classes is"),
        ({"scores": np.full(4, np.nan, np.float32)}, "scores is NaN or infinite"),
        # 20 x 20 pixels, without 10 at each corner.
        ({"masks": np.zeros((4, 100, 100), bool)}, "masks in 360 of 10000 pixels"),
    ],
)
def test_other_outputs_are_errors(change, text):
    with pytest.raises(ValueError, match=text):
        compare({**found([A]), **change}, found([A]))


def test_nothing_detected_is_a_warning(caplog):
    assert compare(found([]), found([]))["detections"] == 0
    assert "detects nothing in the 1 images" in caplog.text


# Arguments.


def refuse(text, model, tmp_path, *names, **options):
    with pytest.raises(ValueError, match=text):
        export(model, tmp_path / "out", *names, **options)
    assert not (tmp_path / "out").exists()


def test_formats_that_cannot_hold_a_detector_are_refused(network, tmp_path):
    others = ",".join(name for name in FORMATS if name not in POSSIBLE)
    text = rf"`format={others}` cannot hold mask_rcnn.* of {', '.join(POSSIBLE)}\."
    pytest.importorskip("ai_edge_litert")
    samples = {"samples": [exporting.Sample(tiny.png(noise()), np.zeros((65, 97)))]}
    refuse(text, network("mask_rcnn"), tmp_path, "tflite", "saved_model", **samples)


def test_views_are_refused(network, tmp_path):
    views = {"test_time_options": exporting.TestTimeOptions(flip=True)}
    text = "Scales, flip and CRF apply to networks that predict the class of each pixel"
    refuse(text, network("mask_rcnn"), tmp_path, **views)


def test_other_masks_are_refused(network, tmp_path):
    text = re.escape("`detection_masks=all` must be one of full, boxes.")
    refuse(text, network("mask_rcnn"), tmp_path, detection_masks="all")
    text = r"`detection_masks=boxes` applies to networks that detect objects, and tiny"
    semantic = tiny.build_model("tiny", len(NAMES))
    refuse(text, semantic, tmp_path, detection_masks="boxes")


def test_names_include_the_background(network, tmp_path):
    text = "mask_rcnn has 4 classes; got 3 names and 4 colors"
    refuse(text, network("mask_rcnn"), tmp_path, class_names=NAMES[1:])
