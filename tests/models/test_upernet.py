"""UPerNet: the pyramids of its paper and its authors' code."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import models

RNG = np.random.default_rng(0)


def small(**options):
    options = models.metadata("upernet").test_options | options
    return models.build_model("upernet", 3, **options)


def count(model):
    return sum(np.prod(v.shape) for v in model.trainable_variables)


def taps(model, *names):
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def test_resnet101_version_has_the_parameters_of_the_authors():
    model = models.build_model("upernet", 150, backbone="resnet101")
    assert count(model) == 83_214_422
    # 40,590,486 of them are in the decoder. A class has 512 weights and a bias.
    assert 83_214_422 - 42_623_936 == 40_590_486
    classify = model.get_layer("classify")
    assert sum(np.prod(v.shape) for v in classify.weights) == 150 * 513


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 40)])
def test_all_levels_are_fused_at_stride_4(size):
    model = small(image_size=size)
    quarter = tuple(-(-side // 4) for side in size)
    assert model.get_layer("fuse_concat").output.shape[1:] == (*quarter, 4 * 16)
    # 2048 of the encoder and 4 x 512 of the pools in the paper; 128 and 4 x 16 here.
    assert model.get_layer("pyramid_concat").output.shape[-1] == 128 + 4 * 16


def test_the_single_bin_of_the_pyramid_is_the_mean_of_the_map():
    model = small()
    image = RNG.uniform(0, 255, (2, 100, 70, 3)).astype("float32")
    c5, mean = taps(model, "conv5_block2_out", "pyramid1_spread")(image)
    expected = np.broadcast_to(np.mean(c5, axis=(1, 2), keepdims=True), c5.shape)
    np.testing.assert_allclose(mean, expected, atol=1e-4)


def test_a_constant_map_stays_constant_in_the_pyramid():
    model = small()
    pool = keras.Model(
        model.get_layer("pyramid1_mean").input,
        [model.get_layer(f"pyramid{bins}_relu").output for bins in (1, 2, 3, 6)],
    )
    values = RNG.normal(size=(1, 1, 1, 128)).astype("float32")
    for branch in pool(np.tile(values, (1, 5, 7, 1))):
        np.testing.assert_allclose(branch, branch[:, :1, :1] + 0 * branch, atol=1e-5)


def test_with_laterals_of_zeros_scores_depend_only_on_c5():
    model = small()
    for level in (2, 3, 4):
        norm = model.get_layer(f"lateral{level}_bn")
        norm.gamma.assign(0 * norm.gamma)
    laterals = [model.get_layer(f"lateral{level}_conv").kernel for level in (2, 3, 4)]
    top = model.get_layer("pyramid_project_conv").kernel
    image = RNG.uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(image) ** 2)
    *cut, kept = tape.gradient(loss, [v.value for v in (*laterals, top)])
    assert not any(np.any(gradient) for gradient in cut)
    assert np.any(kept)


def test_the_auxiliary_head_is_on_c4_and_changes_no_other_names():
    with_aux, without = small(aux=True), small()
    paths = {v.path for v in with_aux.weights}
    assert {v.path for v in without.weights} < paths
    assert all("aux_c4" in path for path in paths - {v.path for v in without.weights})
    outputs = with_aux(np.zeros((2, 45, 33, 3)))
    assert {key: x.shape for key, x in outputs.items()} == {
        "logits": (2, 45, 33, 3),
        "aux_c4": (2, 45, 33, 3),
    }


def test_backbones_without_stems_are_accepted():
    model = small(backbone="efficientnet_lite0")
    assert model(np.zeros((1, 40, 50, 3))).shape == (1, 40, 50, 3)


@pytest.mark.slow
def test_a_backbone_with_layers_called_pool_is_accepted():
    # DenseNet's transitions are pool2_conv, pool3_conv and so on.
    model = small(backbone="densenet121")
    assert model(np.zeros((1, 40, 50, 3))).shape == (1, 40, 50, 3)


@pytest.mark.slow
def test_maps_of_the_pyramid_can_be_convolved_at_their_own_size():
    model, default = small(convolve_first=True), small()
    assert [v.path for v in model.weights] == [v.path for v in default.weights]
    for bins in (1, 2, 3, 6):
        shape = model.get_layer(f"pyramid{bins}_relu").output.shape
        assert shape[1:] == (bins, bins, 16)
    model.set_weights(default.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 65, 97, 3)).astype("float32")
    # ReLU does not commute with interpolation.
    assert model(image).shape == (1, 65, 97, 3)
    assert not np.allclose(model(image), default(image), atol=1e-6)
