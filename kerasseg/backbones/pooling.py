"""Pooling with padding that does not count, and with dilation, which Keras lacks."""

import keras
from keras import layers, ops

from kerasseg import errors


@keras.saving.register_keras_serializable("kerasseg")
class Pool2D(layers.Layer):
    """Takes the maximum or the mean of those cells of a window that exist.

    Args:
        kind: "max" or "average".
        pool_size: Rows and columns of the window.
        stride: Cells from one window to the next.
        rate: Cells from one row or column of the window to the next; above 1 only
            where `stride` is 1.
        padding: Cells missing `((above, below), (left, right))` of the map that
            windows may reach; they are never the maximum and never in the mean.
    """

    def __init__(self, kind, pool_size, *, stride=1, rate=1, padding, **layer_options):
        super().__init__(**layer_options)
        if kind not in ("max", "average"):
            raise errors.UserError(f"Pooling '{kind}' is neither 'max' nor 'average'.")
        if rate > 1 and stride > 1:
            raise errors.UserError(
                f"Pooling cannot have rate {rate} and stride {stride}; make one 1."
            )
        self.kind = kind
        self.pool_size = tuple(pool_size)
        self.stride = stride
        self.rate = rate
        self.padding = tuple(tuple(side) for side in padding)

    def call(self, x):
        """Pools `[batch, height, width, channels]`."""
        padding = [(0, 0), *self.padding, (0, 0)]
        if self.kind == "max":
            return self._reduce(ops.pad(x, padding, constant_values=-float("inf")))
        there = ops.pad(ops.ones_like(x[:1, :, :, :1]), padding)
        return self._reduce(ops.pad(x, padding)) / self._reduce(there)

    def _reduce(self, x):
        """Pools inside `x`: the maximum, or what is proportional to the sum."""
        if self.rate == 1:
            pool = ops.max_pool if self.kind == "max" else ops.average_pool
            return pool(x, self.pool_size, self.stride, "valid")
        combine = ops.maximum if self.kind == "max" else ops.add
        for axis, size in ((1, self.pool_size[0]), (2, self.pool_size[1])):
            reach = (size - 1) * self.rate
            cells = ops.shape(x)[axis] - reach
            parts = [_cut(x, axis, i * self.rate, cells) for i in range(size)]
            x = parts[0]
            for part in parts[1:]:
                x = combine(x, part)
        return x

    def compute_output_shape(self, shape):
        """Counts the windows that fit."""
        sides = [
            side
            and (side + sum(beyond) - (size - 1) * self.rate - 1) // self.stride + 1
            for side, beyond, size in zip(
                shape[1:3], self.padding, self.pool_size, strict=True
            )
        ]
        return (shape[0], *sides, shape[3])

    def get_config(self):
        """Adds the arguments."""
        own = ("kind", "pool_size", "stride", "rate", "padding")
        return {**super().get_config(), **{key: getattr(self, key) for key in own}}


def _cut(x, axis, start, cells):
    return x[:, start : start + cells] if axis == 1 else x[:, :, start : start + cells]
