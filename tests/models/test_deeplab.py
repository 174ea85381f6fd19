"""DeepLab v3 and v3+: what their papers say of rates, sizes and strides."""

import keras
import numpy as np
import pytest

from kerasseg import backbones, blocks, models
from tests.support import initializers, reference

RNG = np.random.default_rng(0)
NAMES = ["deeplab_v3", "deeplab_v3_cascade", "deeplab_v3_plus"]


def count(name, **options):
    """Counts the trainable parameters for 21 classes."""
    with initializers.no_values():
        model = models.build_model(name, 21, **options)
    return sum(np.prod(v.shape) for v in model.trainable_variables)


def small(name, **options):
    """Builds the test model of an architecture."""
    options = {**models.metadata(name).test_options, **options}
    return models.build_model(name, 3, **options)


@pytest.mark.parametrize(
    "name, options, params",
    [
        ("deeplab_v3", {}, 58_040_661),
        ("deeplab_v3_cascade", {}, 82_706_517),
        ("deeplab_v3_plus", {}, 45_688_261),
        ("deeplab_v3_plus", {"separable": False}, 59_344_309),
    ],
)
def test_resnet101_versions_have_the_parameters_of_the_papers(name, options, params):
    assert count(name, backbone="resnet101", **options) == params


@pytest.mark.parametrize("name", ["deeplab_v3", "deeplab_v3_plus"])
@pytest.mark.parametrize(
    "output_stride, rates", [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])]
)
def test_rates_of_the_pyramid_double_when_the_output_stride_halves(
    name, output_stride, rates
):
    model = small(name, output_stride=output_stride)
    kind = "depthwise" if name == "deeplab_v3_plus" else "conv"
    pyramid = [model.get_layer(f"aspp_atrous{i}_{kind}") for i in (1, 2, 3)]
    assert [layer.dilation_rate[0] for layer in pyramid] == rates


def test_parts_of_the_pyramid_of_v3_can_be_left_out():
    whole = count("deeplab_v3")
    # 2048 inputs: the branch of image pooling is a 1x1 convolution to 256 channels with
    # batch norm, and the projection loses 256 of 1280 input channels.
    assert whole - count("deeplab_v3", image_pooling=False) == (
        2048 * 256 + 2 * 256 + 256 * 256
    )
    # Each 3x3 convolution has 9 times the weights of a 1x1 convolution.
    assert whole - count("deeplab_v3", rates=()) == 3 * (
        9 * 2048 * 256 + 2 * 256 + 256 * 256
    )
    model = small("deeplab_v3", output_stride=8, rates=(24,), image_pooling=False)
    assert model.get_layer("aspp_atrous1_conv").dilation_rate[0] == 48
    assert model.get_layer("aspp_concat").output.shape[-1] == 2 * 32


def test_multi_grid_is_in_the_last_block():
    model = models.build_model("deeplab_v3", 21, output_stride=8)
    units = [model.get_layer(f"conv5_block{i}_2_conv") for i in (1, 2, 3)]
    assert [layer.dilation_rate[0] for layer in units] == [4, 8, 16]


def test_the_pyramid_concatenates_1280_channels_and_the_decoder_304():
    # 5 branches of 256; 256 of the encoder and 48 of the skip connection.
    image_size = (513, 513)
    model = models.build_model("deeplab_v3_plus", 21, image_size=image_size)
    assert model.get_layer("aspp_concat").output.shape == (None, 33, 33, 1280)
    assert model.get_layer("merge").output.shape == (None, 129, 129, 304)
    assert model.output_shape == (None, 513, 513, 21)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
@pytest.mark.parametrize("output_stride, cells", [(16, 33), (8, 65)])
def test_an_image_of_513_pixels_has_33_65_or_129_cells(name, output_stride, cells):
    image = keras.Input((513, 513, 3))
    c = backbones.build(name, image, output_stride=output_stride)
    assert c["c5"].shape[1:3] == (cells, cells)
    assert c["c2"].shape[1:3] == (129, 129)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_trained_at_16_runs_at_8_with_the_same_weights(name):
    trained, dense = small(name), small(name, output_stride=8)
    paths = [[(v.path, v.shape) for v in m.weights] for m in (trained, dense)]
    assert paths[0] == paths[1]


@pytest.mark.parametrize("backbone", ["resnet18_quarter", "efficientnet_lite0"])
def test_scores_at_output_stride_8_align_with_those_at_16(backbone):
    # The best matching shift of c5, after both are resized to the image, is 0.
    image = RNG.normal(size=(1, 128, 128, 3)).astype("float32")
    maps, weights = {}, None
    for stride in (16, 8):
        x = keras.Input((128, 128, 3))
        c = backbones.build(backbone, x, output_stride=stride)
        full = blocks.ResizeLike(stride)([c["c5"], x])
        model = keras.Model(x, full)
        weights = weights or model.get_weights()
        model.set_weights(weights)
        maps[stride] = np.asarray(model(image))[0]
    # Pixels at multiples of 16 hold the same cell in both.
    np.testing.assert_allclose(maps[8][::16, ::16], maps[16][::16, ::16], atol=1e-4)


def conv_bn_relu(x, model, name, **options):
    """Does in NumPy what the layers of that name do."""
    kernel = np.asarray(model.get_layer(f"{name}_conv").kernel)
    x = reference.conv(x, kernel, **options)
    return reference.relu(reference.batch_norm(x, model.get_layer(f"{name}_bn")))


def test_the_pyramid_of_v3_equals_that_in_numpy():
    # Image pooling, 1x1, rates 6, 12 and 18, in this order; then 1x1.
    model = small("deeplab_v3")
    reference.shake(model)
    names = ["conv5_block2_out", "aspp_project_relu"]
    maps = keras.Model(model.input, [model.get_layer(name).output for name in names])
    c5, result = maps(RNG.uniform(0, 255, (1, 225, 161, 3)).astype("float32"))
    c5 = np.asarray(c5)
    assert c5.shape == (1, 15, 11, 128)
    mean = conv_bn_relu(c5.mean((1, 2), keepdims=True), model, "aspp_image")
    branches = [np.broadcast_to(mean, (1, 15, 11, 32))]
    branches.append(conv_bn_relu(c5, model, "aspp_point"))
    for i, rate in enumerate((6, 12, 18), start=1):
        branches.append(conv_bn_relu(c5, model, f"aspp_atrous{i}", rate=rate))
    expected = conv_bn_relu(np.concatenate(branches, -1), model, "aspp_project")
    assert expected.std() > 1e-2
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_deeplab_v3_accepts_backbones_without_multi_grid():
    model = small("deeplab_v3", backbone="efficientnet_lite0", multi_grid=None)
    assert model.output_shape == (None, None, None, 3)
    with pytest.raises(ValueError, match=r"no multi-grid\. Set `multi_grid=None`"):
        models.build_model("deeplab_v3", 3, backbone="efficientnet_lite0")


def test_the_cascade_needs_a_resnet():
    with pytest.raises(ValueError, match=r"no option \['extra_blocks', 'multi_grid'\]"):
        models.build_model("deeplab_v3_cascade", 3, backbone="efficientnet_lite0")


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_output_stride_is_an_error(name):
    with pytest.raises(ValueError, match=r"`output_stride=12` .* \(8, 16, 32\)"):
        small(name, output_stride=12)
