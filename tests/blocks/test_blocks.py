"""Layers and blocks shared by architectures."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerasseg import blocks
from kerasseg.blocks import convolution, resizing
from tests.support import reference

RNG = np.random.default_rng(0)


def row(values):
    """Returns an image of one row and one channel."""
    return np.array(values, "float32").reshape(1, 1, -1, 1)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel_size, rate", [(3, 2), (3, 5), (5, 2), (3, (1, 3))])
def test_dilated_convolution_and_its_gradient_equal_keras(padding, kernel_size, rate):
    x = tf.constant(RNG.normal(size=(2, 13, 11, 3)), tf.float32)
    options = {"padding": padding, "dilation_rate": rate}
    ours = blocks.Conv2D(4, kernel_size, **options)
    reference = layers.Conv2D(4, kernel_size, **options)
    reference.build(x.shape)
    ours.build(x.shape)
    ours.set_weights([w + 0.1 for w in reference.get_weights()])
    reference.set_weights(ours.get_weights())
    results = []
    for layer in (ours, reference):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y**2)
        results.append([y, *tape.gradient(loss, [x, *layer.trainable_variables])])
    for value, expected in zip(*results, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-3)


def test_the_native_dilated_convolution_is_used_only_where_it_has_gradients(
    monkeypatch,
):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [])
    assert convolution._has_native_dilation("float32")
    assert not convolution._has_native_dilation("bfloat16")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert not convolution._has_native_dilation("float32")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["GPU:0"])
    assert convolution._has_native_dilation("float16")
    monkeypatch.setattr(convolution, "tf", None)  # Another Keras backend.
    assert not convolution._has_native_dilation("float32")


def test_with_a_rate_beyond_the_map_only_the_center_weight_counts():
    x = RNG.normal(size=(1, 5, 7, 3)).astype("float32")
    wide = blocks.Conv2D(4, 3, dilation_rate=7, padding="same", use_bias=False)
    result = wide(x)
    np.testing.assert_allclose(result, x @ wide.kernel.numpy()[1, 1], atol=1e-5)


@pytest.mark.parametrize(
    "rate, fraction", [(6, 0.665), (12, 0.398), (18, 0.199), (24, 0.068)]
)
def test_the_fraction_of_valid_weights_equals_that_of_the_paper(rate, fraction):
    # ((65 - 2 * rate) / 65) ** 2; DeepLab v3, figure 4.
    layer = blocks.Conv2D(
        1, 3, dilation_rate=rate, padding="same", kernel_initializer="ones"
    )
    weights = np.asarray(layer(np.ones((1, 65, 65, 1), "float32")))
    assert np.mean(np.round(weights) == 9) == pytest.approx(fraction, abs=5e-4)


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("tf", [1.0, 0.0, -1.0]),  # 255, 127.5 and 0 scaled to -1 to 1.
        ("torch", [2.2489, 0.1964, -1.8044]),  # (255 - 123.675) / 58.395, ...
        ("caffe", [-103.939, 10.721, 131.32]),  # Blue first: 0 - 103.939, ...
        ("lite", [1.0, 0.5 / 128, -127 / 128]),
        ("none", [255.0, 127.5, 0.0]),
    ],
)
def test_normalizations_equal_those_worked_by_hand(kind, expected):
    pixel = np.array([[[[255.0, 127.5, 0.0]]]], "float32")
    result = blocks.Normalize(kind)(pixel)
    np.testing.assert_allclose(np.ravel(result), expected, atol=1e-4)
    assert not blocks.Normalize(kind).weights


def test_an_unknown_normalization_is_an_error():
    with pytest.raises(ValueError, match=r"Unknown `normalization=vgg`.*'caffe'"):
        blocks.Normalize("vgg")


@pytest.mark.parametrize(
    "size, padded", [((1, 1), (32, 32)), ((40, 31), (40, 32)), ((64, 33), (64, 33))]
)
@pytest.mark.parametrize("known", [True, False])
def test_small_images_are_padded_with_zeros_at_the_bottom_and_right(
    size, padded, known
):
    image = keras.Input((*(size if known else (None, None)), 3))
    model = keras.Model(image, blocks.PadSmall()(image))
    assert not known or model.output_shape == (None, *padded, 3)
    result = np.asarray(model(np.ones((2, *size, 3), "float32")))
    assert result.shape == (2, *padded, 3)
    assert result[:, : size[0], : size[1]].min() == 1
    assert result.sum() == 2 * 3 * size[0] * size[1]


def test_resizing_to_a_size_known_at_run_time_has_half_pixel_centers():
    result = blocks.ResizeLike()([row([0, 1]), np.zeros((1, 1, 4, 5), "float32")])
    np.testing.assert_allclose(np.ravel(result), [0, 0.25, 0.75, 1])


def test_resizing_by_a_stride_keeps_each_cell_at_its_pixel():
    like = np.zeros((1, 1, 6, 1), "float32")
    result = blocks.ResizeLike(2)([row([0, 2, 4]), like])
    np.testing.assert_allclose(np.ravel(result), [0, 1, 2, 3, 4, 4])
    same = blocks.ResizeLike(1)([row([0, 2, 4]), row([0, 0, 0])])
    np.testing.assert_allclose(np.ravel(same), [0, 2, 4])


def test_resizing_with_aligned_corners_keeps_the_outermost_cells():
    # Three cells on six pixels: pixel i is at 2 * i / 5.
    like = np.zeros((1, 1, 6, 1), "float32")
    for stride in (None, 2):
        result = blocks.ResizeLike(stride, resize="corners")([row([0, 2, 6]), like])
        np.testing.assert_allclose(np.ravel(result), [0, 0.8, 1.6, 2.8, 4.4, 6])


def test_resizing_with_half_pixel_centers_ignores_the_stride():
    like = np.zeros((1, 1, 4, 1), "float32")
    result = blocks.ResizeLike(2, resize="half_pixel")([row([0, 1]), like])
    np.testing.assert_allclose(np.ravel(result), [0, 0.25, 0.75, 1])


@pytest.mark.parametrize(
    "stride, resize", [(None, "half_pixel"), (4, "anchored"), (4, None)]
)
def test_the_default_way_of_resizing_is_not_in_the_configuration(stride, resize):
    config = blocks.ResizeLike(stride, resize=resize, name="up").get_config()
    assert config == blocks.ResizeLike(stride, name="up").get_config()
    assert "resize" not in config


def test_the_way_of_resizing_is_in_the_configuration():
    layer = blocks.ResizeLike(4, resize="corners")
    copy = blocks.ResizeLike.from_config(layer.get_config())
    assert (copy.stride, copy.resize) == (4, "corners")


@pytest.mark.parametrize(
    "stride, resize, message",
    [
        (None, "anchored", r"`resize=anchored` must be one of \('half_pixel', 'corn"),
        (2, "nearest", r"`resize=nearest` must be one of \('anchored', 'half_pixel',"),
    ],
)
def test_an_unknown_way_of_resizing_is_an_error(stride, resize, message):
    with pytest.raises(ValueError, match=message):
        blocks.ResizeLike(stride, resize=resize)


@pytest.mark.parametrize("old", [(1, 1), (1, 4), (5, 3)])
@pytest.mark.parametrize("new", [(1, 1), (7, 1), (4, 9)])
def test_aligned_corners_are_the_same_on_other_backends(monkeypatch, old, new):
    x = RNG.normal(size=(2, *old, 3)).astype("float32")
    like = np.zeros((2, *new, 1), "float32")
    layer = blocks.ResizeLike(resize="corners")
    expected = reference.resize(x, *new, aligned=True)
    np.testing.assert_allclose(layer([x, like]), expected, atol=1e-5)
    monkeypatch.setattr(resizing, "tf", None)
    np.testing.assert_allclose(layer([x, like]), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (71, 90)])
def test_scores_of_different_output_strides_align(size):
    # The map at stride 8 interpolates the one at stride 16.
    rows, columns = [np.arange(-(-side // 16)) for side in size]
    coarse = (rows[:, None] ** 2 + 3 * columns).astype("float32")[None, ..., None]
    fine = blocks.ResizeLike(2)(
        [coarse, np.zeros((1, -(-size[0] // 8), -(-size[1] // 8), 1), "float32")]
    )
    like = np.zeros((1, *size, 3), "float32")
    a, b = blocks.ResizeLike(16)([coarse, like]), blocks.ResizeLike(8)([fine, like])
    np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("stride", [None, 2, 4])
def test_resizing_is_the_same_on_other_backends(monkeypatch, stride):
    x = RNG.normal(size=(2, 5, 4, 3)).astype("float32")
    like = np.zeros((2, 5 * (stride or 3) - 1, 4 * (stride or 2), 1), "float32")
    on_tensorflow = blocks.ResizeLike(stride)([x, like])
    monkeypatch.setattr(resizing, "tf", None)
    elsewhere = blocks.ResizeLike(stride)([x, like])
    np.testing.assert_allclose(on_tensorflow, elsewhere, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("stride", [None, 2])
def test_resizing_keeps_the_dtype(dtype, stride):
    x = tf.cast(RNG.normal(size=(1, 3, 3, 2)), dtype)
    result = blocks.ResizeLike(stride)([x, np.zeros((1, 6, 6, 1), "float32")])
    assert result.dtype == dtype


def test_cropping_is_at_the_bottom_and_right():
    result = blocks.CropLike()([row([1, 2, 3]), row([0, 0])])
    np.testing.assert_array_equal(np.ravel(result), [1, 2])


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", [2, (3, 1), (1, 4)], ids=str)
def test_upsampling_of_unknown_sizes_equals_keras(size, interpolation):
    x = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
    expected = layers.UpSampling2D(size, interpolation=interpolation)(x)
    up = blocks.UpSampling2D(size, interpolation=interpolation)
    sides = tf.TensorSpec([None, None, None, 5])
    found = tf.function(up, input_signature=[sides], autograph=False)(x)
    np.testing.assert_array_equal(found, expected)


def test_the_layers_of_a_block_are_named_after_it():
    x = keras.Input((8, 8, 4))
    for block in (blocks.conv_bn_relu, blocks.separable_conv_bn_relu):
        model = keras.Model(x, block(x, 6, rate=2, name="part"))
        assert {layer.name.split("_")[0] for layer in model.layers[1:]} == {"part"}


def test_a_separable_block_has_batch_norm_after_each_step():
    # 3 * 3 * 4 depthwise + 2 * 4 batch norm + 4 * 6 pointwise + 2 * 6 batch norm = 80.
    x = keras.Input((8, 8, 4))
    model = keras.Model(x, blocks.separable_conv_bn_relu(x, 6, name="part"))
    assert sum(v.numpy().size for v in model.trainable_variables) == 80


def test_the_layers_load_without_custom_objects(tmp_path):
    image, padded = blocks.image_input((None, None), "caffe")
    x = blocks.Conv2D(2, 3, dilation_rate=2, padding="same", name="conv")(padded)
    model = keras.Model(image, blocks.full_size_logits(x, padded, image, stride=1))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    pixels = RNG.uniform(0, 255, (2, 20, 40, 3)).astype("float32")
    np.testing.assert_array_equal(model(pixels), loaded(pixels))
    assert isinstance(loaded.get_layer("conv"), blocks.Conv2D)
