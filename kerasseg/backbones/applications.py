"""Backbones of keras.applications, each at any output stride.

ResNet (not V2) is in `resnet`, which has the changes of the DeepLab papers.
"""

import collections.abc
import functools
from typing import Any, NamedTuple

from keras import applications, layers

from kerasseg import backbones, errors
from kerasseg.backbones import rewrite, vgg


class _Row(NamedTuple):
    """One backbone.

    Attributes:
        constructor: Function of keras.applications that builds it.
        normalization: Input range that its weights expect; see `blocks.Normalize`. It
            replaces normalization layers inside the model (EfficientNet,
            EfficientNetV2, ConvNeXt, MobileNetV3).
        widest: How the endpoints are chosen; see `rewrite.encoder`.
        side: Height and width of its training images. NASNet's padding and ImageNet
            weights depend on it.
        classifier: See `backbones.Metadata`.
    """

    constructor: collections.abc.Callable
    normalization: str
    widest: bool = False
    side: int = 224
    classifier: tuple[str, ...] = ()


_ROWS = {
    "convnext_base": _Row(applications.ConvNeXtBase, "torch"),
    "convnext_large": _Row(applications.ConvNeXtLarge, "torch"),
    "convnext_small": _Row(applications.ConvNeXtSmall, "torch"),
    "convnext_tiny": _Row(applications.ConvNeXtTiny, "torch"),
    "convnext_xlarge": _Row(applications.ConvNeXtXLarge, "torch"),
    "densenet121": _Row(applications.DenseNet121, "torch", widest=True),
    "densenet169": _Row(applications.DenseNet169, "torch", widest=True),
    "densenet201": _Row(applications.DenseNet201, "torch", widest=True),
    "efficientnet_b0": _Row(applications.EfficientNetB0, "torch"),
    "efficientnet_b1": _Row(applications.EfficientNetB1, "torch"),
    "efficientnet_b2": _Row(applications.EfficientNetB2, "torch"),
    "efficientnet_b3": _Row(applications.EfficientNetB3, "torch"),
    "efficientnet_b4": _Row(applications.EfficientNetB4, "torch"),
    "efficientnet_b5": _Row(applications.EfficientNetB5, "torch"),
    "efficientnet_b6": _Row(applications.EfficientNetB6, "torch"),
    "efficientnet_b7": _Row(applications.EfficientNetB7, "torch"),
    "efficientnet_v2_b0": _Row(applications.EfficientNetV2B0, "torch"),
    "efficientnet_v2_b1": _Row(applications.EfficientNetV2B1, "torch"),
    "efficientnet_v2_b2": _Row(applications.EfficientNetV2B2, "torch"),
    "efficientnet_v2_b3": _Row(applications.EfficientNetV2B3, "torch"),
    "efficientnet_v2_l": _Row(applications.EfficientNetV2L, "tf128"),
    "efficientnet_v2_m": _Row(applications.EfficientNetV2M, "tf128"),
    "efficientnet_v2_s": _Row(applications.EfficientNetV2S, "tf128"),
    "inception_resnet_v2": _Row(applications.InceptionResNetV2, "tf", widest=True),
    "inception_v3": _Row(applications.InceptionV3, "tf", widest=True),
    "mobilenet": _Row(applications.MobileNet, "tf"),
    "mobilenet_v2": _Row(applications.MobileNetV2, "tf"),
    "mobilenet_v3_large": _Row(applications.MobileNetV3Large, "tf"),
    "mobilenet_v3_small": _Row(applications.MobileNetV3Small, "tf"),
    "nasnet_large": _Row(applications.NASNetLarge, "tf", widest=True, side=331),
    "nasnet_mobile": _Row(applications.NASNetMobile, "tf", widest=True),
    "resnet50_v2": _Row(applications.ResNet50V2, "tf", widest=True),
    "resnet101_v2": _Row(applications.ResNet101V2, "tf", widest=True),
    "resnet152_v2": _Row(applications.ResNet152V2, "tf", widest=True),
    "vgg16": _Row(applications.VGG16, "caffe", classifier=vgg.CLASSIFIER),
    "vgg19": _Row(applications.VGG19, "caffe"),
    "xception": _Row(applications.Xception, "tf", widest=True),
}


def encoder(
    name: str, image, *, output_stride: int = 32, weights: str | None = None
) -> dict[str, Any]:
    """Builds a backbone of keras.applications.

    Args:
        name: Key of `_ROWS`.
        image: Normalized image.
        output_stride: 8, 16 or 32.
        weights: None, or "imagenet" (downloaded by keras.applications).

    Returns:
        See `rewrite.encoder`. ConvNeXt has no "c1", because its first stride is 4.
    """
    return _encoder(name, image, output_stride, weights)


def inverted_residuals(
    name: str,
    image,
    *,
    output_stride: int = 32,
    weights: str | None = None,
    ends: str = "expansion",
    padding: str = "same",
    first_rate: str = "old",
) -> dict[str, Any]:
    """Builds a MobileNetV2, MobileNetV3 or EfficientNet of keras.applications.

    Args:
        name: See `encoder`, as `image`, `output_stride` and `weights`.
        image: See above.
        output_stride: See above.
        weights: See above.
        ends: "c1" to "c4": "expansion" for the wide map inside the unit that has the
            next stride, as in TF DeepLab; "last" or "first" for the narrow output of
            the last or first unit of the stride. "first" are the maps of torchvision's
            segmentation networks. "c5" is the last map of the encoder in all cases.
        padding: Of strided convolutions: "same" as TensorFlow's at even sizes, or
            "symmetric" as in torchvision and most networks of timm.
        first_rate: Rate of a convolution whose stride is replaced by dilation: "old",
            that of its input, with which the features are those of the strided network;
            or "new", that of its output, as in torchvision's segmentation networks,
            whose squeeze-and-excitation averages all cells of a dilated map, too.

    Returns:
        See `rewrite.encoder`.

    Raises:
        UserError: Unknown value of an option.
    """
    for option, value, choices in (
        ("ends", ends, rewrite.ENDS),
        ("padding", padding, ("same", "symmetric")),
        ("first_rate", first_rate, ("old", "new")),
    ):
        if value not in choices:
            raise errors.UserError(
                f"`{option}={value}` of '{name}' must be one of {choices}."
            )
    return _encoder(
        name,
        image,
        output_stride,
        weights,
        ends=ends,
        is_symmetric=padding == "symmetric",
        first_rate=first_rate,
    )


def _encoder(name, image, output_stride, weights, **options):
    row = _ROWS[name]
    arguments = {"include_top": False, "input_shape": (row.side, row.side, 3)}
    if weights is None:
        source = row.constructor(weights=None, **arguments)
    else:
        source = backbones.pretrained(row.constructor, **arguments)
    return rewrite.encoder(
        source,
        image,
        output_stride=output_stride,
        widest=row.widest,
        own_ends=backbones.workdir_format() > 1,
        **options,
    )


def convnext(
    name: str,
    image,
    *,
    output_stride: int = 32,
    weights: str | None = None,
    end_norms: bool = False,
    crop: bool = False,
) -> dict[str, Any]:
    """Builds a ConvNeXt of keras.applications.

    Args:
        name: See `encoder`, as `image`, `output_stride` and `weights`.
        image: See above.
        output_stride: See above.
        weights: See above.
        end_norms: Whether "c2" to "c4" are followed by a layer normalization of their
            own, as in the networks of OpenMMLab and Hugging Face; "c5" always is.
        crop: Whether rows and columns that do not fill the last patch are left out, as
            in networks of PyTorch; otherwise patches are filled with zeros.

    Returns:
        See `encoder`.
    """
    c = _encoder(name, image, output_stride, weights, crop=crop)
    if not end_norms:
        return c
    for key in ("c2", "c3", "c4"):
        norm = layers.LayerNormalization(epsilon=1e-6, name=f"{key}_norm")
        c[key] = norm(c[key])
    return c


_WITH_OPTIONS: dict[str, collections.abc.Callable] = {
    "convnext_": convnext,
    "efficientnet_b": inverted_residuals,
    "mobilenet_v": inverted_residuals,
}
for _name, _row in _ROWS.items():
    _builders = [b for start, b in _WITH_OPTIONS.items() if _name.startswith(start)]
    backbones.register(
        name=_name, normalization=_row.normalization, classifier=_row.classifier
    )(functools.partial((_builders or [encoder])[0], _name))
