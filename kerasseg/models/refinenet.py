"""RefineNet (Lin et al., 2016): multi-path refinement of the encoder's features."""

from collections.abc import Sequence

import keras
from keras import initializers, layers

from kerasseg import backbones, blocks, errors, models

_STRIDES = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}
_CASCADES = {  # Inputs of each RefineNet block from the encoder, coarsest first.
    1: (("c5", "c4", "c3", "c2"),),
    2: (("c5", "c4"), ("c3", "c2")),
    4: (("c5",), ("c4",), ("c3",), ("c2",)),
}


@models.register(
    paper="https://arxiv.org/abs/1611.06612",
    params=90_802_773,
    macs=222_217_314_752,
    output_stride=32,
    setting={"backbone": "resnet50", "cascades": 4, "crp_pools": 2},
    test_options={"backbone": "resnet18_quarter", "filters": 16},
)
def refinenet(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet50",
    backbone_weights: str | None = None,
    cascades: int = 4,
    crp_pools: int = 2,
    filters: int = 256,
    aux: bool = False,
) -> keras.Model:
    """Builds RefineNet ([Lin17] figures 2 and 3).

    Residual units are placed as in the released code
    (https://github.com/guosheng/refinenet): two after the first convolution of each
    feature map of the encoder, three at the end of each RefineNet block, none for the
    output of a previous block. Chained residual pooling is that of the paper; a later
    version of the code convolves before it pools. Dropout is applied to "c4", "c5" and
    before the classifier.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of the backbone; see `backbones.list_backbones`.
        backbone_weights: See `backbones.build`.
        cascades: Number of RefineNet blocks: 4 with one feature map of the encoder
            each, 2 with two each, or 1 with all four.
        crp_pools: Number of pools of each chain: 2 in the paper, 4 in released
            networks.
        filters: Channels of the decoder, twice as many for "c5"; 256 in the paper.
        aux: Whether to return "aux_quarter" too, the logits at stride 4 before they are
            resized, which alone the paper trains.

    Returns:
        A model from images to logits; see `models.build_model`.

    Raises:
        UserError: Another number of cascades, or no pool.
    """
    _check(cascades, crp_pools)
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
    c = backbones.build(backbone, padded, weights=backbone_weights)
    x = decode(c, cascades, crp_pools, filters)
    x = layers.Dropout(0.5, name="classify_dropout")(x)
    scores = _conv(x, num_classes, use_bias=True, dtype="float32", name="classify")
    logits = blocks.full_size_logits(scores, padded, image, stride=_STRIDES["c2"])
    outputs = logits
    if aux:
        quarter = blocks.AtStride(_STRIDES["c2"], name="aux_quarter")(scores)
        outputs = {"logits": logits, "aux_quarter": quarter}
    return keras.Model(image, outputs, name="refinenet")


def decode(c, cascades, crp_pools, filters: int):
    """Refines feature maps of an encoder to the size of "c2" ([Lin17] figure 2)."""
    previous: list = []
    for i, keys in enumerate(_CASCADES[cascades]):
        name = f"refine{cascades - i}"
        paths = [
            (adapt(c[key], key, filters, name=f"{name}_{key}"), _STRIDES[key])
            for key in keys
        ]
        x = fuse([*previous, *paths], name=f"{name}_fuse")
        x = chained_residual_pooling(x, crp_pools, name=f"{name}_pooling")
        for unit in (1, 2, 3):
            x = residual_unit(x, name=f"{name}_unit{unit}")
        previous = [(x, _STRIDES[keys[-1]])]
    return x


def _check(cascades, crp_pools):
    if cascades not in _CASCADES:
        raise errors.UserError(
            f"`cascades={cascades}` of 'refinenet' must be one of {tuple(_CASCADES)}."
        )
    if crp_pools < 1:
        raise errors.UserError(
            f"`crp_pools={crp_pools}` of 'refinenet' must be at least 1; 2 in the "
            "paper."
        )


def adapt(x, key, filters: int, *, name: str):
    """Projects the feature map `key` of the encoder to the channels of the decoder.

    "c5" gets twice as many as the others.
    """
    if key in ("c4", "c5"):
        x = layers.Dropout(0.5, name=f"{name}_dropout")(x)
    x = _conv(x, 2 * filters if key == "c5" else filters, name=f"{name}_adapt")
    for unit in (1, 2):
        x = residual_unit(x, name=f"{name}_unit{unit}")
    return x


def residual_unit(x, *, name: str):
    """Applies a residual convolution unit ([Lin17] figure 3b)."""
    y = layers.ReLU(name=f"{name}_relu1")(x)
    y = _conv(y, x.shape[-1], use_bias=True, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu2")(y)
    y = _conv(y, x.shape[-1], name=f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([x, y])


def fuse(paths, *, name: str):
    """Applies multi-resolution fusion at the size of the last path ([Lin17] figure 3c).

    Args:
        paths: Pairs of a feature map and its stride, the largest map last. They are
            projected to the smallest number of channels before they are resized; a
            single one is returned unchanged.
        name: Prefix of the layer names.
    """
    largest, stride = paths[-1]
    if len(paths) == 1:
        return largest
    width = min(x.shape[-1] for x, _ in paths)
    resized = []
    for i, (x, own_stride) in enumerate(paths, start=1):
        x = _conv(x, width, name=f"{name}_conv{i}")
        resize = blocks.ResizeLike(own_stride // stride, name=f"{name}_resize{i}")
        resized.append(resize([x, largest]))
    return layers.Add(name=f"{name}_add")(resized)


def chained_residual_pooling(x, pools, *, name: str):
    """Applies chained residual pooling, 5x5 with stride 1 ([Lin17] figure 3d)."""
    x = pooled = layers.ReLU(name=f"{name}_relu")(x)
    for i in range(1, pools + 1):
        pool = layers.MaxPooling2D(5, 1, padding="same", name=f"{name}_pool{i}")
        pooled = _conv(pool(pooled), x.shape[-1], name=f"{name}_conv{i}")
        x = layers.Add(name=f"{name}_add{i}")([x, pooled])
    return x


def _conv(x, filters, *, use_bias=False, dtype=None, name):
    return blocks.Conv2D(
        filters,
        3,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        dtype=dtype,
        name=name,
    )(x)
