"""DeepLab of TensorFlow (research/deeplab): checkpoints of TF-Slim.

Source: https://github.com/tensorflow/models, research/deeplab/model.py and
core/feature_extractor.py, and research/slim/nets/mobilenet. Images are scaled to -1 to
1, and all maps are resized with aligned corners. An output stride of 16 is assumed; the
key "output_stride" of the configuration gives another one.
"""

import functools
import re

from kerasseg.weights import families, layouts
from kerasseg.weights.networks import Network, Source

_HEAD_EPSILON = 1e-5
_ENCODER_EPSILON = 1e-3
_SLOTS = "Momentum|RMSProp(_1)?|Adam(_1)?|ExponentialMovingAverage"
_UNUSED = ("global_step", rf".*/({_SLOTS})", "beta[12]_power")
_MOBILENET = "MobilenetV2"
_XCEPTIONS = {(3, 8): "xception41", (3, 16): "xception65", (5, 16): "xception71"}
_DATASETS = ("pascal_voc", "cityscapes", "ade20k")


@families.register()
def tf_deeplab(shapes, config):
    """Recognizes DeepLab v3 and v3+ on Xception or MobileNetV2, and the encoders."""
    scope = _scope(shapes)
    if scope is None:
        return None
    if scope == _MOBILENET:
        stem = shapes["MobilenetV2/Conv/weights"]
        encoder = "mobilenet_v2_slim"
        options = {"depth_multiplier": stem[-1] / 32, "padding": "same"}
    else:
        encoder, options = _xception(shapes, scope), {}
    if encoder is None:
        return None
    if "logits/semantic/weights" not in shapes:
        return _encoder(scope, encoder, options)
    has_decoder = "decoder/feature_projection0/weights" in shapes
    is_pooled = "image_pooling/weights" in shapes
    if not is_pooled or "concat_projection/weights" not in shapes:
        return None  # Dense prediction cells, and heads without a pyramid.
    num_rates = sum(f"aspp{i}_depthwise/depthwise_weights" in shapes for i in (1, 2, 3))
    num_classes = shapes["logits/semantic/weights"][-1]
    return Network(
        family="tf_deeplab",
        model="deeplab_v3_plus" if has_decoder else "deeplab_v3",
        num_classes=num_classes,
        options={
            "backbone": encoder,
            "output_stride": config.get("output_stride", 16),
            "rates": (6, 12, 18)[:num_rates],
            "resize": "corners",
            "normalization": "tf",
            **options,
            **({} if has_decoder else {"multi_grid": None, "separable": True}),
        },
        source=functools.partial(_source, scope),
        layout=layouts.SLIM,
        epsilon=_epsilon,
        unused=_UNUSED,
        **_classes(num_classes),
    )


def _encoder(scope, name, options):
    return Network(
        family="tf_deeplab",
        model=name,
        kind="encoder",
        options={"normalization": "tf", **options},
        source=functools.partial(_source, scope),
        layout=layouts.SLIM,
        epsilon=_ENCODER_EPSILON,
        unused=(*_UNUSED, rf"{scope}/(logits|Logits|Conv_1)/.*"),
    )


def _scope(shapes):
    """Returns the name that the arrays of the encoder start with, or None."""
    if "MobilenetV2/Conv/weights" in shapes:
        return _MOBILENET
    suffix = "/entry_flow/conv1_1/weights"
    found = [n.removesuffix(suffix) for n in shapes if n.endswith(suffix)]
    return found[0] if len(found) == 1 and "/" not in found[0] else None


def _xception(shapes, scope):
    """Returns the name of a backbone by its numbers of blocks and units."""
    counts = []
    for place in (r"entry_flow/block\d+/unit_1", r"middle_flow/block1/unit_\d+"):
        pattern = rf"{scope}/{place}/xception_module/separable_conv1_pointwise/weights"
        counts.append(sum(bool(re.fullmatch(pattern, name)) for name in shapes))
    return _XCEPTIONS.get((counts[0], counts[1]))


def _classes(num_classes):
    for dataset in _DATASETS:
        found = families.classes_of(dataset, num_classes)
        if found:
            return found
    # Labels of ADE20K are those of its files: 0 for no class, and 1 to 150.
    of_ade20k = families.classes_of("ade20k", num_classes - 1)
    return {
        key: (first, *of_ade20k[key])
        for key, first in (("class_names", "background"), ("palette", [0, 0, 0]))
        if of_ade20k
    }


def _epsilon(layer):
    """Returns the epsilon of a batch normalization: the head has another one."""
    is_head = layer.startswith(("aspp_", "skip_", "refine"))
    return _HEAD_EPSILON if is_head else _ENCODER_EPSILON


_HEAD = {
    "aspp_image": "image_pooling",
    "aspp_point": "aspp0",
    "aspp_project": "concat_projection",
    "skip": "decoder/feature_projection0",
}
_SEPARABLE = {
    **{f"aspp_atrous{i}": f"aspp{i}" for i in (1, 2, 3)},
    **{f"refine{i}": f"decoder/decoder_conv{i - 1}" for i in (1, 2)},
}


def _source(scope, layer):
    if layer == "classify":
        return "logits/semantic"
    # "_depthwise" is a convolution, and "_depthwise_bn" its batch normalization.
    match = re.fullmatch(r"(.+?)_((?:depthwise_)?bn|depthwise|conv)", layer)
    if match is None:
        return None
    name, part = match.groups()
    is_depthwise = part.startswith("depthwise")
    if name in _HEAD:
        module = _HEAD[name]
    elif name in _SEPARABLE:
        module = f"{_SEPARABLE[name]}_{'depthwise' if is_depthwise else 'pointwise'}"
    else:
        find = _of_mobilenet if scope == _MOBILENET else _of_xception
        found = find(name, is_depthwise)
        if found is None:
            return None
        module = f"{scope}/{found}"
    if part.endswith("bn"):
        return f"{module}/BatchNorm"
    if is_depthwise:
        return Source(module, names={"kernel": f"{module}/depthwise_weights"})
    return module


def _of_mobilenet(name, is_depthwise):
    """Returns the module of a layer of `backbones.mobilenet_v2_slim`, or None."""
    if name == "stem":
        return "Conv"
    match = re.fullmatch(r"block(\d+)(?:_(expand|project))?", name)
    if match is None:
        return None
    block = "expanded_conv" if match[1] == "0" else f"expanded_conv_{match[1]}"
    return f"{block}/{'depthwise' if is_depthwise else match[2]}"


def _of_xception(name, is_depthwise):
    """Returns the module of a layer of `backbones.xception65`, or None."""
    if name in ("conv1_1", "conv1_2"):
        return f"entry_flow/{name}"
    match = re.fullmatch(
        r"(entry|middle|exit)(\d)_unit(\d+)_(?:sep(\d)|shortcut)", name
    )
    if match is None:
        return None
    flow, block, unit, convolution = match.groups()
    start = f"{flow}_flow/block{block}/unit_{unit}/xception_module"
    if convolution is None:
        return f"{start}/shortcut"
    part = "depthwise" if is_depthwise else "pointwise"
    return f"{start}/separable_conv{convolution}_{part}"
