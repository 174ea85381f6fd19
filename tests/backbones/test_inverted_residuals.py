"""Options of MobileNet and EfficientNet with which they are those of PyTorch."""

import keras
import numpy as np
import pytest

from kerasseg import backbones, errors
from tests.support import initializers


def encoder(**options):
    with initializers.no_values():
        image = keras.Input((None, None, 3))
        c = backbones.build("mobilenet_v3_small", image, **options)
    return c, keras.Model(image, c)


def names(c):
    return {key: x._keras_history.operation.name for key, x in c.items()}


def test_ends_are_expansions_or_the_first_or_last_outputs_of_units():
    c, _ = encoder(ends="last")
    last = names(c)
    assert last["c2"] == "expanded_conv_project_bn"
    assert last["c3"] == "expanded_conv_2_add"
    assert last["c4"] == "expanded_conv_7_add"
    c, _ = encoder(ends="first")
    first = names(c)
    assert first["c3"] == "expanded_conv_1_project_bn"
    assert first["c4"] == "expanded_conv_3_project_bn"
    c, _ = encoder()
    wide = names(c)
    assert wide["c1"] == first["c1"] == last["c1"]
    assert wide["c5"] == first["c5"] == last["c5"]
    assert [c[key].shape[-1] for key in ("c2", "c3", "c4")] == [72, 96, 288]


def test_symmetric_padding_is_equal_on_all_sides_of_a_strided_window():
    def pads(**options):
        _, model = encoder(**options)
        return {x.name: x.padding for x in model.layers if x.name.endswith("_pad")}

    assert pads()["conv_pad"] == ((0, 2), (0, 2))
    symmetric = pads(padding="symmetric")
    assert symmetric["conv_pad"] == ((1, 1), (1, 1))
    assert symmetric["expanded_conv_3_depthwise_pad"] == ((2, 2), (2, 2))


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_cells_of_a_dilated_encoder_equal_those_of_the_strided_one(padding):
    image = keras.Input((None, None, 3))
    build = backbones.build
    models = [
        keras.Model(
            image,
            build("mobilenet_v3_small", image, output_stride=stride, padding=padding),
        )
        for stride in (32, 16)
    ]
    models[1].set_weights(models[0].get_weights())
    x = np.random.default_rng(0).normal(size=(1, 65, 97, 3)).astype("float32")
    strided, dilated = (np.asarray(model(x)["c5"]) for model in models)
    np.testing.assert_allclose(dilated[:, ::2, ::2], strided, atol=1e-4)


def test_the_first_unit_of_a_dilated_stage_has_the_old_or_the_new_rate():
    for first_rate, rate in (("old", 1), ("new", 2)):
        _, model = encoder(output_stride=16, first_rate=first_rate)
        rates = [
            model.get_layer(f"expanded_conv_{i}_depthwise").dilation_rate[0]
            for i in (7, 8, 9)
        ]
        assert rates == [1, rate, 2]


@pytest.mark.parametrize(
    "options", [{"ends": "all"}, {"padding": "valid"}, {"first_rate": None}]
)
def test_an_unknown_value_is_an_error(options):
    ((option, value),) = options.items()
    with pytest.raises(errors.UserError, match=f"`{option}={value}` of 'mobilenet_v3_"):
        encoder(**options)
