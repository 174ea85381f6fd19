"""Max pooling with indices, and unpooling with them (SegNet, ENet).

They are built from slices and selections, so that they run on any backend and export
to TFLite, which has no pooling with indices.
"""

import keras
from keras import layers, ops

# Padding below any maximum. Finite, because ONNX selects by multiplying with 0.
_LOWEST = {"float16": -65504.0}
_CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))  # Row and column in a window.


@keras.saving.register_keras_serializable("kerasseg")
class MaxPoolWithIndices(layers.Layer):
    """Max pooling over 2x2 windows that also returns the position of each maximum.

    At an odd height or width the last windows have one row or column, as in Caffe:
    n cells become ceil(n / 2).
    """

    def call(self, x):
        """Pools `[batch, height, width, channels]`.

        Returns:
            `(maxima, indices)`: indices are int32 of the same shape, 0 to 3, row by row
            in the window; the first of equal values.
        """
        batch, height, width, channels = ops.shape(x)
        bottom, right = height % 2, width % 2
        padding = [[0, 0], [0, bottom], [0, right], [0, 0]]
        lowest = _LOWEST.get(keras.backend.standardize_dtype(x.dtype), -3e38)
        x = ops.pad(x, padding, constant_values=lowest)
        # TFLite's converter loses the number of channels if paddings are dynamic.
        x = ops.reshape(x, (batch, height + bottom, width + right, channels))
        cells = [x[:, row::2, column::2] for row, column in _CELLS]
        maxima, indices = cells[0], ops.zeros_like(cells[0], dtype="int32")
        for number, cell in enumerate(cells[1:], start=1):
            larger = cell > maxima  # TFLite cannot convert Keras' argmax.
            maxima = ops.where(larger, cell, maxima)
            indices = ops.where(larger, number, indices)
        return maxima, indices

    def compute_output_spec(self, x):
        """Returns the output spec: half the height and width, rounded up."""
        sides = [side and -(-side // 2) for side in x.shape[1:3]]
        shape = (x.shape[0], *sides, x.shape[3])
        return keras.KerasTensor(shape, x.dtype), keras.KerasTensor(shape, "int32")


@keras.saving.register_keras_serializable("kerasseg")
class Unpool(layers.Layer):
    """Inverse of `MaxPoolWithIndices`, with zeros where there was no maximum."""

    def __init__(self, **options):
        super().__init__(autocast=False, **options)

    def call(self, inputs):
        """Unpools the first of `[x, indices, like]` to the height and width of `like`.

        `x` and `indices` have the same shape; `like` has the size before pooling.
        """
        x, indices, like = inputs
        cells = [
            ops.where(ops.equal(indices, number), x, ops.zeros_like(x))
            for number in range(len(_CELLS))
        ]
        batch, rows, columns = ops.shape(x)[:3]
        channels = x.shape[3]
        upper, lower = [
            ops.reshape(ops.stack(pair, axis=3), (batch, rows, 2 * columns, channels))
            for pair in (cells[:2], cells[2:])
        ]
        x = ops.reshape(
            ops.stack([upper, lower], axis=2), (batch, 2 * rows, 2 * columns, channels)
        )
        height, width = ops.shape(like)[1:3]
        return x[:, :height, :width]

    def compute_output_spec(self, inputs):
        """Returns the output spec."""
        x, _, like = inputs
        return keras.KerasTensor((x.shape[0], *like.shape[1:3], x.shape[3]), x.dtype)
