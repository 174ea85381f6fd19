"""VGG16 and its modifications, compared with keras.applications."""

import functools

import keras
import numpy as np
import pytest

from kerasseg import blocks
from kerasseg.backbones import vgg

RNG = np.random.default_rng(0)


@functools.cache
def donor(include_top):
    """Builds VGG16 of keras.applications with random weights."""
    model = keras.applications.VGG16(weights=None, include_top=include_top)
    for layer in model.layers:
        if "_conv" in layer.name:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, RNG.normal(0, 0.1, bias.shape)])
    return model


def trunk(**options):
    image = keras.Input((None, None, 3))
    return keras.Model(image, vgg.vgg16(image, **options))


def test_the_feature_maps_are_those_of_keras_applications():
    model = trunk()
    vgg.take_weights(model, donor(include_top=False))
    layers = ["block1_conv1", "block1_pool", "block3_conv3", "block5_conv3"]
    outputs = [donor(include_top=False).get_layer(name).output for name in layers]
    original = keras.Model(donor(include_top=False).input, outputs)
    image = RNG.normal(0, 50, (1, 64, 96, 3)).astype("float32")
    maps = model(image)
    for name, expected in zip(layers, original(image), strict=True):
        name = name.replace("block1_pool", "pool1")
        expected = np.asarray(expected)
        np.testing.assert_allclose(maps[name], expected, atol=1e-4 * expected.max())


def test_the_parameters_are_those_of_the_paper_and_pools_round_up():
    model = trunk()
    assert model.count_params() == 14_714_688
    sides = [image.shape[1] for image in _pools(model(np.zeros((1, 360, 33, 3))))]
    assert sides == [180, 90, 45, 23, 12]


def _pools(maps):
    return [maps[f"pool{stage}"] for stage in range(1, 6)]


def test_rates_pools_and_convolutions_can_be_replaced():
    def convolve(x, filters, *, rate, name):
        return blocks.conv_bn_relu(x, filters // 32, rate=rate, name=name)

    model = trunk(pool=lambda x, _: x, convolve=convolve, rates=(1, 1, 1, 1, 2))
    assert model.get_layer("block4_conv3_conv").dilation_rate == (1, 1)
    assert model.get_layer("block5_conv3_conv").dilation_rate == (2, 2)
    maps = model(np.zeros((1, 9, 9, 3)))
    assert {image.shape[1] for image in maps.values()} == {9}


def fully_convolutional(fc6, fc7):
    """Builds VGG16 with fc6 and fc7 of the given filters and kernel sizes."""
    image = keras.Input((None, None, 3))
    x = vgg.vgg16(image)["pool5"]
    x = vgg.fully_connected(x, *fc6, padding="valid", name="fc6")
    return keras.Model(image, vgg.fully_connected(x, *fc7, name="fc7"))


@pytest.mark.slow
def test_fully_connected_layers_equal_the_classifier():
    model = fully_convolutional((4096, 7), (4096, 1))
    vgg.take_weights(model, donor(include_top=True))
    original = keras.Model(
        donor(include_top=True).input, donor(include_top=True).get_layer("fc2").output
    )
    image = RNG.normal(0, 50, (1, 224, 224, 3)).astype("float32")
    expected = np.asarray(original(image))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        model(image)[:, 0, 0] / scale, expected / scale, atol=1e-4
    )


class Layer:
    """Replacement of a layer of the classifier."""

    def __init__(self, name, inputs, filters):
        self.name = name
        self.weights = [RNG.normal(size=(inputs, filters)), RNG.normal(size=filters)]

    def get_weights(self):
        return self.weights


def test_smaller_layers_get_evenly_spaced_cells_and_filters():
    model = fully_convolutional((9, 3), (5, 1))
    fc1, fc2 = Layer("fc1", 7 * 7 * 512, 17), Layer("fc2", 17, 9)

    class Donor:
        layers = (fc1, fc2)

    vgg.take_weights(model, Donor)
    kernel, bias = model.get_layer("fc6").get_weights()
    # Every second of 17 filters; the first, middle and last of 7 rows.
    whole = fc1.weights[0].reshape(7, 7, 512, 17)
    np.testing.assert_allclose(kernel, whole[::3, ::3, :, ::2], rtol=1e-6)
    np.testing.assert_allclose(bias, fc1.weights[1][::2], rtol=1e-6)
    kernel, bias = model.get_layer("fc7").get_weights()
    np.testing.assert_allclose(kernel[0, 0], fc2.weights[0][::2, ::2], rtol=1e-6)
    np.testing.assert_allclose(bias, fc2.weights[1][::2], rtol=1e-6)


def test_weights_are_random_from_keras_or_from_a_file(monkeypatch, tmp_path):
    model, original = trunk(), donor(include_top=False)
    before = model.get_layer("block1_conv1").get_weights()[0]
    vgg.load_weights(model, None)
    np.testing.assert_array_equal(
        model.get_layer("block1_conv1").get_weights()[0], before
    )
    monkeypatch.setattr(keras.applications, "VGG16", lambda **_: original)
    vgg.load_weights(model, "imagenet")
    taken = model.get_layer("block1_conv1").get_weights()[0]
    expected = original.get_layer("block1_conv1").get_weights()[0]
    np.testing.assert_array_equal(taken, expected)
    model.save(tmp_path / "vgg.keras")
    other = trunk()
    vgg.load_weights(other, str(tmp_path / "vgg.keras"))
    np.testing.assert_array_equal(
        other.get_layer("block5_conv3").get_weights()[0],
        model.get_layer("block5_conv3").get_weights()[0],
    )
    with pytest.raises(ValueError, match="neither 'imagenet' nor"):
        vgg.load_weights(model, "places")
