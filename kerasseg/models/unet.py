"""U-Net (Ronneberger et al., 2015): a path down, a path up, and copies between them."""

import keras
from keras import initializers, layers, ops

from kerasseg import backbones, blocks, errors, models

_LEVELS = 4  # Poolings: one cell of the deepest map is 2**4 pixels.
_STEP = 2**_LEVELS
# Without padding two convolutions take 4 cells; going down to level 5 and up again
# takes so many cells from each side of what the levels copy across, 1 to 4.
_CROPS = (88, 40, 16, 4)
_MARGIN = _CROPS[0] + 4  # Pixels on each side of the result: 572 become 388.


@models.register(
    paper="https://arxiv.org/abs/1505.04597",
    params=31_033_045,
    macs=205_256_392_704,
    output_stride=16,
    test_options={"filters": 8, "batch_norm": True, "dropout": 0.0},
)
def unet(
    num_classes,
    image_size,
    *,
    padding="same",
    batch_norm=False,
    backbone=None,
    backbone_weights=None,
    filters=64,
    dropout=0.5,
):
    """Builds U-Net ([Ronneberger15] figure 1).

    Layers are those of the paper; where it leaves something open they are those of
    the released Caffe network: ReLU after each up-convolution, dropout on the two
    deepest maps, mirroring that does not repeat the edge.

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        padding: "same", or "valid": the paper's convolutions, which see no zeros. The
            picture is mirrored 92 pixels beyond its edges (figure 2), and on to a size
            that all poolings halve, so that the logits cover all of it.
        batch_norm: Whether each 3x3 convolution is normalised; the paper has none.
            With a backbone they always are.
        backbone: Name of the encoder; None builds the paper's contracting path.
        backbone_weights: See `backbones.build`.
        filters: Channels of the first level, doubled on each below; 64 in the paper.
            With a backbone the expanding path has 4, 2, 1, 1/2 and 1/4 times as many.
        dropout: Rate at the end of the contracting path. The paper states none.
    """
    _check(padding, backbone, backbone_weights)
    if backbone is None:
        image = keras.Input((*image_size, 3), dtype="float32", name="image")
        x = blocks.Normalize("tf")(image)
        x = _paper(x, padding, batch_norm, filters, dropout)
    else:
        image, x = blocks.picture(image_size, backbones.normalization(backbone))
        c = backbones.build(backbone, x, weights=backbone_weights)
        x = layers.Dropout(dropout, name="contract_dropout")(c["c5"])
        x = _expand_over(x, c, filters)
    x = layers.Conv2D(
        num_classes, 1, kernel_initializer=_he(), dtype="float32", name="classify"
    )(x)
    logits = blocks.CropLike(dtype="float32", name="logits")([x, image])
    return keras.Model(image, logits, name="unet")


def _check(padding, backbone, backbone_weights):
    if padding not in ("same", "valid"):
        raise errors.UserError(
            f"padding={padding!r} of 'unet' is not 'same' or 'valid'."
        )
    if padding == "valid" and backbone is not None:
        raise errors.UserError(
            f"Backbone '{backbone}' pads its convolutions: give padding='same', or no "
            "backbone for the paper's network without padding."
        )
    if backbone is None and backbone_weights is not None:
        raise errors.UserError(
            f"backbone_weights={backbone_weights!r} of 'unet' needs a backbone: the "
            "paper's contracting path has no pretrained weights."
        )


def _paper(x, padding, batch_norm, filters, dropout):
    """Goes down and up as the paper does; the map is as large as the picture."""
    valid = padding == "valid"
    smallest, margin = (4, _MARGIN) if valid else (_STEP, 0)
    x = Mirror(smallest, _STEP, margin, dtype="float32", name="mirror")(x)
    options = {"padding": padding, "batch_norm": batch_norm}
    copies = []
    for level in range(1, _LEVELS + 1):
        x = conv_twice(x, filters, **options, name=f"contract{level}")
        if level == _LEVELS:
            x = layers.Dropout(dropout, name=f"contract{level}_dropout")(x)
        copies.append(x)
        x = layers.MaxPooling2D(2, name=f"contract{level}_pool")(x)
        filters *= 2
    x = conv_twice(x, filters, **options, name="contract5")
    x = layers.Dropout(dropout, name="contract5_dropout")(x)
    for level in range(_LEVELS, 0, -1):
        filters //= 2
        copy = copies[level - 1]
        if valid:
            crop = layers.Cropping2D(_CROPS[level - 1], name=f"expand{level}_crop")
            copy = crop(copy)
        x = up(x, copy, filters, name=f"expand{level}")
        x = conv_twice(x, filters, **options, name=f"expand{level}")
    return x


def conv_twice(x, filters, *, padding, batch_norm, name):
    """Convolves 3x3 with a bias, then ReLU, twice."""
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


def up(x, copy, filters, *, name):
    """Doubles a map by an up-convolution and puts what was copied before it."""
    x = layers.Conv2DTranspose(
        filters,
        2,
        strides=2,
        # Each cell has one cell of all channels to come from: Keras' "fan out" / 4.
        kernel_initializer=_he(8.0, "fan_out"),
        name=f"{name}_up",
    )(x)
    x = layers.ReLU(name=f"{name}_up_relu")(x)
    return layers.Concatenate(name=f"{name}_concat")([copy, x])


def _expand_over(x, c, filters):
    """Goes up over the endpoints of an encoder, to the size of the picture or above.

    An encoder without "c1" has nothing to copy there.
    """
    widths = 4 * filters, 2 * filters, filters, filters // 2, filters // 4
    for level, width in zip((4, 3, 2, 1, 0), widths, strict=True):
        name = f"expand{level}"
        x = blocks.UpSampling2D(2, name=f"{name}_up")(x)
        if f"c{level}" in c:
            copy = c[f"c{level}"]  # One cell less than twice as many at odd sizes.
            x = blocks.CropLike(name=f"{name}_crop")([x, copy])
            x = layers.Concatenate(name=f"{name}_concat")([copy, x])
        x = blocks.conv_bn_relu(x, width, name=f"{name}_1")
        x = blocks.conv_bn_relu(x, width, name=f"{name}_2")
    return x


def _he(scale=2.0, mode="fan_in"):
    """Draws normal weights of variance 2 / inputs ([Ronneberger15] section 3)."""
    return initializers.VarianceScaling(scale, mode, "untruncated_normal")


@keras.saving.register_keras_serializable("kerasseg")
class Mirror(layers.Layer):
    """Continues a picture beyond its edges by mirroring it, as often as it takes.

    Args:
        smallest: Shortest side of what the picture becomes, before the margin.
        step: That side may also be longer by a multiple of this, at the bottom and
            right; at least `smallest - 1`.
        margin: Pixels added on all sides, besides.
    """

    def __init__(self, smallest, step, margin=0, **options):
        super().__init__(**options)
        self.smallest, self.step, self.margin = smallest, step, margin

    def call(self, x):
        """Takes the rows, then the columns, that a mirror shows in their place."""
        for axis, side in enumerate(ops.shape(x)[1:3], start=1):
            # A mirror at the first and one at the last pixel: 0 1 2 1 0 1 2 1 ...
            # ONNX has other remainders of negative numbers; -1 shows what 1 does.
            places = ops.arange(self._target(side), dtype="int32") - self.margin
            places = ops.abs(places)
            period = 2 * (side - 1)
            period = max(period, 1) if isinstance(side, int) else ops.maximum(period, 1)
            places = ops.mod(places, period)
            x = ops.take(x, ops.minimum(places, period - places), axis=axis)
        return x

    def _target(self, side):
        # Rounded up; of no negative number, which ONNX would round towards 0.
        steps = (side - self.smallest + self.step - 1) // self.step
        return self.smallest + self.step * steps + 2 * self.margin

    def compute_output_spec(self, x):
        """Knows a side where the side of the input is known."""
        sides = [side and self._target(side) for side in x.shape[1:3]]
        return keras.KerasTensor((x.shape[0], *sides, x.shape[3]), x.dtype)

    def get_config(self):
        """Adds the sizes."""
        sizes = {"smallest": self.smallest, "step": self.step, "margin": self.margin}
        return {**super().get_config(), **sizes}
