"""Layers in plain NumPy, to check networks against: `[batch, height, width, channels]`.

Written from their definitions, in float64.
"""

import numpy as np


def windows(x, size, stride=1, rate=1):
    """Cuts windows: `[batch, rows, columns, size, size, channels]`."""
    reach = (size - 1) * rate
    rows = range(0, x.shape[1] - reach, stride)
    columns = range(0, x.shape[2] - reach, stride)
    return np.stack(
        [
            np.stack(
                [
                    x[:, r : r + reach + 1 : rate, c : c + reach + 1 : rate]
                    for c in columns
                ],
                axis=1,
            )
            for r in rows
        ],
        axis=1,
    )


def pad(x, before, after=None, value=0.0):
    """Adds rows and columns, `after` at the bottom and right (as many if None)."""
    after = before if after is None else after
    sides = ((0, 0), (before, after), (before, after), (0, 0))
    return np.pad(x.astype("float64"), sides, constant_values=value)


def conv(x, kernel, bias=0.0, *, stride=1, rate=1, padding=None):
    """Convolves; `padding` cells on all sides, None for as many as keep the size."""
    size = kernel.shape[0]
    padding = (size - 1) * rate // 2 if padding is None else padding
    cut = windows(pad(x, padding), size, stride, rate)
    return np.einsum("brckli,klio->brco", cut, kernel.astype("float64")) + bias


def depthwise(x, kernel, *, stride=1, rate=1, padding=None):
    """Convolves each channel alone; the kernel is `[size, size, channels, 1]`."""
    size = kernel.shape[0]
    padding = (size - 1) * rate // 2 if padding is None else padding
    cut = windows(pad(x, padding), size, stride, rate)
    return np.einsum("brckli,kli->brci", cut, kernel[..., 0].astype("float64"))


def conv_transpose(x, kernel, bias=0.0, *, stride):
    """Adds a kernel for each cell, nothing cut off: `(n - 1) * stride + size` cells.

    The kernel is Keras': `[size, size, filters, channels]`.
    """
    size, batch = kernel.shape[0], x.shape[0]
    sides = [(side - 1) * stride + size for side in x.shape[1:3]]
    out = np.zeros((batch, *sides, kernel.shape[2]))
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            top, left = row * stride, column * stride
            out[:, top : top + size, left : left + size] += np.einsum(
                "bi,kloi->bklo", x[:, row, column], kernel.astype("float64")
            )
    return out + bias


def batch_norm(x, layer):
    """Normalises by the moving statistics of a Keras layer."""
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    x = (x - mean) / np.sqrt(variance + layer.epsilon)
    return x * np.asarray(layer.gamma) + np.asarray(layer.beta)


def relu(x):
    """Cuts off what is negative."""
    return np.maximum(x, 0)


def max_pool(x, size, *, stride, before=0, after=0):
    """Takes maxima; `before` and `after` cells of padding never win."""
    return windows(pad(x, before, after, -np.inf), size, stride).max((3, 4))


def resize(x, height, width, *, aligned=False):
    """Resizes bilinearly: half-pixel centres, or `aligned` corners."""
    for axis, side in ((1, height), (2, width)):
        cells = x.shape[axis]
        if aligned:
            at = np.arange(side) * (cells - 1) / max(side - 1, 1)
        else:
            at = np.clip((np.arange(side) + 0.5) * cells / side - 0.5, 0, cells - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, cells - 1)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


def shake(model, seed=0):
    """Gives a model's batch norms statistics and its biases values.

    Without it, networks at their start hide faults: zeros and ones change nothing.
    """
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif variable.path.endswith(("beta", "bias", "moving_mean")):
            variable.assign(random.normal(0, 0.2, variable.shape))
    return model
