"""TF DeepLab's networks in plain TensorFlow, in float64, with random weights.

Written from research/deeplab and research/slim/nets of
https://github.com/tensorflow/models, whose names of arrays it has.
"""

import os

import numpy as np
import tensorflow as tf

_SEPARABLE = "{}/unit_{}/xception_module"
_ENTRY = {
    "xception_41": ((128, 2), (256, 2), (728, 2)),
    "xception_65": ((128, 2), (256, 2), (728, 2)),
    "xception_71": ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2)),
}
_MIDDLE = {"xception_41": 8, "xception_65": 16, "xception_71": 16}
_MOBILENET = (  # Filters and strides of the expanded convolutions.
    *((16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)),
    *((64, 1), (96, 1), (96, 1), (96, 1), (160, 2), (160, 1), (160, 1), (320, 1)),
)


class Arrays(dict):
    """Arrays by name, created when a layer first needs them; values of float32."""

    def __init__(self, seed=0):
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.is_calibrated = False

    def __setitem__(self, name, array):
        super().__setitem__(name, np.asarray(array, "float32").astype("float64"))

    def conv(self, x, name, filters, size=1, stride=1, rate=1, *, eps=1e-3, act=None):
        fan_in = size * size * x.shape[-1]
        key = f"{name}/weights"
        if key not in self:
            shape = (size, size, x.shape[-1], filters)
            self[key] = self.rng.normal(0, (2 / fan_in) ** 0.5, shape)
        x = tf.nn.conv2d(x, self[key], stride, "SAME", dilations=rate)
        return self.norm(x, name, eps, act)

    def depthwise(self, x, name, stride=1, rate=1, *, eps=1e-3, act=None, pad="SAME"):
        key = f"{name}/depthwise_weights"
        if key not in self:
            self[key] = self.rng.normal(0, 0.4, (3, 3, x.shape[-1], 1))
        strides, rates = (1, stride, stride, 1), (rate, rate)
        x = tf.nn.depthwise_conv2d(x, self[key], strides, pad, dilations=rates)
        return self.norm(x, name, eps, act)

    def norm(self, x, name, eps, act):
        """Normalizes; statistics are those of the first batch, disturbed."""
        start = f"{name}/BatchNorm"
        if not self.is_calibrated:
            mean, variance = (v.numpy() for v in tf.nn.moments(x, [0, 1, 2]))
            if x.shape[1] == 1:  # Of few values, whose variance may be near 0.
                variance = variance + mean**2
            near = self.rng.uniform(-0.5, 0.5, (4, x.shape[-1]))
            self[f"{start}/moving_mean"] = mean + variance**0.5 * 0.1 * near[0]
            self[f"{start}/moving_variance"] = variance * (1 + 0.4 * near[1])
            self[f"{start}/gamma"] = 1 + 0.4 * near[2]
            self[f"{start}/beta"] = 0.2 * near[3]
        names = ("moving_mean", "moving_variance", "beta", "gamma")
        values = [self[f"{start}/{n}"] for n in names]
        x = tf.nn.batch_normalization(x, *values, eps)
        return act(x) if act else x

    def save(self, prefix):
        """Writes a checkpoint with one momentum slot and the step."""
        arrays = {key: np.asarray(value, "float32") for key, value in self.items()}
        slots = {f"{key}/Momentum": 0 * arrays[key] for key in list(arrays)[:3]}
        arrays.update(slots, global_step=np.int64(500_000))
        tf.raw_ops.SaveV2(
            prefix=os.fspath(prefix),
            tensor_names=list(arrays),
            shape_and_slices=[""] * len(arrays),
            tensors=list(arrays.values()),
        )


def resize(x, size):
    """Resizes with aligned corners."""
    x = tf.raw_ops.ResizeBilinear(images=x, size=size, align_corners=True)
    return tf.cast(x, "float64")


def split_separable(arrays, x, name, filters, rate=1):
    relu = tf.nn.relu
    x = arrays.depthwise(x, f"{name}_depthwise", 1, rate, eps=1e-5, act=relu)
    return arrays.conv(x, f"{name}_pointwise", filters, eps=1e-5, act=relu)


def xception(arrays, x, variant, output_stride):
    """Returns the features, and those of the decoder."""
    relu = tf.nn.relu
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    stem, name = (
        f"{variant}/entry_flow/conv1_1",
        f"{variant}/entry_flow/conv1_1/weights",
    )
    if name not in arrays:
        arrays[name] = arrays.rng.normal(0, 0.27, (3, 3, 3, 32))
    x = arrays.norm(tf.nn.conv2d(x, arrays[name], 2, "VALID"), stem, 1e-3, relu)
    x = arrays.conv(x, f"{variant}/entry_flow/conv1_2", 64, 3, act=relu)
    units = [
        (f"entry_flow/block{i}", 1, (filters,) * 3, stride)
        for i, (filters, stride) in enumerate(_ENTRY[variant], start=1)
    ]
    units += [
        ("middle_flow/block1", unit, (728,) * 3, 1)
        for unit in range(1, _MIDDLE[variant] + 1)
    ]
    units.append(("exit_flow/block1", 1, (728, 1024, 1024), 2))
    done, rate, skip = 2, 1, None
    for block, unit, filters, stride in units:
        scope = f"{variant}/{_SEPARABLE.format(block, unit)}"
        is_dense = done == output_stride
        actual = 1 if is_dense else stride
        start = x
        for i in range(3):  # "VALID" after equal padding, if strided.
            name = f"{scope}/separable_conv{i + 1}"
            x, last, pad = relu(x), actual if i == 2 else 1, "SAME"
            if last > 1:
                x, pad = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), "VALID"
            x = arrays.depthwise(x, f"{name}_depthwise", last, rate, pad=pad)
            x = arrays.conv(x, f"{name}_pointwise", filters[i])
            if i == 1 and done == 4 and stride == 2:
                skip = x
        if not block.startswith("middle"):
            start = arrays.conv(start, f"{scope}/shortcut", filters[2], 1, actual)
        x = x + start
        if is_dense:
            rate *= stride
        else:
            done *= stride
    for i, filters in enumerate((1536, 1536, 2048), start=1):
        scope = f"{variant}/{_SEPARABLE.format('exit_flow/block2', 1)}"
        name = f"{scope}/separable_conv{i}"
        x = arrays.depthwise(x, f"{name}_depthwise", 1, rate, act=relu)
        x = arrays.conv(x, f"{name}_pointwise", filters, act=relu)
    return x, skip


def mobilenet(arrays, x, width, output_stride):
    """Returns the features, and those of the decoder."""
    relu6 = tf.nn.relu6
    x = arrays.conv(x, "MobilenetV2/Conv", int(32 * width), 3, 2, act=relu6)
    done, rate, skip = 2, 1, None
    for i, (filters, stride) in enumerate(_MOBILENET):
        scope = "MobilenetV2/expanded_conv" + (f"_{i}" if i else "")
        start, filters = x, int(filters * width)
        is_dense = done == output_stride
        actual = 1 if is_dense else stride
        if i:
            x = arrays.conv(x, f"{scope}/expand", 6 * x.shape[-1], act=relu6)
        x = arrays.depthwise(x, f"{scope}/depthwise", actual, rate, act=relu6)
        skip = x if i == 2 else skip
        x = arrays.conv(x, f"{scope}/project", filters)
        if actual == 1 and filters == start.shape[-1]:
            x = x + start
        if is_dense:
            rate *= stride
        else:
            done *= stride
    return x, skip


def logits(
    arrays, image, variant, *, output_stride=16, rates=(), decoder=False, classes=21
):
    """Computes the logits of images from 0 to 255, at their size."""
    relu = tf.nn.relu
    x = tf.constant(image, "float64") * (2 / 255) - 1
    if isinstance(variant, str):
        x, skip = xception(arrays, x, variant, output_stride)
    else:
        x, skip = mobilenet(arrays, x, variant, output_stride)
    mean = tf.reduce_mean(x, [1, 2], keepdims=True)
    mean = arrays.conv(mean, "image_pooling", 256, eps=1e-5, act=relu)
    branches = [resize(mean, x.shape[1:3])]
    branches.append(arrays.conv(x, "aspp0", 256, eps=1e-5, act=relu))
    for i, rate in enumerate(rates, start=1):
        rate = rate * 16 // output_stride
        branches.append(split_separable(arrays, x, f"aspp{i}", 256, rate))
    x = tf.concat(branches, -1)
    x = arrays.conv(x, "concat_projection", 256, eps=1e-5, act=relu)
    if decoder:
        name = "decoder/feature_projection0"
        skip = arrays.conv(skip, name, 48, eps=1e-5, act=relu)
        x = tf.concat([resize(x, skip.shape[1:3]), skip], -1)
        for i in (0, 1):
            x = split_separable(arrays, x, f"decoder/decoder_conv{i}", 256)
    key = "logits/semantic"
    if f"{key}/weights" not in arrays:
        arrays[f"{key}/weights"] = arrays.rng.normal(0, 0.1, (1, 1, 256, classes))
        arrays[f"{key}/biases"] = arrays.rng.normal(0, 0.1, (classes,))
    x = tf.nn.conv2d(x, arrays[f"{key}/weights"], 1, "SAME") + arrays[f"{key}/biases"]
    return resize(x, image.shape[1:3]).numpy()
