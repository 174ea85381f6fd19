"""Superpixels by hand, and a classifier of superpixels."""

import sys

import keras
import numpy as np
import pytest

from kerasseg import models
from kerasseg.inference import superpixels
from kerasseg.models import zoomout

pytest.importorskip("skimage")
HALVES = np.zeros((16, 16, 3), np.uint8)
HALVES[:, 8:] = 255
LAYERS = ("block1_conv1", "block2_conv2", "block3_conv3")


def test_superpixels_follow_the_colors_and_are_numbered_from_zero():
    segments = superpixels.segment(HALVES, count=4)
    assert segments.dtype == np.int32
    left, right = set(segments[:, :8].ravel()), set(segments[:, 8:].ravel())
    assert left | right == {0, 1, 2, 3}
    assert not left & right


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (33, 47)])
def test_images_of_any_size_are_segmented_without_gaps(size):
    ramp = np.linspace(0, 255, size[0] * size[1]).reshape(*size, 1)
    image = np.repeat(ramp, 3, axis=2).astype(np.uint8)
    segments = superpixels.segment(image)
    assert segments.shape == size
    assert set(np.unique(segments)) == set(range(segments.max() + 1))


def test_features_are_averaged_over_each_superpixel():
    segments = np.array([[0, 0, 1], [2, 0, 1]])
    features = np.array([[[1], [2], [3]], [[4], [6], [8]]], np.float32)
    # (1 + 2 + 6) / 3, (3 + 8) / 2, 4.
    np.testing.assert_allclose(superpixels.pool(features, segments), [[3], [5.5], [4]])


def test_a_cell_is_weighted_by_its_pixels():
    # Cells of 2x2 pixels over 3x3: rows 0, 0, 1 and columns 0, 0, 1.
    cells = np.array([[[1], [10]], [[100], [1000]]], np.float32)
    segments = np.array([[0, 0, 0], [0, 0, 0], [1, 1, 1]])
    # (4 x 1 + 2 x 10) / 6 and (2 x 100 + 1000) / 3.
    actual = superpixels.pool(cells, segments, stride=2)
    np.testing.assert_allclose(actual, [[4], [400]])


def test_the_majority_excludes_ignored_pixels():
    segments = np.array([[0, 0, 0, 0], [1, 1, 2, 2]])
    label = np.array([[3, 255, 255, 255], [255, 255, 5, 4]], np.uint8)
    # One 3 beside three ignored pixels; only ignored pixels; a tie: the lower class.
    assert superpixels.majority(label, segments).tolist() == [3, 255, 4]


@pytest.mark.parametrize(
    "image, options, message",
    [
        (HALVES.astype(np.float32), {}, r"uint8 .* got float32 \[16, 16, 3\]"),
        (HALVES[..., 0], {}, r"got uint8 \[16, 16\]"),
        (HALVES[:0], {}, "image of 0 x 16 pixels"),
        (HALVES, {"count": 0}, "`count=0` and `compactness=10.0` .* must be above 0"),
        (HALVES, {"compactness": 0.0}, "`compactness=0.0`"),
    ],
)
def test_invalid_arguments_are_errors(image, options, message):
    with pytest.raises(ValueError, match=message):
        superpixels.segment(image, **options)


def test_features_that_do_not_cover_the_image_are_an_error():
    message = "2 x 2 cells of 2 pixels do not cover 5 x 4 pixels"
    with pytest.raises(ValueError, match=message):
        superpixels.pool(np.zeros((2, 2, 1)), np.zeros((5, 4), int), stride=2)


@pytest.mark.parametrize("missing", ["skimage", "scipy"])
def test_a_missing_extra_is_named(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'kerasseg\[superpixels\]"):
        superpixels.pool(np.zeros((16, 16, 1), np.float32), superpixels.segment(HALVES))


def test_a_classifier_of_zoom_out_features_is_trained_on_superpixels():
    # The steps of the module's docstring, with six columns of colors, three classes.
    keras.utils.set_random_seed(0)
    options = {"filters": 8, "hidden_units": (16,), "zoom_layers": LAYERS}
    model = models.build_model("zoomout", 3, **options)
    features, classifier = zoomout.split(model)
    label = np.repeat(np.arange(48) // 8 % 3, 32).reshape(48, 32).T.astype(np.uint8)
    image = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250]], np.uint8)[label]
    segments = superpixels.segment(image, count=24)
    descriptors = superpixels.pool(features(image[None])[0], segments, stride=4)
    labels = superpixels.majority(label, segments)
    statistics = descriptors.mean(axis=0), descriptors.var(axis=0), 1
    model.get_layer("normalize_features").fill(*statistics)
    classifier.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    classifier.fit(
        descriptors[:, None, None], labels[:, None, None], epochs=40, verbose=0
    )
    scores = classifier(descriptors[:, None, None])[:, 0, 0]
    mask = np.argmax(scores, axis=-1)[segments]
    assert np.mean(mask == label) > 0.95
