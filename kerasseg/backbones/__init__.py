"""Encoders: endpoints c1..c5 of a picture, at output stride 8, 16 or 32.

The folder is the list: every module here registers what it builds. A builder is a
function `(image, *, output_stride, weights, **options) -> {"c1": ..., "c5": ...}`.
"""

import dataclasses
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from kerasseg import blocks, errors, registry

OUTPUT_STRIDES = (8, 16, 32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """What `register` records of a backbone.

    Attributes:
        builder: Function that builds its endpoints.
        normalization: One of `blocks.NORMALIZATIONS`: the input range that its
            pretrained weights expect.
        params: Number of trainable parameters up to "c5"; None if not counted.
        classifier: Names of pretrained layers after "c5", for the models that keep
            them.
    """

    builder: Callable[..., dict[str, Any]]
    normalization: str
    params: int | None = None
    classifier: tuple[str, ...] = ()


_BACKBONES: registry.Registry[Metadata] = registry.Registry("backbone", __name__)


def register(
    *,
    normalization: str,
    params: int | None = None,
    classifier: Sequence[str] = (),
    name: str | None = None,
) -> Callable:
    """Returns a decorator that registers a builder.

    Args:
        normalization: See `Metadata`.
        params: See `Metadata`.
        classifier: See `Metadata`.
        name: Name of the backbone; None for the builder's own. The backbones of a
            table are registered in a loop:
            `register(normalization=..., name=row)(functools.partial(builder, row))`.

    Raises:
        UserError: Unknown normalization, or the name is already registered.
    """
    if normalization not in blocks.NORMALIZATIONS:
        raise errors.UserError(
            f"Unknown normalization '{normalization}'; choose one of "
            f"{blocks.NORMALIZATIONS}."
        )

    def decorate(builder):
        metadata = Metadata(
            builder=builder,
            normalization=normalization,
            params=params,
            classifier=tuple(classifier),
        )
        _BACKBONES.add(name or builder.__name__, metadata)
        return builder

    return decorate


def list_backbones() -> list[str]:
    """Returns the names that `build` accepts, sorted."""
    return sorted(_BACKBONES)


def metadata(name: str) -> Metadata:
    """Returns the metadata of a backbone.

    Raises:
        UserError: There is no backbone of that name.
    """
    return _BACKBONES.lookup(name)


def normalization(name) -> str:
    """Names the normalisation that the encoder's weights want."""
    return metadata(name).normalization


def list_options(name) -> list[str]:
    """Lists the options that an encoder has beyond output stride and weights."""
    parameters = inspect.signature(metadata(name).builder).parameters.values()
    names = {p.name for p in parameters if p.kind == p.KEYWORD_ONLY}
    return sorted(names - {"output_stride", "weights"})


def build(name, image, *, output_stride=32, weights=None, **options):
    """Builds the encoder called `name`.

    Args:
        name: One of `list_backbones()`.
        image: The normalised picture, `[batch, height, width, 3]`, 32 pixels or more
            a side.
        output_stride: Pixels of the image to one of "c5": 8, 16 or 32. Strides
            beyond it become dilation, which keeps the field of view and the weights.
        weights: None draws them at random, "imagenet" takes pretrained ones, a
            `.keras` file those of a model saved with the same encoder.
        **options: Of the encoder's builder.

    Returns:
        Dict of the last activation of each stage, "c1" to "c5" (some encoders lack
        "c1"). "c<k>" has ceil(size / min(2**k, output_stride)) cells a side.

    Raises:
        ValueError: An unknown name, output stride, option or kind of weights, or
            weights of another encoder.
        FileNotFoundError: No such file of weights.
        OSError: Weights of ImageNet cannot be downloaded.
    """
    builder = metadata(name).builder
    if output_stride not in OUTPUT_STRIDES:
        raise errors.UserError(
            f"output_stride={output_stride} of '{name}' is not one of {OUTPUT_STRIDES}."
        )
    own = list_options(name)
    unknown = sorted(set(options) - set(own))
    if unknown:
        raise errors.UserError(
            f"Backbone '{name}' has no option {unknown}; it has {own}."
        )
    named = weights if weights in (None, "imagenet") else None
    c = builder(image, output_stride=output_stride, weights=named, **options)
    if weights != named:
        load_weights(weights, keras.Model(image, list(c.values())), name)
    return c


def load_weights(path, encoder, name) -> None:
    """Gives an encoder the weights that a saved model has under the same names.

    Args:
        path: `.keras` file.
        encoder: Model whose variables are all wanted.
        name: Of the backbone, for the errors.

    Raises:
        ValueError: No `.keras` file, a damaged one, or one of another encoder.
        FileNotFoundError: No such file.
    """
    if not str(path).endswith(".keras"):
        raise errors.UserError(
            f"Weights '{path}' of backbone '{name}' are no 'imagenet' and no .keras "
            "file; give one of these, or None."
        )
    if not os.path.exists(path):
        raise errors.MissingFileError(f"No weights file {path} for backbone '{name}'.")
    try:
        donor = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises what its zip and HDF5 readers raise.
        reason = str(error).strip().partition("\n")[0]
        raise errors.UserError(
            f"Weights {path} of backbone '{name}' are damaged or no .keras file: "
            f"{reason} Copy the file again, or give another one."
        ) from error
    saved = {v.path: v for v in donor.weights}
    shapes = {key: tuple(v.shape) for key, v in saved.items()}
    missing = [v.path for v in encoder.weights if shapes.get(v.path) != tuple(v.shape)]
    if missing:
        raise errors.UserError(
            f"{path} was not saved with backbone '{name}': {len(missing)} of its "
            f"{len(encoder.weights)} variables are not there, the first {missing[0]}."
        )
    for variable in encoder.weights:
        variable.assign(saved[variable.path])


def pretrained(constructor, **options):
    """Builds a network of keras.applications with the weights of ImageNet.

    Args:
        constructor: Of keras.applications.
        **options: Of the constructor, but for its weights.

    Raises:
        OSError: The weights are not on this machine and cannot be downloaded.
    """
    try:
        return constructor(weights="imagenet", **options)
    except Exception as error:  # Keras has no kind of its own for a failed download.
        if not isinstance(error, OSError) and "URL fetch failure" not in str(error):
            raise
        raise OSError(
            f"No ImageNet weights of {constructor.__name__}: {error}. Keras downloads "
            "them once, to ~/.keras/models: do this where the internet can be reached, "
            "or copy the file there; or give backbone_weights none or a .keras file."
        ) from error
