"""Average pooling to a fixed number of cells, whatever the size (PSPNet, UPerNet)."""

import keras
from keras import layers, ops

from kerasseg import errors


@keras.saving.register_keras_serializable("kerasseg")
class AdaptiveAveragePool(layers.Layer):
    """Takes the means of `bins` x `bins` windows that cover the map.

    Window `i` reaches from row `floor(i * rows / bins)` to before row
    `ceil((i + 1) * rows / bins)`, as PyTorch's adaptive pooling has it: windows overlap
    by a cell where `bins` does not divide the side, and on a map with fewer cells than
    bins several of them hold the same cell.

    Args:
        bins: Cells of the result, a side.
    """

    def __init__(self, bins, **options):
        super().__init__(autocast=False, **options)
        if bins < 1:
            raise errors.UserError(
                f"A map cannot be pooled to bins={bins} a side; give 1 or more."
            )
        self.bins = bins

    def call(self, x):
        """Adds up in float32, where half precision would overflow; keeps the dtype."""
        height, width = ops.shape(x)[1:3]
        channels = x.shape[3]
        means = ops.matmul(self._shares(width), ops.cast(x, "float32"))
        means = ops.reshape(means, (-1, height, self.bins * channels))
        means = ops.matmul(self._shares(height), means)
        means = ops.reshape(means, (-1, self.bins, self.bins, channels))
        return ops.cast(means, x.dtype)

    def _shares(self, cells):
        """What each cell gives to each bin, `[bins, cells]`; a row adds up to 1."""
        start = ops.arange(self.bins, dtype="int32")[:, None] * cells
        cell = ops.arange(cells, dtype="int32")[None] * self.bins
        # In units of a cell over bins, so that no rounding is needed.
        inside = ops.logical_and(cell + self.bins > start, cell < start + cells)
        inside = ops.cast(inside, "float32")
        return inside / ops.sum(inside, axis=1, keepdims=True)

    def compute_output_spec(self, x):
        """Has `bins` cells a side and the channels of `x`."""
        shape = (x.shape[0], self.bins, self.bins, x.shape[3])
        return keras.KerasTensor(shape, x.dtype)

    def get_config(self):
        """Adds the bins."""
        return {**super().get_config(), "bins": self.bins}
