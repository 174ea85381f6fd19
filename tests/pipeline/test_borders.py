"""The border weights of U-Net, computed by hand."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kerasseg.pipeline import border_weights


def weights(rows, **options):
    return border_weights.border_weights(np.array(rows, np.uint16), **options)


def test_between_two_objects_four_pixels_apart():
    # In the middle, 2 pixels to each: 1 + 10 * exp(-(2 + 2)**2 / 50) = 1 + 7.2615. The
    # sum of both distances is 4 everywhere: 1 + 3 next to an object, 0 + 4 on it.
    result = weights([[1, 0, 0, 0, 2]])
    np.testing.assert_allclose(result, np.full((1, 5), 8.2615), atol=5e-5)
    assert result.dtype == np.float32


def test_along_a_line_of_two_objects_that_touch():
    # Borders are the third and the fourth pixel; d1 + d2 is 2 + 3, 1 + 2, 0 + 1:
    # 10 * exp(-25 / 50) = 6.0653, exp(-9 / 50) = 0.83527, exp(-1 / 50) = 0.98020.
    result = weights([[1, 1, 1, 2, 2, 2]])
    half = [7.0653, 9.3527, 10.8020]
    np.testing.assert_allclose(result, [half + half[::-1]], atol=5e-5)


def test_distances_are_euclidean():
    # The pixel is 3 rows and 4 columns, a distance of 5, from each of the two objects:
    # 2 * exp(-10**2 / (2 * 10**2)) = 1.21306.
    instances = np.zeros((5, 9), np.uint16)
    instances[4, 0], instances[4, 8] = 7, 300
    result = border_weights.border_weights(instances, w0=2.0, sigma=10.0)
    assert result[1, 4] == pytest.approx(2.21306, abs=1e-5)


@pytest.mark.parametrize("number", [0, 5])
def test_fewer_than_two_objects_give_the_class_weight(number):
    instances = np.zeros((4, 6), np.uint16)
    instances[1:3, 2:4] = number
    np.testing.assert_array_equal(
        border_weights.border_weights(instances), np.ones((4, 6))
    )
    labels = np.array([[0, 1, 255]], np.uint8).repeat(2, axis=1)
    result = border_weights.border_weights(
        np.full((1, 6), number, np.uint16), labels, class_weights=[0.5, 3.0]
    )
    np.testing.assert_array_equal(result, [[0.5, 0.5, 3, 3, 0, 0]])


def test_class_and_border_weights_are_added():
    labels = np.array([[1, 0, 0, 0, 1]], np.uint8)
    result = weights([[1, 0, 0, 0, 2]], labels=labels, class_weights=[0.25, 4.0])
    expected = [4 + 7.2615, 0.25 + 7.2615, 0.25 + 7.2615, 0.25 + 7.2615, 4 + 7.2615]
    np.testing.assert_allclose(result, [expected], atol=5e-5)


def test_two_parts_of_one_object_are_not_two_objects():
    both = weights([[1, 0, 1, 0, 0, 0, 0, 0, 2]])
    one = weights([[0, 0, 1, 0, 0, 0, 0, 0, 2]])
    np.testing.assert_array_equal(both[0, 2:], one[0, 2:])


def brute_force(instances, w0, sigma):
    """Computes the distance of every pixel to every border pixel."""
    height, width = instances.shape
    y, x = np.mgrid[:height, :width]
    distances = []
    for number in set(instances.ravel().tolist()) - {0}:
        mask = np.pad(instances == number, 1, mode="edge")
        neighbors = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        border = np.argwhere(mask[1:-1, 1:-1] & ~neighbors)
        if len(border):
            to = (y[..., None] - border[:, 0]) ** 2 + (x[..., None] - border[:, 1]) ** 2
            distances.append(np.sqrt(to.min(-1)))
    if len(distances) < 2:
        return np.ones(instances.shape)
    nearest, second = np.sort(distances, axis=0)[:2]
    return 1 + w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))


@hypothesis.given(st.integers(0, 999), st.floats(0.5, 8), st.floats(0, 20))
@hypothesis.settings(max_examples=40, deadline=None)
def test_weights_equal_those_of_the_brute_force(seed, sigma, w0):
    rng = np.random.default_rng(seed)
    instances = np.zeros(rng.integers(1, 50, 2), np.uint16)
    for number in range(1, rng.integers(2, 6)):
        top, left = rng.integers(0, instances.shape)
        height, width = rng.integers(1, 20, 2)
        instances[top : top + height, left : left + width] = number
    result = border_weights.border_weights(instances, w0=w0, sigma=sigma)
    np.testing.assert_allclose(result, brute_force(instances, w0, sigma), atol=1e-4)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"w0": -1.0},
            "w0 must be at least 0 and sigma above 0, both finite; got -1.0",
        ),
        ({"sigma": 0.0}, "got 10.0 and 0.0"),
        ({"class_weights": [1.0]}, r"instances, \(1, 2\), got None"),
        (
            {"class_weights": [1.0], "labels": np.zeros((2, 2), np.uint8)},
            r"\(1, 2\), got \(2, 2\)",
        ),
    ],
)
def test_invalid_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        weights([[1, 2]], **options)
