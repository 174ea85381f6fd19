"""Pooling that ignores padding and can be dilated."""

from collections.abc import Sequence

import keras
from keras import layers, ops

from kerasseg import errors


@keras.saving.register_keras_serializable("kerasseg")
class Pool2D(layers.Layer):
    """Max or average pooling over the cells of a window inside the feature map.

    Args:
        kind: "max" or "average".
        pool_size: Height and width of the window.
        stride: Stride.
        rate: Dilation rate; must be 1 if `stride` is above 1.
        padding: Cells by which windows can extend beyond the map,
            `((top, bottom), (left, right))`. They count neither for the maximum nor for
            the average.

    Raises:
        UserError: Another kind, or both `rate` and `stride` are above 1.
    """

    def __init__(
        self,
        kind: str,
        pool_size: Sequence[int],
        *,
        stride: int = 1,
        rate: int = 1,
        padding: Sequence[Sequence[int]],
        **layer_options,
    ):
        super().__init__(**layer_options)
        if kind not in ("max", "average"):
            raise errors.UserError(
                f"Unknown pooling '{kind}'. Choose 'max' or 'average'."
            )
        if rate > 1 and stride > 1:
            raise errors.UserError(
                f"Pooling cannot have rate {rate} and stride {stride}. Set one of them "
                "to 1."
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
        inside = ops.pad(ops.ones_like(x[:1, :, :, :1]), padding)
        return self._reduce(ops.pad(x, padding)) / self._reduce(inside)

    def _reduce(self, x):
        """Returns the maximum, or a multiple of the sum, over the windows in `x`."""
        if self.rate == 1:
            pool = ops.max_pool if self.kind == "max" else ops.average_pool
            return pool(x, self.pool_size, self.stride, "valid")
        combine = ops.maximum if self.kind == "max" else ops.add
        for axis, size in ((1, self.pool_size[0]), (2, self.pool_size[1])):
            reach = (size - 1) * self.rate
            cells = ops.shape(x)[axis] - reach
            parts = [_slice(x, axis, i * self.rate, cells) for i in range(size)]
            x = parts[0]
            for part in parts[1:]:
                x = combine(x, part)
        return x

    def compute_output_shape(self, shape):
        """Returns the output shape; unknown sides stay None."""
        sides = [
            side
            and (side + sum(padding) - (size - 1) * self.rate - 1) // self.stride + 1
            for side, padding, size in zip(
                shape[1:3], self.padding, self.pool_size, strict=True
            )
        ]
        return (shape[0], *sides, shape[3])

    def get_config(self):
        """Returns the arguments of the constructor."""
        keys = ("kind", "pool_size", "stride", "rate", "padding")
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}


def _slice(x, axis, start, cells):
    return x[:, start : start + cells] if axis == 1 else x[:, :, start : start + cells]
