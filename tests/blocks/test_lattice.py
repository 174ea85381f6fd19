"""Spatial and bilateral Gaussian filters, compared with sums over all pairs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg.blocks import gaussians, lattice_cells
from kerasseg.blocks.lattice import Lattice
from tests.support import exact_crf

RNG = np.random.default_rng(0)


def values(*shape):
    return RNG.uniform(0, 1, shape).astype("float32")


def matrix(lattice, height, width):
    """Returns the matrix of a lattice, by filtering each pixel alone."""
    pixels = height * width
    ones = np.eye(pixels, dtype="float32").reshape(1, height, width, pixels)
    return lattice.filter(ones).numpy().reshape(pixels, pixels)


def test_one_pixel_in_one_dimension_equals_that_worked_by_hand():
    # It lies on a lattice point, with weight 1; the next point has weight 0. The blur
    # along either axis passes 1/2 to it and back: 1 + 1/4. The sum is divided by
    # 1 + 2**-1.
    lattice = Lattice(np.zeros((1, 1, 1, 1), "float32"))
    np.testing.assert_allclose(
        lattice.filter(np.full((1, 1, 1, 1), 6.0)), 6 * 1.25 / 1.5
    )


@pytest.mark.parametrize(
    ("dimensions", "allowed"), [(1, 0.001), (2, 0.002), (3, 0.003), (5, 0.01)]
)
def test_means_are_close_to_the_exact_ones(dimensions, allowed):
    # Mean errors of values from 0 to 1 were 0.0007, 0.0011, 0.0022 and 0.0084. In five
    # dimensions the error of an isolated pixel can be 0.3.
    features = RNG.normal(size=(1, 20, 20, dimensions)).astype("float32")
    weights = exact_crf.gauss(features.reshape(-1, dimensions).astype(float))
    exact = exact_crf.normalized(weights, symmetric=False)
    lattice, x = Lattice(features), values(1, 20, 20, 4)
    means = lattice.filter(x) / lattice.filter(np.ones_like(x))
    error = np.abs(means.numpy().reshape(-1, 4) - exact @ x.reshape(-1, 4))
    assert error.mean() < allowed


def test_distant_pixels_do_not_exchange_messages():
    features = np.zeros((1, 1, 2, 3), "float32")
    features[0, 0, 1] = 20
    sums = matrix(Lattice(features), 1, 2)
    assert sums[0, 1] == sums[1, 0] == 0
    assert sums[0, 0] > 0.5 and sums[1, 1] > 0.5


def test_the_gradient_is_filtered_by_the_transposed_matrix():
    lattice = Lattice(RNG.normal(size=(1, 4, 5, 3)).astype("float32"))
    sums = matrix(lattice, 4, 5)
    x, weights = tf.constant(values(1, 4, 5, 2)), values(1, 4, 5, 2)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(lattice.filter(x) * weights)
    gradient = tape.gradient(loss, x).numpy().reshape(20, 2)
    np.testing.assert_allclose(gradient, sums.T @ weights.reshape(20, 2), rtol=1e-5)
    assert not np.allclose(sums, sums.T, rtol=1e-5)  # The order of the axes matters.


def test_images_of_a_batch_are_filtered_separately():
    features, x = values(3, 6, 7, 5), values(3, 6, 7, 2)
    together = Lattice(features).filter(x)
    for i in range(3):
        alone = Lattice(features[i : i + 1]).filter(x[i : i + 1])
        np.testing.assert_allclose(together[i : i + 1], alone, rtol=1e-5)


def test_keys_in_two_parts_find_the_same_cells(monkeypatch):
    features = 9 * values(2, 12, 13, 5)
    x = values(2, 12, 13, 2)
    one = Lattice(features).filter(x)
    monkeypatch.setattr(lattice_cells, "_PARTS", 2)
    monkeypatch.setattr(lattice_cells, "_KEY_TYPE", "int32")
    np.testing.assert_array_equal(Lattice(features).filter(x), one)


def test_one_graph_filters_images_of_any_size():
    unknown = [
        tf.TensorSpec([None, None, None, 5]),
        tf.TensorSpec([None, None, None, 2]),
    ]
    graph = tf.function(
        lambda f, x: Lattice(f).filter(x), input_signature=unknown, autograph=False
    )
    for size in ((1, 1, 1), (2, 5, 3), (1, 16, 9)):
        features, x = values(*size, 5), values(*size, 2)
        expected = Lattice(features).filter(x)
        np.testing.assert_allclose(graph(features, x), expected, rtol=1e-5)


def test_values_keep_their_dtype():
    x = np.ones((1, 3, 4, 2))
    lattice = Lattice(values(1, 3, 4, 5))
    assert lattice.filter(x).dtype == "float64"
    assert gaussians.smooth(tf.constant(x), 3.0).dtype == "float64"
    single = lattice.filter(x.astype("float32"))
    np.testing.assert_allclose(lattice.filter(x), single, rtol=1e-5)


@pytest.mark.parametrize("sxy", [1e-3, 0.5, 3.0, 40.0, 1e300])
def test_smoothing_sums_over_all_pairs(sxy):
    x = values(2, 9, 14, 3)
    positions = np.indices((9, 14)).reshape(2, -1).T / sxy
    exact = exact_crf.gauss(positions) @ x.reshape(2, -1, 3)
    smooth = gaussians.smooth(tf.constant(x), sxy).numpy().reshape(2, -1, 3)
    np.testing.assert_allclose(smooth, exact, rtol=5e-4)  # 4 deviations are summed.


def test_the_bilateral_features_are_position_and_color():
    image = RNG.integers(0, 256, (1, 6, 8, 3)).astype("float32")
    sums = matrix(gaussians.bilateral_lattice(image, 4.0, 60.0), 6, 8)
    _, exact = exact_crf.kernels(image[0], 1, 4.0, 60.0)
    means, exact = (exact_crf.normalized(k, symmetric=False) for k in (sums, exact))
    assert np.abs(means - exact).mean() < 0.01
    assert np.corrcoef(means.ravel(), exact.ravel())[0, 1] > 0.95


def test_an_image_of_one_color_is_filtered_by_position():
    image = np.full((1, 9, 12, 3), 77, "float32")
    x = values(1, 9, 12, 2)
    lattice = gaussians.bilateral_lattice(image, 5.0, 10.0)
    means = lattice.filter(x) / lattice.filter(np.ones_like(x))
    near, _ = exact_crf.kernels(image[0], 5.0, 1, 1)
    exact = exact_crf.normalized(near, symmetric=False) @ x.reshape(-1, 2)
    np.testing.assert_allclose(means.numpy().reshape(-1, 2), exact, atol=0.02)


def test_features_have_no_gradient():
    image = tf.constant(values(1, 4, 4, 3))
    with tf.GradientTape() as tape:
        tape.watch(image)
        lattice = gaussians.bilateral_lattice(image, 4.0, 0.5)
        loss = tf.reduce_sum(lattice.filter(np.ones((1, 4, 4, 1), "float32")))
    gradient = tape.gradient(loss, image)
    assert gradient is None or not keras.ops.any(gradient)
