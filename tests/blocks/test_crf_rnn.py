"""CRF-RNN, compared with exact mean-field inference and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import blocks
from tests.support import exact_crf
from tests.support.exact_crf import CHANCES, ROW

RNG = np.random.default_rng(0)


def random_images(batch, height, width):
    return RNG.integers(0, 256, (batch, height, width, 3)).astype("float32")


def logits_like(image, num_classes=4):
    return RNG.normal(size=(*image.shape[:3], num_classes)).astype("float32")


@pytest.mark.parametrize(
    ("training", "expected"),
    [(True, [0.523143, 0.317581, 0.002027]), (False, [0.001385, 0.000755, 0.000102])],
)
def test_three_pixels_equal_those_worked_by_hand(training, expected):
    # Kernel entries: bilateral 0.786471 between the first two and 0 to the third,
    # spatial 0.945959 and 0.800737; each is divided by the sum of its row. 1 update
    # in training, 10 at inference.
    layer = blocks.CrfRnn(
        1 if training else 5,
        gaussian_compat=3.0,
        bilateral_sxy=50.0,
        bilateral_srgb=5.0,
        bilateral_compat=4.0,
    )
    refined = layer([ROW[None], np.log(CHANCES)[None]], training=training)
    probabilities = exact_crf.softmax(refined.numpy())[0, 0, :, 0]
    np.testing.assert_allclose(probabilities, expected, atol=0.01)


def test_it_approximates_exact_mean_field_inference():
    image, probabilities = exact_crf.drawn(3, 16, 20, num_classes=3)
    settings = {"gaussian_compat": 1.0, "bilateral_sxy": 10.0, "bilateral_srgb": 20.0}
    settings |= {"gaussian_sxy": 2.0, "bilateral_compat": 2.0}
    exact = exact_crf.mean_field(
        image, probabilities, iterations=10, symmetric=False, **settings
    )
    layer = blocks.CrfRnn(5, **settings)
    refined = layer([image[None], np.log(probabilities)[None]])
    assert np.abs(exact - probabilities).mean() > 0.02  # The CRF changes them.
    assert np.abs(exact_crf.softmax(refined.numpy()[0]) - exact).mean() < 0.01


def test_the_paper_has_1323_weights_at_21_classes():
    layer = blocks.CrfRnn()
    layer.build([(None, None, None, 3), (None, None, None, 21)])
    assert layer.count_params() == 1323
    assert {v.path.split("/")[1]: float(v[0, 0]) for v in layer.weights} == {
        "gaussian": 3.0,
        "bilateral": 5.0,
        "compatibility": -1.0,
    }
    for variable in layer.weights:
        matrix = np.asarray(variable)
        np.testing.assert_array_equal(matrix, matrix[0, 0] * np.eye(21))
    expected = {"bilateral_sxy": 160.0, "bilateral_srgb": 3.0, "gaussian_sxy": 3.0}
    assert expected.items() <= layer.get_config().items()


def test_weights_of_0_leave_the_logits_unchanged():
    image = random_images(2, 5, 6)
    logits = logits_like(image)
    layer = blocks.CrfRnn(2, gaussian_compat=0.0, bilateral_compat=0.0)
    np.testing.assert_array_equal(layer([image, logits]), logits)


def test_rows_of_the_matrices_send_and_columns_receive():
    # Class 1 receives only from class 0: 2 times its mean, which is the pixel's own
    # probability of class 0, softmax of 3 and 0 = 0.952574.
    layer = blocks.CrfRnn(1, gaussian_compat=0.0, bilateral_compat=0.0)
    inputs = [random_images(1, 1, 1), np.array([[[[3.0, 0.0]]]], "float32")]
    layer(inputs)
    layer.gaussian.assign([[0.0, 2.0], [0.0, 0.0]])
    refined = layer(inputs, training=True)
    np.testing.assert_allclose(refined[0, 0, 0], [3.0, 2 * 0.952574], rtol=1e-5)


def test_gradients_are_those_of_finite_differences():
    image = random_images(1, 4, 4)
    logits = tf.constant(RNG.normal(size=(1, 4, 4, 3)))
    layer = blocks.CrfRnn(3, bilateral_srgb=60.0, dtype="float64")
    layer([image, logits])
    for variable in layer.weights:
        variable.assign(variable + RNG.normal(0, 0.3, variable.shape))
    weights = RNG.normal(size=logits.shape)

    def loss(logits):
        return tf.reduce_sum(layer([image, logits], training=True) * weights)

    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits)
    gradients = tape.gradient(value, [logits, *(v.value for v in layer.weights)])

    def check(assign, start, gradient):
        direction = RNG.normal(size=start.shape)
        ends = [assign(start + step * direction) for step in (1e-5, -1e-5)]
        assign(start)
        np.testing.assert_allclose(
            (ends[0] - ends[1]) / 2e-5, np.sum(gradient * direction), rtol=1e-6
        )

    check(loss, logits, gradients[0])
    for variable, gradient in zip(layer.weights, gradients[1:], strict=True):

        def assign(value, variable=variable):
            variable.assign(value)
            return loss(logits)

        check(assign, np.array(variable), gradient)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "`iterations=0` of a CRF must be an integer from 1"),
        ({"iterations": 101}, "from 1 to 100"),
        ({"iterations": 2.5}, "iterations=2.5` of a CRF must be an integer"),
        ({"iterations": True}, "iterations=True` of a CRF must be an integer"),
        ({"iterations": "many"}, "iterations='many'` of a CRF must be an integer"),
        ({"gaussian_sxy": 0.0}, "gaussian_sxy=0.0` of a CRF is a standard deviation"),
        (
            {"bilateral_sxy": np.nan},
            "bilateral_sxy=nan` of a CRF is a standard deviation",
        ),
        ({"bilateral_srgb": 0.01}, "bilateral_srgb=0.01` .* at least 0.1"),
        (
            {"bilateral_compat": np.inf},
            "bilateral_compat=inf` of a CRF must be a finite number",
        ),
    ],
)
def test_settings_out_of_range_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        blocks.CrfRnn(**settings)


def test_inference_has_twice_the_iterations_of_training():
    image, probabilities = exact_crf.drawn(0, 12, 14, num_classes=3)
    inputs = [image[None].astype("float32"), np.log(probabilities)[None]]
    layer = blocks.CrfRnn(2)
    at_inference = layer(inputs)
    np.testing.assert_array_equal(at_inference, blocks.CrfRnn(4)(inputs, training=True))
    assert not np.allclose(at_inference, layer(inputs, training=True))
