"""Backbones: encoders that return the feature maps "c1" to "c5" of an image.

Every module of this package registers the backbones it defines. A builder is a function
`(image, *, output_stride, weights, **options) -> {"c1": ..., "c5": ...}`.
"""

import contextlib
import contextvars
import dataclasses
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasseg import blocks, errors
from kerasseg.system import registry
from kerasseg.weights import filling, is_name, open_weights

OUTPUT_STRIDES = (8, 16, 32)
_OPTIONS: contextvars.ContextVar[dict | None] = contextvars.ContextVar(
    "options", default=None
)
_WORKDIR_FORMAT = contextvars.ContextVar("workdir_format", default=2)


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


def normalization(name: str) -> str:
    """Returns the input range that a backbone expects, one of `blocks.NORMALIZATIONS`.

    Raises:
        UserError: There is no backbone of that name.
    """
    return metadata(name).normalization


def list_options(name: str) -> list[str]:
    """Returns the options of a backbone besides `output_stride` and `weights`, sorted.

    Raises:
        UserError: There is no backbone of that name.
    """
    parameters = inspect.signature(metadata(name).builder).parameters.values()
    names = {p.name for p in parameters if p.kind == p.KEYWORD_ONLY}
    return sorted(names - {"output_stride", "weights"})


@contextlib.contextmanager
def of_options(options: Mapping[str, Any]) -> Iterator[None]:
    """Builds backbones with options that their model does not set, in a context.

    Args:
        options: Options of the backbone's builder.
    """
    token = _OPTIONS.set(dict(options))
    try:
        yield
    finally:
        _OPTIONS.reset(token)


@contextlib.contextmanager
def of_workdir_format(number: int) -> Iterator[None]:
    """Builds backbones as runs with workdirs of a format have them, in a context.

    In format 1, endpoints "c2" to "c4" of ConvNeXt, DenseNet and ResNetV2 are the
    output of the normalization that the next stage starts with, and of the activation
    after it. Since format 2, they are the output of the stage itself.

    Args:
        number: See `workdir.flag_file.FORMAT`.
    """
    token = _WORKDIR_FORMAT.set(number)
    try:
        yield
    finally:
        _WORKDIR_FORMAT.reset(token)


def workdir_format() -> int:
    """Returns the format that `of_workdir_format` has set; without it the newest."""
    return _WORKDIR_FORMAT.get()


def build(
    name: str,
    image,
    *,
    output_stride: int = 32,
    weights: str | os.PathLike | None = None,
    **options,
) -> dict[str, Any]:
    """Builds the backbone called `name`.

    Args:
        name: One of `list_backbones()`.
        image: Normalized image, `[batch, height, width, channels]`, at least 32 pixels
            high and wide: red, green and blue, then other channels, whose pretrained
            kernels start at 0.
        output_stride: Stride of "c5" in pixels: 8, 16 or 32. Strides beyond it are
            replaced by dilation, which keeps the field of view and the weights.
        weights: None (random initialization), "imagenet" (pretrained), the path of a
            `.keras` file of a model with the same backbone, or a name or file of
            weights of another program, see `weights.open_weights`. Options that these
            need are set; the image must be normalized as they expect it.
        **options: Options of the backbone's builder, beside those of `of_options`.

    Returns:
        Dict of the last activation of each stage, "c1" to "c5" (some backbones have no
        "c1"). "c<k>" has ceil(size / min(2**k, output_stride)) rows and columns.

    Raises:
        UserError: Unknown name, option or weights, an option that is given twice, wrong
            output stride, or weights of another backbone.
        MissingFileError: The file of weights does not exist.
        OSError: The ImageNet weights cannot be downloaded.
    """
    builder = metadata(name).builder
    if output_stride not in OUTPUT_STRIDES:
        raise errors.UserError(
            f"`output_stride={output_stride}` of '{name}' must be one of "
            f"{OUTPUT_STRIDES}."
        )
    others = _OPTIONS.get() or {}
    twice = sorted(set(options) & set(others))
    if twice:
        raise errors.UserError(
            f"The model sets the options {twice} of backbone '{name}' itself. Leave "
            "them out."
        )
    options = {**options, **others}
    opened = open_weights(weights, kind="encoder") if is_imported(weights) else None
    if opened is not None:
        options = _with_needed(name, weights, opened.network, options)
    known = list_options(name)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise errors.UserError(
            f"Backbone '{name}' has no option {unknown}; it has {known}."
        )
    is_file = weights not in (None, "imagenet")
    c = builder(
        image,
        output_stride=output_stride,
        weights=None if is_file else weights,
        **options,
    )
    if opened is not None:
        encoder = keras.Model(image, list(c.values()))
        filling.fill(encoder, opened.arrays, opened.network)
    elif is_file:
        load_weights(weights, keras.Model(image, list(c.values())), name)
    return c


def is_imported(weights: str | os.PathLike | None) -> bool:
    """Returns whether `weights` of `build` are those of another program."""
    if weights is None or weights == "imagenet":
        return False
    path = os.fspath(weights)
    if path.endswith(".keras"):
        return False
    return os.path.exists(path) or os.path.exists(f"{path}.index") or is_name(path)


def _with_needed(name, weights, network, options):
    """Adds the options that the weights of a network need."""
    if network.model != name:
        raise errors.UserError(
            f"Weights '{weights}' are those of backbone '{network.model}', not of "
            f"'{name}'. Build '{network.model}', or give other weights."
        )
    needed = {k: v for k, v in network.options.items() if k != "normalization"}
    wrong = [k for k, v in needed.items() if options.get(k, v) != v]
    if wrong:
        option = wrong[0]
        raise errors.UserError(
            f"`{option}={options[option]}` of '{name}', but weights '{weights}' need "
            f"`{option}={needed[option]}`. Set this value, or leave `{option}` out."
        )
    return {**options, **needed}


def load_weights(path, encoder: keras.Model, name: str) -> None:
    """Loads all weights of an encoder from a saved model, by variable path.

    Args:
        path: `.keras` file of a model that contains the encoder.
        encoder: Model whose weights are set.
        name: Name of the backbone, for error messages.

    Raises:
        UserError: Not a `.keras` file, a damaged one, or one of another backbone.
        MissingFileError: The file does not exist.
    """
    if not str(path).endswith(".keras"):
        raise errors.UserError(
            f"Weights '{path}' of backbone '{name}' are neither 'imagenet' nor a "
            ".keras file, nor of another program: there is no such file, and no such "
            "name in kerasseg.list_weights(kind='encoder'). Give one of these, or None."
        )
    if not os.path.exists(path):
        raise errors.MissingFileError(
            f"The weights file {path} for backbone '{name}' does not exist."
        )
    try:
        saved = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras passes on errors of its zip and HDF5 readers.
        reason = str(error).strip().partition("\n")[0]
        raise errors.UserError(
            f"The weights file {path} for backbone '{name}' is damaged or not a .keras "
            f"file: {reason} Copy the file again, or give another one."
        ) from error
    arrays = {v.path: v.numpy() for v in saved.weights}
    for variable in encoder.weights:
        if variable.path in arrays:
            array = arrays[variable.path]
            arrays[variable.path] = inflate(array, variable.shape)
    missing = [
        v.path
        for v in encoder.weights
        if v.path not in arrays or arrays[v.path].shape != tuple(v.shape)
    ]
    if missing:
        raise errors.UserError(
            f"{path} was not saved with backbone '{name}': {len(missing)} of its "
            f"{len(encoder.weights)} variables are missing, the first {missing[0]}. "
            "Give weights of this backbone."
        )
    for variable in encoder.weights:
        variable.assign(arrays[variable.path])


def inflate(kernel: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Adds input channels to the kernel of a convolution over RGB, which start at 0.

    The features are then those of the colors alone, whatever the other channels hold.

    Args:
        kernel: `[height, width, 3, filters]`; others are returned as they are.
        shape: Shape of the kernel in the model, with as many channels or more.
    """
    is_kernel = kernel.ndim == len(shape) == 4 and kernel.shape[2] == 3 < shape[2]
    if not is_kernel or (*kernel.shape[:2], kernel.shape[3]) != (*shape[:2], shape[3]):
        return kernel
    return np.pad(kernel, [(0, 0), (0, 0), (0, shape[2] - 3), (0, 0)])


def copy_weights(source: keras.Model, target: keras.Model) -> list[str]:
    """Copies the variables that two models have in common, by path and shape.

    Kernels over RGB fit models with more channels, see `inflate`.

    Returns:
        Paths of the target's variables that were not copied.
    """
    values = {v.path: v for v in source.weights}
    missing = []
    for variable in target.weights:
        value = values.get(variable.path)
        if value is not None and value.shape != variable.shape:
            value = inflate(value.numpy(), variable.shape)
        if value is None or value.shape != variable.shape:
            missing.append(variable.path)
        else:
            variable.assign(value)
    return missing


def pretrained(constructor: Callable, **options) -> keras.Model:
    """Builds a model of keras.applications with ImageNet weights.

    Args:
        constructor: Function of keras.applications.
        **options: Options of the constructor other than `weights`.

    Raises:
        OSError: The weights are not in the cache and cannot be downloaded.
    """
    try:
        return constructor(weights="imagenet", **options)
    except Exception as error:  # Keras has no error type for a failed download.
        if not isinstance(error, OSError) and "URL fetch failure" not in str(error):
            raise
        raise OSError(
            f"The ImageNet weights of {constructor.__name__} cannot be loaded: "
            f"{error}. Keras downloads them once, to ~/.keras/models. Run this once "
            "with internet access, copy the file there, or set `backbone_weights` to "
            "none or a .keras file."
        ) from error
