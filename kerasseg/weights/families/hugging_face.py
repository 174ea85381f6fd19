"""Networks of Hugging Face transformers: SegFormer, UPerNet, and encoders.

Source: https://github.com/huggingface/transformers, src/transformers/models/segformer
and upernet, version 5.24.
"""

import functools
import re
from typing import Any

from kerasseg import errors
from kerasseg.weights import families, hugging_face_config
from kerasseg.weights.encoders import hugging_face as encoders
from kerasseg.weights.networks import Network

_UNUSED = (
    r".*\.num_batches_tracked",
    r".*\.relative_position_index",
    r".*\.mask_token",
)
_SEGFORMERS = {  # By filters, depths and the filters of the head.
    ((32, 64, 160, 256), (2, 2, 2, 2), 256): "segformer_b0",
    ((64, 128, 320, 512), (2, 2, 2, 2), 256): "segformer_b1",
    ((64, 128, 320, 512), (3, 4, 6, 3), 768): "segformer_b2",
    ((64, 128, 320, 512), (3, 4, 18, 3), 768): "segformer_b3",
    ((64, 128, 320, 512), (3, 8, 27, 3), 768): "segformer_b4",
    ((64, 128, 320, 512), (3, 6, 40, 3), 768): "segformer_b5",
}
_FIXED: dict[
    str, dict[str, Any]
] = {  # What our networks have, and a config.json must have.
    "segformer": {
        "num_attention_heads": [1, 2, 5, 8],
        "sr_ratios": [8, 4, 2, 1],
        "strides": [4, 2, 2, 2],
        "mlp_ratios": [4, 4, 4, 4],
        "hidden_act": "gelu",
    },
    "upernet": {"pool_scales": [1, 2, 3, 6]},
    "swin": {
        "patch_size": 4,
        "mlp_ratio": 4,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "use_absolute_embeddings": False,
        "qkv_bias": True,
    },
    "convnext": {"patch_size": 4, "hidden_act": "gelu"},
}


@families.register()
def hugging_face(shapes, config):
    """Recognizes SegFormer, UPerNet, and classifiers on Swin and ConvNeXt."""
    for recognize in (_segformer, _upernet, _swin, _convnext):
        network = recognize(shapes, config)
        if network is not None:
            return network
    return None


def _segformer(shapes, config):
    prefix = "segformer."
    sizes = encoders.mit_sizes(shapes, prefix)
    if sizes is None:
        return None
    if "decode_head.classifier.weight" not in shapes:
        raise errors.UserError(
            "The weights are those of SegFormer's encoder without the head, such as "
            "those of a classifier of ImageNet. Give weights of "
            "SegformerForSemanticSegmentation."
        )
    _check(config, "segformer")
    memory = encoders.in_memory(shapes, prefix)
    num_classes, filters = shapes["decode_head.classifier.weight"][:2]
    name = _SEGFORMERS.get((*sizes, filters))
    options: dict[str, Any] = {"norm_epsilon": 1e-5}
    if name is None:
        name, (widths, depths) = "segformer_b0", sizes
        options.update(filters=widths, depths=depths, head_filters=filters)
    return _network(
        config,
        model=name,
        num_classes=num_classes,
        options=options,
        source=functools.partial(_segformer_source, memory),
    )


def _segformer_source(memory, layer):
    match = re.fullmatch(r"head_c(\d)", layer)
    if match:
        name = "linear_projections" if memory else "linear_c"
        return f"decode_head.{name}.{int(match[1]) - 2}.proj"
    names = {
        "head_fuse_conv": "linear_fuse",
        "head_fuse_bn": "batch_norm",
        "classify": "classifier",
    }
    if layer in names:
        return f"decode_head.{names[layer]}"
    return encoders.mit(layer, "segformer.", memory)


def _upernet(shapes, config):
    if "decode_head.lateral_convs.0.batch_norm.weight" not in shapes:
        return None
    encoder = _encoder(shapes, ("backbone.", "backbone.swin."), config)
    if encoder is None:
        return None
    _check(config, "upernet")
    num_classes, filters = shapes["decode_head.classifier.weight"][:2]
    aux = _has_aux(shapes, filters)
    backbone, options, module = encoder
    return _network(
        config,
        model="upernet",
        num_classes=num_classes,
        options={
            "backbone": backbone,
            "filters": filters,
            "aux": aux,
            "convolve_first": True,
            "end_norms": True,
            **options,
        },
        source=functools.partial(_upernet_source, module),
        unused=(
            # What computes nothing: the norm after the last stage is not in the graph,
            # and the auxiliary head only in training.
            r"backbone\.swin\.layernorm\..*",
            *(() if aux else (r"auxiliary_head\..*",)),
        ),
    )


def _has_aux(shapes, filters):
    """Returns whether there is an auxiliary head that is like ours."""
    convolutions = [
        shape for name, shape in shapes.items() if _AUX_KERNEL.fullmatch(name)
    ]
    return len(convolutions) == 1 and convolutions[0][0] == filters // 2


_AUX_KERNEL = re.compile(r"auxiliary_head\.conv.*\.conv\.weight")
_UPERNET = {
    "pyramid1": "psp_modules.0.1",
    "pyramid2": "psp_modules.1.1",
    "pyramid3": "psp_modules.2.1",
    "pyramid6": "psp_modules.3.1",
    "pyramid_project": "bottleneck",
    "lateral2": "lateral_convs.0",
    "lateral3": "lateral_convs.1",
    "lateral4": "lateral_convs.2",
    "smooth2": "fpn_convs.0",
    "smooth3": "fpn_convs.1",
    "smooth4": "fpn_convs.2",
    "fuse": "fpn_bottleneck",
}


def _upernet_source(module, layer):
    if layer in ("classify", "aux_c4_classify"):
        head = "decode_head" if layer == "classify" else "auxiliary_head"
        return f"{head}.classifier"
    name, _, part = layer.rpartition("_")
    part = {"conv": "conv", "bn": "batch_norm"}.get(part)
    if part and name == "aux_c4":
        return f"auxiliary_head.convs.0.{part}"
    if part and name in _UPERNET:
        return f"decode_head.{_UPERNET[name]}.{part}"
    match = re.fullmatch(r"c(\d)_norm", _end(layer))
    if match:
        return f"backbone.hidden_states_norms.stage{int(match[1]) - 1}"
    return module(layer)


def _end(layer):
    """Returns the name of the normalization of "c5", which in ConvNeXt has another."""
    return re.sub(r"convnext_[a-z]+_layer_normalization_1", "c5_norm", layer)


def _encoder(shapes, prefixes, config):
    """Returns the name, the options and the naming rule of an encoder, or None."""
    config = config.get("backbone_config") or {}
    for prefix in prefixes:
        name = encoders.convnext(shapes, prefix)
        if name is not None:
            _check(config, "convnext")
            rule = functools.partial(encoders.convnext_module, prefix=prefix)
            return name, {"crop": True}, rule
        found = encoders.swin(shapes, prefix)
        if found is not None:
            _check(config, "swin")
            rule = functools.partial(encoders.swin_module, prefix=prefix, shapes=shapes)
            return *found, rule
    return None


def _swin(shapes, config):
    return _classifier(shapes, config, ("swin.", ""), encoders.swin)


def _convnext(shapes, config):
    return _classifier(shapes, config, ("convnext.", ""), encoders.convnext)


def _classifier(shapes, config, prefixes, recognize):
    """Recognizes an encoder of image classification."""
    for prefix in prefixes:
        if recognize(shapes, prefix) is None:
            continue
        encoder = _encoder(shapes, (prefix,), {"backbone_config": config})
        name, options, module = encoder
        return _network(
            config,
            kind="encoder",
            model=name,
            options=options,
            source=functools.partial(_classifier_source, module, prefix),
            unused=(r"classifier\..*", rf"{re.escape(prefix)}pooler\..*"),
        )
    return None


def _classifier_source(module, prefix, layer):
    return f"{prefix}layernorm" if _end(layer) == "c5_norm" else module(layer)


def _network(config, *, options, unused=(), **values):
    num_classes = values.get("num_classes", 0)
    if num_classes:
        values.update(hugging_face_config.classes(config, num_classes))
    normalization = hugging_face_config.normalization(config)
    return Network(
        family="hugging_face",
        options={**options, "normalization": normalization},
        unused=(*_UNUSED, *unused),
        **values,
    )


def _check(config, kind):
    """Refuses a network that ours cannot be, where shapes cannot tell."""
    for key, expected in _FIXED[kind].items():
        given = config.get(key, expected)
        given = list(given) if isinstance(given, tuple) else given
        if given != expected:
            raise errors.UserError(
                f"The network has `{key}={given}`, and its architecture, {kind}, can "
                f"only be built here with {expected}. Use weights of another network."
            )
