"""Encoders of torchvision.models and timm: their feature maps."""

import keras
import pytest
import timm
import torch
import torchvision

from kerasseg import backbones
from kerasseg.weights import families, files, filling
from tests.parity import support

# TensorFlow pads by the size of the map; here padding never depends on the size.
DIVISIBLE = ((96, 128), (224, 160))


def numbered(start, numbers, first=1):
    """Returns the modules of endpoints from "c<first>" on."""
    return {f"c{k}": [f"{start}{i}"] for k, i in enumerate(numbers, start=first)}


# Endpoints, and the module of torchvision or timm whose output they are.
RESNET = {"c1": ["relu"], **numbered("layer", (1, 2, 3, 4), first=2)}
CONVNEXT = {
    **numbered("features.", (1, 3, 5), first=2),
    "c5": ["features.7", "classifier.0"],
}
EFFICIENTNET = {**numbered("blocks.", (0, 1, 2, 4)), "c5": ["bn2"]}
CASES = {
    "resnet18": RESNET,
    "resnet50": RESNET,
    "convnext_tiny": CONVNEXT,
    "mobilenet_v2": numbered("features.", (1, 3, 6, 13, 18)),
    "mobilenet_v3_large": numbered("features.", (1, 3, 6, 12, 16)),
    "mobilenet_v3_small": numbered("features.", (1, 3, 8, 12), first=2),
    "efficientnet_b0": numbered("features.", (1, 2, 3, 5, 8)),
}
TIMM_CASES = {
    "resnet34": {"c1": ["act1"], **numbered("layer", (1, 2, 3, 4), first=2)},
    "convnext_tiny": {
        **numbered("stages.", (0, 1, 2), first=2),
        "c5": ["stages.3", "head.norm"],
    },
    "mobilenetv3_large_100": numbered("blocks.", (0, 1, 2, 4, 6)),
    "efficientnet_b0": EFFICIENTNET,
    "tf_efficientnet_b0": EFFICIENTNET,
}


def maps_of(reference, modules, image):
    """Runs a network of PyTorch in float64; returns the outputs of modules.

    `modules` are names by endpoint: of a module, and of a norm that follows here.
    """
    found = {}

    def keep(endpoint):
        def hook(*arguments):
            *_, output = arguments
            found.setdefault(endpoint, output.clone())  # It can be called again.

        return hook

    hooks = [
        reference.get_submodule(name).register_forward_hook(keep(endpoint))
        for endpoint, (name, *_) in modules.items()
    ]
    with torch.no_grad():
        reference.double()(support.to_torch(image).double())
        for hook in hooks:
            hook.remove()
        for endpoint, (_, *norms) in modules.items():
            for norm in norms:
                found[endpoint] = reference.get_submodule(norm)(found[endpoint])
    return {key: x.numpy().transpose(0, 2, 3, 1) for key, x in found.items()}


def check(reference, modules, path, record, *, config=None, sizes=support.SIZES):
    torch.save(reference.state_dict(), path)
    arrays = files.read(path)
    shapes = {name: array.shape for name, array in arrays.items()}
    network = families.recognize(shapes, config)
    assert network.kind == "encoder"
    assert network.options["normalization"] == "torch"
    options = {k: v for k, v in network.options.items() if k != "normalization"}
    if "padding" in options:
        options["ends"] = "last"
    if network.model.startswith("convnext"):
        options["crop"] = True
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        image = keras.Input((None, None, 3))
        model = keras.Model(image, backbones.build(network.model, image, **options))
    finally:
        keras.config.set_dtype_policy(before)
    filling.fill(model, arrays, network)
    for image in support.images(sizes):
        ours = model((image - support.MEAN) / support.DEVIATION, training=False)
        for key, expected in maps_of(reference, modules, image).items():
            difference = support.difference(ours[key], expected)
            record(network.model, difference)
            assert difference < support.LIMIT, key
    return network


@pytest.mark.parametrize("name", CASES)
def test_maps_are_those_of_torchvision(name, tmp_path, record_property):
    torch.manual_seed(0)
    reference = getattr(torchvision.models, name)(weights=None)
    is_convnext = name.startswith("convnext")
    if is_convnext:
        strengthen(reference, "layer_scale")
    reference = support.randomize(reference)
    network = check(
        reference,
        CASES[name],
        tmp_path / "weights.pth",
        record_property,
    )
    assert (network.family, network.model) == ("torchvision_encoders", name)


@pytest.mark.parametrize("name", TIMM_CASES)
def test_maps_are_those_of_timm(name, tmp_path, record_property):
    torch.manual_seed(0)
    reference = timm.create_model(name, pretrained=False)
    is_convnext = name.startswith("convnext")
    if is_convnext:
        strengthen(reference, "gamma")
    reference = support.randomize(reference)
    exact = not name.startswith("tf_")
    network = check(
        reference,
        TIMM_CASES[name],
        tmp_path / "weights.pth",
        record_property,
        config={"architecture": name},
        sizes=support.SIZES if exact else DIVISIBLE,
    )
    assert network.family == "timm"


def strengthen(network, name):
    """Sets layer scales to 0.5 and more, or the blocks would have no effect."""
    for key, parameter in network.named_parameters():
        if key.endswith(name):
            with torch.no_grad():
                parameter.copy_(0.5 + torch.rand_like(parameter))
