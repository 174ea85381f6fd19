"""DeepLab v2: what the paper and the released prototxts say of it."""

import functools

import keras
import numpy as np
import pytest

from kerasseg import models
from kerasseg.models import deeplab_v2
from tests.support import reference

RNG = np.random.default_rng(0)


@functools.cache
def small(**options):
    """Builds a small network, not at its start."""
    options = {"backbone": "resnet18_quarter", "aux": True, **options}
    model = models.build_model("deeplab_v2", 3, **options)
    reference.shake(model)
    return model


@functools.cache
def on_vgg16():
    """Builds the pyramid on VGG16, of paper size as it has no other."""
    model = models.build_model("deeplab_v2", 21, backbone="vgg16", aux=True)
    reference.shake(model)
    return model


def random_image(*size):
    return RNG.uniform(0, 255, (1, *size, 3)).astype("float32")


def part(model, *names):
    """Returns a model from the image to the outputs of layers."""
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def weights(model, name):
    return [np.asarray(v) for v in model.get_layer(name).weights]


def test_the_pyramid_on_vgg16_has_the_parameters_of_the_paper():
    # 14,714,688 and four branches: 3x3 x 512 x 1024, 1024 x 1024, 1024 x 21 and biases.
    assert on_vgg16().count_params() == 14_714_688 + 4 * 5_790_741 == 37_877_652


def test_large_fov_on_vgg16_is_that_of_v1():
    first, second = [
        models.build_model(name, 21, **options)
        for name, options in (
            ("deeplab_v1", {}),
            ("deeplab_v2", {"backbone": "vgg16", "head": "large_fov"}),
        )
    ]
    assert second.count_params() == 20_505_429
    assert [v.path for v in first.weights] == [v.path for v in second.weights]
    second.set_weights(first.get_weights())
    image = random_image(33, 47)
    np.testing.assert_array_equal(first(image), second(image))


def test_scales_share_their_weights():
    one, three = small(), small(multi_scale=True)
    assert [v.path for v in one.weights] == [v.path for v in three.weights]
    assert {layer.name for layer in one.layers} < {layer.name for layer in three.layers}


@pytest.mark.parametrize(
    "head, rates",
    [("large_fov", [12]), ("aspp_s", [2, 4, 8, 12]), ("aspp_l", [6, 12, 18, 24])],
)
def test_branches_have_the_rates_of_the_paper(head, rates):
    branches = [x for x in small(head=head).layers if x.name.startswith("aspp")]
    assert [layer.dilation_rate for layer in branches] == [(r, r) for r in rates]
    assert {layer.kernel_size for layer in branches} == {(3, 3)}


def test_resnet101_is_dilated_by_2_and_4_without_multi_grid():
    model = models.build_model("deeplab_v2", 21, image_size=(321, 321))
    assert model.get_layer("conv3_block4_out").output.shape[1:3] == (41, 41)
    assert model.get_layer("conv5_block3_out").output.shape[1:3] == (41, 41)
    for stage, units, rate in ((3, 4, 1), (4, 23, 2), (5, 3, 4)):
        for unit in range(1, units + 1):
            layer = model.get_layer(f"conv{stage}_block{unit}_2_conv")
            assert layer.dilation_rate == (rate, rate)
    assert model.get_layer("conv3_block1_1_conv").strides == (2, 2)  # Not the 3x3.


def test_auxiliary_scores_have_the_sizes_of_the_release():
    options = {"backbone": "resnet18_quarter", "multi_scale": True, "aux": True}
    model = models.build_model("deeplab_v2", 3, image_size=(321, 321), **options)
    assert model.get_layer("picture_half").output.shape[1:3] == (161, 161)
    assert model.get_layer("picture_three_quarters").output.shape[1:3] == (241, 241)
    sides = {name: x.shape[1] for name, x in model.output.items()}
    aux = {"aux_scores": 41, "aux_full": 41, "aux_three_quarters": 41, "aux_half": 21}
    assert sides == {"logits": 321, **aux}


@pytest.mark.parametrize("size", [(65, 97), (64, 50)], ids=str)
@pytest.mark.parametrize("multi_scale", [False, True])
def test_scores_are_the_logits_at_every_eighth_pixel(multi_scale, size):
    outputs = small(multi_scale=multi_scale)(random_image(*size))
    np.testing.assert_allclose(
        outputs["logits"][:, ::8, ::8], outputs["aux_scores"], atol=1e-5
    )


def test_logits_are_the_scores_resized_with_aligned_corners():
    outputs = small()(random_image(65, 97))
    scores = np.asarray(outputs["aux_scores"])
    assert scores.shape == (1, 9, 13, 3)
    expected = reference.resize(scores, 65, 97, aligned=True)
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)


def test_the_scores_of_scales_are_fused_by_their_maximum():
    outputs = small(multi_scale=True)(random_image(97, 65))
    scores = {name: np.asarray(x) for name, x in outputs.items()}
    half = reference.resize(scores["aux_half"], 13, 9, aligned=True)
    scales = [scores["aux_full"], scores["aux_three_quarters"], half]
    largest = np.argmax(scales, axis=0)
    assert {*largest.ravel()} == {0, 1, 2}  # Each scale has its say.
    np.testing.assert_allclose(scores["aux_scores"], np.max(scales, axis=0), atol=1e-5)


def test_each_scale_is_the_network_on_the_smaller_image():
    # 97 pixels become 49 and 73, 65 become 33 and 49; 73 pixels have scores of 10
    # cells, which are resized to 13.
    model, network = small(multi_scale=True), small()
    network.set_weights(model.get_weights())
    image = random_image(97, 65)
    outputs = model(image)
    half = network(reference.resize(image, 49, 33, aligned=True))["aux_scores"]
    np.testing.assert_allclose(outputs["aux_half"], half, atol=1e-4)
    smaller = reference.resize(image, 73, 49, aligned=True)
    cells = np.asarray(network(smaller)["aux_scores"])
    assert cells.shape == (1, 10, 7, 3)
    expected = reference.resize(cells, 13, 9, aligned=True)
    np.testing.assert_allclose(outputs["aux_three_quarters"], expected, atol=1e-4)


def test_equal_scores_of_scales_are_unchanged_by_fusion():
    model = small(multi_scale=True)
    before = model.get_weights()
    for i in range(1, 5):
        kernel, bias = model.get_layer(f"aspp{i}").get_weights()
        model.get_layer(f"aspp{i}").set_weights([0 * kernel, bias])
    outputs = model(random_image(65, 65))
    model.set_weights(before)
    scores = np.asarray(outputs["aux_full"])
    np.testing.assert_allclose(outputs["aux_scores"], scores, atol=1e-6)
    np.testing.assert_allclose(outputs["logits"][0, 5, 7], scores[0, 0, 0], atol=1e-6)


def column(values):
    return np.array(values, "float32").reshape(1, -1, 1, 1)


@pytest.mark.parametrize(
    "step, values, expected",
    [
        ((2, 1), [0, 1, 2, 3], [0, 2]),
        ((2, 1), [0, 1, 2, 3, 4], [0, 2, 4]),
        # Positions 4/3 and 8/3: a third and two thirds between two cells.
        ((4, 3), [0, 3, 6, 9, 12], [0, 4, 8, 12]),
        ((4, 3), [0, 3, 6, 9], [0, 4, 8]),
        ((2, 1), [7], [7]),
    ],
)
def test_resampling_keeps_the_first_cell_and_the_step(step, values, expected):
    resized = deeplab_v2.Resample(step)(column(values))
    np.testing.assert_allclose(resized, column(expected), atol=1e-5)


def test_resampling_to_a_size_repeats_the_last_cell_beyond_the_map():
    like = np.zeros((1, 6, 1, 2), "float32")
    resized = deeplab_v2.Resample((1, 2))(column([0, 4]), like=like)
    np.testing.assert_allclose(resized, column([0, 2, 4, 4, 4, 4]), atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (40, 100)], ids=str)
@pytest.mark.parametrize("backbone", ["vgg16", "efficientnet_lite0"])
def test_other_backbones_run_at_any_size(backbone, size):
    model = on_vgg16() if backbone == "vgg16" else small(backbone=backbone)
    outputs = model(random_image(*size))
    classes = 21 if backbone == "vgg16" else 3
    assert outputs["logits"].shape == (1, *size, classes)
    assert np.isfinite(outputs["logits"]).all()


def test_the_pyramid_equals_that_in_numpy():
    model = small(head="aspp_s")
    c5, scores = part(model, "conv5_block2_out", "sum")(random_image(97, 65))
    assert c5.shape[1:3] == (13, 9)
    expected = sum(
        reference.conv(np.asarray(c5), *weights(model, f"aspp{i}"), rate=rate)
        for i, rate in enumerate((2, 4, 8, 12), start=1)
    )
    assert expected.std() > 1e-3
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_the_pyramid_on_vgg16_equals_that_in_numpy():
    model = on_vgg16()
    pool5, scores = part(model, "pool5", "sum")(random_image(49, 65))
    assert pool5.shape == (1, 7, 9, 512)
    expected = 0
    for end, rate in (("", 6), ("_2", 12), ("_3", 18), ("_4", 24)):
        x = np.asarray(pool5)
        x = reference.relu(reference.conv(x, *weights(model, f"fc6{end}"), rate=rate))
        x = reference.relu(reference.conv(x, *weights(model, f"fc7{end}")))
        expected = expected + reference.conv(x, *weights(model, f"fc8{end}"))
    assert expected.std() > 1e-3
    scale = np.abs(expected).max()
    np.testing.assert_allclose(scores / scale, expected / scale, atol=1e-4)


def test_with_a_rate_beyond_the_map_only_the_center_weight_counts():
    # A map of 5 cells; the smallest rate is 6.
    model = small(head="aspp_l")
    c5, scores = part(model, "conv5_block2_out", "sum")(random_image(33, 40))
    assert c5.shape[1:3] == (5, 5)
    branches = [weights(model, f"aspp{i}") for i in range(1, 5)]
    kernel = sum(kernel[1:2, 1:2] for kernel, _ in branches)
    expected = reference.conv(np.asarray(c5), kernel, sum(bias for _, bias in branches))
    np.testing.assert_allclose(scores, expected, atol=1e-4)


class Donor:
    """Stands in for VGG16 of keras.applications: its fully connected layers."""

    class Layer:
        def __init__(self, name, inputs):
            self.name, self.inputs = name, inputs

        def get_weights(self):
            bias = np.arange(1024, dtype="float32")
            return [np.broadcast_to(bias, (self.inputs, 1024)), bias]

    layers = (Layer("fc1", 7 * 7 * 512), Layer("fc2", 1024))


def test_imagenet_weights_go_to_every_branch_on_vgg16(monkeypatch):
    monkeypatch.setattr(keras.applications, "VGG16", lambda **_: Donor)
    options = {"backbone": "vgg16", "backbone_weights": "imagenet"}
    model = models.build_model("deeplab_v2", 3, **options)
    for end in ("", "_2", "_3", "_4"):
        for name in ("fc6", "fc7"):
            kernel, bias = model.get_layer(f"{name}{end}").get_weights()
            np.testing.assert_array_equal(bias, np.arange(1024))
            np.testing.assert_array_equal(kernel[0, 0, 0], np.arange(1024))


def test_a_wrong_head_is_an_error():
    with pytest.raises(ValueError, match=r"`head=aspp` .* must be one of .*'aspp_l'"):
        models.build_model("deeplab_v2", 3, head="aspp")
