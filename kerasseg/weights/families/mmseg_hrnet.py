"""MMSegmentation's networks on an HRNet: FCN, and OCRNet after it."""

import functools
from collections.abc import Mapping
from typing import Any

from kerasseg.weights.encoders import hrnet
from kerasseg.weights.families import mmseg_names
from kerasseg.weights.networks import Network, Shapes, Source

_CONTEXT = {
    "pixels": "bottleneck",
    **{f"query{i}": f"object_context_block.query_project.{i - 1}" for i in (1, 2)},
    **{f"key{i}": f"object_context_block.key_project.{i - 1}" for i in (1, 2)},
    "value": "object_context_block.value_project",
    "widen": "object_context_block.out_project",
    "fuse": "object_context_block.bottleneck",
}
_MODULES = {
    "regions": "decode_head.0.convs.0",
    **{f"context_{key}": f"decode_head.1.{name}" for key, name in _CONTEXT.items()},
}
_CLASSIFIERS = {
    "regions_classify": "decode_head.0.conv_seg",
    "classify": "decode_head.1.conv_seg",
}


def recognize(shapes: Shapes, config: Mapping[str, Any]) -> Network | None:
    """Recognizes HRNet, "fcn_hr" in the library, and OCRNet on it."""
    sizes = hrnet.sizes(shapes, "backbone.")
    is_ocr = "decode_head.1.object_context_block.bottleneck.conv.weight" in shapes
    is_fcn = mmseg_names.head_parts(shapes) == {"convs", "conv_seg"}
    if sizes is None or is_ocr == is_fcn:
        return None
    last = "decode_head.1." if is_ocr else "decode_head."
    options = {
        **sizes,
        "ocr": is_ocr,
        "aux": is_ocr,
        "normalization": "torch",
        "resize": mmseg_names.resize(config),
        "enlarge_first": True,
    }
    return Network(
        family="mmsegmentation",
        model="hrnet_ocr",
        options=options,
        source=functools.partial(_source, is_ocr),
        unused=mmseg_names.UNUSED,
        **mmseg_names.classes(shapes[f"{last}conv_seg.weight"][0]),
    )


def _source(is_ocr, layer):
    found = hrnet.module(layer, "backbone.")
    if found is not None:
        return found
    base, _, part = layer.rpartition("_")
    module = _CLASSIFIERS.get(layer)
    if module is None and base in _MODULES and part in ("conv", "bn"):
        module = f"{_MODULES[base]}.{part}"
    if module is None:
        return None
    if not is_ocr:
        module = module.replace("decode_head.0", "decode_head")
    # Their convolutions have no bias before batch normalization; two of ours have.
    without = layer in ("regions_conv", "context_pixels_conv")
    return Source(module, defaults={"bias": 0.0} if without else {})
