"""DeepLab v1: what the paper and the released prototxts say of it."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import models
from kerasseg.backbones import vgg
from kerasseg.models import complexity
from tests.support import initializers, reference

RNG = np.random.default_rng(0)
VARIANTS = [{"head": "large_fov"}, {"head": "4x4"}, {"multi_scale": True}]


@functools.cache
def small(size=(None, None), **options):
    """Builds a network of four channels where the paper has 64, not at its start."""
    options = {"filters": 4, "aux": True, **options}
    model = models.build_model("deeplab_v1", 3, image_size=size, **options)
    reference.shake(model)
    return model


def random_image(*size):
    return RNG.uniform(0, 255, (1, *size, 3)).astype("float32")


@pytest.mark.parametrize(
    "options, params",
    [
        # fc6 and fc7 of 4x4 x 512 x 4096 and 4096 x 4096, 21 x 4096 after them.
        ({"head": "4x4"}, 65_140_565),
        # FCN-32s without its deconvolution.
        ({"head": "7x7"}, 134_346_581),
        # LargeFOV and five times 3x3 to 128, 1x1 to 128, 1x1 to 21 channels, from 3,
        # 64, 128, 256 and 512: 20,505,429 + 1,110,016 + 82,560 + 13,545.
        ({"multi_scale": True}, 21_711_550),
    ],
    ids=str,
)
def test_variants_have_the_parameters_of_table_1(options, params):
    with initializers.no_values():
        model = models.build_model("deeplab_v1", 21, **options)
    assert model.count_params() == params


def test_large_fov_takes_51_billion_multiply_adds_at_321_pixels():
    with initializers.no_values():
        model = models.build_model("deeplab_v1", 21, image_size=(321, 321))
    assert round(complexity.count_multiply_adds(model) / 1e9, 1) == 50.9


@pytest.mark.parametrize(
    "head, size, sides",
    [
        # 3x3 pools of stride 2: (n - 1) / 2 + 1; the last two have stride 1.
        ("large_fov", 321, [161, 81, 41, 41, 41]),
        # 2x2 pools, padding 1 on each side: n / 2 + 1; pool4 removes one.
        ("4x4", 306, [154, 78, 40, 39, 39]),
    ],
)
def test_pools_have_the_sizes_of_the_released_nets(head, size, sides):
    model = small((size, size), head=head)
    pools = [model.get_layer(f"pool{stage}").output for stage in range(1, 6)]
    assert [x.shape[1] for x in pools] == sides
    assert model.output["aux_scores"].shape[1] == sides[-1]
    assert model.output["logits"].shape[1:3] == (size, size)


@pytest.mark.parametrize(
    "head, kernel, rate",
    [("large_fov", 3, 12), ("4x4", 4, 4), ("4x4_rate8", 4, 8), ("7x7", 7, 4)],
)
def test_heads_have_the_kernels_and_rates_of_table_1(head, kernel, rate):
    fc6 = small(head=head).get_layer("fc6")
    assert fc6.kernel_size == (kernel, kernel)
    assert fc6.dilation_rate == (rate, rate)
    conv5 = small(head=head).get_layer("block5_conv1")
    assert conv5.dilation_rate == (2, 2)


def extent(model, image, cell):
    """Returns the first and last row that the score of a cell depends on."""
    image = tf.constant(image)
    with tf.GradientTape() as tape:
        tape.watch(image)
        score = model(image)["aux_scores"][0, cell, cell, 0]
    rows = np.abs(tape.gradient(score, image)).max((0, 2, 3)).nonzero()[0]
    return rows[0], rows[-1]


def test_the_field_of_view_of_large_fov_is_435_pixels():
    model = models.build_model("deeplab_v1", 1, aux=True, filters=1)
    for variable in model.weights:  # Nothing cancels, no ReLU is shut.
        kernel = len(variable.shape) > 1
        variable.assign(np.full(variable.shape, 0.1 if kernel else 1.0))
    # The gradient of a maximum goes to one cell: the last of increasing values, the
    # first of decreasing ones.
    ramp = np.linspace(150, 250, 769, dtype="float32")
    rising = np.broadcast_to((ramp[:, None] + ramp)[..., None] / 2, (1, 769, 769, 3))
    cell = 48  # At pixel 384, more than 217 from every border.
    assert extent(model, rising, cell)[1] == 384 + 217
    assert extent(model, np.flip(rising, (1, 2)), cell)[0] == 384 - 217


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("size", [(66, 98), (64, 50)], ids=str)
def test_scores_are_the_logits_at_every_eighth_pixel(options, size):
    outputs = small(**options)(random_image(*size))
    np.testing.assert_allclose(
        outputs["logits"][:, ::8, ::8], outputs["aux_scores"], atol=1e-5
    )


@pytest.mark.parametrize("head", ["4x4", "4x4_rate8", "7x7"])
def test_logits_cover_every_pixel_with_2x2_pools(head):
    # 65 pixels: 33, 17, 9 and 8 cells.
    outputs = small(head=head)(random_image(65, 33))
    assert outputs["aux_scores"].shape == (1, 8, 4, 3)
    assert outputs["logits"].shape == (1, 65, 33, 3)
    last = np.asarray(outputs["logits"])[:, -1, ::8]
    expected = np.asarray(outputs["aux_scores"])[:, -1, [0, 1, 2, 3, 3]]
    np.testing.assert_allclose(last, expected, atol=1e-5)


def test_logits_are_the_scores_resized_with_aligned_corners():
    outputs = small()(random_image(65, 97))
    scores = np.asarray(outputs["aux_scores"])
    assert scores.shape == (1, 9, 13, 3)
    expected = reference.resize(scores, 65, 97, aligned=True)
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)


def part(model, *names):
    """Returns a model from the image to the outputs of layers."""
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def weights(model, name):
    return [np.asarray(v) for v in model.get_layer(name).weights]


def test_the_large_fov_head_equals_that_in_numpy():
    model = small()
    pool5, scores = part(model, "pool5", "fc8")(random_image(97, 65))
    x = reference.pad(np.asarray(pool5), 1)
    x = reference.windows(x, 3).sum((3, 4)) / 9  # Cells of the padding count.
    x = reference.relu(reference.conv(x, *weights(model, "fc6"), rate=12))
    x = reference.relu(reference.conv(x, *weights(model, "fc7")))
    expected = reference.conv(x, *weights(model, "fc8"))
    assert expected.std() > 1e-3
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_the_first_stage_equals_that_in_numpy():
    model = small()
    image = random_image(33, 47)
    pool1 = part(model, "pool1")(image)
    x = image[..., ::-1].astype("float64") - [103.939, 116.779, 123.68]
    for name in ("block1_conv1", "block1_conv2"):
        x = reference.relu(reference.conv(x, *weights(model, name)))
    expected = reference.max_pool(x, 3, stride=2, before=1, after=1)
    assert expected.shape == (1, 17, 24, 4)
    np.testing.assert_allclose(pool1, expected, atol=1e-4 * expected.max())


def test_direct_paths_have_the_strides_of_the_release():
    # 8, 4, 2, 1 and 1 for the image and the four pools.
    levels = {"picture": 8, "pool1": 4, "pool2": 2, "pool3": 1, "pool4": 1}
    model = models.build_model("deeplab_v1", 3, aux=True, multi_scale=True, filters=4)
    for name in levels:  # Drawn with a deviation of 0.001 they would hardly count.
        for i in (1, 2):
            layer = model.get_layer(f"{name}_direct_conv{i}")
            kernel, bias = layer.get_weights()
            layer.set_weights([100 * kernel, bias + 0.1])
    image = random_image(65, 49)
    names = ["pad_small", *[name for name in levels if name != "picture"], "fc8"]
    *maps, fc8 = part(model, *names)(image)
    expected = np.asarray(fc8, "float64")
    for (name, stride), x in zip(levels.items(), maps, strict=True):
        first, second, last = [
            weights(model, f"{name}_direct_{layer}")
            for layer in ("conv1", "conv2", "score")
        ]
        x = reference.conv(np.asarray(x), *first, stride=stride, padding=1)
        x = reference.conv(reference.relu(x), *second)
        expected += reference.conv(reference.relu(x), *last)
    scores = np.asarray(model(image)["aux_scores"])
    assert np.abs(expected - fc8).max() > 0.1
    np.testing.assert_allclose(scores, expected, atol=1e-4 * np.abs(expected).max())


def test_every_second_cell_with_dilation_equals_a_strided_cell():
    def pool(x, stage):
        x = keras.layers.ZeroPadding2D(1)(x)
        strides = 2 if stage < 5 else 1
        return keras.layers.MaxPooling2D(3, strides=strides, name=f"pool{stage}")(x)

    image = keras.Input((None, None, 3))
    strided = keras.Model(image, vgg.vgg16(image, filters=4, pool=pool)["block5_conv3"])
    for layer in strided.layers:
        if layer.weights:
            layer.set_weights(small().get_layer(layer.name).get_weights())
    image = random_image(65, 97)
    padded, dense = part(small(), "pad_small", "block5_conv3_relu")(image)
    assert dense.shape == (1, 9, 13, 32)
    scale = np.abs(dense).max()
    np.testing.assert_allclose(
        dense[:, ::2, ::2] / scale, strided(padded) / scale, atol=1e-5
    )


class Donor:
    """Stands in for VGG16 of keras.applications: its fully connected layers, small."""

    def __init__(self, channels, filters):
        shapes = {"fc1": (7 * 7 * channels, filters), "fc2": (filters, filters)}
        self.layers = [self.Layer(name, shape) for name, shape in shapes.items()]

    class Layer:
        def __init__(self, name, shape):
            self.name, self.shape = name, shape

        def get_weights(self):
            kernel = np.arange(np.prod(self.shape), dtype="float32")
            return [kernel.reshape(self.shape), np.arange(self.shape[1], dtype="f")]


def test_imagenet_weights_of_fc6_and_fc7_are_subsampled(monkeypatch):
    donor = Donor(channels=8, filters=31)
    monkeypatch.setattr(keras.applications, "VGG16", lambda **_: donor)
    model = models.build_model("deeplab_v1", 3, filters=1, backbone_weights="imagenet")
    # 3 of 7 rows and columns, the outer ones and the middle; every second of 31
    # filters.
    kernel, bias = weights(model, "fc6")
    whole = donor.layers[0].get_weights()[0].reshape(7, 7, 8, 31)
    np.testing.assert_array_equal(kernel, whole[::3, ::3, :, ::2])
    np.testing.assert_array_equal(bias, np.arange(0, 31, 2))
    kernel, _ = weights(model, "fc7")
    np.testing.assert_array_equal(
        kernel[0, 0], donor.layers[1].get_weights()[0][::2, ::2]
    )


def test_weights_are_the_same_with_and_without_auxiliary_outputs():
    for options in VARIANTS[::2]:
        trained = small(**options)
        used = small(**{**options, "aux": False})
        assert [v.path for v in trained.weights] == [v.path for v in used.weights]
        used.set_weights(trained.get_weights())
        image = random_image(33, 47)
        np.testing.assert_array_equal(used(image), trained(image)["logits"])


def test_a_wrong_head_is_an_error():
    with pytest.raises(ValueError, match=r"`head=5x5` .* must be one of .*'large_fov'"):
        models.build_model("deeplab_v1", 3, head="5x5")
