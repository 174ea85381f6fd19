"""LinkNet: the links, the decoders and the parameters of the released code."""

import functools

import keras
import numpy as np
import pytest

from kerasseg import models
from kerasseg.models import linknet
from tests.support import reference

RNG = np.random.default_rng(0)


@functools.cache
def paper():
    """Builds the network of the paper for 11 classes."""
    return models.build_model("linknet", 11)


@functools.cache
def small(**options):
    """Builds a small network with random biases and statistics."""
    options = {**models.metadata("linknet").test_options, **options}
    model = models.build_model("linknet", 3, **options)
    reference.shake(model)
    return model


def count(layers):
    return sum(np.prod(v.shape) for x in layers for v in x.trainable_variables)


def random_image(height, width):
    return RNG.uniform(0, 255, (1, height, width, 3)).astype("float32")


def outputs(model, *names):
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def test_each_part_has_the_parameters_of_the_released_code():
    assert count([paper()]) == 11_535_659
    parts = {"decoder4": 247_296, "decoder3": 62_208, "decoder2": 15_744}
    parts |= {"decoder1": 4_640}
    for name, params in parts.items():
        assert count(x for x in paper().layers if x.name.startswith(name)) == params
    last = [x for x in paper().layers if x.name.startswith(("final", "classify"))]
    assert count(last) == 29_259
    # 2x2 x 32 weights and a bias for each of 9 or 10 more classes.
    assert 11_535_659 + 9 * 129 == 11_536_820
    assert 11_535_659 + 10 * 129 == 11_536_949


def test_strides_of_the_decoders_are_16_8_4_and_4_again():
    model = small(image_size=(352, 640))
    shapes = {i: model.get_layer(f"decoder{i}_out").output.shape for i in (4, 3, 2, 1)}
    assert shapes[4] == (None, 22, 40, 64)
    assert shapes[3] == (None, 44, 80, 32)
    assert shapes[2] == (None, 88, 160, 16)
    assert shapes[1] == (None, 88, 160, 16)
    assert model.get_layer("final_relu").output.shape == (None, 176, 320, 16)
    assert model.output_shape == (None, 352, 640, 3)


def test_the_last_link_is_the_pooled_stem_and_not_c2():
    model = small()
    names = ("link_stem_pool", "pool1_pool", "decoder1_crop")
    ours, theirs, _ = outputs(model, *names)(random_image(65, 97))
    np.testing.assert_array_equal(ours, theirs)
    add = model.get_layer("decoder1_add")
    assert add.input[1] is model.get_layer("link_stem_pool").output


def test_with_a_decoder_of_zeros_each_sum_is_the_link():
    model = models.build_model("linknet", 3, backbone="resnet18_quarter")
    reference.shake(model)
    links = {4: "conv4_block2_out", 3: "conv3_block2_out", 2: "conv2_block2_out"}
    links[1] = "link_stem_pool"
    for i in links:
        norm = model.get_layer(f"decoder{i}_3_bn")
        norm.gamma.assign(norm.gamma * 0)
        norm.beta.assign(norm.beta * 0)
    sums = [f"decoder{i}_out" for i in links]
    found = outputs(model, *sums, *links.values())(random_image(64, 96))
    for x, link in zip(found[:4], found[4:], strict=True):
        np.testing.assert_array_equal(x, reference.relu(np.asarray(link)))
        assert np.any(x)


def test_a_full_convolution_aligns_the_cells():
    x = keras.Input((2, 3, 1))
    model = keras.Model(x, linknet.full_conv(x, 1, 2, name="full"))
    kernel = np.zeros((3, 3, 1, 1), "float32")
    kernel[1, 1] = 1.0
    model.set_weights([kernel, np.zeros(1)])
    cells = np.arange(1.0, 7).reshape(1, 2, 3, 1)
    spread = np.zeros((1, 4, 6, 1))
    spread[:, ::2, ::2] = cells
    np.testing.assert_array_equal(model(cells), spread)


@pytest.mark.parametrize("narrowing", [1, 4])
def test_a_decoder_equals_that_in_numpy(narrowing):
    model = small(narrowing=narrowing)
    names = ("conv5_block2_out", "conv4_block2_out", "decoder4_out")
    # 65 and 97 pixels: 3 and 4 cells become 6 and 8, cropped to 5 and 7.
    x, link, expected = map(np.asarray, outputs(model, *names)(random_image(65, 97)))
    get = model.get_layer
    x = reference.conv(x, *get("decoder4_conv1").get_weights())
    x = reference.relu(reference.batch_norm(x, get("decoder4_1_bn")))
    x = reference.conv_transpose(x, *get("decoder4_full_conv").get_weights(), stride=2)
    x = x[:, 1:6, 1:8]
    x = reference.relu(reference.batch_norm(x, get("decoder4_2_bn")))
    x = reference.conv(x, *get("decoder4_conv2").get_weights())
    x = reference.relu(reference.batch_norm(x, get("decoder4_3_bn")))
    np.testing.assert_allclose(reference.relu(x + link), expected, atol=1e-4)


def test_decoders_have_a_quarter_of_the_channels_biases_and_their_epsilon():
    for i, channels in {4: 512, 3: 256, 2: 128, 1: 64}.items():
        inside = paper().get_layer(f"decoder{i}_full_conv")
        assert inside.filters == channels // 4 and inside.use_bias
        assert inside.strides == ((1, 1) if i == 1 else (2, 2))
    norms = [
        x
        for x in paper().layers
        if isinstance(x, keras.layers.BatchNormalization)
        and x.name.startswith(("decoder", "final"))
    ]
    assert len(norms) == 14 and {x.epsilon for x in norms} == {1e-3}


def test_weights_start_as_in_the_released_code():
    def deviation(name):
        return float(np.std(paper().get_layer(name).kernel))

    # sqrt(2 / (kernel cells * filters)): 1x1 to 128, 3x3 to 128, 1x1 to 256.
    assert deviation("decoder4_conv1") == pytest.approx(0.125, rel=0.02)
    assert deviation("decoder4_full_conv") == pytest.approx(0.0417, rel=0.02)
    assert deviation("decoder4_conv2") == pytest.approx(0.0884, rel=0.02)


def test_decoders_have_the_channels_of_any_backbone():
    model = models.build_model("linknet", 3, backbone="efficientnet_lite0", narrowing=1)
    channels = [
        model.get_layer(f"decoder{i}_out").output.shape[-1] for i in (4, 3, 2, 1)
    ]
    assert channels == [112, 40, 24, 16]
    assert model(random_image(33, 47)).shape == (1, 33, 47, 3)


def test_a_backbone_without_c1_has_no_link_at_the_stem():
    model = models.build_model("linknet", 3, backbone="convnext_tiny")
    names = {layer.name for layer in model.layers}
    assert "decoder2_add" in names and "decoder1_add" not in names
    assert model(random_image(33, 47)).shape == (1, 33, 47, 3)
