"""Networks of torchvision.models.segmentation.

Source: https://github.com/pytorch/vision, torchvision/models/segmentation, version
0.28. All but `fcn_resnet` and the ResNets' heads are described there; images are
normalized by the statistics of ImageNet, and the classes are the 21 of PASCAL VOC.
"""

import functools

import numpy as np

from kerasseg.weights import families
from kerasseg.weights.encoders import resnet
from kerasseg.weights.networks import Network, Source

_RESNET = {"stride_on": "3x3", "first_rate": "old", "normalization": "torch"}


@families.register()
def torchvision(shapes, config):
    """Recognizes FCN and DeepLab v3 on ResNet, with or without the auxiliary head."""
    del config
    backbone = resnet.name(shapes, "backbone.")
    is_fcn = "classifier.0.weight" in shapes
    is_deeplab = "classifier.0.convs.0.0.weight" in shapes
    if backbone is None or is_fcn == is_deeplab or "classifier.4.weight" not in shapes:
        return None
    num_classes = shapes["classifier.4.weight"][0]
    options = {
        "backbone": backbone,
        "output_stride": 8,
        "aux": "aux_classifier.0.weight" in shapes,
        "resize": "half_pixel",
        **_RESNET,
    }
    if not is_fcn:
        options.update(multi_grid=None, refine=True)
    return Network(
        family="torchvision",
        model="fcn_resnet" if is_fcn else "deeplab_v3",
        num_classes=num_classes,
        options=options,
        source=functools.partial(_source, is_fcn),
        unused=resnet.UNUSED,
        **families.classes_of("pascal_voc", num_classes),
    )


_ASPP = {
    "aspp_point": "convs.0.{0}",
    "aspp_atrous1": "convs.1.{0}",
    "aspp_atrous2": "convs.2.{0}",
    "aspp_atrous3": "convs.3.{0}",
    "aspp_image": "convs.4.{1}",
    "aspp_project": "project.{0}",
}


def _source(is_fcn, layer):
    found = resnet.module(layer, "backbone.")
    if found is not None:
        return found
    if layer.startswith("aux_c4"):
        return _head(layer.removeprefix("aux_c4"), "aux_classifier")
    if is_fcn:
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
