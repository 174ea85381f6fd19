"""RoIAlign and the levels that RoIs are pooled from."""

import numpy as np
import pytest
import tensorflow as tf

from kerasseg.instances import levels, roi_align


def ramp(height, width, a=2.0, b=-3.0):
    """Features `a * y + b * x` of the index of the cell, `[1, height, width, 1]`."""
    y, x = np.mgrid[:height, :width].astype("float32")
    return (a * y + b * x)[None, :, :, None]


def pooled(features, box, *arguments, **options):
    """Pools one box of one image with one channel."""
    boxes = np.array([[box]], "float32")
    return np.array(roi_align.roi_align(features, boxes, *arguments, **options))[
        0, 0, ..., 0
    ]


def test_one_bin_is_worked_by_hand():
    features = np.array([[0, 10], [20, 30]], "float32").reshape(1, 2, 2, 1)
    # Centers of the cells lie at 0.5 and 1.5. One sample at the center of the box,
    # (0.75, 1), is a quarter of a cell below and half a cell right of the first one:
    # 0.25 * 20 + 0.5 * 10 = 10.
    found = pooled(features, (0.5, 0.5, 1, 1.5), 1, stride=1, sampling_ratio=1)
    np.testing.assert_allclose(found, [[10]])
    # Unaligned, the cells lie at 0 and 1, and the box has at least one cell: its center
    # is (0.5 + 0.5, 0.5 + 0.5) = (1, 1).
    options = {"stride": 1, "sampling_ratio": 1, "aligned": False}
    np.testing.assert_allclose(
        pooled(features, (0.5, 0.5, 1, 1.5), 1, **options), [[30]]
    )


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("stride", [1, 4])
def test_a_ramp_is_exact_at_the_centers_of_the_bins(aligned, stride):
    box = np.array([3.3, 4.1, 20.8, 15.2])
    found = pooled(
        ramp(30, 30), box * stride, 7, stride=stride, aligned=aligned, sampling_ratio=2
    )
    y = box[0] + (np.arange(7) + 0.5) * (box[2] - box[0]) / 7 - 0.5 * aligned
    x = box[1] + (np.arange(7) + 0.5) * (box[3] - box[1]) / 7 - 0.5 * aligned
    np.testing.assert_allclose(found, 2 * y[:, None] - 3 * x, atol=2e-5)


def test_a_shift_by_one_stride_shifts_the_features():
    random = np.random.default_rng(0)
    features = random.normal(size=(1, 12, 12, 1)).astype("float32")
    shifted = np.roll(features, 1, axis=(1, 2))
    box = np.array([9, 10, 30, 32.0])
    np.testing.assert_allclose(
        pooled(features, box, 5, stride=4),
        pooled(shifted, box + 4, 5, stride=4),
        atol=1e-5,
    )


def test_samples_far_outside_are_0_and_near_ones_are_clamped():
    features = np.full((1, 4, 4, 1), 8, "float32")
    # Four samples at y = -2, -1, 0, 1 (relative to the centers of the cells): only the
    # first is more than one cell outside. Columns are inside.
    found = pooled(features, (-2, 1, 2, 3), 4, stride=1, sampling_ratio=1)
    np.testing.assert_allclose(found[:, 0], [0, 8, 8, 8])
    # The last cell has its center at 3, so 4 is the last position that counts.
    found = pooled(features, (2, 1, 6, 3), 4, stride=1, sampling_ratio=1)
    np.testing.assert_allclose(found[:, 0], [8, 8, 8, 0])


def test_a_coordinate_that_is_not_a_number_gives_0():
    found = pooled(ramp(4, 4), (np.nan, 0, 2, np.inf), 2, stride=1)
    np.testing.assert_array_equal(found, np.zeros((2, 2)))


def pyramid(batch=2, channels=3):
    random = np.random.default_rng(1)
    sizes = [(16, 21), (8, 11), (4, 6), (2, 3)]
    maps = [random.normal(size=(batch, *s, channels)).astype("float32") for s in sizes]
    corner = random.uniform(-5, 60, (batch, 20, 2))
    end = corner + random.uniform(0, 60, (batch, 20, 2))
    boxes = np.concatenate([corner, end], axis=-1).astype("float32")
    return maps, boxes, random.integers(0, 4, (batch, 20))


STRIDES = (4, 8, 16, 32)


def test_each_box_is_pooled_from_its_level():
    maps, boxes, chosen = pyramid()
    found = np.array(
        roi_align.pyramid_roi_align(maps, boxes, chosen, 3, strides=STRIDES)
    )
    assert found.shape == (2, 20, 3, 3, 3)
    for level, (map_, stride) in enumerate(zip(maps, STRIDES, strict=True)):
        single = np.array(roi_align.roi_align(map_, boxes, 3, stride=stride))
        here = chosen == level
        np.testing.assert_allclose(found[here], single[here], atol=1e-6)


def test_sizes_may_be_unknown_and_features_get_gradients():
    maps, boxes, chosen = pyramid()

    def gradients(maps, boxes):
        with tf.GradientTape() as tape:
            tape.watch([*maps, boxes])
            pooled = roi_align.pyramid_roi_align(
                maps, boxes, chosen, 3, strides=STRIDES
            )
            total = tf.reduce_sum(pooled)
        *slopes, none = tape.gradient(total, [*maps, boxes])
        assert none is None
        return pooled, [tf.convert_to_tensor(slope) for slope in slopes]

    maps = [tf.constant(map_) for map_ in maps]
    unknown = [tf.TensorSpec((None, None, None, 3))] * len(maps)
    compiled = tf.function(
        gradients, input_signature=[unknown, tf.TensorSpec((None, None, 4))]
    )
    values, slopes = compiled(maps, tf.constant(boxes))
    expected, expected_slopes = gradients(maps, tf.constant(boxes))
    np.testing.assert_allclose(values, expected, atol=1e-5)
    for slope, other in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(slope, other, atol=1e-4)


def test_gradients_are_the_weights_of_the_cells():
    features = tf.zeros((1, 2, 2, 1))
    with tf.GradientTape() as tape:
        tape.watch(features)
        boxes = tf.constant([[[0.5, 0.5, 1, 1.5]]])
        total = tf.reduce_sum(
            roi_align.roi_align(features, boxes, 1, stride=1, sampling_ratio=1)
        )
    # As in the first test: a quarter of a cell down, half a cell right.
    expected = np.array([[0.75 * 0.5, 0.75 * 0.5], [0.25 * 0.5, 0.25 * 0.5]])
    np.testing.assert_allclose(tape.gradient(total, features)[0, :, :, 0], expected)


def test_half_precision_is_added_in_float32():
    maps, boxes, chosen = pyramid()
    half = [tf.constant(map_.astype("float16")) for map_ in maps]
    with tf.GradientTape() as tape:
        tape.watch(half)
        found = roi_align.pyramid_roi_align(half, boxes, chosen, 3, strides=STRIDES)
    assert {slope.dtype for slope in tape.gradient(found, half)} == {tf.float16}
    exact = [tf.cast(map_, "float32") for map_ in half]
    expected = roi_align.pyramid_roi_align(exact, boxes, chosen, 3, strides=STRIDES)
    assert found.dtype == "float16"
    np.testing.assert_array_equal(found, np.array(expected).astype("float16"))


@pytest.mark.parametrize(
    "height, width, level",
    [
        *((224, 224, 4), (112, 112, 3), (111, 112, 2), (448, 448, 5), (447, 448, 4)),
        *((56, 224, 3), (4000, 4000, 5), (1, 1, 2), (0, 9, 2)),  # sqrt(56 * 224) = 112.
    ],
)
def test_levels_are_those_of_the_paper(height, width, level):
    boxes = np.array([[10, 20, 10 + height, 20 + width]], "float32")
    assert int(levels.assign(boxes)[0]) + 2 == level
