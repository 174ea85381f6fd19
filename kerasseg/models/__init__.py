"""Segmentation models: `build_model(name, num_classes)` returns a Keras model.

Every module of this package registers the models it defines. A builder is a function
`(num_classes, image_size, *, ...options) -> keras.Model`.
"""

import dataclasses
import inspect
import numbers
import traceback
import typing
from collections.abc import Callable, Mapping
from typing import Any

from kerasseg import errors, registry

# Keras is imported when a model is built: the names of the models do not need it.
if typing.TYPE_CHECKING:
    import keras


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
    """

    builder: Callable[..., "keras.Model"]
    paper: str
    params: int
    macs: int
    output_stride: int
    setting: dict[str, Any]
    encoder: str | None
    test_options: dict[str, Any]


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
        )
        _MODELS.add(name or builder.__name__, metadata)
        return builder

    return decorate


def list_models() -> list[str]:
    """Returns the names that `build_model` accepts, sorted.

    Afterwards every layer class that a saved model can contain is registered with
    Keras.
    """
    from kerasseg import backbones

    backbones.list_backbones()
    return sorted(_MODELS)


def metadata(name: str) -> Metadata:
    """Returns the metadata of a model.

    Raises:
        UserError: There is no model of that name.
    """
    return _MODELS.lookup(name)


def build_model(
    name,
    num_classes,
    *,
    backbone=None,
    backbone_weights=None,
    image_size=(None, None),
    crf_iterations=None,
    **options,
) -> "keras.Model":
    """Builds a model: pictures in, logits out.

    Args:
        name: One of `list_models()`.
        num_classes: Classes of the data set, 1 or more.
        backbone: One of `backbones.list_backbones()`; None takes the paper's.
        backbone_weights: None draws them at random, "imagenet" takes pretrained
            ones, a `.keras` file those of a model saved with the same encoder.
        image_size: Height and width in pixels; None where they vary.
        crf_iterations: Ends the network with a dense CRF that is learned with it, of
            so many updates in training and twice as many at test; see
            `blocks.CrfRnn`. None for no CRF.
        **options: Of the architecture's builder.

    Returns:
        A functional model from `[batch, height, width, 3]`, RGB, 0 to 255, to float32
        logits `[batch, height, width, num_classes]` at the size of the picture.

    Raises:
        ValueError: An unknown name or option, or a wrong number or size.
    """
    builder = metadata(name).builder
    if backbone is not None:
        options["backbone"] = backbone
    if backbone_weights is not None:
        options["backbone_weights"] = backbone_weights
    if not _is_integer(num_classes):
        raise errors.UserError(
            f"num_classes={num_classes!r} of '{name}' is not an integer."
        )
    if num_classes < 1:
        raise errors.UserError(
            f"num_classes={num_classes} of '{name}' must be 1 or more."
        )
    _check_image_size(image_size)
    known = _options(builder)
    unknown = sorted(set(options) - set(known))
    if unknown:
        known = sorted([*known, "crf_iterations"])
        raise errors.UserError(
            f"Model '{name}' has no option {unknown}; it has {known}."
        )
    if crf_iterations is None:
        return _built(name, num_classes, image_size, options)
    from kerasseg import blocks

    crf = blocks.CrfRnn(crf_iterations, dtype="float32", name="crf")
    return _refined(_built(name, num_classes, image_size, options), crf)


def _built(name, num_classes, image_size, options):
    """Calls the builder; says which options a layer of Keras cannot be made with."""
    try:
        return metadata(name).builder(num_classes, tuple(image_size), **options)
    except ValueError as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if frame.f_globals["__name__"].startswith("kerasseg."):
            raise  # It names the option by itself.
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise errors.UserError(
            f"Model '{name}' cannot be built with {given or 'no options'}: {error} "
            "Change what is too small or too large."
        ) from error


def _refined(model, crf):
    """Puts a CRF behind the logits; layers and other outputs stay as they are."""
    import keras

    outputs = model.output
    if isinstance(outputs, dict):
        outputs = {**outputs, "logits": crf([model.input, outputs["logits"]])}
    else:
        outputs = crf([model.input, outputs])
    return keras.Model(model.input, outputs, name=model.name)


def encoder_layers(name, **options) -> frozenset[str]:
    """Names the layers of a model's encoder; the rest are its head's.

    The classifier that an encoder was pretrained with belongs to it: VGG16's fc6 and
    fc7 learn at its rate where DeepLab's released networks give fc8 ten times as much.
    There may be names that the model has no layer for.

    Args:
        name: One of `list_models()`.
        **options: What the model is built with.

    Raises:
        ValueError: It has no encoder that could be told from its head.
    """
    import keras

    from kerasseg import backbones

    parameters = inspect.signature(metadata(name).builder).parameters
    backbone = metadata(name).encoder
    if "backbone" in parameters:
        backbone = options.get("backbone") or parameters["backbone"].default
    if backbone is None:
        raise errors.UserError(
            f"Model '{name}' has no encoder that is told from its head, so that all "
            "of it learns at one rate: leave head_learning_rate_factor at 1, or choose "
            "a model with a backbone."
        )
    image = keras.Input((None, None, 3))
    own = {  # A stem, for example: another one has layers of other names.
        key: options.get(key, parameters[key].default)
        for key in backbones.list_options(backbone)
        if key in parameters
    }
    endpoints = backbones.build(backbone, image, **own)
    encoder = keras.Model(image, list(endpoints.values()))
    names = {layer.name for layer in encoder.layers if layer.weights}
    return frozenset(names).union(backbones.metadata(backbone).classifier)


def _check_image_size(image_size):
    sides = tuple(image_size) if isinstance(image_size, tuple | list) else ()
    right = [side is None or (_is_integer(side) and side > 0) for side in sides]
    if len(sides) != 2 or not all(right):
        raise errors.UserError(
            f"image_size={image_size} must be (height, width), each a number of pixels "
            "from 1, or None where it varies."
        )


def _is_integer(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _options(builder) -> list[str]:
    parameters = inspect.signature(builder).parameters.values()
    return sorted(p.name for p in parameters if p.kind == p.KEYWORD_ONLY)
