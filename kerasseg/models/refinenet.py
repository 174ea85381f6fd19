"""RefineNet (Lin et al., 2016): every resolution of the encoder, refined in turn."""

import keras
from keras import initializers, layers

from kerasseg import backbones, blocks, errors, models

_STRIDES = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}
_CASCADES = {  # Maps that each RefineNet takes from the encoder, the coarsest first.
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
    num_classes,
    image_size,
    *,
    backbone="resnet50",
    backbone_weights=None,
    cascades=4,
    crp_pools=2,
    filters=256,
    aux=False,
):
    """Builds RefineNet ([Lin17] figures 2 and 3).

    The released code (https://github.com/guosheng/refinenet) is followed in where
    residual units stand: two behind the first convolution of each map of the encoder,
    three at the end of each RefineNet, none before a second one's earlier result. The
    paper is followed in its chained pooling, which the code's later version convolves
    before it pools. Dropout stands before the maps c4 and c5 and before the scores.

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        backbone: Name of the encoder.
        backbone_weights: See `backbones.build`.
        cascades: 4 RefineNets that take one map of the encoder each, 2 that take two,
            or 1 that takes all.
        crp_pools: Pools of each chain: 2 in the paper, 4 in released networks.
        filters: Channels of the decoder, where c5 has twice as many; the paper has 256.
        aux: Whether to return `{"logits": ..., "aux_quarter": ...}`, the latter before
            they are resized: the paper's loss looks there, and there only.

    Raises:
        ValueError: Another number of cascades, or no pool.
    """
    _check(cascades, crp_pools)
    image, padded = blocks.picture(image_size, backbones.normalization(backbone))
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


def decode(c, cascades, crp_pools, filters):
    """Refines the maps of an encoder to one of the size of c2 ([Lin17] figure 2)."""
    earlier: list = []
    for i, keys in enumerate(_CASCADES[cascades]):
        name = f"refine{cascades - i}"
        paths = [
            (adapt(c[key], key, filters, name=f"{name}_{key}"), _STRIDES[key])
            for key in keys
        ]
        x = fuse([*earlier, *paths], name=f"{name}_fuse")
        x = chained_residual_pooling(x, crp_pools, name=f"{name}_pooling")
        for unit in (1, 2, 3):
            x = residual_unit(x, name=f"{name}_unit{unit}")
        earlier = [(x, _STRIDES[keys[-1]])]
    return x


def _check(cascades, crp_pools):
    if cascades not in _CASCADES:
        raise errors.UserError(
            f"cascades={cascades} of 'refinenet' is not one of {tuple(_CASCADES)}."
        )
    if crp_pools < 1:
        raise errors.UserError(
            f"crp_pools={crp_pools} of 'refinenet' must be 1 or more; the paper has 2."
        )


def adapt(x, key, filters, *, name):
    """Brings the map called `key` of the encoder to the decoder's width.

    c5, which has the most channels, keeps twice as many as the others.
    """
    if key in ("c4", "c5"):
        x = layers.Dropout(0.5, name=f"{name}_dropout")(x)
    x = _conv(x, 2 * filters if key == "c5" else filters, name=f"{name}_adapt")
    for unit in (1, 2):
        x = residual_unit(x, name=f"{name}_unit{unit}")
    return x


def residual_unit(x, *, name):
    """Adds to a map what two convolutions make of it ([Lin17] figure 3b)."""
    y = layers.ReLU(name=f"{name}_relu1")(x)
    y = _conv(y, x.shape[-1], use_bias=True, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu2")(y)
    y = _conv(y, x.shape[-1], name=f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([x, y])


def fuse(paths, *, name):
    """Adds maps up at the size of the last, the largest ([Lin17] figure 3c).

    Args:
        paths: Pairs of a map and its stride. All come to the smallest of their widths,
            while they are small; a map that is alone stays as it is.
        name: Of the layers.
    """
    largest, stride = paths[-1]
    if len(paths) == 1:
        return largest
    width = min(x.shape[-1] for x, _ in paths)
    summed = []
    for i, (x, own_stride) in enumerate(paths, start=1):
        x = _conv(x, width, name=f"{name}_conv{i}")
        resize = blocks.ResizeLike(own_stride // stride, name=f"{name}_resize{i}")
        summed.append(resize([x, largest]))
    return layers.Add(name=f"{name}_add")(summed)


def chained_residual_pooling(x, pools, *, name):
    """Adds maxima over ever larger windows, each learned from the one before it.

    5x5 cells at stride 1: [Lin17] figure 3d.
    """
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
