"""The fused warp: alignment of image and label, scale, flip, deformation, borders."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg.pipeline import augment

SIDES = st.integers(1, 90)
SCALES = st.floats(0.5, 2.0)


def coordinates(height, width):
    """An image with x in red and y in green, and a label with x."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([x, y, np.full_like(x, 7)], axis=-1), x


def identity(height, width, **options):
    """An augmentation that does not change the image except by `options`."""
    settings = {"min_scale_factor": 1.0, "max_scale_factor": 1.0, "flip": False}
    return augment.Augmentation(crop_size=(height, width), **{**settings, **options})


def test_no_augmentation_changes_nothing():
    image, label = coordinates(5, 9)
    warped, warped_label = augment.augment(
        image, label, identity(5, 9), np.random.default_rng(0)
    )
    np.testing.assert_array_equal(warped, image)
    np.testing.assert_array_equal(warped_label, label)


def test_flip_swaps_left_and_right():
    image, label = coordinates(4, 6)
    matrix = augment.crop_matrix((4, 6), 1.0, (0, 0), flipped=True)
    warped, warped_label = augment.warp(image, label, matrix, (4, 6))
    np.testing.assert_array_equal(warped, image[:, ::-1])
    np.testing.assert_array_equal(warped_label, label[:, ::-1])


def test_double_scale_is_half_pixel_bilinear():
    # Two pixels 0 and 100 at twice the size: their centers are at 1 and 3 of 4, so the
    # four new centers 0.5, 1.5, 2.5, 3.5 read 0 mixed with the border, 25, 75, ...
    image = np.array([[[0] * 3, [100] * 3]], np.uint8)
    matrix = augment.crop_matrix((2, 4), 2.0, (0, 0))
    warped, label = augment.warp(image, np.array([[3, 4]], np.uint8), matrix, (2, 4))
    assert matrix.tolist() == [[0.5, 0.0, -0.25], [0.0, 0.5, -0.25]]
    # Rows read 1/4 of the border above or below: (124 + 3 * 25) / 4 is 49.75.
    assert abs(int(warped[0, 1, 0]) - 49.75) <= 1
    assert abs(int(warped[0, 2, 0]) - (124 + 3 * 75) / 4) <= 1
    assert label.tolist() == [[3, 3, 4, 4]] * 2


def test_padding_is_the_mean_color_and_the_ignore_label():
    image, label = coordinates(2, 2)
    matrix = augment.crop_matrix((4, 4), 1.0, (-1, -1))
    warped, warped_label = augment.warp(image, label, matrix, (4, 4))
    assert warped[0, 0].tolist() == [124, 116, 104]
    assert warped_label[0].tolist() == [255] * 4
    np.testing.assert_array_equal(warped[1:3, 1:3], image)


@settings(max_examples=150, deadline=None)
@given(
    height=SIDES,
    width=SIDES,
    crop=st.tuples(SIDES, SIDES),
    seed=st.integers(0, 10**6),
    options=st.sampled_from([{}, {"rotation": 10.0}, {"elastic_deformation": 10.0}]),
)
def test_no_new_labels_appear(height, width, crop, seed, options):
    rng = np.random.default_rng(seed)
    label = rng.choice([1, 5, 200], (height, width)).astype(np.uint8)
    image = np.zeros((height, width, 3), np.uint8)
    augmentation = augment.Augmentation(crop_size=crop, **options)
    warped, warped_label = augment.augment(image, label, augmentation, rng)
    assert warped.shape == (*crop, 3) and warped_label.shape == crop
    assert set(np.unique(warped_label)) <= set(np.unique(label)) | {255}


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(20, 200),
    width=st.integers(20, 200),
    seed=st.integers(0, 10**6),
    options=st.sampled_from([{}, {"rotation": 15.0}, {"elastic_deformation": 10.0}]),
)
def test_image_and_label_stay_aligned_to_half_a_pixel(height, width, seed, options):
    image, label = coordinates(height, width)
    augmentation = augment.Augmentation(crop_size=(65, 70), **options)
    rng = np.random.default_rng(seed)
    warped, warped_label, instances = augment.augment(
        image, label, augmentation, rng, label.astype(np.uint16) + 1
    )
    np.testing.assert_array_equal(instances, (warped_label + np.uint8(1)))
    # Inside, red is the interpolated x and the label the x of the nearest pixel, plus
    # rounding. Pixels mixed with the padding color, seen in blue, are left out.
    inside = (warped[..., 2] == 7) & (warped_label != 255)
    difference = np.abs(warped[..., 0].astype(int) - warped_label)[inside]
    assert difference.size == 0 or difference.max() <= 1


@settings(max_examples=100, deadline=None)
@given(scale=SCALES, flipped=st.booleans(), seed=st.integers(0, 10**6))
def test_scale_and_flip_are_applied(scale, flipped, seed):
    rng = np.random.default_rng(seed)
    offset = rng.integers(-20, 20, 2)
    matrix = augment.crop_matrix((40, 60), scale, offset, flipped=flipped)
    # In continuous coordinates: x of the crop (60 - x if flipped), plus the offset,
    # divided by the scale.
    for x, y in [(0.0, 0.0), (60.0, 40.0), (12.5, 7.25)]:
        source = matrix @ [x - 0.5, y - 0.5, 1] + 0.5
        unflipped = 60 - x if flipped else x
        expected = [(unflipped + offset[1]) / scale, (y + offset[0]) / scale]
        np.testing.assert_allclose(source, expected, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(st.integers(20, 200), st.integers(20, 200)),
    crop=st.tuples(SIDES, SIDES),
    seed=st.integers(0, 10**6),
)
def test_displacements_of_zero_deform_nothing(size, crop, seed):
    image, label = coordinates(*size)
    augmentation = augment.Augmentation(crop_size=crop, rotation=10.0)
    matrix = augment.sample_matrix(augmentation, *size, np.random.default_rng(seed))
    expected, expected_label = augment.warp(image, label, matrix, crop)
    zeros = np.zeros((3, 3, 2), np.float32)
    bent, bent_label = augment.warp(
        image, label, augment.bend(matrix, zeros, crop), crop
    )
    # Both interpolate at multiples of 1/32 pixel: an error of 1 by rounding, and of
    # 1/32 of the padding color at the border.
    assert np.abs(bent.astype(int) - expected).max() <= 4
    both = (bent_label != 255) & (expected_label != 255)
    assert np.abs(bent_label.astype(int) - expected_label)[both].max(initial=0) <= 1


def test_equal_displacements_shift_the_crop():
    image, label = coordinates(20, 30)
    matrix = augment.crop_matrix((9, 9), 1.0, (4, 6))
    source = augment.bend(matrix, np.full((3, 3, 2), [5, -3], np.float32), (9, 9))
    bent, bent_label = augment.warp(image, label, source, (9, 9))
    np.testing.assert_array_equal(bent, image[4 - 3 : 13 - 3, 6 + 5 : 15 + 5])
    np.testing.assert_array_equal(bent_label, label[1:10, 11:20])


def test_control_points_are_at_cell_centers_with_interpolation_between_them():
    displacements = np.zeros((3, 3, 2), np.float32)
    displacements[1, 1] = 4, 2
    matrix = augment.crop_matrix((9, 9), 1.0, (0, 0))
    x, y = augment.bend(matrix, displacements, (9, 9))
    # The centers of 3x3 cells of 3x3 pixels are pixels 1, 4 and 7.
    assert (x[4, 4], y[4, 4]) == (4 + 4, 4 + 2)
    assert (x[4, 1], y[4, 1]) == (1, 4) and (x[1, 4], y[1, 4]) == (4, 1)
    # OpenCV's cubic kernel, 1 - 2.25 d**2 + 1.25 d**3 at distance d, here 1/3 and 2/3.
    assert x[4, 5] - 5 == pytest.approx(4 * (1 - 2.25 / 9 + 1.25 / 27), rel=1e-5)
    assert x[4, 6] - 6 == pytest.approx(4 * (1 - 2.25 * 4 / 9 + 10 / 27), rel=1e-5)


def test_displacements_have_the_given_standard_deviation():
    rng = np.random.default_rng(0)
    augmentation = identity(9, 9, elastic_deformation=10.0)
    drawn = np.stack(
        [augment.sample_displacements(augmentation, rng) for _ in range(500)]
    )
    assert drawn.shape == (500, 3, 3, 2) and drawn.dtype == np.float32
    # 9000 numbers: the standard error of the mean is 10 / 95.
    assert abs(drawn.mean()) < 0.4 and drawn.std() == pytest.approx(10, abs=0.3)


def test_scales_cover_their_range():
    rng = np.random.default_rng(0)
    augmentation = augment.Augmentation(crop_size=(10, 10), flip=False)
    scales = [
        1 / augment.sample_matrix(augmentation, 50, 50, rng)[0, 0] for _ in range(500)
    ]
    assert 0.5 <= min(scales) < 0.52 and 1.98 < max(scales) <= 2.0


def test_offsets_cover_the_whole_slack():
    assert {augment._random_offset(2, r / 10) for r in range(10)} == {0, 1, 2}
    assert {augment._random_offset(-2, r / 10) for r in range(10)} == {-2, -1, 0}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((375, 500), 256 / 375),  # 256 x 341.3 would be too long: 336 / 500.
        ((256, 256), 1.0),
        ((100, 400), 336 / 400),
    ],
)
def test_images_are_resized_to_the_target_size(size, expected):
    factor = augment.resize_factor(*size, 256, 336)
    assert factor == pytest.approx(min(expected, 336 / max(size)))


def test_colors_change_within_their_bounds():
    image = np.full((2, 2, 3), 100, np.uint8)
    brighter = identity(2, 2, brightness=0.1)
    values = {
        int(augment.change_colors(image, brighter, np.random.default_rng(i))[0, 0, 0])
        for i in range(200)
    }
    assert 100 - 26 <= min(values) < 85 and 115 < max(values) <= 100 + 26
    gray = augment.change_colors(
        np.array([[[200, 100, 50]]], np.uint8),
        identity(1, 1, saturation=1.0),
        np.random.default_rng(3),
    )
    assert gray.dtype == np.uint8


def test_equal_seeds_give_equal_images():
    image, label = coordinates(40, 40)
    augmentation = augment.Augmentation(
        crop_size=(30, 30), brightness=0.2, saturation=0.2, elastic_deformation=5.0
    )
    first, again, other = (
        augment.augment(image, label, augmentation, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_size": (0, 5)}, r"crop_size .* got \(0, 5\)"),
        ({"min_scale_factor": 3.0}, "min_scale_factor <= max_scale_factor.* 3.0"),
        ({"max_scale_factor": math.inf}, "min_scale_factor <= max_scale_fac.* inf"),
        ({"rotation": math.nan}, "finite number of degrees, got nan"),
        ({"min_resize_value": -5}, "min_resize_value must be at least 1 pixel, got -5"),
        ({"max_resize_value": 0}, "max_resize_value must be at least 1 pixel, got 0"),
        ({"elastic_deformation": -1.0}, "number of pixels, at least 0, got -1.0"),
        ({"contrast": 2.0}, r"contrast must be in \[0, 1\], got 2.0"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        augment.Augmentation(**options)
