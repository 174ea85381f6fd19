"""FC-DenseNet: the tables of the paper, and its arithmetic in NumPy."""

import functools
import re

import keras
import numpy as np
import pytest
from keras import layers

from kerasseg import models
from kerasseg.models import fc_densenet
from tests.support import reference

RNG = np.random.default_rng(0)
CONVOLUTIONS = layers.Conv2D, layers.Conv2DTranspose

# Channels after the first convolution, each block of the downsampling path, the
# bottleneck, and each block of the upsampling path. Table 2 prints 880, 1072, 800 and
# 368 for 896, 1088, 816 and 384 of the third; the README of the released code corrects
# it.
MAPS = {
    "fc_densenet56": [48, 96, 144, 192, 240, 288, 336, 384, 336, 288, 240, 192],
    "fc_densenet67": [48, 128, 208, 288, 368, 448, 528, 608, 528, 448, 368, 288],
    "fc_densenet103": [48, 112, 192, 304, 464, 656, 896, 1088, 816, 576, 384, 256],
}
# Parameters of each part in the order of the network, for 11 classes.
PARTS = {
    "fc_densenet56": {
        "first": [1_344],
        "down": [29_088, 50_208, 71_328, 92_448, 113_568],
        "td": [9_504, 21_168, 37_440, 58_320, 83_808],
        "bottleneck": [134_688],
        "tu": [20_784] * 5,
        "up": [155_808, 134_688, 113_568, 92_448, 71_328],
        "classify": [2_123],
    },
    "fc_densenet67": {
        "first": [1_344],
        "down": [58_480, 116_880, 175_280, 233_680, 292_080],
        "td": [16_768, 43_888, 83_808, 136_528, 202_048],
        "bottleneck": [350_480],
        "tu": [57_680] * 5,
        "up": [408_880, 350_480, 292_080, 233_680, 175_280],
        "classify": [3_179],
    },
    "fc_densenet103": {
        "first": [1_344],
        "down": [42_112, 105_200, 245_392, 549_120, 967_296],
        "td": [12_880, 37_440, 93_328, 216_688, 432_304],
        "bottleneck": [1_682_160],
        "tu": [518_640, 331_968, 230_560, 113_008, 57_680],
        "up": [1_724_160, 1_063_040, 523_376, 245_360, 126_208],
        "classify": [2_827],
    },
}


@functools.cache
def build(name):
    """Builds the network of the paper for images of CamVid, once."""
    return models.build_model(name, 11, image_size=(360, 480))


def numbers(count, way):
    """Returns the names of the parts in the order of the network."""
    return range(count, 0, -1) if way in ("tu", "up") else range(1, count + 1)


@pytest.mark.parametrize("name", MAPS)
def test_the_channels_grow_as_in_table_2(name):
    model = build(name)
    ends = [model.get_layer("first_conv").filters]
    for block in (
        *(f"down{i}" for i in range(1, 6)),
        "bottleneck",
        *(f"up{i}" for i in range(5, 0, -1)),
    ):
        new = [
            x for x in model.layers if re.fullmatch(f"{block}_layer\\d+_conv", x.name)
        ]
        inputs = model.get_layer(f"{block}_layer1_bn").gamma.shape[0]
        ends.append(inputs + sum(layer.filters for layer in new))
    assert ends == MAPS[name]


@pytest.mark.parametrize("name", PARTS)
def test_each_part_has_its_parameters(name):
    variables = build(name).trainable_variables
    for way, counts in PARTS[name].items():
        for number, count in zip(numbers(len(counts), way), counts, strict=True):
            part = f"{way}{number}" if len(counts) > 1 else way
            found = [
                v for v in variables if v.path.startswith((f"{part}_", f"{part}/"))
            ]
            assert sum(np.prod(v.shape) for v in found) == count, part


@pytest.mark.parametrize(
    "name, total",
    [("fc_densenet56", 56), ("fc_densenet67", 67), ("fc_densenet103", 103)],
)
def test_the_name_counts_the_convolutions(name, total):
    found = [x for x in build(name).layers if isinstance(x, CONVOLUTIONS)]
    assert len(found) == total
    assert all(layer.use_bias for layer in found)
    kinds = {type(layer.kernel_initializer).__name__ for layer in found}
    assert kinds == {"HeUniform"}


def test_odd_rows_dropped_by_pools_are_restored_by_the_upsampling_path():
    # 360 -> 180 -> 90 -> 45 -> 22 -> 11; 11 -> 23, cut to 22; 22 -> 45.
    model = build("fc_densenet56")
    assert model.get_layer("bottleneck_new").output.shape[1:3] == (11, 15)
    assert model.get_layer("tu5_deconv").output.shape[1:3] == (23, 31)
    assert model.get_layer("tu5_crop").output.shape[1:3] == (22, 30)
    assert model.get_layer("tu4_deconv").output.shape[1:3] == (45, 61)
    assert model.get_layer("tu4_merge").output.shape[1:3] == (45, 60)
    assert model.output_shape == (None, 360, 480, 11)


def test_a_crop_of_224_pixels_has_7_cells_at_the_bottleneck():
    x = keras.Input((224, 224, 3))
    for i in range(1, 6):
        x = fc_densenet.transition_down(x, name=f"td{i}")
    assert x.shape[1:3] == (7, 7)


def test_dropout_of_0_2_follows_every_convolution_of_the_blocks():
    dropouts = [x for x in build("fc_densenet56").layers if "dropout" in x.name]
    assert {layer.rate for layer in dropouts} == {0.2}
    # All except the first, the five of transitions up and the classifier.
    assert len(dropouts) == 56 - 7


def test_batch_norms_have_the_constants_of_lasagne():
    # Its alpha of 0.1 is 1 minus the momentum of Keras.
    norms = [
        x
        for x in build("fc_densenet56").layers
        if isinstance(x, layers.BatchNormalization)
    ]
    assert norms and {(x.momentum, x.epsilon) for x in norms} == {(0.9, 1e-4)}


def test_the_input_of_a_transition_up_is_the_new_features():
    # 15 layers of 16 channels of the bottleneck, not all of its 896.
    sizes = [240, 192, 160, 112, 80]
    model = build("fc_densenet103")
    for number, size in zip(range(5, 0, -1), sizes, strict=True):
        layer = model.get_layer(f"tu{number}_deconv")
        assert layer.kernel.shape == (3, 3, size, size)
        assert layer.strides == (2, 2) and layer.padding == "valid"


@pytest.mark.parametrize("depth", [1, 3])
def test_a_block_with_its_transitions_equals_one_in_numpy(depth):
    image = keras.Input((9, 12, 5))
    stack, _ = fc_densenet.dense_block(image, depth, 4, name="block")
    down = fc_densenet.transition_down(stack, name="td")
    _, new = fc_densenet.dense_block(down, depth, 4, name="deep")
    up = fc_densenet.transition_up(new, stack, name="tu")
    model = keras.Model(image, [stack, down, up])
    reference.shake(model)
    x = RNG.normal(size=(2, 9, 12, 5)).astype("float32")

    def layer(x, name):
        x = reference.relu(reference.batch_norm(x, model.get_layer(f"{name}_bn")))
        kernel, bias = model.get_layer(f"{name}_conv").get_weights()
        return reference.conv(x, kernel, bias)

    def block(x, name):
        new = []
        for i in range(1, depth + 1):
            new.append(layer(x, f"{name}_layer{i}"))
            x = np.concatenate([x, new[-1]], -1)
        return x, np.concatenate(new, -1)

    stack, _ = block(x, "block")
    # The ninth row is dropped.
    down = reference.max_pool(layer(stack, "td"), 2, stride=2)
    _, new = block(down, "deep")
    kernel, bias = model.get_layer("tu_deconv").get_weights()
    # 4 x 6 cells become 9 x 13; the thirteenth column is cropped.
    large = reference.conv_transpose(new, kernel, bias, stride=2)
    assert large.shape[1:3] == (9, 13)
    up = np.concatenate([large[:, :, :12], stack], -1)
    for actual, expected in zip(model(x), (stack, down, up), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-4)
