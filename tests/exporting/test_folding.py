"""Batch norm folded into convolutions: the same logits, fewer layers."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasseg import blocks, models
from kerasseg.exporting import folding
from tests.exporting.test_exporting import noise
from tests.support import reference

CONVOLUTIONS = {
    "Conv2D": lambda **o: layers.Conv2D(4, 3, **o),
    "dilated": lambda **o: blocks.Conv2D(4, 3, dilation_rate=2, padding="same", **o),
    "grouped": lambda **o: layers.Conv2D(6, 3, groups=3, **o),
    "depthwise": lambda **o: layers.DepthwiseConv2D(3, depth_multiplier=2, **o),
    "separable": lambda **o: layers.SeparableConv2D(4, 3, depth_multiplier=2, **o),
    "transposed": lambda **o: layers.Conv2DTranspose(4, 3, strides=2, **o),
}


def num_batch_norms(model):
    return sum(isinstance(x, layers.BatchNormalization) for x in model.layers)


def check(model, left):
    """Compares a model with its folded copy, which keeps `left` batch norms."""
    reference.shake(model)
    before = [v.numpy().copy() for v in model.weights]
    image = noise(11, 12)[np.newaxis].astype(np.float32) / 255
    folded = folding.fold_batch_norm(model)
    assert num_batch_norms(folded) == left
    assert [x.name for x in folded.layers[1:]] == [x.name for x in model.layers[1:]]
    expected = np.asarray(model(image, training=False))
    np.testing.assert_allclose(folded(image), expected, atol=1e-5)
    for value, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(value, variable)
    return folded


def test_folding_by_hand():
    image = keras.Input((None, None, 3))
    convolved = layers.Conv2D(1, 1, use_bias=True, name="conv")
    normalized = layers.BatchNormalization(epsilon=0.75, name="norm")
    model = keras.Model(image, normalized(convolved(image)))
    convolved.set_weights([np.ones((1, 1, 3, 1)), np.array([5.0])])
    # gamma, beta, mean, variance: the scale is 3 / sqrt(0.25 + 0.75) = 3.
    normalized.set_weights([np.array([x]) for x in (3.0, 7.0, 4.0, 0.25)])
    kernel, bias = folding.fold_batch_norm(model).get_layer("conv").get_weights()
    assert kernel.ravel().tolist() == [3, 3, 3]
    assert bias.tolist() == [10]  # (5 - 4) * 3 + 7.


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_batch_norm_is_folded_into_every_type_of_convolution(kind, bias):
    image = keras.Input((None, None, 3))
    x = CONVOLUTIONS[kind](use_bias=bias)(image)
    x = layers.BatchNormalization(center=bias, scale=not bias)(x)
    check(keras.Model(image, layers.ReLU()(x)), left=0)


def test_batch_norms_that_cannot_be_folded_stay():
    image = keras.Input((None, None, 3))
    x = layers.BatchNormalization()(image)  # After no convolution.
    x = layers.Conv2D(3, 1, activation="relu")(x)
    x = layers.BatchNormalization()(x)  # After an activation.
    used_twice = layers.Conv2D(3, 1)(x)
    x = layers.BatchNormalization()(used_twice)
    x = layers.Add()([x, used_twice])
    twice = layers.Conv2D(3, 1)
    x = layers.BatchNormalization()(twice(twice(x)))
    model = keras.Model(image, x)
    check(model, left=4)


def test_layers_that_are_called_several_times_are_folded_once():
    image = keras.Input((None, None, 3))
    convolution = layers.Conv2D(4, 3, strides=2)
    batch_norm = layers.BatchNormalization()
    calls = [batch_norm(convolution(x)) for x in (image, 2 * image, image[:, ::-1])]
    check(keras.Model(image, layers.Add()(calls)), left=0)


def test_a_convolution_with_several_consumers_keeps_its_batch_norm():
    image = keras.Input((None, None, 3))
    convolution, batch_norm = layers.Conv2D(4, 3), layers.BatchNormalization()
    first, second = convolution(image), convolution(2 * image)
    x = layers.Add()([batch_norm(first), batch_norm(second), second])
    check(keras.Model(image, x), left=1)


def test_a_batch_norm_of_two_convolutions_stays():
    image = keras.Input((None, None, 3))
    batch_norm = layers.BatchNormalization()
    calls = [batch_norm(layers.Conv2D(4, 3)(image)) for _ in range(2)]
    check(keras.Model(image, layers.Add()(calls)), left=1)


def test_all_scales_of_deeplab_v2_are_folded():
    options = models.metadata("deeplab_v2").test_options
    assert options["multi_scale"]
    keras.utils.set_random_seed(0)
    model = models.build_model("deeplab_v2", 3, **options)
    reference.shake(model)
    folded = folding.fold_batch_norm(model)
    assert num_batch_norms(model) > 0 and num_batch_norms(folded) == 0
    image = noise(65, 49)[np.newaxis].astype(np.float32)
    expected = np.asarray(model(image, training=False))
    np.testing.assert_allclose(
        folded(image), expected, atol=1e-4 * np.abs(expected).max()
    )


def test_a_convolution_that_is_an_output_keeps_its_batch_norm():
    image = keras.Input((None, None, 3))
    convolved = layers.Conv2D(3, 1, name="conv")(image)
    model = keras.Model(
        image, {"a": layers.BatchNormalization()(convolved), "b": convolved}
    )
    assert num_batch_norms(folding.fold_batch_norm(model)) == 1


def test_a_subclass_of_a_convolution_keeps_its_batch_norm():
    class Standardized(layers.Conv2D):
        def convolution_op(self, inputs, kernel):
            return super().convolution_op(inputs, kernel / keras.ops.std(kernel))

    image = keras.Input((None, None, 3))
    x = layers.BatchNormalization()(Standardized(3, 1)(image))
    check(keras.Model(image, x), left=1)


def test_a_model_without_batch_norm_is_not_copied():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(3, 1)(image))
    assert folding.in_float32(model) is model


def test_operations_that_are_not_layers_are_copied():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(3, 1)(keras.ops.flip(image, -1)[:, 1:])
    x = layers.BatchNormalization()(x)
    check(keras.Model(image, keras.ops.abs(x)), left=0)
