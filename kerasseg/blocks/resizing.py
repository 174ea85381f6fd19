"""Maps brought to the size that another map has at run time."""

import importlib
from typing import Any

import keras
from keras import layers, ops

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
tf: Any = importlib.import_module("tensorflow") if _ON_TENSORFLOW else None


@keras.saving.register_keras_serializable("kerasseg")
class AtStride(layers.Identity):
    """Passes scores on, and says where their cells stand: `i` at pixel `i * stride`.

    An auxiliary output that such a layer of its name gives is trained on the labels of
    those pixels; another one takes the picture for cut evenly into cells, and is
    trained on the labels in their middles.
    """

    def __init__(self, stride, **options):
        super().__init__(autocast=False, **options)
        self.stride = stride

    def get_config(self):
        """Adds the stride."""
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable("kerasseg")
class CropLike(layers.Layer):
    """Cuts `x` at the bottom and right to the height and width of `like`."""

    def __init__(self, **options):
        super().__init__(autocast=False, **options)

    def call(self, inputs):
        """Takes `[x, like]`."""
        x, like = inputs
        height, width = ops.shape(like)[1:3]
        return x[:, :height, :width, :]

    def compute_output_spec(self, inputs):
        """Has the sides of `like`."""
        x, like = inputs
        return keras.KerasTensor((x.shape[0], *like.shape[1:3], x.shape[3]), x.dtype)


@keras.saving.register_keras_serializable("kerasseg")
class ResizeLike(layers.Layer):
    """Resizes `x` bilinearly to the height and width that `like` has at run time.

    Args:
        stride: Pixels of `like` to one cell of `x`; cell `i` then stays at pixel
            `i * stride`, which is where a strided convolution took it, so that maps
            of different output strides agree (TF DeepLab's aligned corners at sizes
            of `stride * n + 1`, at every size). None fits `x` to `like` by its outer
            edges, half-pixel centres, as Keras does.
    """

    def __init__(self, stride=None, **options):
        super().__init__(autocast=False, **options)
        self.stride = stride

    def call(self, inputs):
        """Takes `[x, like]`; returns the dtype of `x`."""
        x, like = inputs
        height, width = ops.shape(like)[1:3]
        if self.stride is None:
            return resize(x, height, width)
        if self.stride == 1:
            return x
        x = ops.concatenate([x, x[:, -1:]], axis=1)
        x = ops.concatenate([x, x[:, :, -1:]], axis=2)
        return _resize_anchored(x, self.stride)[:, :height, :width]

    def compute_output_spec(self, inputs):
        """Has the sides of `like` and the channels of `x`."""
        x, like = inputs
        return keras.KerasTensor((x.shape[0], *like.shape[1:3], x.shape[3]), x.dtype)

    def get_config(self):
        """Adds the stride."""
        return {**super().get_config(), "stride": self.stride}


def resize(x, height, width):
    """Resizes bilinearly by the outer edges; Keras' own needs sides that are known."""
    if tf is None:
        return ops.image.resize(x, (height, width), interpolation="bilinear")
    return ops.cast(tf.image.resize(x, [height, width]), x.dtype)


def _resize_anchored(x, stride):
    """Puts cell `i` at pixel `i * stride`; n cells become (n - 1) * stride + 1."""
    height, width = [(side - 1) * stride + 1 for side in ops.shape(x)[1:3]]
    if tf is None:  # Half-pixel centres, moved back by half of what a cell grows.
        shift = ops.array([(1 - stride) / 2] * 2, "float32")
        scale = ops.array([stride] * 2, "float32")
        shape = (ops.shape(x)[0], height, width, x.shape[3])
        return ops.image.scale_and_translate(
            x, shape, scale, shift, (1, 2), "linear", antialias=False
        )
    resized = tf.raw_ops.ResizeBilinear(
        images=x, size=[height, width], align_corners=True
    )
    return ops.cast(resized, x.dtype)
