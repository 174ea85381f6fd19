"""Layers in NumPy for tests, in float64: `[batch, height, width, channels]`."""

import numpy as np


def windows(x, size, stride=1, rate=1):
    """Returns the windows, `[batch, rows, columns, size, size, channels]`."""
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
    """Pads rows and columns; `after` is at the bottom and right, None for `before`."""
    after = before if after is None else after
    sides = ((0, 0), (before, after), (before, after), (0, 0))
    return np.pad(x.astype("float64"), sides, constant_values=value)


def conv(x, kernel, bias=0.0, *, stride=1, rate=1, padding=None):
    """Convolves with `padding` on all sides; None keeps the size."""
    size = kernel.shape[0]
    padding = (size - 1) * rate // 2 if padding is None else padding
    cut = windows(pad(x, padding), size, stride, rate)
    return np.einsum("brckli,klio->brco", cut, kernel.astype("float64")) + bias


def depthwise(x, kernel, *, stride=1, rate=1, padding=None):
    """Applies a depthwise convolution; the kernel is `[size, size, channels, 1]`."""
    size = kernel.shape[0]
    padding = (size - 1) * rate // 2 if padding is None else padding
    cut = windows(pad(x, padding), size, stride, rate)
    return np.einsum("brckli,kli->brci", cut, kernel[..., 0].astype("float64"))


def conv_transpose(x, kernel, bias=0.0, *, stride):
    """Applies a transposed convolution; n cells become `(n - 1) * stride + size`.

    The kernel is `[size, size, filters, channels]` as in Keras.
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
    """Normalizes with the moving statistics of a Keras layer."""
    mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    x = (x - mean) / np.sqrt(variance + layer.epsilon)
    return x * np.asarray(layer.gamma) + np.asarray(layer.beta)


def relu(x):
    """Returns the positive part."""
    return np.maximum(x, 0)


def max_pool(x, size, *, stride, before=0, after=0):
    """Applies max pooling; the padding is never the maximum."""
    return windows(pad(x, before, after, -np.inf), size, stride).max((3, 4))


def resize(x, height, width, *, aligned=False):
    """Resizes bilinearly with half-pixel centers or aligned corners."""
    for axis, side in ((1, height), (2, width)):
        cells = x.shape[axis]
        if aligned:
            at = np.arange(side) * (cells - 1) / max(side - 1, 1)
        else:
            at = np.clip((np.arange(side) + 0.5) * cells / side - 0.5, 0, cells - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, cells - 1)
        weight = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight
    return x


def shake(model, seed=0):
    """Sets random statistics of batch norms and biases, and returns the model.

    With the initial zeros and ones, mistakes could go unnoticed.
    """
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif variable.path.endswith(("beta", "bias", "moving_mean")):
            variable.assign(random.normal(0, 0.2, variable.shape))
    return model
