"""PSPNet: the pyramid at any size, the heads, and the parameters of released nets."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerasseg import blocks, models
from kerasseg.models import complexity, pspnet
from tests.support import initializers, reference

RNG = np.random.default_rng(0)
BINS = (1, 2, 3, 6)


def small(**options):
    """Builds the test model."""
    return models.build_model(
        "pspnet", 3, **{**models.metadata("pspnet").test_options, **options}
    )


def pyramid(channels):
    """Builds pyramid pooling alone, with random statistics, and its branches."""
    x = keras.Input((None, None, channels))
    model = keras.Model(x, pspnet.pyramid_pooling(x))
    reference.shake(model)
    spread = [model.get_layer(f"pyramid_spread{bins}").output for bins in BINS]
    return model, keras.Model(x, spread)


def features(*shape):
    """Returns a random feature map."""
    return RNG.normal(size=shape).astype("float32")


def count(variables):
    """Counts parameters."""
    return sum(np.prod(v.shape) for v in variables)


def test_sizes_and_parameters_of_the_parts_at_473_pixels():
    model = models.build_model("pspnet", 21, image_size=(473, 473), aux=True)
    assert model.get_layer("pyramid_concat").output.shape == (None, 60, 60, 4096)
    assert model.output["aux_conv4"].shape == (None, 60, 60, 21)
    assert model.output["logits"].shape == (None, 473, 473, 21)
    variables = model.trainable_variables
    aux = [v for v in variables if v.path.startswith("aux_")]
    assert count(aux) == 2_365_205
    assert count(variables) - count(aux) == 46_716_373
    pyramid = [v for v in variables if v.path.startswith("pyramid_")]
    assert count(pyramid) == 4_198_400
    refine = [v for v in variables if v.path.startswith("head_refine")]
    assert count(refine) == 18_875_392
    rates = [
        model.get_layer(f"conv{stage}_block{unit}_2_conv").dilation_rate
        for stage, unit in ((3, 4), (4, 1), (4, 6), (5, 1), (5, 3))
    ]
    assert rates == [(1, 1), (2, 2), (2, 2), (4, 4), (4, 4)]


def test_the_complexity_for_ade20k_is_that_of_the_released_network():
    with initializers.no_values():
        model = models.build_model("pspnet", 150, image_size=(473, 473))
    assert count(model.trainable_variables) == 46_782_550
    assert round(complexity.count_multiply_adds(model) / 1e9, 1) == 161.5


def test_the_complexity_for_voc_is_that_of_the_released_network():
    with initializers.no_values():
        model = models.build_model(
            "pspnet", 21, backbone="resnet101", image_size=(473, 473)
        )
    assert count(model.trainable_variables) == 65_708_501
    # The released network has the stride of conv3 after its first convolution, not in
    # it: 119 x 119 cells instead of 60 x 60 for a kernel of 256 x 128.
    macs = complexity.count_multiply_adds(model) + (119**2 - 60**2) * 256 * 128
    assert round(macs / 1e9, 1) == 229.8


def test_a_crop_of_713_pixels_has_90_cells():
    model = small(image_size=(713, 713))
    assert model.get_layer("pyramid_concat").output.shape[1:3] == (90, 90)


def test_pooling_60_cells_equals_the_released_networks_average_pools():
    # Kernel and stride of 60, 30, 20 and 10.
    x = features(1, 60, 60, 2)
    for bins in BINS:
        plain = layers.AveragePooling2D(60 // bins)(x)
        np.testing.assert_allclose(
            blocks.AdaptiveAveragePool(bins)(x), plain, atol=1e-6
        )


def test_a_single_bin_is_the_mean_of_the_map():
    # Integers over a power of two, so that there is no rounding.
    x = RNG.integers(-100, 100, (2, 8, 16, 3)).astype("float32")
    mean = x.mean((1, 2), keepdims=True)
    np.testing.assert_array_equal(blocks.AdaptiveAveragePool(1)(x), mean)
    _, branches = pyramid(4)
    whole = np.asarray(branches(features(1, 8, 16, 4))[0])
    np.testing.assert_allclose(
        whole, np.broadcast_to(whole[:, :1, :1], whole.shape), atol=1e-6
    )


@pytest.mark.parametrize("size", [(60, 60), (7, 5), (4, 4), (1, 2)])
def test_a_constant_map_has_constant_branches(size):
    _, branches = pyramid(4)
    x = np.broadcast_to(features(2, 1, 1, 4), (2, *size, 4))
    for branch in branches(x):
        assert branch.shape == (2, *size, 1)
        np.testing.assert_allclose(
            branch, np.broadcast_to(branch[:, :1, :1], branch.shape), atol=1e-5
        )


def test_bins_are_resized_with_aligned_corners():
    # Two cells resized to five.
    x = np.array([0, 4], "float32")[None, None, :, None]
    like = np.zeros((1, 3, 5, 1), "float32")
    spread = pspnet.Spread()([x, like])
    for row in spread[0, :, :, 0]:
        np.testing.assert_allclose(row, [0, 1, 2, 3, 4])


@pytest.mark.parametrize("bins", BINS)
@pytest.mark.parametrize("size", [(60, 60), (7, 9), (3, 5), (1, 4)], ids=str)
def test_resized_bins_equal_those_in_numpy(bins, size):
    x = features(2, bins, bins, 3)
    spread = pspnet.Spread()
    got = spread([x, np.zeros((2, *size, 1), "float32")])
    np.testing.assert_allclose(got, reference.resize(x, *size, aligned=True), atol=1e-5)


def test_bins_are_resized_to_a_size_known_only_at_run_time():
    x = keras.Input((2, 2, 3), dtype="float16")
    like = keras.Input((None, None, 7), dtype="float16")
    layer = pspnet.Spread(dtype="float16")
    assert layer([x, like]).shape == (None, None, None, 3)
    specs = [tf.TensorSpec((None, None, None, n), "float16") for n in (3, 7)]
    specs[0] = tf.TensorSpec((None, 2, 2, 3), "float16")
    spread = tf.function(lambda x, like: layer([x, like]), input_signature=specs)
    got = spread(np.ones((2, 2, 2, 3), "float16"), np.zeros((2, 5, 4, 7), "float16"))
    assert got.dtype == "float16"
    np.testing.assert_array_equal(got, np.ones((2, 5, 4, 3)))


@pytest.mark.parametrize("size", [(7, 5), (12, 6), (2, 3)], ids=str)
def test_pyramid_and_head_equal_those_in_numpy(size):
    model = small()
    reference.shake(model)
    c5 = model.get_layer("pyramid_concat").input[0]
    part = keras.Model(c5, model.get_layer("head_classify").output)
    x = features(2, *size, c5.shape[-1])

    def conv_bn_relu(x, name):
        x = reference.conv(x, model.get_layer(f"{name}_conv").get_weights()[0])
        return reference.relu(reference.batch_norm(x, model.get_layer(f"{name}_bn")))

    maps = [x]
    for bins in BINS:
        cells = [
            [
                x[:, h * i // bins : -(-h * (i + 1) // bins)][
                    :, :, w * j // bins : -(-w * (j + 1) // bins)
                ].mean((1, 2))
                for j in range(bins)
            ]
            for i in range(bins)
            for h, w in [size]
        ]
        pooled = np.moveaxis(np.array(cells), 2, 0)
        pooled = conv_bn_relu(pooled, f"pyramid_bin{bins}")
        maps.append(reference.resize(pooled, *size, aligned=True))
    expected = conv_bn_relu(np.concatenate(maps, -1), "head_refine")
    kernel, bias = model.get_layer("head_classify").get_weights()
    expected = reference.conv(expected, kernel, bias)
    np.testing.assert_allclose(part(x), expected, atol=1e-4)


def test_with_a_pyramid_of_zeros_the_logits_depend_only_on_c5():
    model = small()
    reference.shake(model)
    for bins in BINS:
        convolution = model.get_layer(f"pyramid_bin{bins}_conv")
        convolution.kernel.assign(np.zeros(convolution.kernel.shape))
        norm = model.get_layer(f"pyramid_bin{bins}_bn")
        norm.beta.assign(np.zeros(norm.beta.shape))
        norm.moving_mean.assign(np.zeros(norm.beta.shape))
    c5 = model.get_layer("pyramid_concat").input[0]
    part = keras.Model(c5, model.get_layer("head_refine_conv").output)
    x = features(1, 5, 7, c5.shape[-1])
    kernel = model.get_layer("head_refine_conv").get_weights()[0]
    expected = reference.conv(x, kernel[:, :, : x.shape[-1]])
    np.testing.assert_allclose(part(x), expected, atol=1e-4)


def test_every_logit_depends_on_the_whole_image():
    # The field of view of the 1x1 convolutions of the encoder is small.
    model = small()
    image = tf.constant(RNG.uniform(0, 255, (1, 256, 256, 3)), "float32")
    with tf.GradientTape() as tape:
        tape.watch(image)
        score = model(image)[0, 0, 0, 0]
    gradient = np.abs(tape.gradient(score, image)).sum((0, 3))
    assert gradient[-32:, -32:].any()


def test_the_auxiliary_head_is_on_c4_and_changes_no_other_weight():
    plain, model = small(), small(aux=True)
    paths = [v.path for v in model.weights if not v.path.startswith("aux_")]
    assert paths == [v.path for v in plain.weights]
    for variable, value in zip(
        [v for v in model.weights if v.path in paths], plain.get_weights(), strict=True
    ):
        variable.assign(value)
    image = RNG.uniform(0, 255, (1, 70, 41, 3)).astype("float32")
    outputs = model(image)
    assert outputs["aux_conv4"].shape == (1, 9, 6, 3)
    assert outputs["aux_conv4"].dtype == "float32"
    np.testing.assert_allclose(outputs["logits"], plain(image), atol=1e-5)
    source = model.get_layer("aux_refine_conv").input
    assert source is model.get_layer("conv4_block2_out").output


def test_dropout_of_0_1_precedes_each_classifier():
    model = small(aux=True)
    for head in ("head", "aux"):
        layer = model.get_layer(f"{head}_dropout")
        assert layer.rate == 0.1
        assert model.get_layer(f"{head}_classify").input is layer.output


@pytest.mark.parametrize("output_stride", [16, 32])
def test_weights_are_the_same_at_other_output_strides(output_stride):
    fine, coarse = small(), small(output_stride=output_stride)
    paths = [[(v.path, v.shape) for v in m.weights] for m in (fine, coarse)]
    assert paths[0] == paths[1]
    part = keras.Model(coarse.input, coarse.get_layer("pyramid_concat").output)
    assert part(np.zeros((1, 128, 64, 3))).shape[1:3] == (
        128 // output_stride,
        64 // output_stride,
    )


def test_the_default_stem_is_that_of_the_released_networks():
    names = {layer.name for layer in small().layers}
    assert {"conv1_1_conv", "conv1_2_conv", "conv1_3_conv"} <= names
    standard = {layer.name for layer in small(stem="standard").layers}
    assert "conv1_conv" in standard and not standard & {"conv1_1_conv"}
    with pytest.raises(ValueError, match="`stem=standard`"):
        small(backbone="resnet50", backbone_weights="imagenet")


@pytest.mark.parametrize(
    "stem, layer", [("deep", "conv1_1_conv"), (None, "conv1_conv")]
)
def test_the_stem_belongs_to_the_encoder(stem, layer):
    options = models.metadata("pspnet").test_options
    options = {**options, "stem": stem or "standard"}
    assert layer in models.encoder_layers("pspnet", **options)


def test_the_stem_is_ignored_for_other_backbones():
    model = small(backbone="efficientnet_lite0", output_stride=16, aux=True)
    outputs = model(np.zeros((1, 65, 33, 3)))
    # 320 channels of c5, and four times 80.
    assert model.get_layer("pyramid_concat").output.shape[-1] == 640
    assert outputs["aux_conv4"].shape == (1, 5, 3, 3)
    assert outputs["logits"].shape == (1, 65, 33, 3)
