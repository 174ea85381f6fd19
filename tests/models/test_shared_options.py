"""Options that `build_model` takes for many architectures."""

import inspect

import keras
import numpy as np
import pytest

from kerasseg import blocks, models
from kerasseg.system import option_values
from tests.support import initializers
from tests.support.networks import others_slow

WITH_RESIZE = [
    name
    for name in models.list_models("semantic")
    if "resize" in inspect.signature(models.metadata(name).builder).parameters
]
RNG = np.random.default_rng(0)
WITH_BACKBONE = [
    name
    for name in models.list_models("semantic")
    if "backbone" in inspect.signature(models.metadata(name).builder).parameters
]


def small(name, **options):
    """Builds a model, always with the same weights."""
    keras.utils.set_random_seed(0)
    return models.build_model(name, 3, **options)


def build(name, **options):
    """Builds a small model with a small ResNet, without values."""
    own = {**models.metadata(name).test_options, "backbone": "resnet18_quarter"}
    with initializers.no_values():
        return models.build_model(name, 3, **{**own, **options})


@pytest.mark.parametrize("name", others_slow(WITH_BACKBONE))
def test_options_of_the_backbone_reach_it_through_every_architecture(name):
    model = build(name, stem="deep")
    assert model.get_layer("conv1_3_conv").kernel.shape == (3, 3, 16, 32)
    encoder = models.encoder_layers(name, backbone="resnet18_quarter", stem="deep")
    assert "conv1_3_conv" in encoder


def test_strides_and_rates_of_the_backbone_are_set():
    options = {"stride_on": "3x3", "first_rate": "old", "output_stride": 8}
    with initializers.no_values():
        model = models.build_model("deeplab_v3_plus", 3, backbone="resnet50", **options)
    assert model.get_layer("conv3_block1_1_conv").strides == (1, 1)
    assert model.get_layer("conv3_block1_2_conv").strides == (2, 2)
    assert model.get_layer("conv5_block1_2_conv").dilation_rate == (2, 2)


def test_an_option_of_the_backbone_is_of_one_model_only():
    build("fpn", extra_blocks=1)
    names = {layer.name for layer in build("fpn").layers}
    assert not any(name.startswith("conv6") for name in names)


def test_an_option_of_the_backbone_that_the_model_sets_is_an_error():
    message = r"The model sets the options \['extra_blocks'\] of backbone 'resnet18_qu"
    with pytest.raises(ValueError, match=message):
        build("deeplab_v3_cascade", extra_blocks=1)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"backbone": "vgg16", "stem": "deep"}, r"'fpn' has no option \['stem'\]; it "),
        (
            {"stemm": "deep"},
            r"\['stemm'\]; it has .*, and its backbone \[.*'extra_b",
        ),
        ({"stem": "wide"}, "`stem=wide` of 'resnet50' must be one of"),
    ],
)
def test_wrong_options_of_a_backbone_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model("fpn", 3, **options)


def test_options_of_a_backbone_are_read_from_texts():
    texts = ["multi_grid=1,2", "stride_on=3x3", "extra_blocks=1"]
    options = option_values.parse(models.metadata("fpn").builder, texts)
    assert options == {"multi_grid": (1, 2), "stride_on": "3x3", "extra_blocks": 1}
    # The extra block is at rate 2, times the factor 2 of its second unit.
    layer = build("fpn", **options).get_layer("conv6_block2_1_conv")
    assert layer.dilation_rate == (4, 4)


@pytest.mark.parametrize("name", others_slow(WITH_RESIZE, ("fpn",)))
def test_aligned_corners_keep_the_names_and_the_promises(name, tmp_path):
    options = models.metadata(name).test_options
    default, model = small(name, **options), small(name, resize="corners", **options)
    assert [v.path for v in model.weights] == [v.path for v in default.weights]
    resizes = [x for x in model.layers if isinstance(x, blocks.ResizeLike)]
    assert any(layer.resize == "corners" for layer in resizes)
    # Maps of 1x1 are resized as well, and sizes that the strides do not divide.
    for size in ((1, 1), (65, 97), (33, 47)):
        image = RNG.uniform(0, 255, (1, *size, 3)).astype("float32")
        logits = np.asarray(model(image))
        assert logits.shape == (1, *size, 3) and np.isfinite(logits).all()
    # At 32 * n + 1 pixels, "anchored" and "corners" are equal.
    assert not np.allclose(logits, default(image))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(image), logits)


@pytest.mark.parametrize("name", WITH_RESIZE)
def test_an_unknown_way_of_resizing_is_an_error(name):
    with pytest.raises(ValueError, match="`resize=cubic` must be one of"):
        small(name, resize="cubic", **models.metadata(name).test_options)


@pytest.mark.parametrize(
    "name", others_slow(models.list_models("semantic"), ("fcn_8s",))
)
def test_every_architecture_takes_another_normalization(name):
    options = models.metadata(name).test_options
    raw = small(name, normalization="none", **options)
    other = small(name, normalization="torch", **options)
    other.set_weights(raw.get_weights())
    assert [v.path for v in other.weights] == [v.path for v in raw.weights]
    image = RNG.uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    mean, deviation = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    expected = raw((image - np.float32(mean)) / np.float32(deviation))
    np.testing.assert_allclose(other(image), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", others_slow(models.list_models(), ("mask_rcnn", "segformer_b0"))
)
def test_a_normalization_is_in_the_model_that_is_saved(name):
    options = models.metadata(name).test_options
    with initializers.no_values():
        model = models.build_model(name, 3, normalization="tf128", **options)
    kinds = [x.kind for x in model.layers if isinstance(x, blocks.Normalize)]
    assert kinds == ["tf128"]


def test_an_unknown_normalization_is_an_error():
    with pytest.raises(ValueError, match="Unknown `normalization=bgr`; choose one of"):
        models.build_model("enet", 3, normalization="bgr")


@pytest.mark.parametrize("name", ["fpn", "mask_rcnn"])
def test_no_normalization_is_read_from_a_text(name):
    builder = models.metadata(name).builder
    options = option_values.parse(builder, ["normalization=none"])
    assert options == {"normalization": "none"}
