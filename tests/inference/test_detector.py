"""Networks that detect objects, on images and files."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import images, inference, models
from kerasseg.inference import detector, segmenter
from kerasseg.pipeline import augment
from tests.support import tiny

CLASSES = ("background", "a", "b", "c")
PALETTE = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)


@pytest.fixture(scope="module")
def network():
    """Random weights that detect something."""
    keras.utils.set_random_seed(0)
    options = models.metadata("mask_rcnn").test_options
    model = models.build_model("mask_rcnn", 3, **options)
    return inference.InstanceSegmenter(model, CLASSES, PALETTE)


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (64, 48)], ids=str)
def test_masks_have_the_size_of_the_image(network, size):
    found = network.detect(noise(*size))
    assert isinstance(found, images.Detections)
    assert all(mask.shape == size and mask.dtype == bool for mask in found.masks)
    mask = network.predict(noise(*size), min_score=0.05)
    assert mask.shape == size and mask.dtype == np.uint8


def test_detections_are_those_of_the_model(network):
    image = noise(64, 48)
    expected = network.model(image[None].astype("float32"))
    count = int(np.sum(expected["valid"]))
    found = network.detect(image)
    assert len(found) == count > 0
    np.testing.assert_allclose(found.boxes, expected["boxes"][0][:count], atol=1e-3)
    np.testing.assert_allclose(found.scores, expected["scores"][0][:count], atol=1e-5)


def test_images_are_resized_and_boxes_returned_at_their_own_size():
    # 64x48 becomes 128x96: (4, 8, 40, 60) there is (2, 4, 20, 30) here.
    sizes = []

    def model(image, training):
        del training
        sizes.append(tuple(image.shape[1:3]))
        masks = np.ones((1, 1, 28, 28), np.float32)
        boxes = np.array([[[4, 8, 40, 60]]], np.float32)
        values = {"boxes": boxes, "scores": [[0.9]], "classes": [[1]], "masks": masks}
        values["valid"] = [[True]]
        return {key: keras.ops.convert_to_tensor(x) for key, x in values.items()}

    resizing = inference.Detector(model, min_side=96, max_side=128)
    found = resizing.detect(noise(64, 48))
    assert found.boxes.tolist() == [[2, 4, 20, 30]]
    expected = np.zeros((64, 48), bool)
    expected[2:20, 4:30] = True
    inner = np.s_[3:19, 5:29]  # At its border the mask fades within half a cell.
    assert found.masks[0][inner].all() and not found.masks[0][~expected].any()
    assert resizing.detect(noise(200, 100)).boxes.shape == (1, 4)  # 128x64.


@pytest.mark.parametrize(
    ("size", "sides", "expected"),
    [
        ((480, 640), (800, 1333), (800, 1067)),  # 640 * 800 / 480 = 1066.7
        ((400, 1000), (800, 1333), (533, 1333)),  # 400 * 1333 / 1000 = 533.2
        ((480, 640), (None, 320), (240, 320)),
        ((480, 640), (None, 700), (480, 640)),
        ((5000, 1), (None, 100), (100, 1)),  # 1 * 100 / 5000 = 0.02
        ((3, 7), (6, None), (6, 14)),
    ],
)
def test_sides_are_those_of_the_training(size, sides, expected):
    assert detector.resized_size(tf.constant(size), *sides).numpy().tolist() == [
        *expected
    ]


@settings(deadline=None)  # The first call initializes TensorFlow.
@given(
    size=st.tuples(*[st.integers(1, 5000)] * 2),
    min_side=st.none() | st.integers(1, 1200),
    max_side=st.none() | st.integers(1, 2000),
)
def test_a_side_is_the_rounded_one_of_the_pipeline(size, min_side, max_side):
    factor = augment.resize_factor(*size, min_side, max_side)
    resized = detector.resized_size(tf.constant(size), min_side, max_side).numpy()
    exact = np.maximum(np.multiply(size, factor), 1)
    np.testing.assert_allclose(resized, exact, atol=0.5, rtol=1e-6)
    if min_side is not None and max(resized) != max_side:
        assert min(resized) == min_side


def test_objects_of_files_are_written(network, tmp_path):
    (tmp_path / "a.png").write_bytes(tiny.png(noise(64, 48)))
    (tmp_path / "b.png").write_bytes(b"no image")
    paths = {name: tmp_path / f"{name}.png" for name in "ab"}
    kinds = ("instances", "instance_ids", "overlay", "index")
    failures = inference.predict_files(network, paths, tmp_path / "out", kinds=kinds)
    assert len(failures) == 1 and "b.png" in failures[0]
    content = json.loads((tmp_path / "out/instances/a.json").read_text())
    assert len(content["annotations"]) == len(network.detect(noise(64, 48)))
    ids = images.read_label(tmp_path / "out/index/a.png")
    assert ids.shape == (64, 48)


@pytest.mark.parametrize("kind", ["probabilities", "instances"])
def test_kinds_that_a_network_lacks_are_refused(network, tmp_path, kind):
    (tmp_path / "a.png").write_bytes(tiny.png(noise(9, 9)))
    paths = {"a": tmp_path / "a.png"}
    other = segmenter.Segmenter(tiny.build_model("tiny", 4), CLASSES, PALETTE)
    wrong = network if kind == "probabilities" else other
    with pytest.raises(ValueError, match=f"`output`: {kind} need"):
        inference.predict_files(wrong, paths, tmp_path / "out", kinds=[kind])


def test_refining_is_refused(network, tmp_path):
    with pytest.raises(ValueError, match=r"Leave out `crf` and `superpixels`"):
        inference.predict_files(network, {}, tmp_path, refine=lambda *_: None)


@pytest.mark.parametrize(
    "options", [{"scales": (0.5, 1.0)}, {"flip": True}, {"tile_size": 512}]
)
def test_options_of_other_networks_are_refused(options):
    ((name, _),) = options.items()
    with pytest.raises(ValueError, match=f"`{name}=.*detects objects"):
        segmenter._of_detector(options)
