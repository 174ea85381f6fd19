"""Masks of the size of the image."""

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from kerasseg.instances import pasting


def by_tensors(masks, boxes, *arguments):
    """The other version, for one image."""
    return np.array(pasting.paste_tensors(masks[None], boxes[None], *arguments))[0]


def both(masks, boxes, *arguments):
    """Pastes with both versions, which must be equal."""
    masks, boxes = np.array(masks, "float32"), np.array(boxes, "float32")
    found = pasting.paste(masks, boxes, *arguments)
    np.testing.assert_array_equal(by_tensors(masks, boxes, *arguments), found)
    return found


def test_a_full_mask_fills_the_pixels_whose_centers_are_in_the_box():
    (found,) = both(np.ones((1, 28, 28)), [[2, 3, 5, 7]], 8, 9)
    expected = np.zeros((8, 9), bool)
    expected[2:5, 3:7] = True
    np.testing.assert_array_equal(found, expected)
    # From 2.4 to 4.6: the centers 2.5, 3.5 and 4.5; from 3.6 to 4.4: none.
    (found,) = both(np.ones((1, 28, 28)), [[2.4, 3, 4.6, 7]], 8, 9)
    np.testing.assert_array_equal(found, expected)
    assert not both(np.ones((1, 28, 28)), [[3.6, 3, 4.4, 7]], 8, 9).any()


def test_interpolation_is_at_pixel_centers():
    # Two cells with centers at 1 and 3 of four pixels, at 0.5, 1.5, 2.5, 3.5. The value
    # falls from 1 to 0 between the cells: 0.75 and 0.25 in the middle, and 0.75 * 1
    # and 0 beyond the outer cells, where the neighbor is 0.
    mask = np.array([[[1, 0], [1, 0]]])
    box = [[0, 0, 4, 4]]
    # Rows have the factors 0.75, 1, 1, 0.75.
    (found,) = both(mask, box, 4, 4, 0.7)
    expected = [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(found, np.array(expected, bool))
    (found,) = both(mask, box, 4, 4, 0.25)
    np.testing.assert_array_equal(found[1], [True, True, True, False])


def test_boxes_beyond_the_image_are_cut():
    (found,) = both(np.ones((1, 4, 4)), [[-3, -2, 2, 3]], 5, 4)
    expected = np.zeros((5, 4), bool)
    expected[:2, :3] = True
    np.testing.assert_array_equal(found, expected)
    outside = [[9, 9, 20, 20], [-20, -20, -9, -9]]
    assert not both(np.ones((2, 4, 4)), outside, 5, 4).any()


def test_boxes_without_area_set_no_pixel():
    boxes = [[1, 1, 1, 3], [3, 3, 1, 1], [0, 0, 0, 0]]
    assert not both(np.ones((3, 4, 4)), boxes, 5, 5).any()
    assert not pasting.paste(
        np.ones((1, 4, 4)), np.array([[0, 0, np.nan, 3]]), 5, 5
    ).any()


def test_no_detection_gives_no_mask():
    assert pasting.paste(np.zeros((0, 4, 4)), np.zeros((0, 4)), 5, 6).shape == (0, 5, 6)


def test_one_mask_has_its_place_in_the_image():
    box = np.array([10, 20, 14, 28])
    top, left, part = pasting.paste_one(np.ones((28, 28)), box, 100, 100)
    rows, columns = np.nonzero(part)
    assert (rows.min() + top, rows.max() + top) == (10, 13)
    assert (columns.min() + left, columns.max() + left) == (20, 27)
    assert part.shape[0] <= 6 and part.shape[1] <= 10


@hypothesis.given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.5, 0.9]))
@hypothesis.settings(max_examples=20, deadline=None)
def test_both_versions_are_equal(seed, threshold):
    random = np.random.default_rng(seed)
    masks = random.uniform(size=(4, 28, 28)).astype("float32")
    corner = random.uniform(-10, 30, (4, 2))
    boxes = np.concatenate([corner, corner + random.uniform(-1, 40, (4, 2))], axis=-1)
    both(masks, boxes, 31, 27, threshold)


def test_sizes_may_be_unknown():
    random = np.random.default_rng(0)
    masks = random.uniform(size=(2, 3, 28, 28)).astype("float32")
    boxes = np.array([[[0, 0, 9, 9], [3, 2, 20, 12], [5, 5, 6, 6]]] * 2, "float32")

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, None, 3)),
            tf.TensorSpec((None, 3, 28, 28)),
            tf.TensorSpec((None, 3, 4)),
        ]
    )
    def paste(image, masks, boxes):
        height, width = tf.unstack(tf.shape(image)[1:3])
        return pasting.paste_tensors(masks, boxes, height, width)

    found = paste(np.zeros((2, 13, 11, 3), "float32"), masks, boxes)
    expected = [
        pasting.paste(*image, 13, 11) for image in zip(masks, boxes, strict=True)
    ]
    np.testing.assert_array_equal(found, expected)
