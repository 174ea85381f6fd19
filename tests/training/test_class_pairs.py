"""Crops, class tags and pairs for training on few masks, worked by hand."""

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kerasseg.training.few_labels import class_pairs, cropping

# Class 3 lies within the box of class 1; 255 is ignored.
LABEL = np.array(
    [
        [1, 0, 0, 255],
        [3, 0, 0, 0],
        [1, 0, 2, 2],
        [0, 255, 0, 0],
    ],
    "uint8",
)
LABELS = st.integers(1, 5).flatmap(
    lambda side: arrays.arrays(
        "uint8", (side, 6), elements=st.sampled_from([0, 1, 2, 3, 255])
    )
)


def test_crops_are_the_boxes_of_all_subsets_of_the_classes():
    # Boxes: class 1 (0, 0, 3, 1), class 2 (2, 2, 3, 4), class 3 (1, 0, 2, 1). Unions:
    # 1 and 3 (0, 0, 3, 1); 2 and 3 (1, 0, 3, 4); 1 and 2, and all (0, 0, 3, 4).
    assert cropping.combinatorial_crops(LABEL) == [
        (0, 0, 3, 1, (1, 3)),
        (0, 0, 3, 4, (1, 2, 3)),
        (1, 0, 2, 1, (3,)),
        (1, 0, 3, 4, (2, 3)),
        (2, 2, 3, 4, (2,)),
    ]


def test_an_image_without_classes_has_no_crops():
    assert cropping.combinatorial_crops(np.uint8([[0, 255], [0, 0]])) == []


@hypothesis.given(LABELS)
def test_a_crop_contains_every_pixel_of_its_classes_and_fits_them_tightly(label):
    crops = cropping.combinatorial_crops(label)
    classes = set(np.unique(label).tolist()) - {0, 255}
    assert {k for crop in crops for k in crop.classes} == classes
    assert len({crop[:4] for crop in crops}) == len(crops) < 2 ** len(classes)
    for top, left, bottom, right, inside in crops:
        cut = label[top:bottom, left:right]
        member = np.isin(cut, inside)
        assert member.sum() == np.isin(label, inside).sum()
        assert member[0].any() and member[-1].any()
        assert member[:, 0].any() and member[:, -1].any()


@pytest.mark.parametrize("label", [np.zeros((2, 2)), np.zeros((1, 2, 2), "uint8")])
def test_crops_need_the_label_of_one_image(label):
    with pytest.raises(ValueError, match="`label` must be class numbers of shape"):
        cropping.combinatorial_crops(label)


def test_tags_are_the_classes_that_occur_without_the_background():
    labels = np.stack([LABEL, np.zeros_like(LABEL)])
    tags = class_pairs.class_tags(labels, 5)
    assert tags.tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]


def test_a_label_out_of_range_is_an_error():
    with pytest.raises(ValueError, match=r"contain \[3\], .* below `num_classes=3`"):
        class_pairs.class_tags(LABEL[None], 3)
    with pytest.raises(ValueError, match=r"contain \[-1\]"):
        class_pairs.class_pairs(np.array([[[0, -1]]]), 3)


def test_a_binary_target_keeps_ignored_pixels():
    assert class_pairs.binary_target(LABEL, 2).tolist() == [
        [0, 0, 0, 255],
        [0, 0, 0, 0],
        [0, 0, 1, 1],
        [0, 255, 0, 0],
    ]


def test_pairs_are_every_image_with_each_of_its_classes():
    labels = np.array([[[1, 0, 2]], [[255, 0, 0]], [[2, 2, 255]]], "uint8")
    pairs = class_pairs.class_pairs(labels, 3)
    assert pairs.image.tolist() == [0, 0, 2]
    assert pairs.classes.tolist() == [[1, 0], [0, 1], [0, 1]]
    assert pairs.target.tolist() == [[[1, 0, 0]], [[0, 0, 1]], [[1, 1, 255]]]
    assert (pairs.target.dtype, pairs.classes.dtype) == ("uint8", "float32")


def test_a_batch_without_classes_has_no_pairs():
    pairs = class_pairs.class_pairs(np.full((2, 3, 4), 255), 3)
    assert [x.shape for x in pairs] == [(0,), (0, 2), (0, 3, 4)]


@hypothesis.given(LABELS)
def test_the_targets_of_an_image_cover_its_foreground_once(label):
    pairs = class_pairs.class_pairs(label[None], 4)
    covered = (pairs.target == 1).sum(axis=0)
    np.testing.assert_array_equal(covered, (label > 0) & (label < 255))
    for target in pairs.target:
        np.testing.assert_array_equal(target == 255, label == 255)


def test_the_crossentropy_of_tags_is_summed_over_classes_and_counts_images():
    # Scores log 3 and 0 are probabilities 3/4 and 1/2: -log 3/4 - log 1/2, and
    # -log 1/4 - log 1/2 if the first class does not occur.
    scores = np.array([[math.log(3), 0], [math.log(3), 0]], "float32")
    total, count = class_pairs.tag_crossentropy([[1, 0], [0, 1]], scores)
    expected = math.log(4 / 3) + math.log(4) + 2 * math.log(2)
    assert float(total) == pytest.approx(expected, rel=1e-6)
    assert float(count) == 2


def test_the_crossentropy_of_large_scores_is_finite():
    total, _ = class_pairs.tag_crossentropy([[1, 0]], np.float32([[-1000, 1000]]))
    assert float(total) == 2000
