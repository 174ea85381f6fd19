"""MMSegmentation's networks on a ResNet, with or without the auxiliary head."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from kerasseg.weights.encoders import resnet
from kerasseg.weights.families import mmseg_names
from kerasseg.weights.networks import Network, Shapes

_ASPP = ("image_pool", "aspp_modules", "bottleneck")
_PYRAMID = ("psp_modules", "bottleneck")
_MODELS: Mapping[frozenset[str], str] = {
    frozenset({"conv_seg", *parts}): model
    for model, parts in {
        "fcn_resnet": ("convs", "conv_cat"),
        "pspnet": _PYRAMID,
        "upernet": (*_PYRAMID, "lateral_convs", "fpn_convs", "fpn_bottleneck"),
        "deeplab_v3": _ASPP,
        "deeplab_v3_plus": (*_ASPP, "c1_bottleneck", "sep_bottleneck"),
    }.items()
}
_STEM = resnet.deep_stem([f"stem.{i}" for i in (0, 1, 3, 4, 6, 7)])
_BINS = (1, 2, 3, 6)


def recognize(shapes: Shapes, config: Mapping[str, Any]) -> Network | None:
    """Recognizes FCN, PSPNet, UPerNet, DeepLab v3 and DeepLab v3+."""
    backbone = resnet.name(shapes, "backbone.")
    model = _MODELS.get(mmseg_names.head_parts(shapes))
    if backbone is None or model is None:
        return None
    output_stride = config.get("output_stride", 8)
    if model != "upernet" and output_stride not in (8, 16):
        return None
    num_classes, filters = shapes["decode_head.conv_seg.weight"][:2]
    options = {
        "backbone": backbone,
        "stem": "narrow" if "backbone.stem.0.weight" in shapes else "standard",
        "stride_on": "3x3",
        "first_rate": "old",
        "dilate_second": False,
        "normalization": "torch",
        "aux": "auxiliary_head.conv_seg.weight" in shapes,
        "resize": mmseg_names.resize(config),
        **_of_head(model, filters, shapes),
    }
    if model != "upernet":
        options["output_stride"] = output_stride
    if model == "deeplab_v3":
        options["multi_grid"] = None
    if config.get("multi_grid"):
        options["multi_grid"] = _multi_grid(config["multi_grid"], output_stride)
    return Network(
        family="mmsegmentation",
        model=model,
        options=options,
        source=functools.partial(_source, model == "deeplab_v3_plus"),
        unused=mmseg_names.UNUSED,
        **mmseg_names.classes(num_classes),
    )


def _of_head(model, filters, shapes):
    if model == "fcn_resnet":
        return {"convolutions": 2, "concat_input": True}
    options = {"filters": filters}
    if model == "upernet":
        options["convolve_first"] = True
    if model.startswith("deeplab"):
        options["project_size"] = 3
    if model == "deeplab_v3_plus":
        skip = "decode_head.c1_bottleneck.conv.weight"
        options["skip_filters"] = shapes[skip][0]
    return options


def _multi_grid(dilations: Sequence[int], output_stride: int) -> tuple[int, ...]:
    """Returns the factors of the rate of the last block that give the dilations.

    The first unit has the rate of the block before, which is 1 at a stride of 16.
    """
    return tuple(max(1, dilation * output_stride // 32) for dilation in dilations)


_MODULES = {
    "head": "decode_head.convs.0",
    "head2": "decode_head.convs.1",
    "head_fuse": "decode_head.conv_cat",
    "head_refine": "decode_head.bottleneck",
    "aux_c4": "auxiliary_head.convs.0",
    "aux_refine": "auxiliary_head.convs.0",
    "aspp_image": "decode_head.image_pool.1",
    "aspp_point": "decode_head.aspp_modules.0",
    **{f"aspp_atrous{i}": f"decode_head.aspp_modules.{i}" for i in (1, 2, 3)},
    "aspp_project": "decode_head.bottleneck",
    "skip": "decode_head.c1_bottleneck",
    "refine1": "decode_head.sep_bottleneck.0",
    "refine2": "decode_head.sep_bottleneck.1",
    **{
        f"pyramid_bin{b}": f"decode_head.psp_modules.{i}.1" for i, b in enumerate(_BINS)
    },
    **{f"pyramid{b}": f"decode_head.psp_modules.{i}.1" for i, b in enumerate(_BINS)},
    "pyramid_project": "decode_head.bottleneck",
    **{f"lateral{i}": f"decode_head.lateral_convs.{i - 2}" for i in (2, 3, 4)},
    **{f"smooth{i}": f"decode_head.fpn_convs.{i - 2}" for i in (2, 3, 4)},
    "fuse": "decode_head.fpn_bottleneck",
}
_CLASSIFIERS = {
    **dict.fromkeys(("classify", "head_classify"), "decode_head.conv_seg"),
    **dict.fromkeys(("aux_classify", "aux_c4_classify"), "auxiliary_head.conv_seg"),
}


def _source(is_separable, layer):
    found = resnet.module(layer, "backbone.", _STEM) or _CLASSIFIERS.get(layer)
    if found is not None:
        return found
    is_depthwise = layer.endswith(("_depthwise", "_depthwise_bn"))
    base, _, part = layer.rpartition("_")
    if is_depthwise:
        base, part = base.removesuffix("_depthwise"), "bn" if part == "bn" else "conv"
    if base not in _MODULES or part not in ("conv", "bn"):
        return None
    module = _MODULES[base]
    if is_separable and base.startswith(("aspp_atrous", "refine")):
        module += ".depthwise_conv" if is_depthwise else ".pointwise_conv"
    return f"{module}.{part}"
