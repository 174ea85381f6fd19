"""FCN on a ResNet, and DeepLab v3 with the heads of torchvision: their parameters."""

import pytest

from kerasseg import models
from tests.support import initializers


def count(model):
    """Returns the number of trainable parameters."""
    return sum(v.shape.num_elements() for v in model.trainable_variables)


def build(name, **options):
    """Builds a model without values."""
    with initializers.no_values():
        return models.build_model(name, 21, **options)


# The number of parameters that torchvision states, with the auxiliary head.
@pytest.mark.parametrize(
    "name, backbone, params",
    [
        ("fcn_resnet", "resnet50", 35_322_218),
        ("fcn_resnet", "resnet101", 54_314_346),
        ("deeplab_v3", "resnet50", 42_004_074),
        ("deeplab_v3", "resnet101", 60_996_202),
    ],
)
def test_with_its_heads_it_has_the_parameters_of_torchvision(name, backbone, params):
    refine = {"refine": True} if name == "deeplab_v3" else {}
    model = build(name, backbone=backbone, aux=True, **refine)
    assert count(model) == params


def test_the_auxiliary_head_is_computed_from_c4():
    model = build("fcn_resnet", aux=True)
    # 3x3 from 1024 to 256, batch norm, 1x1 to 21 classes with bias.
    params = 9 * 1024 * 256 + 2 * 256 + 256 * 21 + 21
    assert count(model) - models.metadata("fcn_resnet").params == params
    assert (
        model.get_layer("aux_c4_conv").input
        is model.get_layer("conv4_block6_out").output
    )


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_the_auxiliary_logits_are_resized_from_the_stride_of_c4(stride):
    options = {**models.metadata("deeplab_v3").test_options, "output_stride": stride}
    model = build("deeplab_v3", aux=True, **options)
    assert model.get_layer("logits_resize").stride == stride
    assert model.get_layer("aux_c4_resize").stride == min(stride, 16)


def test_refining_follows_the_dropout_of_the_pyramid():
    model = build(
        "deeplab_v3", refine=True, **models.metadata("deeplab_v3").test_options
    )
    assert (
        model.get_layer("refine_conv").input is model.get_layer("aspp_dropout").output
    )
    assert model.get_layer("classify").input is model.get_layer("refine_relu").output
