"""Lite R-ASPP, and DeepLab v3 on MobileNetV3, with the options of torchvision."""

import numpy as np
import pytest

from kerasseg import errors, models
from tests.support import initializers

ENCODER = {"backbone": "mobilenet_v3_large", "ends": "first"}


def build(name, **options):
    """Builds a model without values."""
    with initializers.no_values():
        return models.build_model(name, 21, **options)


def count(model):
    return sum(v.shape.num_elements() for v in model.trainable_variables)


def test_the_heads_are_on_the_first_map_of_stride_8_and_on_the_last():
    model = build("lraspp", **ENCODER)
    low = model.get_layer("classify_low").input
    assert low is model.get_layer("expanded_conv_3_project_bn").output
    assert model.get_layer("gate_mean").input is model.get_layer("head_conv").input


# The number that torchvision states, without or with the auxiliary head.
@pytest.mark.parametrize(
    "name, options, params",
    [
        ("lraspp", {}, 3_221_538),
        (
            "deeplab_v3",
            {"multi_grid": None, "refine": True, "aux": True, "aux_from": "c3"},
            11_029_328,
        ),
    ],
)
def test_it_has_the_parameters_of_torchvision(name, options, params):
    assert count(build(name, **ENCODER, **options)) == params


def test_auxiliary_logits_are_named_after_their_endpoint():
    small = {**models.metadata("deeplab_v3").test_options, "aux": True}
    model = models.build_model("deeplab_v3", 3, aux_from="c3", **small)
    outputs = model(np.zeros((1, 33, 33, 3), "float32"))
    assert {key: x.shape for key, x in outputs.items()} == {
        key: (1, 33, 33, 3) for key in ("logits", "aux_c3")
    }
    assert model.get_layer("aux_c3_resize").stride == 8
    with pytest.raises(errors.UserError, match="`aux_from=c5` must be one of"):
        models.build_model("deeplab_v3", 3, aux_from="c5", **small)
