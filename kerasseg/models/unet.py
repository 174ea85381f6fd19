"""U-Net (Ronneberger et al., 2015): contracting and expanding path with skips."""

from collections.abc import Sequence

import keras
from keras import initializers, layers, ops

from kerasseg import backbones, blocks, errors, models

_LEVELS = 4  # Number of pools; the deepest map has stride 2**4.
_STEP = 2**_LEVELS
# Without padding, two convolutions remove 4 cells. These are the cells removed from
# each side of the skip connections of levels 1 to 4, on the way to level 5 and back.
_CROPS = (88, 40, 16, 4)
_MARGIN = _CROPS[0] + 4  # Removed from each side of the image: 572 becomes 388.


@models.register(
    paper="https://arxiv.org/abs/1505.04597",
    params=31_033_045,
    macs=205_256_392_704,
    output_stride=16,
    test_options={"filters": 8, "batch_norm": True, "dropout": 0.0},
)
def unet(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    padding: str = "same",
    batch_norm: bool = False,
    backbone: str | None = None,
    backbone_weights: str | None = None,
    filters: int | Sequence[int] = 64,
    dropout: float = 0.5,
    classifier_size: int = 1,
    crop_logits: bool = True,
) -> keras.Model:
    """Builds U-Net ([Ronneberger15] figure 1).

    Details that the paper does not state are those of the released Caffe network: ReLU
    after each up-convolution, dropout on the two deepest maps, and mirroring that does
    not repeat the border pixels.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        padding: "same", or "valid" for the convolutions of the paper. With "valid" the
            image is extended by mirroring, by 92 pixels on each side (figure 2) and to
            a size that all pools divide, so that the logits cover the whole image.
        batch_norm: Whether to add batch normalization after each 3x3 convolution; the
            paper has none. With a backbone it is always added.
        backbone: Name of a backbone; None for the contracting path of the paper.
        backbone_weights: See `backbones.build`.
        filters: Channels of the first level, doubled on each level below; 64 in the
            paper. With a backbone, the levels of the expanding path have 4, 2, 1, 1/2
            and 1/4 times as many; or the five numbers, from the deepest level.
        dropout: Dropout rate at the end of the contracting path; the paper states none.
        classifier_size: Height and width of the kernel of the last convolution, odd: 1
            in the paper, 3 in segmentation_models.pytorch.
        crop_logits: With a backbone and an image of odd height or width, whether the
            last two convolutions have one row or column more, which is cropped from the
            logits. In segmentation_models.pytorch it is cropped before them.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    _check(padding, backbone, backbone_weights, filters)
    if classifier_size < 1 or classifier_size % 2 == 0:
        raise errors.UserError(
            f"`classifier_size={classifier_size}` of 'unet' must be odd, as 1 or 3."
        )
    if backbone is None:
        image = blocks.raw_input(image_size)
        x = blocks.normalize(image, "tf")
        x = _paper(x, padding, batch_norm, filters, dropout)
    else:
        normalization = backbones.normalization(backbone)
        image, padded = blocks.image_input(image_size, normalization)
        c = backbones.build(backbone, padded, weights=backbone_weights)
        x = layers.Dropout(dropout, name="contract_dropout")(c["c5"])
        if isinstance(filters, int):
            filters = [int(filters * 4 / 2**i) for i in range(5)]
        x = _expand_over(x, c if crop_logits else {**c, "c0": padded}, filters)
    x = layers.Conv2D(
        num_classes,
        classifier_size,
        padding="same",
        kernel_initializer=_he(),
        dtype="float32",
        name="classify",
    )(x)
    logits = blocks.CropLike(dtype="float32", name="logits")([x, image])
    return keras.Model(image, logits, name="unet")


def _check(padding, backbone, backbone_weights, filters):
    if padding not in ("same", "valid"):
        raise errors.UserError(
            f"`padding={padding}` of 'unet' must be 'same' or 'valid'."
        )
    if padding == "valid" and backbone is not None:
        raise errors.UserError(
            f"Backbone '{backbone}' pads its convolutions. Set `padding=same`, or "
            "leave out the backbone for the network of the paper."
        )
    if backbone is None and backbone_weights is not None:
        raise errors.UserError(
            f"`backbone_weights={backbone_weights}` of 'unet' needs a backbone, "
            "because the contracting path of the paper has no pretrained weights."
        )
    if not isinstance(filters, int) and (backbone is None or len(filters) != 5):
        raise errors.UserError(
            f"`filters={filters}` of 'unet' must be one number or, with a backbone, "
            "five."
        )


def _paper(x, padding, batch_norm, filters, dropout):
    """Applies the network of the paper up to the last feature map."""
    is_valid = padding == "valid"
    smallest, margin = (4, _MARGIN) if is_valid else (_STEP, 0)
    x = Mirror(smallest, _STEP, margin, dtype="float32", name="mirror")(x)
    options = {"padding": padding, "batch_norm": batch_norm}
    skips = []
    for level in range(1, _LEVELS + 1):
        x = conv_twice(x, filters, **options, name=f"contract{level}")
        if level == _LEVELS:
            x = layers.Dropout(dropout, name=f"contract{level}_dropout")(x)
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"contract{level}_pool")(x)
        filters *= 2
    x = conv_twice(x, filters, **options, name="contract5")
    x = layers.Dropout(dropout, name="contract5_dropout")(x)
    for level in range(_LEVELS, 0, -1):
        filters //= 2
        skip = skips[level - 1]
        if is_valid:
            crop = layers.Cropping2D(_CROPS[level - 1], name=f"expand{level}_crop")
            skip = crop(skip)
        x = up(x, skip, filters, name=f"expand{level}")
        x = conv_twice(x, filters, **options, name=f"expand{level}")
    return x


def conv_twice(x, filters: int, *, padding, batch_norm, name: str):
    """Applies two 3x3 convolutions with bias and ReLU."""
    for i in (1, 2):
        x = layers.Conv2D(
            filters,
            3,
            padding=padding,
            kernel_initializer=_he(),
            name=f"{name}_conv{i}",
        )(x)
        if batch_norm:
            x = blocks.BatchNormalization(epsilon=1e-5, name=f"{name}_bn{i}")(x)
        x = layers.ReLU(name=f"{name}_relu{i}")(x)
    return x


def up(x, skip, filters: int, *, name: str):
    """Doubles the size by an up-convolution and concatenates the skip connection."""
    x = layers.Conv2DTranspose(
        filters,
        2,
        strides=2,
        # The number of inputs is that of Keras' "fan_out" / 4.
        kernel_initializer=_he(8.0, "fan_out"),
        name=f"{name}_up",
    )(x)
    x = layers.ReLU(name=f"{name}_up_relu")(x)
    return layers.Concatenate(name=f"{name}_concat")([skip, x])


def _expand_over(x, c, widths):
    """Applies the expanding path to the feature maps of a backbone.

    There is no skip connection for "c1" if the backbone does not have it, and none for
    "c0", which is only cropped to if it is given.
    """
    for level, width in zip((4, 3, 2, 1, 0), widths, strict=True):
        name = f"expand{level}"
        x = blocks.UpSampling2D(2, name=f"{name}_up")(x)
        if f"c{level}" in c:
            skip = c[f"c{level}"]  # Smaller by one cell at odd sizes.
            x = blocks.CropLike(name=f"{name}_crop")([x, skip])
        if level and f"c{level}" in c:
            x = layers.Concatenate(name=f"{name}_concat")([skip, x])
        x = blocks.conv_bn_relu(x, width, name=f"{name}_1")
        x = blocks.conv_bn_relu(x, width, name=f"{name}_2")
    return x


def _he(scale=2.0, mode="fan_in"):
    """Returns a normal initializer, variance 2 / inputs ([Ronneberger15] section 3)."""
    return initializers.VarianceScaling(scale, mode, "untruncated_normal")


@keras.saving.register_keras_serializable("kerasseg")
class Mirror(layers.Layer):
    """Extends an image beyond its borders by mirroring it, repeatedly if needed.

    The height and width become `smallest` plus a multiple of `step`, at the bottom and
    right, and then `margin` is added on all sides.

    Args:
        smallest: Smallest height and width before the margin.
        step: Step of the height and width, at least `smallest - 1`.
        margin: Pixels added on each side.
    """

    def __init__(self, smallest: int, step: int, margin: int = 0, **options):
        super().__init__(**options)
        self.smallest, self.step, self.margin = smallest, step, margin

    def call(self, x):
        """Gathers rows, then columns, by their mirrored indices."""
        for axis, side in enumerate(ops.shape(x)[1:3], start=1):
            # Mirrored at the first and last pixel: 0 1 2 1 0 1 2 1 ... The absolute
            # value is the same by symmetry; ONNX differs in negative remainders.
            indices = ops.arange(self._target(side), dtype="int32") - self.margin
            indices = ops.abs(indices)
            period = 2 * (side - 1)
            period = max(period, 1) if isinstance(side, int) else ops.maximum(period, 1)
            indices = ops.mod(indices, period)
            x = ops.take(x, ops.minimum(indices, period - indices), axis=axis)
        return x

    def _target(self, side):
        # Rounds up. The dividend is not negative, because ONNX rounds towards 0.
        steps = (side - self.smallest + self.step - 1) // self.step
        return self.smallest + self.step * steps + 2 * self.margin

    def compute_output_spec(self, x):
        """Returns the output spec."""
        sides = [side and self._target(side) for side in x.shape[1:3]]
        return keras.KerasTensor((x.shape[0], *sides, x.shape[3]), x.dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        sizes = {"smallest": self.smallest, "step": self.step, "margin": self.margin}
        return {**super().get_config(), **sizes}
