"""U-Net's weights of borders, by hand."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kerasseg.pipeline import border_weights


def weights(rows, **options):
    return border_weights.border_weights(np.array(rows, np.uint16), **options)


def test_between_two_objects_four_pixels_apart():
    # Two pixels to either: 1 + 10 * exp(-(2 + 2)**2 / 50) = 1 + 7.2615; and so it is
    # nearer to one of them, since the other is further: 1 + 3, and 0 + 4 within.
    found = weights([[1, 0, 0, 0, 2]])
    np.testing.assert_allclose(found, np.full((1, 5), 8.2615), atol=5e-5)
    assert found.dtype == np.float32


def test_along_a_line_of_two_objects_that_touch():
    # Borders are the third and the fourth pixel; d1 + d2 is 2 + 3, 1 + 2, 0 + 1:
    # 10 * exp(-25 / 50) = 6.0653, exp(-9 / 50) = 0.83527, exp(-1 / 50) = 0.98020.
    found = weights([[1, 1, 1, 2, 2, 2]])
    half = [7.0653, 9.3527, 10.8020]
    np.testing.assert_allclose(found, [half + half[::-1]], atol=5e-5)


def test_distances_are_those_of_the_ruler():
    # The corner is 3 and 4 pixels from one object, which is 5, and as far from the
    # other: 2 * exp(-10**2 / (2 * 10**2)) = 1.21306.
    instances = np.zeros((5, 9), np.uint16)
    instances[4, 0], instances[4, 8] = 7, 300
    found = border_weights.border_weights(instances, w0=2.0, sigma=10.0)
    assert found[1, 4] == pytest.approx(2.21306, abs=1e-5)


@pytest.mark.parametrize("number", [0, 5])
def test_fewer_than_two_objects_leave_the_weight_of_the_class(number):
    instances = np.zeros((4, 6), np.uint16)
    instances[1:3, 2:4] = number
    np.testing.assert_array_equal(
        border_weights.border_weights(instances), np.ones((4, 6))
    )
    labels = np.array([[0, 1, 255]], np.uint8).repeat(2, axis=1)
    found = border_weights.border_weights(
        np.full((1, 6), number, np.uint16), labels, class_weights=[0.5, 3.0]
    )
    np.testing.assert_array_equal(found, [[0.5, 0.5, 3, 3, 0, 0]])


def test_classes_and_borders_add_up():
    labels = np.array([[1, 0, 0, 0, 1]], np.uint8)
    found = weights([[1, 0, 0, 0, 2]], labels=labels, class_weights=[0.25, 4.0])
    expected = [4 + 7.2615, 0.25 + 7.2615, 0.25 + 7.2615, 0.25 + 7.2615, 4 + 7.2615]
    np.testing.assert_allclose(found, [expected], atol=5e-5)


def test_two_parts_of_one_object_are_no_neighbours():
    apart = weights([[1, 0, 1, 0, 0, 0, 0, 0, 2]])
    alone = weights([[0, 0, 1, 0, 0, 0, 0, 0, 2]])
    np.testing.assert_array_equal(apart[0, 2:], alone[0, 2:])


def brute_force(instances, w0, sigma):
    """Measures from every pixel to every border pixel."""
    height, width = instances.shape
    y, x = np.mgrid[:height, :width]
    distances = []
    for number in set(instances.ravel().tolist()) - {0}:
        mask = np.pad(instances == number, 1, mode="edge")
        neighbours = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        border = np.argwhere(mask[1:-1, 1:-1] & ~neighbours)
        if len(border):
            to = (y[..., None] - border[:, 0]) ** 2 + (x[..., None] - border[:, 1]) ** 2
            distances.append(np.sqrt(to.min(-1)))
    if len(distances) < 2:
        return np.ones(instances.shape)
    nearest, second = np.sort(distances, axis=0)[:2]
    return 1 + w0 * np.exp(-((nearest + second) ** 2) / (2 * sigma**2))


@hypothesis.given(st.integers(0, 999), st.floats(0.5, 8), st.floats(0, 20))
@hypothesis.settings(max_examples=40, deadline=None)
def test_it_is_what_every_pair_of_pixels_says(seed, sigma, w0):
    rng = np.random.default_rng(seed)
    instances = np.zeros(rng.integers(1, 50, 2), np.uint16)
    for number in range(1, rng.integers(2, 6)):
        top, left = rng.integers(0, instances.shape)
        height, width = rng.integers(1, 20, 2)
        instances[top : top + height, left : left + width] = number
    found = border_weights.border_weights(instances, w0=w0, sigma=sigma)
    np.testing.assert_allclose(found, brute_force(instances, w0, sigma), atol=1e-4)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"w0": -1.0}, "w0 is at least 0 and sigma above 0, both finite; got -1.0"),
        ({"sigma": 0.0}, "got 10.0 and 0.0"),
        ({"class_weights": [1.0]}, r"instances, \(1, 2\); got None"),
        (
            {"class_weights": [1.0], "labels": np.zeros((2, 2), np.uint8)},
            r"\(1, 2\); got \(2, 2\)",
        ),
    ],
)
def test_numbers_that_make_no_weights_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        weights([[1, 2]], **options)
