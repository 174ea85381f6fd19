"""Anchors of the region proposal network."""

import numpy as np
import pytest
import tensorflow as tf

from kerasseg.instances import anchors, boxes

STRIDES = (4, 8, 16, 32, 64)


def test_base_anchors_are_rounded():
    # 32 * sqrt(1/2) = 22.6 and 32 / sqrt(1/2) = 45.3; their halves are 11.3 and 22.6.
    expected = [[-11, -23, 11, 23], [-16, -16, 16, 16], [-23, -11, 23, 11]]
    np.testing.assert_array_equal(anchors.base_anchors(32), expected)


@pytest.mark.parametrize(
    "size, count",
    # (256^2 + 128^2 + 64^2 + 32^2 + 16^2) * 3, and likewise 200 * 336, 100 * 168,
    # 50 * 84, 25 * 42 and 13 * 21.
    [((1024, 1024), 261_888), ((800, 1344), 268_569)],
)
def test_number_of_anchors_is_that_of_the_paper(size, count):
    sizes = [[-(-side // stride) for side in size] for stride in STRIDES]
    levels = anchors.pyramid_anchors(sizes, STRIDES)
    assert sum(level.shape[0] for level in levels) == count


def test_anchors_are_ordered_by_row_column_and_ratio():
    found = np.array(anchors.level_anchors(2, 3, 4, size=8, ratios=(1, 2)))
    # Sides of 8 for ratio 1; 11.3 by 5.7 for 2, whose halves are rounded to 6 and 3.
    base = np.array([[-4, -4, 4, 4], [-6, -3, 6, 3]])
    expected = [
        base[ratio] + [4 * row, 4 * column] * 2
        for row in range(2)
        for column in range(3)
        for ratio in range(2)
    ]
    np.testing.assert_array_equal(found, expected)


def test_anchors_have_about_their_size():
    for size, level in zip(
        anchors.SIZES, anchors.pyramid_anchors([(1, 1)] * 5, STRIDES), strict=True
    ):
        np.testing.assert_allclose(np.sqrt(boxes.area(level)), size, rtol=0.03)


def test_strides_are_rounded_down():
    # 100 // 25 = 4; 101 // 26 = 3, as in torchvision; 100 // 2 and 101 // 2 = 50.
    found = anchors.strides((100, 101), [(25, 26), (2, 2)])
    assert found == [(4, 3), (50, 50)]
    level = np.array(anchors.level_anchors(1, 2, (4, 3), size=2, ratios=(1,)))
    np.testing.assert_array_equal(level, [[-1, -1, 1, 1], [-1, 2, 1, 4]])


def test_sizes_may_be_tensors():
    @tf.function(input_signature=[tf.TensorSpec((None, None))])
    def level_of(image):
        size = tf.unstack(tf.shape(image))
        map_size = [-(-side // 4) for side in size]
        (stride,) = anchors.strides(size, [map_size])
        return anchors.level_anchors(*map_size, stride, size=32)

    expected = anchors.level_anchors(4, 5, 4, size=32)
    np.testing.assert_array_equal(level_of(tf.zeros((16, 20))), expected)
