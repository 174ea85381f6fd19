"""Encoders of torchvision.models and timm: names and shapes, without PyTorch."""

import numpy as np
import pytest

from kerasseg import errors
from kerasseg.models import imported
from kerasseg.weights import families
from tests.weights.families import encoder_names as names

B0 = (lambda: names.units_of(names.EFFICIENTNET_B0, 32), 32, 320, 1280)
V3 = (names.mobilenet_v3_units, 16, 96, 576)
HEAD = names.biased("conv_head", 1024, 576, 1, 1)


def of_torchvision(table, **options):
    units, *sizes = table
    return names.inverted_of_torchvision(units(), *sizes, **options)


def of_timm(table, top_names):
    units, *sizes = table
    return names.inverted_of_timm(units(), *sizes, top_names=top_names)


# Backbone, shapes of the file, and epsilon; None without batch normalization.
TORCHVISION = {
    "resnet18": (names.resnet(), 1e-5),
    "convnext_tiny": (names.convnext("torchvision"), None),
    "mobilenet_v2": (names.mobilenet_v2(), 1e-5),
    "mobilenet_v3_small": (of_torchvision(V3, in_stages=False), 1e-3),
    "efficientnet_b0": (of_torchvision(B0, in_stages=True), 1e-5),
}
TIMM = {
    "resnet18": names.resnet(),
    "convnext_tiny": names.convnext("timm"),
    "mobilenet_v3_small": of_timm(V3, ("blocks.5.0.conv", "blocks.5.0.bn1")) | HEAD,
    "efficientnet_b0": of_timm(B0, ("conv_head", "bn2")),
}
CASES = [
    *[
        (name, "torchvision_encoders", shapes)
        for name, (shapes, _) in TORCHVISION.items()
    ],
    *[(name, "timm", shapes) for name, shapes in TIMM.items()],
]


def config_of(family, architecture="efficientnet_b0"):
    return {"architecture": architecture} if family == "timm" else {}


@pytest.mark.parametrize("name, family, shapes", CASES)
def test_every_variable_is_filled_and_every_array_known(name, family, shapes):
    network = families.recognize(shapes, config_of(family))
    assert (network.family, network.kind, network.model) == (family, "encoder", name)
    rng = np.random.default_rng(0)
    arrays = {key: rng.random(shape, "float32") for key, shape in shapes.items()}
    model = imported.build(arrays, network)  # Refuses a variable or array too many.
    total = sum(np.prod(shape) for shape in shapes.values() if shape)
    unused = sum(
        np.prod(shape)
        for key, shape in shapes.items()
        if key.startswith(("fc.", "classifier.", "head.fc.", "conv_head."))
    )
    if name == "convnext_tiny" and family == "torchvision_encoders":
        unused -= 2 * 768  # The norm of the classifier is that of the last map.
    if name == "efficientnet_b0" and family == "timm":
        unused -= 1280 * 320
    assert model.count_params() == total - unused
    first = next(layer for layer in model.layers if layer.weights)
    key = next(iter(shapes))
    np.testing.assert_array_equal(first.kernel, arrays[key].transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda arrays: arrays.pop("layer2.0.bn1.bias"), "no layer2.0.bn1.bias"),
        (lambda arrays: arrays.update(more=np.zeros(1)), "not used, such as more"),
        (
            lambda arrays: arrays.update({"layer2.1.conv1.weight": np.zeros((9, 9))}),
            "layer2.1.conv1.weight has",
        ),
    ],
)
def test_a_file_with_other_arrays_is_refused(change, message):
    arrays = {key: np.zeros(shape, "float32") for key, shape in names.resnet().items()}
    network = families.recognize(names.resnet())
    change(arrays)
    with pytest.raises(errors.UserError, match=message):
        imported.build(arrays, network)


def test_epsilon_padding_and_normalization_are_those_of_the_library():
    for shapes, epsilon in TORCHVISION.values():
        network = families.recognize(shapes)
        assert network.options["normalization"] == "torch"
        if epsilon is not None:
            assert network.epsilon == epsilon
    ours = families.recognize(TIMM["efficientnet_b0"], config_of("timm"))
    ported = families.recognize(
        TIMM["efficientnet_b0"], config_of("timm", "tf_efficientnet_b0")
    )
    assert (ours.epsilon, ours.options["padding"]) == (1e-5, "symmetric")
    assert (ported.epsilon, ported.options["padding"]) == (1e-3, "same")


def test_bottlenecks_have_their_stride_on_the_3x3_convolution():
    shapes = {"conv1.weight": (64, 3, 7, 7), "layer1.0.conv2.weight": (64, 64, 3, 3)}
    for stage, units in enumerate((3, 4, 6, 3), start=1):
        for unit in range(units):
            for conv in (1, 2, 3):
                shapes.setdefault(f"layer{stage}.{unit}.conv{conv}.weight", (64, 64))
    network = families.recognize(shapes)
    assert (network.model, network.options["stride_on"]) == ("resnet50", "3x3")
    shapes["layer1.0.conv2.weight"] = (128, 4, 3, 3)  # ResNeXt.
    with pytest.raises(errors.UserError, match="not those of a network that is known"):
        families.recognize(shapes)


def test_networks_of_timm_that_cannot_be_distinguished_need_a_configuration():
    with pytest.raises(errors.UserError, match=r"port from TensorFlow.*config\.json"):
        families.recognize(TIMM["efficientnet_b0"])
    config = {**config_of("timm"), "mean": [0.0] * 3, "std": [1.0] * 3}
    with pytest.raises(errors.UserError, match="expect images with mean"):
        families.recognize(TIMM["efficientnet_b0"], config)
    config["mean"] = config["std"] = [0.5] * 3
    network = families.recognize(TIMM["efficientnet_b0"], config)
    assert network.options["normalization"] == "tf"
