"""Semantic FPN: its pyramid and its branches."""

import keras
import numpy as np
import pytest

from kerasseg import models

RNG = np.random.default_rng(0)


def small(**options):
    return models.build_model("fpn", 3, **models.metadata("fpn").test_options | options)


def count(model):
    return sum(np.prod(v.shape) for v in model.trainable_variables)


def test_without_smoothing_it_has_the_parameters_of_third_party_code():
    # segmentation_models.pytorch, ResNet-50, 21 classes: 23,508,032 in the encoder,
    # 984,064 in laterals, 1,623,808 in branches, 2,709 in the classifier.
    model = models.build_model("fpn", 21, smooth=False)
    assert count(model) == 26_118_613
    parts = {"lateral": 984_064, "branch": 1_623_808, "classify": 2_709}
    for part, params in parts.items():
        weights = [v for v in model.trainable_variables if v.path.startswith(part)]
        assert sum(np.prod(v.shape) for v in weights) == params
    # Smoothing, as in the paper, adds four convolutions of 256 to 256 channels.
    assert models.metadata("fpn").params == 26_118_613 + 4 * (9 * 256 * 256 + 256)


def test_resnet101_version_has_the_parameters_of_third_party_code():
    model = models.build_model("fpn", 21, backbone="resnet101", smooth=False)
    assert count(model) == 45_110_741


@pytest.mark.parametrize("size", [(64, 96), (96, 160), (65, 97), (33, 40)])
def test_every_branch_ends_at_stride_4(size):
    model = small(image_size=size)
    quarter = tuple(-(-side // 4) for side in size)
    ends = ["branch2_1_relu", "branch3_1_up", "branch4_2_up", "branch5_3_up"]
    for name in ends:
        assert model.get_layer(name).output.shape[1:] == (*quarter, 16)
    # The branches are added, not concatenated.
    assert model.get_layer("classify").kernel.shape == (1, 1, 16, 3)


def test_level_5_is_doubled_three_times_and_level_2_never():
    names = {layer.name for layer in small().layers}
    for level, doublings in ((2, 0), (3, 1), (4, 2), (5, 3)):
        convs = [n for n in names if n.startswith(f"branch{level}") and "conv" in n]
        ups = [n for n in names if n.startswith(f"branch{level}") and "up" in n]
        assert (len(convs), len(ups)) == (max(doublings, 1), doublings)


def test_branches_have_group_norm_of_32_groups_and_relu():
    model = models.build_model("fpn", 2, backbone="resnet18_quarter")
    norm = model.get_layer("branch3_1_gn")
    assert (norm.groups, norm.epsilon) == (32, 1e-5)
    assert norm.output.shape[-1] == 128
    # It has no moving statistics.
    assert not norm.non_trainable_weights
    relu = model.get_layer("branch3_1_relu")
    assert relu.input is norm.output


def test_the_top_down_pathway_has_nearest_neighbor_interpolation():
    model = small(image_size=(65, 97), smooth=False)
    names = ["lateral4", "merge4", "lateral5"]
    taps = keras.Model(model.input, [model.get_layer(n).output for n in names])
    image = RNG.uniform(0, 255, (1, 65, 97, 3)).astype("float32")
    lateral, merged, above = [np.asarray(x) for x in taps(image)]
    doubled = above.repeat(2, axis=1).repeat(2, axis=2)
    rows, columns = lateral.shape[1:3]
    np.testing.assert_allclose(merged, lateral + doubled[:, :rows, :columns], atol=1e-4)


def test_filters_must_be_a_multiple_of_8():
    with pytest.raises(
        ValueError, match="filters=20` of 'fpn' must be a multiple of 8"
    ):
        small(filters=20)


def test_other_backbones_are_accepted():
    model = small(backbone="efficientnet_lite0")
    assert model(np.zeros((1, 40, 50, 3))).shape == (1, 40, 50, 3)
