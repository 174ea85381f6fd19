"""Max pooling that remembers where its maxima were, and its inverse (SegNet, ENet).

Made of slices and selections only, so that they run on any backend and export to
TFLite, which has no pooling with indices.
"""

import keras
from keras import layers, ops

# Never a maximum. Finite, as ONNX selects by products, and infinity times 0 is NaN.
_LOWEST = {"float16": -65504.0}
_CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))  # Of a window, row by row.


@keras.saving.register_keras_serializable("kerasseg")
class MaxPoolWithIndices(layers.Layer):
    """Takes the maximum of each 2x2 window, and which of its cells held it.

    A map of odd height or width ends in windows of one row or column, as Caffe's
    pooling does: n cells become ceil(n / 2).
    """

    def call(self, x):
        """Takes `[batch, height, width, channels]`.

        Returns:
            The maxima, and int32 numbers of the same shape: 0 to 3, row by row in the
            window; of equal cells the first.
        """
        batch, height, width, channels = ops.shape(x)
        bottom, right = height % 2, width % 2
        padding = [[0, 0], [0, bottom], [0, right], [0, 0]]
        lowest = _LOWEST.get(keras.backend.standardize_dtype(x.dtype), -3e38)
        x = ops.pad(x, padding, constant_values=lowest)
        # TFLite's converter forgets the channels where paddings are not known.
        x = ops.reshape(x, (batch, height + bottom, width + right, channels))
        cells = [x[:, row::2, column::2] for row, column in _CELLS]
        maxima, indices = cells[0], ops.zeros_like(cells[0], dtype="int32")
        for number, cell in enumerate(cells[1:], start=1):
            larger = cell > maxima  # No argmax: Keras' has no counterpart in TFLite.
            maxima = ops.where(larger, cell, maxima)
            indices = ops.where(larger, number, indices)
        return maxima, indices

    def compute_output_spec(self, x):
        """Halves the sides, rounded up."""
        sides = [side and -(-side // 2) for side in x.shape[1:3]]
        shape = (x.shape[0], *sides, x.shape[3])
        return keras.KerasTensor(shape, x.dtype), keras.KerasTensor(shape, "int32")


@keras.saving.register_keras_serializable("kerasseg")
class Unpool(layers.Layer):
    """Puts each cell back where `MaxPoolWithIndices` took it from, zeros elsewhere."""

    def __init__(self, **options):
        super().__init__(autocast=False, **options)

    def call(self, inputs):
        """Takes `[x, indices, like]`; returns `x` at the height and width of `like`.

        `x` and `indices` have the same shape; `like` is what was pooled, or any map
        of its size.
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
        """Has the sides of `like` and the channels of `x`."""
        x, _, like = inputs
        return keras.KerasTensor((x.shape[0], *like.shape[1:3], x.shape[3]), x.dtype)
