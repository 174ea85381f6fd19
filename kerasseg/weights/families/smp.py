"""Networks of segmentation_models.pytorch (SMP), on ResNets and Mix Transformers.

Source: https://github.com/qubvel-org/segmentation_models.pytorch, version 0.6. Options
that do not change an array, such as the output stride, are read from the `config.json`
of `save_pretrained`; without it, they are taken to be the defaults of SMP. Images are
normalized by the statistics of ImageNet. The logits of SMP's network are compared
before its `activation`, and a classification head (`aux_params`) is left out.

SMP takes images whose sides are multiples of the output stride only, except in U-Net.
Pad others at the bottom and right with the mean color, and crop the logits, to get the
same as there: at other sizes, maps that are resized with aligned corners would be
resized to another size.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from kerasseg import errors
from kerasseg.weights import families
from kerasseg.weights.encoders import resnet
from kerasseg.weights.families import smp_decoders, smp_encoders
from kerasseg.weights.networks import Network

_HEAD = "segmentation_head.0"
_LOGITS = (None, "identity", "softmax", "softmax2d", "logsoftmax")
_BATCH_NORM = (None, True, "batchnorm", {"type": "batchnorm"})
_PLAIN = {
    "encoder_depth": (5,),
    "decoder_use_norm": _BATCH_NORM,
    "decoder_use_batchnorm": _BATCH_NORM,
    "psp_use_batchnorm": _BATCH_NORM,
    "decoder_attention_type": (None,),
    "decoder_interpolation": ("nearest",),
    "upsampling": (4,),
}


class _Class(NamedTuple):
    """A class of SMP.

    Attributes:
        array: Name of an array that only networks of this class have.
        model: Name of our architecture.
        options: Function of the shapes and the config, with defaults, to options of
            `build_model`, without those of the encoder.
        defaults: Options of the class that change the network but no array.
        accepted: Values of options that are accepted, where not those of `_PLAIN`.
    """

    array: str
    model: str
    options: Any
    defaults: Mapping[str, Any] = {}
    accepted: Mapping[str, tuple] = {}


@families.register()
def smp(shapes, config):
    """Recognizes networks of the classes in `_CLASSES`."""
    name = next((n for n, row in _CLASSES.items() if row.array in shapes), None)
    if name is None or f"{_HEAD}.weight" not in shapes:
        return None
    if config.get("_model_class", name) != name:
        return None
    row = _CLASSES[name]
    config = {**row.defaults, **config}
    num_classes = shapes[f"{_HEAD}.weight"][0]
    _check(name, row, config, num_classes)
    encoder = _encoder(name, shapes)
    model = row.model.format(encoder.backbone)
    unused = [*resnet.UNUSED, r"classification_head\..*"]
    if name == "PSPNet":  # The encoder is cut, but the file has all of it.
        stages = range(config["encoder_depth"], 5)
        unused += [rf"encoder\.layer{stage}\..*" for stage in stages]
    return Network(
        family="smp",
        model=model,
        num_classes=num_classes,
        options={
            **row.options(shapes, config),
            **encoder.options,
            **encoder.of_class.get(name, {}),
        },
        source=functools.partial(_source, name, shapes, encoder),
        unused=unused,
    )


def _source(name, shapes, encoder, layer):
    if layer in ("classify", "head_classify"):
        return _HEAD
    found = encoder.module(layer)
    if found is not None:
        return found
    return getattr(smp_decoders, name.lower())(layer, shapes)


def _check(name, row, config, num_classes):
    """Refuses options that our networks do not have."""
    accepted = {**_PLAIN, **row.accepted}
    activations = (*_LOGITS, "sigmoid") if num_classes == 1 else _LOGITS
    for key, values in {**accepted, "activation": activations}.items():
        if key in config and config[key] not in values:
            raise errors.UserError(
                f"The network of segmentation_models.pytorch has `{key}={config[key]}`,"
                f" but {name} is known here with {' or '.join(map(repr, values))} only."
                " Use a network with this option."
            )


def _encoder(name, shapes):
    """Returns the rules of the encoder."""
    encoder = smp_encoders.find(shapes)
    if encoder is None or name not in encoder.classes:
        raise errors.UserError(
            f"{name} of segmentation_models.pytorch is known here on ResNet-18 to "
            "ResNet-152; UPerNet on ConvNeXt, too, and Segformer on Mix Transformers "
            "(mit_b0 to mit_b5) only. The arrays are those of another encoder. Use one "
            "of these."
        )
    channels = shapes[encoder.first][1]
    if channels != 3:
        raise errors.UserError(
            f"The network takes images of {channels} channels, and the file does not "
            "state how they are normalized. Use a network for RGB images."
        )
    return encoder


def _unet(shapes, config):
    del config
    blocks = [f"decoder.blocks.{i}.conv2.0.weight" for i in range(5)]
    if not all(block in shapes for block in blocks):
        raise errors.UserError(
            "U-Net of segmentation_models.pytorch is known here with 5 blocks in the "
            "decoder only, and this one has less. Use another network."
        )
    filters = [shapes[block][0] for block in blocks]
    return {
        "filters": filters,
        "classifier_size": shapes[f"{_HEAD}.weight"][2],
        "crop_logits": False,
    }


def _linknet(shapes, config):
    del config
    return {"filters": shapes[f"{_HEAD}.weight"][1]}


def _fpn(shapes, config):
    del config
    filters = shapes["decoder.p5.weight"][0]
    branches = shapes[f"{_HEAD}.weight"][1]
    if (filters, branches) != (256, 128):
        raise errors.UserError(
            "FPN of segmentation_models.pytorch is known here with 256 channels in the "
            f"pyramid and 128 in the branches only; this one has {filters} and "
            f"{branches}."
        )
    return {"filters": filters, "smooth": False, "resize": "corners"}


def _pspnet(shapes, config):
    depth = config["encoder_depth"]
    if config.get("upsampling", 2**depth) != 2**depth:
        raise errors.UserError(
            f"PSPNet of segmentation_models.pytorch is known here with logits that are "
            f"enlarged to the size of the image, by {2**depth}; its config has "
            f"upsampling {config['upsampling']}. Use another network."
        )
    return {
        "filters": shapes[f"{_HEAD}.weight"][1],
        "output_stride": 32,
        "endpoint": f"c{depth}",
        "normalize_mean": False,
        "kernel_sizes": (1, 3),
        "resize": "corners",
    }


def _rates(config):
    """Returns the rates of the pyramid at output stride 16, as our options are."""
    rates = [
        rate * config["encoder_output_stride"] / 16
        for rate in config["decoder_atrous_rates"]
    ]
    if any(rate % 1 for rate in rates):
        raise errors.UserError(
            f"`decoder_atrous_rates` {config['decoder_atrous_rates']} are not known "
            "here: at output stride 8 they must be even."
        )
    return [int(rate) for rate in rates]


def _deeplab_v3(shapes, config):
    stride = config["encoder_output_stride"]
    if config.get("upsampling") not in (None, stride):
        raise errors.UserError(
            "DeepLabV3 of segmentation_models.pytorch is known here with `upsampling` "
            f"equal to the output stride, {stride}, only; got {config['upsampling']}."
        )
    return {
        "filters": shapes[f"{_HEAD}.weight"][1],
        "output_stride": stride,
        "multi_grid": None,
        "rates": _rates(config),
        "refine": True,
        "resize": "corners",
    }


def _deeplab_v3_plus(shapes, config):
    return {
        "filters": shapes[f"{_HEAD}.weight"][1],
        "output_stride": config["encoder_output_stride"],
        "rates": _rates(config),
        "refine": (3,),
        "aspp_refine": True,
        "normalize_depthwise": False,
        "resize": "corners",
    }


def _upernet(shapes, config):
    del config
    return {
        "filters": shapes[f"{_HEAD}.weight"][1],
        "convolve_first": True,
        "logits_resize": "corners",
    }


def _segformer(shapes, config):
    del config
    return {"head_filters": shapes[f"{_HEAD}.weight"][1], "resize": "corners"}


_CLASSES = {
    "Unet": _Class("decoder.blocks.0.conv1.0.weight", "unet", _unet),
    "Linknet": _Class("decoder.blocks.0.block.0.0.weight", "smp_linknet", _linknet),
    "FPN": _Class(
        "decoder.p5.weight", "fpn", _fpn, accepted={"decoder_merge_policy": ("add",)}
    ),
    "PSPNet": _Class(
        "decoder.psp.blocks.0.pool.1.0.weight",
        "pspnet",
        _pspnet,
        defaults={"encoder_depth": 3},
        accepted={"encoder_depth": (3, 4, 5), "upsampling": (8, 16, 32)},
    ),
    "DeepLabV3": _Class(
        "decoder.aspp.convs.0.0.weight",
        "deeplab_v3",
        _deeplab_v3,
        defaults={"encoder_output_stride": 8, "decoder_atrous_rates": (12, 24, 36)},
        accepted={
            "decoder_aspp_separable": (False,),
            "encoder_output_stride": (8, 16),
            "upsampling": (None, 8, 16),
        },
    ),
    "DeepLabV3Plus": _Class(
        "decoder.aspp.0.convs.0.0.weight",
        "deeplab_v3_plus",
        _deeplab_v3_plus,
        defaults={"encoder_output_stride": 16, "decoder_atrous_rates": (12, 24, 36)},
        accepted={"decoder_aspp_separable": (True,), "encoder_output_stride": (8, 16)},
    ),
    "UPerNet": _Class("decoder.feature_norms.0.weight", "upernet", _upernet),
    "Segformer": _Class(
        "decoder.mlp_stage.0.linear.weight", "segformer_{}", _segformer
    ),
}
