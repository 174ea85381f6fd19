"""Layers that resize or crop a feature map to the size of another."""

import importlib
from typing import Any

import keras
from keras import layers, ops

from kerasseg import errors

RESIZES = ("anchored", "half_pixel", "corners")
_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
tf: Any = importlib.import_module("tensorflow") if _ON_TENSORFLOW else None


@keras.saving.register_keras_serializable("kerasseg")
class AtStride(layers.Identity):
    """Identity that states that cell `i` of its input lies at pixel `i * stride`.

    An auxiliary output of this layer is trained on the labels at those pixels. Any
    other auxiliary output is trained on the labels at the centers of its cells, into
    which the image is divided evenly.

    Args:
        stride: Distance of neighboring cells in pixels.
    """

    def __init__(self, stride: int, **options):
        super().__init__(autocast=False, **options)
        self.stride = stride

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable("kerasseg")
class CropLike(layers.Layer):
    """Crops `x` at the bottom and right to the height and width of `like`."""

    def __init__(self, **options):
        super().__init__(autocast=False, **options)

    def call(self, inputs):
        """Crops the first of `[x, like]`."""
        x, like = inputs
        height, width = ops.shape(like)[1:3]
        return x[:, :height, :width, :]

    def compute_output_spec(self, inputs):
        """Returns the output spec."""
        x, like = inputs
        return keras.KerasTensor((x.shape[0], *like.shape[1:3], x.shape[3]), x.dtype)


@keras.saving.register_keras_serializable("kerasseg")
class CropToMultiple(layers.Layer):
    """Crops at the bottom and right to a height and width divisible by `divisor`.

    A convolution with a stride then leaves out what does not fill a last window, as
    PyTorch does without padding.
    """

    def __init__(self, divisor: int, **options):
        super().__init__(**options)
        self.divisor = divisor

    def call(self, x):
        """Crops the sides that are not a multiple."""
        height, width = ops.shape(x)[1:3]
        height, width = height - height % self.divisor, width - width % self.divisor
        return x[:, :height, :width, :]

    def compute_output_spec(self, x):
        """Returns the output spec; sides unknown in the input stay unknown."""
        sides = [side and side - side % self.divisor for side in x.shape[1:3]]
        return keras.KerasTensor((x.shape[0], *sides, x.shape[3]), x.dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "divisor": self.divisor}


@keras.saving.register_keras_serializable("kerasseg")
class ResizeLike(layers.Layer):
    """Resizes `x` bilinearly to the height and width of `like` at run time.

    Args:
        stride: Distance of neighboring cells of `x` in pixels of `like`. Cell `i` then
            lies at pixel `i * stride`, which is the center of a strided convolution,
            so that logits of different output strides align. At sizes of
            `stride * n + 1` this equals the aligned corners of TF DeepLab. None aligns
            the outer edges (half-pixel centers), as `keras.ops.image.resize` does.
        resize: One of `RESIZES`: "anchored" by the stride; "half_pixel" for aligned
            edges; "corners" for the centers of the outermost cells at those of the
            outermost pixels (`align_corners` of PyTorch). None for "anchored" if
            there is a stride, else "half_pixel".

    Raises:
        UserError: Unknown `resize`, or "anchored" without a stride.
    """

    def __init__(
        self, stride: int | None = None, *, resize: str | None = None, **options
    ):
        super().__init__(autocast=False, **options)
        choices = RESIZES if stride else RESIZES[1:]
        if resize not in (None, *choices):
            raise errors.UserError(f"`resize={resize}` must be one of {choices}.")
        # Files with the default are those of earlier versions.
        self.stride, self.resize = stride, None if resize == choices[0] else resize

    def call(self, inputs):
        """Resizes the first of `[x, like]` and keeps its dtype."""
        x, like = inputs
        height, width = ops.shape(like)[1:3]
        if self.resize == "corners":
            return _resize_corners(x, height, width)
        if self.stride is None or self.resize == "half_pixel":
            return resize(x, height, width)
        if self.stride == 1:
            return x
        x = ops.concatenate([x, x[:, -1:]], axis=1)
        x = ops.concatenate([x, x[:, :, -1:]], axis=2)
        return _resize_anchored(x, self.stride)[:, :height, :width]

    def compute_output_spec(self, inputs):
        """Returns the output spec."""
        x, like = inputs
        return keras.KerasTensor((x.shape[0], *like.shape[1:3], x.shape[3]), x.dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        config = {**super().get_config(), "stride": self.stride}
        return {**config, "resize": self.resize} if self.resize else config


def resize(x, height, width):
    """Resizes bilinearly with half-pixel centers; height and width can be tensors."""
    if tf is None:
        return ops.image.resize(x, (height, width), interpolation="bilinear")
    return ops.cast(tf.image.resize(x, [height, width]), x.dtype)


def _resize_anchored(x, stride):
    """Resizes n cells to (n - 1) * stride + 1, with cell `i` at pixel `i * stride`."""
    height, width = [(side - 1) * stride + 1 for side in ops.shape(x)[1:3]]
    if tf is None:  # Half-pixel centers, shifted back.
        shift = ops.array([(1 - stride) / 2] * 2, "float32")
        scale = ops.array([stride] * 2, "float32")
        shape = (ops.shape(x)[0], height, width, x.shape[3])
        return ops.image.scale_and_translate(
            x, shape, scale, shift, (1, 2), "linear", antialias=False
        )
    return _resize_corners(x, height, width)


def _resize_corners(x, height, width):
    """Resizes bilinearly with aligned corners; height and width can be tensors."""
    if tf is not None:
        resized = tf.raw_ops.ResizeBilinear(
            images=x, size=[height, width], align_corners=True
        )
        return ops.cast(resized, x.dtype)
    scales, shifts = [], []
    for new, old in zip((height, width), ops.shape(x)[1:3], strict=True):
        # A single row or column is repeated; of several, a single one is the first.
        scales.append((new - 1) / (old - 1) if min(new, old) > 1 else new)
        shifts.append((1 - scales[-1]) / 2 if old > 1 else 0.0)
    shape = (ops.shape(x)[0], height, width, x.shape[3])
    scale, shift = ops.array(scales, "float32"), ops.array(shifts, "float32")
    return ops.image.scale_and_translate(
        x, shape, scale, shift, (1, 2), "linear", antialias=False
    )
