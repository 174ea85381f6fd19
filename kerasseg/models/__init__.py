"""Segmentation models: `build_model(name, num_classes)` returns a Keras model.

Every module of this package registers the models it defines. A builder is a function
`(num_classes, image_size, *, ...options) -> keras.Model`.
"""

import dataclasses
import inspect
import numbers
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kerasseg import errors
from kerasseg.system import registry

# Keras is imported when a model is built: the names of the models do not need it.
if typing.TYPE_CHECKING:
    import keras

    from kerasseg import images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """What `register` records of a model.

    Attributes:
        builder: Function that builds the model.
        paper: URL of the paper.
        params: Number of trainable parameters at `setting`.
        macs: Multiply-adds for one image of 513x513 pixels at `setting`; see
            `complexity.count_multiply_adds`.
        output_stride: Stride of the deepest feature map at `setting`, in pixels.
        setting: `num_classes` and the options at which `params` and `macs` are counted.
        encoder: Name of the backbone whose layer names the model uses, for a model
            without a `backbone` option; None if there is no such backbone.
        test_options: Options of a small model for the tests.
        kind: One of `KINDS`: what the model predicts.
    """

    builder: Callable[..., "keras.Model"]
    paper: str
    params: int
    macs: int
    output_stride: int
    setting: dict[str, Any]
    encoder: str | None
    test_options: dict[str, Any]
    kind: str = "semantic"


KINDS = ("instance", "semantic")
_OF_EVERY_MODEL = ("batch_norm_epsilon", "crf_iterations", "normalization")
_MODELS: registry.Registry[Metadata] = registry.Registry("model", __name__)


def register(
    *,
    paper: str,
    params: int,
    macs: int,
    output_stride: int,
    setting: Mapping[str, Any] | None = None,
    encoder: str | None = None,
    test_options: Mapping[str, Any] | None = None,
    kind: str = "semantic",
    name: str | None = None,
) -> Callable:
    """Returns a decorator that registers a builder.

    Args:
        paper: See `Metadata`.
        params: See `Metadata`.
        macs: See `Metadata`.
        output_stride: See `Metadata`.
        setting: See `Metadata`; `num_classes` is 21 unless given.
        encoder: See `Metadata`.
        test_options: See `Metadata`.
        kind: "semantic", logits for each pixel; or "instance", boxes and masks of
            objects.
        name: Name of the model; None for the builder's own.

    Raises:
        UserError: A model of that name is already registered.
    """

    def decorate(builder):
        metadata = Metadata(
            builder=builder,
            paper=paper,
            params=params,
            macs=macs,
            output_stride=output_stride,
            setting={"num_classes": 21, **(setting or {})},
            encoder=encoder,
            test_options=dict(test_options or {}),
            kind=kind,
        )
        _MODELS.add(name or builder.__name__, metadata)
        return builder

    return decorate


def list_models(kind: str | None = None) -> list[str]:
    """Returns the names that `build_model` accepts, sorted.

    Afterwards every layer class that a saved model can contain is registered with
    Keras.

    Args:
        kind: "semantic" or "instance" for the models of one kind; None for all.

    Raises:
        UserError: Unknown kind.
    """
    from kerasseg import backbones

    if kind not in (None, *KINDS):
        raise errors.UserError(f"`kind={kind}` must be one of {KINDS}, or None.")
    backbones.list_backbones()
    return [name for name in sorted(_MODELS) if kind in (None, _MODELS[name].kind)]


def metadata(name: str) -> Metadata:
    """Returns the metadata of a model.

    Raises:
        UserError: There is no model of that name.
    """
    return _MODELS.lookup(name)


def build_model(
    name: str,
    num_classes: int,
    *,
    backbone: str | None = None,
    backbone_weights: str | None = None,
    image_size: Sequence[int | None] = (None, None),
    channels: int | None = None,
    image_kind: "images.ImageKind | Mapping | None" = None,
    normalization: str | None = None,
    batch_norm_epsilon: float | None = None,
    crf_iterations: int | None = None,
    weights: str | None = None,
    accept_license: bool = False,
    **options,
) -> "keras.Model":
    """Builds a segmentation model.

    Args:
        name: One of `list_models()`.
        num_classes: Number of classes, at least 1. Those of an instance model are the
            classes of objects, without background.
        backbone: One of `backbones.list_backbones()`; None for that of the paper.
        backbone_weights: None (random initialization), "imagenet" (pretrained), the
            path of a `.keras` file of a model with the same backbone, or weights of
            another program for the encoder, one of
            `kerasseg.list_weights(kind="encoder")` or a file. Options that they need
            are then set, see `resolved_options`.
        image_size: Height and width in pixels; None where they vary.
        channels: Number of channels, 1 to 32, of 8-bit images whose statistics are not
            known; None for that of `image_kind`.
        image_kind: Channels, type and statistics of the images, by which the first
            layer normalizes: `images.ImageKind`, or what its `to_json` returns. None
            for 8-bit RGB. Pretrained encoders keep their kernels of RGB; those of
            added channels start at 0.
        normalization: What the first layer does to RGB from 0 to 255, one of
            `blocks.NORMALIZATIONS`, such as "torch" for weights of torchvision; None
            for what the backbone or the architecture expects.
        batch_norm_epsilon: Epsilon of all batch normalizations, such as 1e-5 for
            weights of PyTorch; None for those of the architecture and the backbone.
        crf_iterations: Number of mean-field updates of a CRF-RNN at the end of the
            model in training, twice as many at inference; see `blocks.CrfRnn`. None
            for no CRF.
        weights: Weights of another program for the whole network, one of
            `kerasseg.list_weights()` or a file; see `weights.open_weights`. Options
            that are not given are then those of their network, and with another
            `num_classes` only the classifier keeps its initial values.
        accept_license: Whether a license of `weights` that forbids commercial use is
            accepted.
        **options: Options of the model's builder, and of its backbone, such as
            `stride_on="3x3"` of a ResNet; see `backbones.list_options`.

    Returns:
        A functional model from images, `[batch, height, width, channels]` with the
        values of their files, RGB from 0 to 255 by default, to float32 logits, `[batch,
        height, width, num_classes]`; with auxiliary outputs, to a dict of logits by
        name, "logits" being the main ones. An instance model returns a dict of
        detections, see `models.mask_rcnn.mask_rcnn`.

    Raises:
        UserError: Unknown name or option, a value out of range, or other weights.
        MissingFileError: The file of weights does not exist.
        OSError: Weights cannot be downloaded.
    """
    known = _options(metadata(name).builder)
    if backbone is not None:
        options["backbone"] = backbone
    _check_num_classes(name, num_classes)
    _check_image_size(image_size)
    if weights is not None:
        common: dict[str, Any] = {"channels": channels, "image_kind": image_kind}
        common |= {"crf_iterations": crf_iterations, "normalization": normalization}
        common |= {"batch_norm_epsilon": batch_norm_epsilon, "image_size": image_size}
        given = {**{k: v for k, v in common.items() if v is not None}, **options}
        from kerasseg.models import pretrained

        return pretrained.build(weights, accept_license, name, num_classes, given)
    if backbone_weights is not None:
        options["backbone_weights"] = backbone_weights
        common = {"normalization": normalization}
        common["batch_norm_epsilon"] = batch_norm_epsilon
        options = resolved_options(name, {**options, **common})
        normalization = options.pop("normalization")
        batch_norm_epsilon = options.pop("batch_norm_epsilon")
    if normalization is not None and "normalization" in known:
        options["normalization"] = normalization
    of_backbone = _check_options(name, options, known)
    kind = _image_kind(channels, image_kind)
    _check_crf(name, crf_iterations, kind)
    with _of_kind(kind, normalization):
        model = _call_builder(name, num_classes, image_size, options, of_backbone)
    if batch_norm_epsilon is not None:
        _set_epsilon(model, batch_norm_epsilon)
    if crf_iterations is None:
        return model
    from kerasseg import blocks

    with errors.renamed({"iterations": "crf_iterations"}):
        crf = blocks.CrfRnn(crf_iterations, dtype="float32", name="crf")
    return _with_crf(model, crf)


def resolved_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the options that weights of an encoder need to those of `build_model`.

    These are options of the encoder, such as `stride_on="3x3"`, `normalization` and
    `batch_norm_epsilon`. With them, the network stays the same when it is built again
    without `backbone_weights`.

    Args:
        name: Name of the architecture.
        options: Its options. They are returned as they are unless `backbone_weights`
            are weights of another program; see `build_model`.

    Raises:
        UserError: An option that is given has another value than the weights need, or
            they are of another encoder.
    """
    weights, backbone = options.get("backbone_weights"), _backbone(name, options)
    if weights is None or backbone is None:
        return dict(options)
    from kerasseg import backbones
    from kerasseg.models import encoder_weights

    if not backbones.is_imported(weights):
        return dict(options)
    needed = encoder_weights.options_for(weights, backbone, options)
    return {**options, **needed}


def _check_options(name, options, known):
    """Returns the names of options of the backbone only; raises for unknown ones."""
    of_backbone = sorted(set(_backbone_options(name, options)) - set(known))
    unknown = sorted(set(options) - {*known, *of_backbone})
    if unknown:
        known = sorted({*known, *_OF_EVERY_MODEL})
        raise errors.UserError(
            f"Model '{name}' has no option {unknown}; it has {known}"
            + (f", and its backbone {of_backbone}." if of_backbone else ".")
        )
    return of_backbone


def _check_crf(name, iterations, kind):
    if iterations is not None and metadata(name).kind != "semantic":
        raise errors.UserError(
            f"`crf_iterations={iterations}`: '{name}' predicts objects, and a CRF "
            f"needs logits for each pixel. Leave `crf_iterations` out."
        )
    if iterations is not None and not kind.is_rgb:
        raise errors.UserError(
            f"`crf_iterations={iterations}`: a CRF compares colors of 8-bit RGB "
            f"images, and these are {kind}. Leave `crf_iterations` out."
        )


def _set_epsilon(model, epsilon):
    import keras

    if not 0 < epsilon < 1:
        raise errors.UserError(
            f"`batch_norm_epsilon={epsilon}` must be between 0 and 1, such as 1e-5."
        )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = float(epsilon)


def _image_kind(channels, image_kind):
    from kerasseg import images

    if isinstance(image_kind, Mapping):
        image_kind = images.ImageKind.from_json(image_kind)
    if channels is None:
        return image_kind or images.RGB
    if image_kind is not None and image_kind.channels != channels:
        raise errors.UserError(
            f"`channels={channels}`, but `image_kind` is {image_kind}. Give one of the "
            "two."
        )
    return image_kind or images.ImageKind(channels)


def _of_kind(kind, normalization):
    """Returns a context in which models take images of a kind."""
    from kerasseg import blocks

    plain = kind.num_colors == 3 and kind.dtype == "uint8"
    return blocks.of_channels(
        stretch=None if plain else kind.ranges[: kind.num_colors],
        extra=kind.extra_moments,
        normalization=normalization,
    )


def _call_builder(name, num_classes, image_size, options, of_backbone):
    """Calls the builder; adds the options to errors raised by layers of Keras."""
    from kerasseg import backbones

    own = {key: value for key, value in options.items() if key not in of_backbone}
    rest = {key: value for key, value in options.items() if key in of_backbone}
    try:
        with backbones.of_options(rest):
            return metadata(name).builder(num_classes, tuple(image_size), **own)
    except ValueError as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if frame.f_globals["__name__"].startswith("kerasseg."):
            raise  # Its message names the option.
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise errors.UserError(
            f"Model '{name}' cannot be built with {given or 'no options'}: {error} "
            "Change the option that is out of range."
        ) from error


def _with_crf(model, crf):
    """Adds a CRF after the logits; other outputs stay the same."""
    import keras

    outputs = model.output
    if isinstance(outputs, dict):
        outputs = {**outputs, "logits": crf([model.input, outputs["logits"]])}
    else:
        outputs = crf([model.input, outputs])
    return keras.Model(model.input, outputs, name=model.name)


def encoder_layers(name: str, **options) -> frozenset[str]:
    """Returns the names of the layers of a model's encoder; the others are its head.

    The pretrained classifier of a backbone (fc6 and fc7 of VGG16) counts as encoder, as
    in the released networks of DeepLab, which train only fc8 at a higher rate. The
    result can contain names that the model does not have.

    Args:
        name: One of `list_models()`.
        **options: Options that the model is built with.

    Raises:
        UserError: The model has no encoder that is separate from its head.
    """
    import keras

    from kerasseg import backbones

    parameters = inspect.signature(metadata(name).builder).parameters
    backbone = metadata(name).encoder or _backbone(name, options)
    if backbone is None:
        raise errors.UserError(
            f"Model '{name}' has no encoder that is separate from its head, so all of "
            "its layers have one learning rate. Leave `head_learning_rate_factor` at "
            "1, or choose a model with a backbone."
        )
    image = keras.Input((None, None, 3))
    backbone_options = {  # For example a stem, whose layers have other names.
        key: options[key] if key in options else parameters[key].default
        for key in backbones.list_options(backbone)
        if key in options or key in parameters
    }
    endpoints = backbones.build(backbone, image, **backbone_options)
    encoder = keras.Model(image, list(endpoints.values()))
    names = {layer.name for layer in encoder.layers if layer.weights}
    return frozenset(names).union(backbones.metadata(backbone).classifier)


def _backbone(name, options):
    """Returns the name of the backbone that is chosen by an option, or None."""
    parameters = inspect.signature(metadata(name).builder).parameters
    if "backbone" not in parameters:
        return None
    return options.get("backbone") or parameters["backbone"].default


def _backbone_options(name, options):
    from kerasseg import backbones

    backbone = _backbone(name, options)
    return backbones.list_options(backbone) if backbone else []


def _check_num_classes(name, num_classes):
    if not _is_integer(num_classes):
        raise errors.UserError(
            f"`num_classes={num_classes!r}` of '{name}' must be an integer."
        )
    if num_classes < 1:
        raise errors.UserError(
            f"`num_classes={num_classes}` of '{name}' must be at least 1."
        )


def _check_image_size(image_size):
    sides = tuple(image_size) if isinstance(image_size, tuple | list) else ()
    are_valid = [side is None or (_is_integer(side) and side > 0) for side in sides]
    if len(sides) != 2 or not all(are_valid):
        raise errors.UserError(
            f"`image_size={image_size}` must be (height, width), each at least 1 "
            "pixel, or None where it varies."
        )


def _is_integer(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _options(builder) -> list[str]:
    parameters = inspect.signature(builder).parameters.values()
    return sorted(p.name for p in parameters if p.kind == p.KEYWORD_ONLY)
