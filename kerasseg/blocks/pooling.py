"""Average pooling to a fixed output size (PSPNet, UPerNet)."""

import keras
from keras import layers, ops

from kerasseg import errors


@keras.saving.register_keras_serializable("kerasseg")
class AdaptiveAveragePool(layers.Layer):
    """Averages a feature map over `bins` x `bins` windows.

    Window `i` covers rows `floor(i * rows / bins)` to `ceil((i + 1) * rows / bins) - 1`
    as in PyTorch's adaptive pooling. Windows overlap by a row if `bins` does not divide
    the number of rows, and several windows contain the same row if there are more bins
    than rows. Columns are treated in the same way.

    Args:
        bins: Height and width of the output.

    Raises:
        UserError: `bins` is below 1.
    """

    def __init__(self, bins: int, **options):
        super().__init__(autocast=False, **options)
        if bins < 1:
            raise errors.UserError(
                f"`bins={bins}` of adaptive pooling must be at least 1."
            )
        self.bins = bins

    def call(self, x):
        """Averages in float32, because sums overflow float16; keeps the dtype."""
        height, width = ops.shape(x)[1:3]
        channels = x.shape[3]
        means = ops.matmul(self._bin_weights(width), ops.cast(x, "float32"))
        means = ops.reshape(means, (-1, height, self.bins * channels))
        means = ops.matmul(self._bin_weights(height), means)
        means = ops.reshape(means, (-1, self.bins, self.bins, channels))
        return ops.cast(means, x.dtype)

    def _bin_weights(self, cells):
        """Returns the weights of the cells in each bin, `[bins, cells]`."""
        start = ops.arange(self.bins, dtype="int32")[:, None] * cells
        cell = ops.arange(cells, dtype="int32")[None] * self.bins
        # In units of 1 / bins of a cell, so that all numbers are integers.
        inside = ops.logical_and(cell + self.bins > start, cell < start + cells)
        inside = ops.cast(inside, "float32")
        return inside / ops.sum(inside, axis=1, keepdims=True)

    def compute_output_spec(self, x):
        """Returns the output spec."""
        shape = (x.shape[0], self.bins, self.bins, x.shape[3])
        return keras.KerasTensor(shape, x.dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "bins": self.bins}
