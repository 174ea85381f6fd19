"""Layers that normalize and pad the input image."""

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


@keras.saving.register_keras_serializable("kerasseg")
class Normalize(layers.Layer):
    """Normalizes an RGB image from 0 to 255 as pretrained weights expect it.

    Args:
        kind: "tf" (-1 to 1), "tf128" ((x - 128) / 128), "torch" (ImageNet mean and
            standard deviation), "caffe" (BGR, mean subtracted), "lite"
            ((x - 127) / 128) or "none" (unchanged).
        name: Name of the layer.
    """

    def __init__(self, kind: str, *, name: str = "normalize", **options):
        options.setdefault("dtype", "float32")
        super().__init__(name=name, **options)
        if kind not in NORMALIZATIONS:
            raise errors.UserError(
                f"Unknown normalization {kind!r}; choose one of {NORMALIZATIONS}."
            )
        self.kind = kind

    def call(self, image):
        """Normalizes in float32 for any dtype policy."""
        image = ops.cast(image, "float32")
        if self.kind == "none":
            return image
        mean, deviation = _SCALES[self.kind]
        image = (image - ops.array(mean, "float32")) / ops.array(deviation, "float32")
        return ops.flip(image, axis=-1) if self.kind == "caffe" else image

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "kind": self.kind}


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
        # Not `-side % divisor`: below 0 the remainder of ONNX has another sign.
        d = self.divisor
        bottom, right = (d - height % d) % d, (d - width % d) % d
        x = ops.pad(x, [[0, 0], [0, bottom], [0, right], [0, 0]])
        # TFLite's converter loses the number of channels if paddings are dynamic.
        return ops.reshape(x, (batch, height + bottom, width + right, channels))

    def compute_output_spec(self, x):
        """Returns the output spec; sides unknown in the input stay unknown."""
        sides = [side and side + -side % self.divisor for side in x.shape[1:3]]
        return keras.KerasTensor((x.shape[0], *sides, x.shape[3]), x.dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "divisor": self.divisor}
