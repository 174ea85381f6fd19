"""Layers that normalize and pad the input image."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence

import keras
from keras import layers, ops

from kerasseg import errors

SMALLEST_SIDE = 32
NORMALIZATIONS = ("tf", "tf128", "torch", "caffe", "lite", "none")
_SCALES = {  # Mean and standard deviation of RGB images from 0 to 255.
    "tf": ((127.5,) * 3, (127.5,) * 3),
    "tf128": ((128.0,) * 3, (128.0,) * 3),
    "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": ((123.68, 116.779, 103.939), (1.0,) * 3),
    "lite": ((127.0,) * 3, (128.0,) * 3),
}


# The mean deviation of RGB in ImageNet: that of other channels is made equal to it.
_DEVIATION = 57.63
_Pairs = Sequence[Sequence[float]]
_CHANNELS: contextvars.ContextVar[dict | None] = contextvars.ContextVar(
    "channels", default=None
)


@contextlib.contextmanager
def of_channels(
    *, stretch: _Pairs | None, extra: _Pairs, normalization: str | None = None
) -> Iterator[None]:
    """Builds models for images other than 8-bit RGB, in a context.

    Args:
        stretch: See `Normalize`, as `extra`.
        extra: One pair for each channel after the colors.
        normalization: One of `NORMALIZATIONS`, in place of that of the model; None for
            that of the model.
    """
    kind = {"kind": normalization} if normalization else {}
    token = _CHANNELS.set({"stretch": stretch, "extra": extra, **kind})
    try:
        yield
    finally:
        _CHANNELS.reset(token)


def raw_input(image_size: Sequence[int | None]):
    """Creates the input of a model, `[batch, height, width, channels]`, float32.

    The channels are those of `of_channels`, else red, green and blue.
    """
    channels = _layer("none").channels
    return keras.Input((*image_size, channels), dtype="float32", name="image")


def normalize(image, normalization: str):
    """Normalizes an image; `of_channels` has precedence. See `Normalize`."""
    return _layer(normalization)(image)


def _layer(normalization):
    return Normalize(**{"kind": normalization, **(_CHANNELS.get() or {})})


def scales(normalization: str) -> _Pairs:
    """Returns the mean and the standard deviation of RGB from 0 to 255."""
    return _SCALES.get(normalization, ((0.0,) * 3, (1.0,) * 3))


@keras.saving.register_keras_serializable("kerasseg")
class Normalize(layers.Layer):
    """Normalizes an image as pretrained weights expect it.

    Without `stretch` and `extra`, images are RGB from 0 to 255. Gray images become
    three equal channels. Channels after the colors get mean 0 and the deviation that
    the colors of ImageNet have after normalization.

    Args:
        kind: "tf" (-1 to 1), "tf128" ((x - 128) / 128), "torch" (ImageNet mean and
            standard deviation), "caffe" (BGR, mean subtracted), "lite"
            ((x - 127) / 128) or "none" (unchanged): what is done to the colors.
        stretch: Lower and upper end of the range of each color, one or three, which
            becomes 0 to 255 first; None for RGB from 0 to 255.
        extra: Mean and standard deviation of each channel after the colors.
        name: Name of the layer.
    """

    def __init__(
        self,
        kind: str,
        *,
        stretch: _Pairs | None = None,
        extra: _Pairs = (),
        name: str = "normalize",
        **options,
    ):
        options.setdefault("dtype", "float32")
        super().__init__(name=name, **options)
        if kind not in NORMALIZATIONS:
            raise errors.UserError(
                f"Unknown `normalization={kind}`; choose one of {NORMALIZATIONS}."
            )
        self.kind = kind
        self.stretch = stretch and [[float(x) for x in pair] for pair in stretch]
        self.extra = [[float(x) for x in pair] for pair in extra]
        self.num_colors = len(stretch) if stretch else 3
        self.channels = self.num_colors + len(self.extra)

    def call(self, image):
        """Normalizes in float32 for any dtype policy."""
        image = ops.cast(image, "float32")
        colors = image[..., : self.num_colors] if self.extra else image
        if self.stretch:
            low, high = _columns(self.stretch)
            colors = (colors - low) * (255 / (high - low))
        if self.num_colors == 1:
            colors = ops.concatenate([colors] * 3, axis=-1)
        colors = self._normalize(colors)
        if not self.extra:
            return colors
        mean, deviation = _columns(self.extra)
        _, (scale, *_) = _SCALES.get(self.kind, _SCALES["caffe"])
        scale = 1.0 if self.kind == "torch" else _DEVIATION / scale
        others = (image[..., self.num_colors :] - mean) * (scale / deviation)
        return ops.concatenate([colors, others], axis=-1)

    def _normalize(self, image):
        if self.kind == "none":
            return image
        mean, deviation = _SCALES[self.kind]
        image = (image - ops.array(mean, "float32")) / ops.array(deviation, "float32")
        return ops.flip(image, axis=-1) if self.kind == "caffe" else image

    def get_config(self):
        """Returns the arguments of the constructor."""
        config = {**super().get_config(), "kind": self.kind}
        if self.stretch:
            config["stretch"] = self.stretch
        return {**config, "extra": self.extra} if self.extra else config


def _columns(pairs):
    """Returns the first and the second number of each pair, float32 `[channels]`."""
    return [ops.array([pair[i] for pair in pairs], "float32") for i in (0, 1)]


@keras.saving.register_keras_serializable("kerasseg")
class PadSmall(layers.Layer):
    """Pads images with zeros at the bottom and right to at least `smallest` pixels."""

    def __init__(self, smallest: int = SMALLEST_SIDE, **options):
        super().__init__(**options)
        self.smallest = smallest

    def call(self, x):
        """Pads the sides that are too small."""
        batch, height, width, channels = ops.shape(x)
        bottom, right = self._missing(height), self._missing(width)
        x = ops.pad(x, [[0, 0], [0, bottom], [0, right], [0, 0]])
        # TFLite's converter loses the number of channels if paddings are dynamic.
        return ops.reshape(x, (batch, height + bottom, width + right, channels))

    def _missing(self, side):
        if isinstance(side, int):  # JAX cannot pad by a traced number.
            return max(self.smallest - side, 0)
        return ops.maximum(self.smallest - side, 0)

    def compute_output_spec(self, x):
        """Returns the output spec; sides unknown in the input stay unknown."""
        sides = [side and max(side, self.smallest) for side in x.shape[1:3]]
        return keras.KerasTensor((x.shape[0], *sides, x.shape[3]), x.dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "smallest": self.smallest}


@keras.saving.register_keras_serializable("kerasseg")
class PadToMultiple(layers.Layer):
    """Pads images with zeros at the bottom and right to a multiple of `divisor`.

    Every map of a feature pyramid then has exactly half the sides of the one below it.
    """

    def __init__(self, divisor: int = 32, **options):
        super().__init__(**options)
        self.divisor = divisor

    def call(self, x):
        """Pads the sides that are not a multiple."""
        batch, height, width, channels = ops.shape(x)
        bottom, right = self._missing(height), self._missing(width)
        x = ops.pad(x, [[0, 0], [0, bottom], [0, right], [0, 0]])
        # TFLite's converter loses the number of channels if paddings are dynamic.
        return ops.reshape(x, (batch, height + bottom, width + right, channels))

    def compute_output_spec(self, x):
        """Returns the output spec; sides unknown in the input stay unknown."""
        sides = [side and side + self._missing(side) for side in x.shape[1:3]]
        return keras.KerasTensor((x.shape[0], *sides, x.shape[3]), x.dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "divisor": self.divisor}

    def _missing(self, side):
        # Not `-side % divisor`: in ONNX the remainder of a negative number is negative.
        return (self.divisor - side % self.divisor) % self.divisor
