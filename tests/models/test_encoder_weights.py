"""Weights of another program for an encoder, and the options that follow them."""

import keras
import numpy as np
import pytest

from kerasseg import backbones, errors, models, training
from kerasseg.models import encoder_weights
from kerasseg.weights import Network, Opened

NEEDED = {"stem": "standard", "stride_on": "3x3"}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The path of a file with weights of resnet18_quarter, all 0.5."""
    path = tmp_path / "weights.pth"
    path.touch()
    image = keras.Input((None, None, 3))
    encoder = keras.Model(image, backbones.build("resnet18_quarter", image))
    names = {"moving_variance": "running_var", "moving_mean": "running_mean"}
    names |= {"kernel": "weight", "gamma": "weight", "beta": "bias"}
    arrays = {}
    for layer in encoder.layers:
        for variable in layer.weights:
            shape = tuple(variable.shape)
            shape = shape[::-1] if len(shape) == 4 else shape
            array = np.full(shape, 0.5, "float32")
            arrays[f"{layer.name}.{names[variable.name]}"] = array
    network = Network(
        family="test",
        model="resnet18_quarter",
        kind="encoder",
        options={**NEEDED, "normalization": "torch"},
        source=lambda layer: layer,
        epsilon=1e-4,
    )

    def open_weights(source, *, kind):
        assert (source, kind) == (str(path), "encoder")
        return Opened(arrays, network, entry=None, path=path, source=str(path))

    for module in (backbones, encoder_weights):
        monkeypatch.setattr(module, "open_weights", open_weights)
    return str(path)


def build(weights, **options):
    small = {"backbone": "resnet18_quarter", "filters": 16, "multi_grid": None}
    return models.build_model(
        "deeplab_v3", 2, backbone_weights=weights, **{**small, **options}
    )


def test_a_model_has_the_weights_and_the_options_that_they_need(weights):
    model = build(weights)
    kernel = model.get_layer("conv5_block2_1_conv").kernel
    assert (kernel.numpy() == 0.5).all()
    assert model.get_layer("normalize").kind == "torch"
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {layer.epsilon for layer in norms} == {1e-4}


def test_a_copy_without_the_weights_is_the_same_network(weights):
    options = {"backbone": "resnet18_quarter", "filters": 16, "multi_grid": None}
    options["backbone_weights"] = weights
    builder = training.Builder("deeplab_v3", options)
    assert builder.options["stride_on"] == "3x3"
    first, copy = builder(2), builder(2, backbone_weights=None)
    copy.set_weights(first.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 33, 33, 3)).astype("float32")
    np.testing.assert_array_equal(first(image), copy(image))
    names = {"stem", "stride_on", "normalization", "batch_norm_epsilon"}
    assert {*builder.options} == {*options, *names}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"stride_on": "1x1"}, "`stride_on=1x1`, but .* need `stride_on=3x3`"),
        ({"normalization": "tf"}, "`normalization=tf`, but .*`normalization=torch`"),
        (
            {"batch_norm_epsilon": 0.1},
            "`batch_norm_epsilon=0.1`, but .*=0.0001`",
        ),
        ({"backbone": "resnet18"}, "Set `backbone=resnet18_quarter`, or give other"),
    ],
)
def test_another_value_than_the_weights_need_is_an_error(weights, options, message):
    with pytest.raises(errors.UserError, match=message):
        build(weights, **options)


def test_the_same_value_as_the_weights_need_can_be_given(weights):
    build(weights, stride_on="3x3", normalization="torch", batch_norm_epsilon=1e-4)


def test_backbones_take_the_weights_and_their_options_too(weights):
    image = keras.Input((64, 64, 3))
    c = backbones.build("resnet18_quarter", image, weights=weights)
    kernel = keras.Model(image, c["c5"]).get_layer("conv1_conv").kernel
    assert (kernel.numpy() == 0.5).all()
    with pytest.raises(errors.UserError, match=r"`stride_on=1x1` .* need `stri"):
        backbones.build("resnet18_quarter", image, weights=weights, stride_on="1x1")
    with pytest.raises(errors.UserError, match="Build 'resnet18_quarter', or give"):
        backbones.build("resnet18", image, weights=weights)
