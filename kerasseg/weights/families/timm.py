"""Encoders of timm: ConvNeXt, MobileNetV2, MobileNetV3 and EfficientNet.

Source: https://github.com/huggingface/pytorch-image-models, timm/models, version
1.0.31. ResNets have the names of torchvision, see `torchvision_encoders`. Its ResNets
with deep stems (such as resnet50d) are not known here: their stem has 32, 32 and 64
filters, and shortcuts are averaged before a convolution without a stride.

`config` is the content of the `config.json` of a network. The names of the arrays do
not tell networks ported from TensorFlow ("tf_efficientnet_b0") from the others: both
need `config["architecture"]`, since padding and epsilon differ.
"""

from kerasseg import errors
from kerasseg.weights import families
from kerasseg.weights.encoders import convnext, inverted, resnet
from kerasseg.weights.families import torchvision_encoders
from kerasseg.weights.networks import Network

_UNUSED = (*resnet.UNUSED, r"(fc|classifier)\..*")
_NORMALIZATIONS = {  # By mean and standard deviation.
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)): "torch",
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)): "tf",
}


@families.register()
def timm(shapes, config):
    """Recognizes the networks above, and ResNets whose configuration is timm's."""
    network = _of_inverted(shapes, config) or _of_convnext(shapes, config)
    if network is not None or "architecture" not in config:
        return network
    return torchvision_encoders.of_resnet(shapes, "timm", **_normalization(config))


def _of_convnext(shapes, config):
    found = convnext.find(shapes, convnext.TIMM)
    if found is None:
        return None
    return Network(
        family="timm",
        model=found[0],
        kind="encoder",
        options=_normalization(config),
        source=found[1],
        unused=(r"head\.fc\..*",),
    )


def _of_inverted(shapes, config):
    found = inverted.of_timm(shapes)
    if found is None:
        return None
    architecture = config.get("architecture")
    if architecture is None:
        raise errors.UserError(
            f"The weights can be those of '{found[0]}' or of its port from TensorFlow, "
            "which differ in padding and epsilon. Give the config.json of the network, "
            'or the `config`, such as {"architecture": "efficientnet_b0"}.'
        )
    of_tensorflow = architecture.startswith("tf_")
    return Network(
        family="timm",
        model=found[0],
        kind="encoder",
        options={
            **_normalization(config),
            "padding": "same" if of_tensorflow else "symmetric",
        },
        source=found[1],
        epsilon=1e-3 if of_tensorflow else 1e-5,
        unused=(*_UNUSED, *_head(found[0])),
    )


def _head(name):
    """Returns the pattern of what MobileNetV3 has after the last map of its encoder."""
    return (r"conv_head\..*",) if name.startswith("mobilenet_v3") else ()


def _normalization(config):
    """Returns the option `normalization` for the mean and deviation of a network."""
    values = config.get("pretrained_cfg", config)
    if "mean" not in values:
        return {"normalization": "torch"}
    mean, deviation = tuple(values["mean"]), tuple(values["std"])
    if (mean, deviation) not in _NORMALIZATIONS:
        raise errors.UserError(
            f"The weights expect images with mean {mean} and deviation {deviation}, "
            "which no normalization here has. Choose other weights."
        )
    return {"normalization": _NORMALIZATIONS[mean, deviation]}
