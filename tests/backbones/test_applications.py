"""Backbones of keras.applications: names, normalization, saved files."""

import functools
import inspect
import sys

import keras
import numpy as np
import pytest
from keras import layers

from kerasseg import backbones, blocks, models
from kerasseg.backbones import applications
from tests.support import networks

FAMILIES = (
    "convnext_tiny",
    "densenet121",
    "efficientnet_v2_b0",
    "efficientnet_v2_s",
    "inception_resnet_v2",
    "inception_v3",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "nasnet_mobile",
    "resnet50_v2",
    "vgg16",
    "xception",
)


def build(name, output_stride=32):
    image = keras.Input((None, None, 3), name="image")
    c = backbones.build(name, image, output_stride=output_stride)
    return keras.Model(image, c)


def test_every_model_of_keras_has_a_name():
    constructors = {
        value
        for value in vars(keras.applications).values()
        if inspect.isfunction(value)
    }
    resnets = {"resnet50", "resnet101", "resnet152"}  # In `resnet`.
    assert len(constructors) - len(resnets) == len(applications._ROWS) == 37
    assert {row.constructor for row in applications._ROWS.values()} < constructors
    assert set(applications._ROWS) | resnets <= set(backbones.list_backbones())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_image_is_normalized_as_in_training(name):
    constructor = applications._ROWS[name].constructor
    image = np.random.default_rng(0).uniform(0, 255, (1, 2, 2, 3)).astype("float32")
    expected = sys.modules[constructor.__module__].preprocess_input(image.copy())
    if np.array_equal(expected, image):  # The model normalizes.
        source = constructor(include_top=False, weights=None)
        for layer in source.layers:
            if isinstance(layer, layers.Rescaling | layers.Normalization):
                expected = layer(expected)
    x = blocks.Normalize(backbones.normalization(name))(image)
    np.testing.assert_allclose(x, expected, atol=1e-4)


def test_efficientnet_is_normalized_by_the_statistics_of_imagenet():
    # They are weights of its layer, which are loaded with the ImageNet weights.
    names = [name for name in applications._ROWS if name.startswith("efficientnet_b")]
    assert {backbones.normalization(name) for name in names} == {"torch"}
    kinds = {type(layer) for layer in build(names[0]).layers}
    assert not kinds & {layers.Rescaling, layers.Normalization}


# They have dilated pools, means over cells, operations and custom layers.
@pytest.mark.parametrize(
    "name",
    networks.others_slow(["vgg16", "mobilenet_v3_small", "convnext_tiny"], ("vgg16",)),
)
def test_a_saved_backbone_loads_without_custom_objects(name, tmp_path):
    model = build(name, 8)
    model.save(tmp_path / "encoder.keras")
    x = np.random.default_rng(0).normal(size=(1, 47, 64, 3)).astype("float32")
    loaded = keras.models.load_model(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(loaded(x)["c5"], model(x)["c5"])


@pytest.mark.parametrize("name", ["vgg16", "mobilenet_v3_small"])
def test_backbones_work_in_half_precision(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        c5 = build(name, 16)(np.ones((1, 64, 64, 3), "float32"))["c5"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert keras.backend.standardize_dtype(c5.dtype) == "bfloat16"
    assert np.isfinite(np.array(c5, "float32")).all()
    assert c5.shape[1:3] == (4, 4)


def test_convnext_has_no_c1():
    assert sorted(build("convnext_tiny").output) == ["c2", "c3", "c4", "c5"]


@functools.cache
def heads():
    """Returns the names of the head's layers of each architecture."""
    result = {}
    for name in models.list_models("semantic"):
        parameters = inspect.signature(models.metadata(name).builder).parameters
        if "backbone" not in parameters:
            continue
        options = {**models.metadata(name).test_options, "backbone": "resnet18_quarter"}
        if "aux" in parameters:
            options["aux"] = True
        model = models.build_model(name, 2, **options)
        encoder = models.encoder_layers(name, **options)
        result[name] = {layer.name for layer in model.layers if layer.weights} - encoder
    return result


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_layers_of_heads_and_backbones_have_different_names(name):
    own = {layer.name for layer in build(name).layers}
    shared = {key: own & names for key, names in heads().items() if own & names}
    assert not shared
