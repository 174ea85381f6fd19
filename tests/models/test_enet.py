"""ENet: parameters, field of view and bottlenecks of the authors' Torch code."""

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import backbones, models
from kerasseg.models import complexity, enet
from tests.support import reference

RNG = np.random.default_rng(0)


def count(model, prefix=""):
    """Counts the trainable parameters of layers by the prefix of their names."""
    variables = [v for v in model.trainable_variables if v.path.startswith(prefix)]
    return sum(math.prod(v.shape) for v in variables)


@functools.cache
def paper():
    """Builds the network of the paper for Cityscapes."""
    return models.build_model("enet", 20, image_size=(512, 1024))


@functools.cache
def paper_encoder():
    """Builds the encoder of the first stage of training, for CamVid."""
    return models.build_model("enet", 11, encoder_only=True, aux=True)


@functools.cache
def small(**options):
    """Builds a small model with random statistics, biases and slopes."""
    options = {**models.metadata("enet").test_options, **options}
    model = models.build_model("enet", 3, **options)
    reference.shake(model)
    for variable in model.weights:
        if variable.path.endswith("alpha"):
            variable.assign(RNG.uniform(0.1, 0.6, variable.shape))
    return model


def test_each_part_has_the_parameters_of_the_authors():
    assert count(paper()) == 364_376
    assert {
        name: count(paper(), name)
        for name in (
            *("initial", "bottleneck1_0", "bottleneck1_1", "bottleneck2_0"),
            *("bottleneck2_1", "bottleneck3_8", "bottleneck2_3", "bottleneck4_0"),
            *("bottleneck4_1", "bottleneck5_0", "bottleneck5_1"),
        )
    } == {
        "initial": 412,
        "bottleneck1_0": 4_656,
        "bottleneck1_1": 4_656,
        "bottleneck2_0": 22_112,
        "bottleneck2_1": 18_016,  # Regular and dilated.
        "bottleneck3_8": 18_016,
        "bottleneck2_3": 19_040,  # Asymmetric.
        "bottleneck4_0": 13_904,
        "bottleneck4_1": 4_560,
        "bottleneck5_0": 1_572,
        "bottleneck5_1": 324,
    }
    assert count(paper(), "fullconv") == 4 * 16 * 20 + 20
    assert count(paper_encoder()) == 338_156 + 128 * 11 + 11


@pytest.mark.slow
@pytest.mark.parametrize(
    "num_classes, params", [(11, 363_791), (12, 363_856), (19, 364_311)]
)
def test_the_parameters_for_other_numbers_of_classes(num_classes, params):
    assert count(models.build_model("enet", num_classes)) == params


def test_multiply_adds_are_those_of_the_authors():
    assert round(complexity.count_multiply_adds(paper()) / 1e9, 2) == 3.93


def test_rates_double_and_asymmetric_convolutions_are_in_between():
    for stage in (2, 3):
        units = [paper().get_layer(f"bottleneck{stage}_{i}_conv") for i in range(1, 9)]
        rates = [unit.dilation_rate[0] for unit in units]
        assert rates == [1, 2, 1, 4, 1, 8, 1, 16]
        sizes = [unit.kernel_size for unit in units]
        assert sizes == [(3, 3), (3, 3), (5, 1), (3, 3)] * 2
        row = paper().get_layer(f"bottleneck{stage}_3_row")
        assert row.kernel_size == (1, 5) and not row.use_bias
        # There is no layer between the two.
        assert units[2].input is row.output and units[2].use_bias


def test_dropout_is_low_at_first_and_0_in_the_decoder():
    rates = {
        layer.name.removesuffix("_dropout"): layer.rate
        for layer in paper().layers
        if isinstance(layer, keras.layers.SpatialDropout2D)
    }
    assert {rates[f"bottleneck1_{i}"] for i in range(5)} == {0.01}
    assert {rates[f"bottleneck{s}_{i}"] for s in (2, 3) for i in range(1, 9)} == {0.1}
    assert rates["bottleneck2_0"] == 0.1
    decoder = {rate for name, rate in rates.items() if name[10] in "45"}
    assert decoder == {0.0}


def test_prelus_have_a_slope_per_channel_and_the_decoder_has_no_prelu():
    slopes = {
        layer.name: layer.alpha.shape
        for layer in paper().layers
        if isinstance(layer, keras.layers.PReLU)
    }
    assert slopes["bottleneck2_0_project_activation"] == (1, 1, 32)
    assert slopes["bottleneck2_0_activation"] == (1, 1, 128)
    assert not [
        name for name in slopes if name.startswith(("bottleneck4", "bottleneck5"))
    ]


def test_the_field_of_view_of_the_encoder_is_1217_pixels():
    # A kernel of k at stride j adds (k - 1) * j. Initial: 3; 1.0: +2 (2x2 at
    # 2), +8; 1.1-1.4: +8 each, 45; 2.0: +4 (2x2 at 4), +16, 65; 2.1-2.8 at 8:
    # 16 + 32 + 32 + 64 + 16 + 128 + 32 + 256 = 576; 3.1-3.8 again: 1217.
    model = models.build_model("enet", 1, encoder_only=True)
    for variable in model.weights:
        if variable.path.endswith("kernel"):  # Positive, so that nothing cancels.
            inputs = variable.shape[2]
            variable.assign(np.full(variable.shape, 0.3 / inputs))
    encoder = keras.Model(
        model.input, model.get_layer("bottleneck3_8_activation").output
    )
    image = tf.fill((1, 32, 1600, 3), 255.0)
    with tf.GradientTape() as tape:
        tape.watch(image)
        features = encoder(image)
        cell = tf.reduce_sum(features[:, :, 100])
    assert features.shape == (1, 4, 200, 128)
    nonzero = np.any(tape.gradient(cell, image).numpy() != 0, axis=(0, 1, 3))
    assert np.ptp(np.flatnonzero(nonzero)) + 1 == 1217


def prelu(x, layer):
    slope = np.asarray(layer.alpha)
    return np.where(x > 0, x, slope * x)


class Numpy:
    """Layers of a bottleneck of `small()` in NumPy, by name."""

    def __init__(self, name):
        self.name = name

    def layer(self, part):
        return small().get_layer(f"{self.name}_{part}")

    def conv(self, x, part, **options):
        kernel, *bias = self.layer(part).get_weights()
        return reference.conv(x, kernel, *bias, **options)

    def norm(self, x, part):
        return reference.batch_norm(x, self.layer(part))

    def prelu(self, x, part):
        return prelu(x, self.layer(part))


def maps(*layers):
    """Returns outputs of layers for a 36x52 image: 18x26, 9x13 or 5x7 cells."""
    outputs = [small().get_layer(name).output for name in layers]
    image = RNG.uniform(0, 255, (2, 36, 52, 3)).astype("float32")
    return [np.asarray(x) for x in keras.Model(small().input, outputs)(image)]


def test_the_initial_block_concatenates_convolution_and_pool():
    image, result = maps("pad_small", "initial_concat")
    kernel, bias = small().get_layer("initial_conv").get_weights()
    # Padding of 1 on each side, as in Torch; "same" of Keras pads only at the end.
    x = reference.conv(image, kernel, bias, stride=2, padding=1)[:, :18, :26]
    np.testing.assert_allclose(result[..., :13], x, atol=1e-4)
    pooled = reference.max_pool(image, 2, stride=2)
    np.testing.assert_allclose(result[..., 13:], pooled, atol=1e-6)


def test_a_downsampling_bottleneck_equals_that_in_numpy():
    before, result = maps("bottleneck1_4_activation", "bottleneck2_0_activation")
    assert before.shape == (2, 9, 13, 64) and result.shape == (2, 5, 7, 128)
    block = Numpy("bottleneck2_0")
    padded = reference.pad(before, 0, 1)  # For the odd height and width.
    y = block.conv(padded, "project", stride=2, padding=0)
    y = block.prelu(block.norm(y, "project_bn"), "project_activation")
    y = block.prelu(block.norm(block.conv(y, "conv"), "conv_bn"), "conv_activation")
    y = block.norm(block.conv(y, "expand"), "expand_bn")
    pooled = reference.max_pool(before, 2, stride=2, after=1)
    other = np.concatenate([pooled, np.zeros_like(pooled)], axis=-1)
    expected = block.prelu(y + other, "activation")
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_an_upsampling_bottleneck_equals_that_in_numpy():
    before, x, result = maps(
        "bottleneck1_4_activation",
        "bottleneck2_8_activation",
        "bottleneck4_0_activation",
    )
    assert x.shape == (2, 5, 7, 128) and result.shape == (2, 9, 13, 64)
    block = Numpy("bottleneck4_0")
    y = reference.relu(block.norm(block.conv(x, "project"), "project_bn"))
    kernel, bias = block.layer("conv").get_weights()
    y = reference.conv_transpose(y, kernel, bias, stride=2)  # 11x15 cells.
    y = y[:, 1:10, 1:14]  # Torch's padding of 1: cell i * 2 + k - 1.
    y = reference.relu(block.norm(y, "conv_bn"))
    y = block.norm(block.conv(y, "expand"), "expand_bn")
    cells = block.norm(block.conv(x, "other"), "other_bn")
    other = np.zeros_like(before, "float64")
    for batch, row, column, channel in np.ndindex(cells.shape):
        rows, columns = slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)
        window = before[batch, rows, columns, channel]
        i, j = np.unravel_index(window.argmax(), window.shape)
        place = batch, 2 * row + i, 2 * column + j, channel
        other[place] = cells[batch, row, column, channel]
    expected = reference.relu(y + other)
    assert expected.max() > 0.1
    np.testing.assert_allclose(result, expected, atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
def test_a_bottleneck_with_a_branch_of_zeros_is_the_identity(training):
    model = models.build_model("enet", 3, repeats=1)
    layer = model.get_layer("bottleneck2_2_expand_bn")
    layer.gamma.assign(np.zeros(128))
    start = model.get_layer("bottleneck2_1_activation").output
    block = keras.Model(start, model.get_layer("bottleneck2_2_activation").output)
    x = RNG.normal(size=(2, 6, 7, 128)).astype("float32")
    # Dropout is only on the branch.
    expected = prelu(x, model.get_layer("bottleneck2_2_activation"))
    np.testing.assert_allclose(block(x, training=training), expected, atol=1e-6)


def test_channels_of_zeros_are_appended():
    x = np.array([[[[1.0, 2.0]]]], "float32")
    layer = enet.PadChannels(3)
    np.testing.assert_array_equal(layer(x), [[[[1, 2, 0, 0, 0]]]])
    assert type(layer).from_config(layer.get_config()).channels == 3


def test_the_second_stage_starts_from_the_encoder_of_the_first():
    first, second = small(encoder_only=True, aux=True), small.__wrapped__()
    left = backbones.copy_weights(first, second)
    assert {path.split("_")[0].split("/")[0] for path in left} == {
        *("bottleneck4", "bottleneck5", "fullconv")
    }
    image = RNG.uniform(0, 255, (1, 40, 64, 3)).astype("float32")
    name = "bottleneck2_8_activation"
    encoders = [keras.Model(m.input, m.get_layer(name).output) for m in (first, second)]
    np.testing.assert_array_equal(*[encoder(image) for encoder in encoders])


def test_the_scores_of_the_first_stage_have_stride_8():
    model = small(encoder_only=True, aux=True)
    for size, cells in (((360, 480), (45, 60)), ((33, 47), (5, 6))):
        image = RNG.uniform(0, 255, (1, *size, 3)).astype("float32")
        outputs = model(image)
        assert outputs["aux_encoder"].shape == (1, *cells, 3)
        height, width = cells
        scores = reference.resize(outputs["aux_encoder"], 8 * height, 8 * width)
        expected = scores[:, : size[0], : size[1]]
        np.testing.assert_allclose(outputs["logits"], expected, atol=1e-4)
        assert outputs["logits"].dtype == outputs["aux_encoder"].dtype == "float32"


def test_the_auxiliary_head_changes_no_other_layer():
    plain, with_head = small(), small(aux=True)
    assert set(with_head.output) == {"logits", "aux_encoder"}
    paths = [{v.path for v in model.weights} for model in (plain, with_head)]
    assert {path.split("/")[0] for path in paths[1] - paths[0]} == {"encoder_classify"}
    assert paths[0] < paths[1]
    only = small(encoder_only=True)
    assert only.output_shape == (None, None, None, 3)
    assert {v.path for v in only.weights} < paths[1]
