"""Presets of KerasHub: DeepLab v3+ on ResNet, and SegFormer.

Source: https://github.com/keras-team/keras-hub, keras_hub/src/models/deeplab_v3 and
segformer, version 0.32. A preset is a folder; see `files.read`. The key
"image_converter" of the configuration is the content of its `image_converter.json`,
which has the scale and offset of the image. Without it, images are normalized by the
statistics of ImageNet for SegFormer, and not at all for DeepLab v3+, as in KerasHub's
guide.

KerasHub's networks need square images (SegFormer), or sides that are multiples of 32.
"""

import functools
import re

import numpy as np

from kerasseg import errors
from kerasseg.weights import families, layouts
from kerasseg.weights.families.torchvision import image_first
from kerasseg.weights.networks import Network, Source

_ENCODER = "layers/functional/layers/"
_ASPP = "layers/spatial_pyramid_pooling/"
_BRANCH = f"{_ASPP}aspp_parallel_channels/sequential"
_CLASSIFY = "task/layers/conv2d"
_RESNETS = {53: "resnet50", 104: "resnet101", 155: "resnet152"}
_DEPTHS = {
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
_SEGFORMERS: dict[tuple[int, tuple[int, ...]], str] = {
    (32, (2, 2, 2, 2)): "segformer_b0",
    (64, (2, 2, 2, 2)): "segformer_b1",
    (64, (3, 4, 6, 3)): "segformer_b2",
    (64, (3, 4, 18, 3)): "segformer_b3",
    (64, (3, 8, 27, 3)): "segformer_b4",
    (64, (3, 6, 40, 3)): "segformer_b5",
}
_DATASETS = ("pascal_voc", "cityscapes", "ade20k")
_MEAN = np.array([0.485, 0.456, 0.406])
_DEVIATION = np.array([0.229, 0.224, 0.225])
_AFFINE = {  # Scale and offset of images from 0 to 255.
    "none": (1.0, 0.0),
    "tf": (1 / 127.5, -1.0),
    "torch": (1 / (255 * _DEVIATION), -_MEAN / _DEVIATION),
}


@families.register()
def keras_hub(shapes, config):
    """Recognizes the image segmenters of DeepLab v3+ and SegFormer."""
    if f"{_CLASSIFY}/vars/0" not in shapes:
        return None
    if f"{_ASPP}projection/layers/conv2d/vars/0" in shapes:
        return _deeplab(shapes, config)
    if f"{_ENCODER}overlapping_patching_and_embedding_3/proj/vars/0" in shapes:
        return _segformer(shapes, config)
    return None


def _deeplab(shapes, config):
    pattern = re.compile(rf"{_ENCODER}conv2d(_\d+)?/vars/0")
    count = sum(bool(pattern.fullmatch(name)) for name in shapes)
    backbone = _RESNETS.get(count)
    rates = sum(name.startswith(_BRANCH) for name in shapes) // 5 - 2
    if backbone is None or rates != 3 or "layers/conv2d_1/vars/0" not in shapes:
        return None
    return _network(
        shapes,
        "deeplab_v3_plus",
        options={
            "backbone": backbone,
            "stride_on": "3x3",
            "output_stride": 32,
            "separable": False,
            "rates": (12, 24, 36),  # Of output stride 16: half of them at 32.
            "refine": (1,),
            "resize": "half_pixel",
            "normalization": _normalization(config, "none"),
        },
        source=functools.partial(_deeplab_source, _DEPTHS[backbone]),
        epsilon=lambda layer: 1e-5 if layer.startswith("conv") else 1e-3,
    )


def _segformer(shapes, config):
    embed = f"{_ENCODER}overlapping_patching_and_embedding"
    filters = tuple(shapes[f"{_numbered(embed, i)}/proj/vars/0"][-1] for i in range(4))
    pattern = re.compile(
        rf"{_ENCODER}hierarchical_transformer_encoder(_\d+)?/norm1/vars/0"
    )
    sizes = [shapes[name][0] for name in shapes if pattern.fullmatch(name)]
    depths = tuple(sizes.count(each) for each in filters)
    name = _SEGFORMERS.get((filters[0], depths), "segformer_b0")
    return _network(
        shapes,
        name,
        options={
            "filters": filters,
            "depths": depths,
            "head_filters": shapes["layers/dense/vars/0"][-1],
            "gelu": "tanh",
            "normalization": _normalization(config, "torch"),
        },
        source=functools.partial(_segformer_source, depths),
        epsilon=1e-5,
    )


def _network(shapes, model, **values):
    num_classes = shapes[f"{_CLASSIFY}/vars/0"][-1]
    classes = [families.classes_of(name, num_classes) for name in _DATASETS]
    return Network(
        family="keras_hub",
        model=model,
        num_classes=num_classes,
        layout=layouts.KERAS,
        **next(filter(None, classes), {}),
        **values,
    )


def _normalization(config, default):
    """Returns the kind of normalization of an image converter."""
    converter = config.get("image_converter", {})
    converter = converter.get("config", converter)
    if not converter:
        return default
    scale, offset = converter.get("scale"), converter.get("offset")
    given = [1.0 if scale is None else scale, 0.0 if offset is None else offset]
    for kind, expected in _AFFINE.items():
        pairs = zip(given, expected, strict=True)
        if all(np.allclose(x, y, rtol=1e-3, atol=1e-6) for x, y in pairs):
            return kind
    raise errors.UserError(
        f"The preset scales images by {scale} and adds {offset}; known are "
        f"{', '.join(_AFFINE)} (see docs/architectures.md, `normalization`). Use it in "
        "KerasHub."
    )


def _numbered(name, number):
    """Returns the name that Keras gives the layer of a class with this number."""
    return f"{name}_{number}" if number else name


def _deeplab_source(depths, layer):
    if layer == "classify":
        return Source(_CLASSIFY, defaults={"bias": 0.0})
    name, _, part = layer.rpartition("_")
    kind = {"conv": "conv2d", "bn": "batch_normalization"}.get(part)
    if kind is None:
        return None
    if name.startswith("conv"):
        number = _resnet_number(depths, name)
        return None if number is None else _numbered(f"{_ENCODER}{kind}", number)
    if name in ("skip", "refine1"):
        return _numbered(f"layers/{kind}", ("skip", "refine1").index(name))
    branches = ("aspp_point", *(f"aspp_atrous{i}" for i in (1, 2, 3)), "aspp_image")
    if name in branches:
        return f"{_numbered(_BRANCH, branches.index(name))}/layers/{kind}"
    if name != "aspp_project":
        return None
    module = f"{_ASPP}projection/layers/{kind}"
    return Source(module, image_first if part == "conv" else None)


def _resnet_number(depths, name):
    """Returns the number of a convolution in the order of the file, or None.

    The first unit of a stage has four; that of its shortcut precedes the last one.
    """
    if name == "conv1":
        return 0
    match = re.fullmatch(r"conv(\d)_block(\d+)_(\d)", name)
    if match is None:
        return None
    stage, unit, number = (int(group) for group in match.groups())
    before = 1 + sum(3 * depth + 1 for depth in depths[: stage - 2])
    if unit == 1:
        return before + (1, 2, 0, 3).index(number)
    return before + 1 + 3 * (unit - 1) + number - 1


_BLOCK = {
    "attend_norm": "norm1",
    "attend_query": "attn/q",
    "attend_reduce": "attn/sr",
    "attend_reduce_norm": "attn/norm",
    "attend_project": "attn/proj",
    "mix_norm": "norm2",
    "mix_widen": "mlp/fc1",
    "mix_depthwise": "mlp/dwconv",
    "mix_narrow": "mlp/fc2",
}
_SEGFORMER_HEAD = {
    **{
        f"head_c{level}": _numbered("layers/dense", 5 - level) for level in (5, 4, 3, 2)
    },
    "head_fuse_conv": "layers/sequential/layers/conv2d",
    "head_fuse_bn": "layers/sequential/layers/batch_normalization",
    "classify": _CLASSIFY,
}


def _segformer_source(depths, layer):
    if layer in _SEGFORMER_HEAD:
        return _SEGFORMER_HEAD[layer]
    match = re.fullmatch(r"stage(\d)_(?:block(\d+)_)?(\w+)", layer)
    if match is None:
        return None
    stage, part = int(match[1]) - 1, match[3]
    if match[2] is None:
        module = f"{_ENCODER}overlapping_patching_and_embedding"
        return {
            "embed": f"{_numbered(module, stage)}/proj",
            "embed_norm": f"{_numbered(module, stage)}/norm",
            "norm": _numbered(f"{_ENCODER}layer_normalization", stage),
        }.get(part)
    number = sum(depths[:stage]) + int(match[2]) - 1
    start = _numbered(f"{_ENCODER}hierarchical_transformer_encoder", number)
    if part == "attend_key_value":
        return Source((f"{start}/attn/k", f"{start}/attn/v"))
    return f"{start}/{_BLOCK[part]}" if part in _BLOCK else None
