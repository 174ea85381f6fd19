"""Selection of detections."""

import hypothesis
import numpy as np
from hypothesis import strategies as st

from kerasseg.instances import boxes as box_ops
from kerasseg.instances import detections

SIZE = (100, 100)
LEFT, NEAR, RIGHT = [0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]


def detected(probabilities, proposals, codes=None, valid=None, **options):
    """Detects in one image, with box codes of 0 unless given."""
    shape = (1, *np.shape(probabilities))
    codes = np.zeros((*shape, 4), "float32") if codes is None else codes
    valid = np.ones(shape[:2], bool) if valid is None else np.array([valid])
    logits = np.log(np.array([probabilities], "float32"))
    return detections.detect(
        logits,
        codes,
        np.array([proposals], "float32"),
        valid,
        image_size=SIZE,
        **options,
    )


def test_duplicates_of_a_class_are_dropped_and_the_rest_is_padding():
    # Background, class 1, class 2. The first two boxes have an IoU of 0.8.
    probabilities = [[0.15, 0.7, 0.15], [0.3, 0.6, 0.1], [0.05, 0.05, 0.9]]
    found = detected(probabilities, [LEFT, NEAR, RIGHT], count=5, min_score=0.07)
    # Class 2 is also found at the left once, with 0.15 and not with 0.1.
    np.testing.assert_allclose(found.scores, [[0.9, 0.7, 0.15, 0, 0]], rtol=1e-5)
    assert np.array(found.classes).tolist() == [[2, 1, 2, 0, 0]]
    assert np.array(found.valid).tolist() == [[True] * 3 + [False] * 2]
    np.testing.assert_array_equal(found.boxes[0, :3], [RIGHT, LEFT, LEFT])
    assert not np.any(found.boxes[0, 3:])


def test_only_probabilities_above_the_threshold_count():
    probabilities = [[0.5, 0.5], [0.49, 0.51]]
    # An exact threshold: softmax of equal logits is 0.5.
    found = detected(probabilities, [LEFT, RIGHT], count=2, min_score=0.5)
    assert np.array(found.valid).tolist() == [[True, False]]
    np.testing.assert_array_equal(found.boxes[0, 0], RIGHT)


def test_no_more_than_the_best_are_returned():
    found = detected([[0.4, 0.6], [0.3, 0.7]], [LEFT, RIGHT], count=1)
    np.testing.assert_allclose(found.scores, [[0.7]], rtol=1e-6)


def test_each_class_has_its_box_and_boxes_are_clipped():
    codes = np.zeros((1, 1, 3, 4), "float32")
    # Ten heights are 100 in units of 1 / 10: class 1 moves one height (10 pixels) up
    # and half leaves the image; class 2 is log(2) * 5, twice as wide.
    codes[0, 0, 1, 0] = -10
    codes[0, 0, 2, 3] = 5 * np.log(2)
    found = detected([[0.1, 0.5, 0.4]], [[5, 10, 15, 20]], codes, count=2)
    expected = [[0, 10, 5, 20], [5, 5, 15, 25]]
    np.testing.assert_allclose(found.boxes[0], expected, atol=1e-5)


def test_padding_small_boxes_and_values_that_are_not_finite_are_not_detected():
    probabilities = [[0.1, 0.9]] * 4
    proposals = [LEFT, [0, 0, 0, 9], [20, 20, 30, 30], RIGHT]
    codes = np.zeros((1, 4, 2, 4), "float32")
    codes[0, 2, 1, 0] = np.nan
    valid = [False, True, True, True]
    found = detected(probabilities, proposals, codes, valid, count=3)
    np.testing.assert_array_equal(found.boxes[0], [RIGHT, [0] * 4, [0] * 4])


def test_images_may_have_different_sizes():
    found = detections.detect(
        np.log([[[0.1, 0.9]]] * 2),
        np.zeros((2, 1, 2, 4)),
        np.array([[[0, 0, 50, 50]]] * 2),
        np.ones((2, 1), bool),
        image_size=(np.array([20, 100]), np.array([30, 40])),
        count=1,
    )
    np.testing.assert_array_equal(found.boxes[:, 0], [[0, 0, 20, 30], [0, 0, 50, 40]])


def by_loop(boxes, scores, count, threshold):
    """Greedy NMS of each class, then the best of all classes."""
    found = []
    for number, (of_class, values) in enumerate(zip(boxes, scores, strict=True), 1):
        overlaps, kept = np.array(box_ops.iou(of_class, of_class)), []
        for i in np.argsort(-values, kind="stable"):
            if values[i] > 0 and all(overlaps[i, j] <= threshold for j in kept):
                kept.append(i)
        found += [(-values[i], number, *of_class[i]) for i in kept]
    return sorted(found, key=lambda row: row[:2])[:count]


@hypothesis.given(st.integers(0, 2**32 - 1), st.sampled_from([1, 8, 40]))
@hypothesis.settings(max_examples=15, deadline=None)
def test_it_equals_nms_of_each_class(seed, count):
    random = np.random.default_rng(seed)
    start = random.integers(0, 12, (2, 3, 12, 2))
    sides = random.integers(1, 9, (2, 3, 12, 2))
    boxes = np.concatenate([start, start + sides], axis=-1).astype("float32")
    scores = random.uniform(-0.2, 1, (2, 3, 12)).astype("float32")
    found = detections.select(boxes, np.maximum(scores, 0), count, 0.4)
    for i in range(2):
        rows = by_loop(boxes[i], scores[i], count, 0.4)
        valid = np.array(found.valid)[i]
        assert valid.sum() == len(rows)
        np.testing.assert_array_equal(
            np.array(found.scores)[i][valid], [-row[0] for row in rows]
        )
        np.testing.assert_array_equal(
            np.array(found.classes)[i][valid], [row[1] for row in rows]
        )
        np.testing.assert_array_equal(
            np.array(found.boxes)[i][valid].reshape(-1, 4),
            np.array([row[2:] for row in rows]).reshape(-1, 4),
        )
