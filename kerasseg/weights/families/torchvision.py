"""Networks of torchvision.models.segmentation.

Source: https://github.com/pytorch/vision, torchvision/models/segmentation, version
0.29.1. All but `fcn_resnet` and the ResNets' heads are described there; images are
normalized by the statistics of ImageNet, and the classes are the 21 of PASCAL VOC.
"""

import functools

import numpy as np

from kerasseg.weights import families
from kerasseg.weights.encoders import inverted, resnet
from kerasseg.weights.networks import Network, Source

_RESNET = {
    "output_stride": 8,
    "stride_on": "3x3",
    "first_rate": "old",
    "normalization": "torch",
}
_MOBILENET = {
    "output_stride": 16,
    "ends": "first",
    "padding": "symmetric",
    "first_rate": "new",
    "normalization": "torch",
}
_CLASSIFIERS = {  # An array that the network has, by its name here.
    "deeplab_v3": "classifier.4.weight",
    "fcn_resnet": "classifier.4.weight",
    "lraspp": "classifier.low_classifier.weight",
}


@families.register()
def torchvision(shapes, config):
    """Recognizes FCN, DeepLab v3 and Lite R-ASPP, with or without auxiliary head."""
    del config
    model = _model(shapes)
    encoder = _resnet(shapes) or _mobilenet(shapes)
    if model is None or encoder is None or _CLASSIFIERS[model] not in shapes:
        return None
    backbone, options, module = encoder
    is_mobilenet = options is _MOBILENET
    if model == ("fcn_resnet" if is_mobilenet else "lraspp"):
        return None
    options = {"backbone": backbone, "resize": "half_pixel", **options}
    if model != "lraspp":
        options["aux"] = "aux_classifier.0.weight" in shapes
    if model == "deeplab_v3":
        options.update(multi_grid=None, refine=True)
    if model == "deeplab_v3" and is_mobilenet:
        options.update(aux_from="c3", rates=(12, 24, 36))
    num_classes = shapes[_CLASSIFIERS[model]][0]
    return Network(
        family="torchvision",
        model=model,
        num_classes=num_classes,
        options=options,
        source=functools.partial(_source, model, module),
        epsilon=functools.partial(_epsilon, module) if is_mobilenet else 1e-5,
        unused=resnet.UNUSED,
        **families.classes_of("pascal_voc", num_classes),
    )


def _model(shapes):
    models = [
        model
        for model, name in (
            ("fcn_resnet", "classifier.0.weight"),
            ("deeplab_v3", "classifier.0.convs.0.0.weight"),
            ("lraspp", "classifier.cbr.0.weight"),
        )
        if name in shapes
    ]
    return models[0] if len(models) == 1 else None


def _resnet(shapes):
    """Returns the backbone, options of the network, and names of the layers."""
    name = resnet.name(shapes, "backbone.")
    return name and (name, _RESNET, lambda layer: resnet.module(layer, "backbone."))


def _mobilenet(shapes):
    found = inverted.of_torchvision(shapes, "backbone.")
    if found is None or found[0] != "mobilenet_v3_large":
        return None
    return found[0], _MOBILENET, found[1]


def _epsilon(module, layer):
    return 1e-5 if module(layer) is None else 1e-3  # Of the head, and the encoder.


_ASPP = {
    "aspp_point": "convs.0.{0}",
    "aspp_atrous1": "convs.1.{0}",
    "aspp_atrous2": "convs.2.{0}",
    "aspp_atrous3": "convs.3.{0}",
    "aspp_image": "convs.4.{1}",
    "aspp_project": "project.{0}",
}


_LRASPP = {
    "head_conv": "cbr.0",
    "head_bn": "cbr.1",
    "gate_conv": "scale.1",
    "classify_low": "low_classifier",
    "classify_high": "high_classifier",
}


def _source(model, module, layer):
    found = module(layer)
    if found is not None:
        return found
    if model == "lraspp":
        return f"classifier.{_LRASPP[layer]}" if layer in _LRASPP else None
    if layer.startswith(("aux_c3", "aux_c4")):
        return _head(layer[len("aux_c4") :], "aux_classifier")
    if model == "fcn_resnet":
        return _head(layer.removeprefix("head"), "classifier")
    if layer == "classify":
        return "classifier.4"
    if layer in ("refine_conv", "refine_bn"):
        return f"classifier.{1 if layer == 'refine_conv' else 2}"
    name, _, part = layer.rpartition("_")
    if name not in _ASPP:
        return None
    index = 0 if part == "conv" else 1
    module = "classifier.0." + _ASPP[name].format(index, index + 1)
    return Source(module, image_first if layer == "aspp_project_conv" else None)


def _head(layer, prefix):
    """Returns the module of a layer of `fcn_resnet.head`."""
    number = {"_conv": 0, "_bn": 1, "_classify": 4}.get(layer)
    return None if number is None else f"{prefix}.{number}"


def image_first(kernel: np.ndarray, name: str) -> np.ndarray:
    """Moves the input channels of image pooling, the last fifth, to the start."""
    del name
    return np.roll(kernel, kernel.shape[2] // 5, axis=2)
