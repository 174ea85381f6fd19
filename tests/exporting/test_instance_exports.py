"""Exports of networks that detect objects: written, loaded again and compared."""

import dataclasses
import json
import os
import pathlib
import warnings

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import exporting, images, inference, models
from kerasseg.exporting import (
    folding,
    formats,
    instance_checking,
    instance_signatures,
    instances,
    runtimes,
    signatures,
)
from kerasseg.instances import pasting
from tests.support import detected, tiny

NAMES = detected.NAMES
FORMATS = formats.all_formats()
POSSIBLE = [name for name, form in FORMATS.items() if form.detection_usage]
FULL = ["saved_model", "onnx"]  # With masks of the size of the image.
MODELS = models.list_models("instance")
CASES = [(model, form) for model in MODELS for form in POSSIBLE]
SIDES = exporting.DetectionOptions(min_side=80, max_side=112)


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

    def get(name, form="saved_model", **options):
        for package in FORMATS[form].packages:
            pytest.importorskip(package)
        key = name, form, *options.values()
        if key not in versions:
            folder = tmp_path_factory.mktemp(f"{name}_{form}")
            versions[key] = export(network(name), folder, form, **options)
        return versions[key]

    return get


@pytest.fixture(scope="module")
def graph(network):
    """The signatures of a SavedModel that resizes images, as they are saved."""
    folded = folding.fold_batch_norm(network("mask_rcnn"))
    resizing = instances.ResizingNetwork(folded, SIDES)
    return resizing, instance_signatures.build(resizing, "full")


@pytest.fixture
def signatures_of(graph):
    """Function of the name of a signature to the signature."""
    return graph[1].__getitem__


def outputs_of(model, image):
    found = signatures.named(model(image[np.newaxis].astype(np.float32)))
    return {name: np.asarray(value)[0] for name, value in found.items()}


# Every format.


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), CASES)
def test_metadata_and_card_hold_the_comparison(version, network, name, form):
    folder = version(name, form)
    metadata = json.loads((folder / "metadata.json").read_text())
    count, cells = network(name).output["masks"].shape[1:3]
    assert metadata["kind"] == "instance"
    assert metadata["detections"] == {
        **{"num_detections": count, "cells": cells, "min_score": 0.5},
        **{"detection_masks": "full", "min_side": None, "max_side": None},
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
    assert f"{cells}, {cells}]" in card and "resized" not in card
    assert ("- `masks`, bool" in card) == (form in FULL)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), CASES)
def test_the_code_of_the_card_detects_objects(
    version, network, name, form, tmp_path, monkeypatch, capsys
):
    folder = version(name, form)
    code = exporting.how_to_call(
        "PATH/OF/THIS/FOLDER", form, exporting.read_metadata(folder)
    )
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
@pytest.mark.parametrize("form", POSSIBLE)
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


@pytest.mark.slow
@pytest.mark.parametrize("form", POSSIBLE)
def test_an_export_resizes_images_as_prediction_does(version, network, form):
    model = network("mask_rcnn")
    folder = version("mask_rcnn", form, detection=SIDES)
    metadata = exporting.read_metadata(folder)
    assert metadata["detections"]["min_side"] == 80
    card = " ".join((folder / "README.md").read_text().split())
    assert "the shorter side has 80 pixels, the longer side at most 112" in card
    path = exporting.file_of(folder, form)
    tolerance = metadata["formats"][form]["tolerance"]
    sides = {"min_side": 80, "max_side": 112}
    detector = inference.Detector(model, **sides)
    # Larger by 80 / 50, and smaller by 112 / 160, so that the longer side is 112.
    for size in ((50, 60), (160, 120)):
        image = noise(*size, seed=5)
        expected = detector.detect(image)
        if form == "keras":
            found = inference.segmenter.load(path, **sides).detect(image)
            assert ", min_side=80, max_side=112)" in card
        else:
            outputs = runtimes.predict(path, image, tiny.png(image))
            found = instance_checking.detections(outputs, size)
        assert len(found) == len(expected) > 0
        np.testing.assert_array_equal(found.classes, expected.classes)
        limit = tolerance * max(*size, 100)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=limit)
        np.testing.assert_allclose(found.scores, expected.scores, atol=10 * tolerance)
        maps = [each.id_map(size) for each in (found, expected)]
        assert (maps[0] != maps[1]).mean() < 0.001
        if form == "saved_model":
            loaded = inference.segmenter.load(folder).detect(image)
            np.testing.assert_allclose(loaded.boxes, expected.boxes, atol=limit)


@pytest.mark.slow
@pytest.mark.parametrize("form", FULL)
@pytest.mark.parametrize("masks", ["full", "boxes"])
def test_masks_of_the_size_of_the_image_are_an_option(version, form, masks):
    options = {"detection": exporting.DetectionOptions(masks=masks)}
    folder = version("mask_rcnn", form, **(options if masks == "boxes" else {}))
    entry = exporting.read_metadata(folder)
    assert entry["detections"]["detection_masks"] == masks
    assert entry["formats"][form]["pictures"] == 2  # Also compared after reloading.
    image = noise(57, 120, seed=7)
    found = runtimes.predict(exporting.file_of(folder, form), image, tiny.png(image))
    assert ("masks" in found) == (masks == "full")
    if masks == "full":
        expected = pasting.paste(found["mask_probabilities"], found["boxes"], 57, 120)
        assert found["masks"].dtype == bool and found["masks"].any()
        assert (found["masks"] != expected).mean() < 0.001


@pytest.mark.slow
@pytest.mark.parametrize("form", ["saved_model", "keras"])
def test_a_network_of_half_precision_is_exported(form, tmp_path):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy(previous)
    folder = export(model, tmp_path, form, detection=SIDES)
    entry = exporting.read_metadata(folder)["formats"][form]
    assert entry["tolerance"] == (0.05 if form == "keras" else 1e-4)
    assert entry["detections"] > 0


# SavedModels.


def test_a_graph_resizes_images_as_prediction_does(signatures_of, network):
    detector = inference.Detector(network("mask_rcnn"), min_side=80, max_side=112)
    # Larger by 80 / 50, and smaller by 112 / 160, so that the longer side is 112.
    for size in ((50, 60), (160, 120)):
        image = noise(*size, seed=5)
        found = signatures_of("tensor")(image=tf.constant(image[None], tf.float32))
        expected = signatures.named(detector.outputs(image))
        assert expected["valid"].any()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][0], value, atol=1e-3, err_msg=name)


def test_full_masks_and_files_are_pasted_like_in_python(signatures_of):
    batch = np.stack([noise(40, 70, seed) for seed in (1, 2)])
    outputs = signatures_of("tensor")(image=tf.constant(batch, tf.float32))
    files = [tiny.png(image) for image in batch]
    of_files = signatures_of("serving_default")(image_bytes=tf.constant(files))
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


def test_no_files_are_no_detections(signatures_of):
    found = signatures_of("serving_default")(image_bytes=tf.constant([], tf.string))
    assert found["boxes"].shape == (0, 10, 4) and found["valid"].shape == (0, 10)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_files_are_checked_like_those_of_semantic_exports(signatures_of, data):
    with pytest.raises(tf.errors.InvalidArgumentError, match="truncated, or not a"):
        signatures_of("serving_default")(image_bytes=tf.constant([data]))


def test_a_graph_has_no_python(signatures_of):
    for name in ("tensor", "serving_default"):
        names = exporting.operations(signatures_of(name))
        assert not [name for name in names if "PyFunc" in name or "File" in name]


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


@pytest.mark.slow
def test_options_of_semantic_networks_are_refused_by_an_export(version):
    with pytest.raises(ValueError, match=r"`flip=True` applies to networks that pred"):
        inference.segmenter.load(version("mask_rcnn"), flip=True)


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


def test_other_masks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`detection_masks=all` must be one of full, "):
        exporting.DetectionOptions(masks="all")
    text = r"`detection_masks=boxes` applies to networks that detect objects, and tiny"
    semantic = tiny.build_model("tiny", len(NAMES))
    boxes = exporting.DetectionOptions(masks="boxes")
    refuse(text, semantic, tmp_path, detection=boxes)


@pytest.mark.parametrize("name", ["min_side", "max_side"])
def test_sides_are_positive(name):
    with pytest.raises(ValueError, match=f"`{name}=0` must be at least 1, or None"):
        exporting.DetectionOptions(**{name: 0})


def test_names_include_the_background(network, tmp_path):
    text = "mask_rcnn has 4 classes; got 3 names and 4 colors"
    refuse(text, network("mask_rcnn"), tmp_path, class_names=NAMES[1:])
