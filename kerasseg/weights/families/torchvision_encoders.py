"""Encoders of torchvision.models, trained for classification on ImageNet.

Source: https://github.com/pytorch/vision, torchvision/models, version 0.29.1. ResNets
of timm have the same names and compute the same. Not known here, because the encoders
of `kerasseg.backbones` do not compute the same: ResNeXt and Wide ResNet, and
EfficientNetV2, whose Keras version has other widths.
"""

from kerasseg.weights import families
from kerasseg.weights.encoders import convnext, inverted, resnet
from kerasseg.weights.networks import Network

_EPSILON_1E_3 = (  # The others have 1e-5.
    *("efficientnet_b5", "efficientnet_b6", "efficientnet_b7"),
    *("mobilenet_v3_large", "mobilenet_v3_small"),
)


@families.register()
def torchvision_encoders(shapes, config):
    """Recognizes ResNet, ConvNeXt, MobileNetV2, MobileNetV3 and EfficientNet."""
    if "architecture" in config:  # Of timm.
        return None
    return of_resnet(shapes) or _of_convnext(shapes) or _of_inverted(shapes)


def of_resnet(
    shapes, family: str = "torchvision_encoders", normalization: str = "torch"
) -> Network | None:
    """Returns the network of a file of a ResNet with its classifier, or without."""
    name = resnet.name(shapes, "")
    stem = shapes.get("conv1.weight")
    inside = shapes.get("layer1.0.conv2.weight", ())[:2]
    # ResNeXt and Wide ResNet have other channels inside; a segmentation network more.
    if name is None or stem != (64, 3, 7, 7) or inside != (64, 64):
        return None
    options = {"normalization": normalization, "stem": "standard"}
    if name not in ("resnet18", "resnet34"):
        options["stride_on"] = "3x3"
    return Network(
        family=family,
        model=name,
        kind="encoder",
        options=options,
        source=lambda layer: resnet.module(layer, ""),
        unused=(*resnet.UNUSED, r"fc\..*"),
    )


def _of_convnext(shapes):
    found = convnext.find(shapes, convnext.TORCHVISION)
    if found is None:
        return None
    return Network(
        family="torchvision_encoders",
        model=found[0],
        kind="encoder",
        options={"normalization": "torch"},
        source=found[1],
        unused=(r"classifier\.2\..*",),
    )


def _of_inverted(shapes):
    found = inverted.of_torchvision(shapes, "features.")
    if found is None:
        return None
    return Network(
        family="torchvision_encoders",
        model=found[0],
        kind="encoder",
        options={"normalization": "torch", "padding": "symmetric"},
        source=found[1],
        epsilon=1e-3 if found[0] in _EPSILON_1E_3 else 1e-5,
        unused=(*resnet.UNUSED, r"classifier\..*"),
    )
