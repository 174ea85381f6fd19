"""Models of images with any number of channels."""

import keras
import numpy as np
import pytest

from kerasseg import backbones, blocks, errors, images, models
from kerasseg.backbones import applications

SMALL = "deeplab_v3_plus"
OPTIONS = {"backbone": "resnet18_quarter"}


def pixels(channels, seed=0, size=40):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (1, size, size, channels)).astype("float32")


def test_gray_is_normalized_as_three_equal_channels():
    gray = pixels(1)
    layer = blocks.Normalize("caffe", stretch=[(0, 255)])
    expected = blocks.Normalize("caffe")(np.repeat(gray, 3, axis=-1))
    np.testing.assert_allclose(layer(gray), expected, atol=1e-4)


def test_colors_are_stretched_and_other_channels_get_the_deviation_of_colors():
    layer = blocks.Normalize("tf", stretch=[(0, 4095)] * 3, extra=[(1000, 200)])
    result = layer(np.array([[[[0, 4095, 4095 / 2, 1200]]]], "float32"))
    # -1, 1 and the middle; 57.63 / 127.5 for a pixel one deviation above the mean.
    np.testing.assert_allclose(result[0, 0, 0], [-1, 1, 0, 0.452], atol=1e-4)


def test_caffe_reverses_the_colors_only():
    layer = blocks.Normalize("caffe", extra=[(7, 57.63)])
    result = layer(np.array([[[[123.68, 116.779, 104.939, 8]]]], "float32"))
    np.testing.assert_allclose(result[0, 0, 0], [1, 0, 0, 1], atol=1e-4)


def test_the_config_of_rgb_is_that_of_before():
    assert "extra" not in blocks.Normalize("tf").get_config()
    layer = blocks.Normalize("tf", stretch=[(0, 9)], extra=[(1, 2)])
    copy = blocks.Normalize.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert copy.channels == 2


OWN_INPUTS = ("decoupled_net", "unet")  # They do not call blocks.image_input.


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in OWN_INPUTS else pytest.mark.slow)
        for name in models.list_models("semantic")
    ],
)
def test_every_model_takes_five_channels(name):
    row = models.metadata(name)
    model = models.build_model(name, 3, channels=5, **row.test_options)
    assert model.input.shape == (None, None, None, 5)


@pytest.mark.parametrize("channels", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_logits_depend_on_every_channel(channels):
    model = models.build_model(SMALL, 3, channels=channels, **OPTIONS)
    before = model(pixels(channels))
    for i in range(channels):
        changed = pixels(channels)
        changed[..., i] = 255 - changed[..., i]
        assert np.abs(model(changed) - before).max() > 1e-6


def test_a_saved_model_normalizes_by_the_same_statistics(tmp_path):
    kind = images.ImageKind(2, "uint16", (3, 4), (1, 2), (0, 1), (9, 8))
    model = models.build_model(SMALL, 3, image_kind=kind.to_json(), **OPTIONS)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(pixels(2)), model(pixels(2)))
    assert loaded.get_layer("normalize").extra == [[4.0, 2.0]]


def encoder(name, channels, weights):
    image = keras.Input((None, None, channels))
    return keras.Model(image, backbones.build(name, image, weights=weights)["c2"])


@pytest.mark.parametrize(
    "name",
    [
        "resnet18_quarter",
        pytest.param("mobilenet_v3_small", marks=pytest.mark.slow),
    ],
)
def test_an_added_channel_changes_no_feature_of_pretrained_weights(name, tmp_path):
    rgb, path = encoder(name, 3, None), str(tmp_path / "rgb.keras")
    keras.Model(rgb.input, backbones.build(name, rgb.input)["c5"]).save(path)
    donor = keras.models.load_model(path)
    rgb = keras.Model(donor.input, donor.output)
    image = keras.Input((None, None, 5))
    inflated = keras.Model(image, backbones.build(name, image, weights=path)["c5"])
    x = pixels(5, size=64)
    np.testing.assert_allclose(inflated(x), rgb(x[..., :3]), atol=1e-5)


@pytest.mark.slow
def test_models_of_keras_applications_are_inflated():
    # The networks of Keras have 3 channels.
    image = keras.Input((None, None, 4))
    c = applications.encoder("mobilenet_v2", image)
    kernel = keras.Model(image, c["c5"]).get_layer("Conv1").kernel.numpy()
    assert kernel.shape[2] == 4
    assert not kernel[:, :, 3].any()
    assert kernel[:, :, :3].all()


@pytest.mark.parametrize("channels", [0, 33, 2.5, True, "4"])
def test_wrong_numbers_of_channels_are_refused(channels):
    with pytest.raises(errors.UserError, match="integer from 1 to 32"):
        models.build_model(SMALL, 3, channels=channels, **OPTIONS)


def test_contradicting_channels_and_a_crf_are_refused():
    with pytest.raises(errors.UserError, match="Give one of the two"):
        models.build_model(SMALL, 3, channels=4, image_kind={"channels": 5}, **OPTIONS)
    with pytest.raises(errors.UserError, match="compares colors"):
        models.build_model(SMALL, 3, channels=4, crf_iterations=5, **OPTIONS)
