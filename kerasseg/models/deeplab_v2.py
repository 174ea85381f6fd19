"""DeepLab v2 (Chen et al., 2016): atrous spatial pyramid pooling, multiple scales."""

from collections.abc import Sequence

import keras
from keras import initializers, layers, ops

from kerasseg import backbones, blocks, errors, models
from kerasseg.backbones import vgg

_HEADS = {  # Rates of the branches.
    "large_fov": (12,),
    "aspp_s": (2, 4, 8, 12),
    "aspp_l": (6, 12, 18, 24),
}
_STEPS = {"half": (2, 1), "three_quarters": (4, 3)}  # Resampling steps.


@models.register(
    paper="https://arxiv.org/abs/1606.00915",
    params=44_048_532,
    macs=188_885_763_264,
    output_stride=8,
    test_options={"backbone": "resnet18_quarter", "multi_scale": True},
)
def deeplab_v2(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet101",
    backbone_weights: str | None = None,
    head: str = "aspp_l",
    multi_scale: bool = False,
    aux: bool = False,
) -> keras.Model:
    """Builds DeepLab v2 ([Chen16] sections 3.1, 3.2, 4.1) as in the released networks.

    With VGG16 the pools and rates are those of LargeFOV in v1, and each branch has its
    fc6, fc7 and fc8 ([Chen16] figure 7). With other backbones, at output stride 8, a
    branch is one 3x3 convolution. The scores of the branches are added.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of the backbone; see `backbones.list_backbones`.
        backbone_weights: See `backbones.build`. For VGG16 they include fc6 and fc7;
            "imagenet" initializes all branches equally.
        head: "large_fov" (one branch, rate 12), "aspp_s" (rates 2, 4, 8, 12) or
            "aspp_l" (6, 12, 18, 24).
        multi_scale: Whether to run the network on the image at 0.5, 0.75 and 1 times
            its size and take the maximum of the scores ("MSC").
        aux: Whether to return "aux_scores" too, at stride 8, which the paper trains;
            and with `multi_scale` the scores of each scale, "aux_full",
            "aux_three_quarters" (both at stride 8) and "aux_half" (at stride 16).

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    if head not in _HEADS:
        raise errors.UserError(
            f"`head={head}` of 'deeplab_v2' must be one of {[*_HEADS]}."
        )
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
    rates = _HEADS[head]
    if backbone == "vgg16":
        branches = _vgg16_branches(padded, rates, backbone_weights)
        branches = [_classify(x, num_classes, name=f"fc8{end}") for end, x in branches]
    else:
        c = backbones.build(backbone, padded, output_stride=8, weights=backbone_weights)
        branches = [
            _classify(c["c5"], num_classes, 3, rate=rate, name=f"aspp{i}")
            for i, rate in enumerate(rates, start=1)
        ]
    scores, aux_outputs = _add(branches), {}
    if multi_scale:
        aux_outputs = _scores_of_scales(keras.Model(padded, scores), padded, scores)
        scores = _largest(aux_outputs)
    logits = blocks.full_size_logits(scores, padded, image, stride=8)
    outputs = logits
    if aux:
        outputs = {"logits": logits}
        for name, x in {"aux_scores": scores, **aux_outputs}.items():
            stride = 16 if name == "aux_half" else 8
            outputs[name] = blocks.AtStride(stride, name=name)(x)
    return keras.Model(image, outputs, name="deeplab_v2")


@keras.saving.register_keras_serializable("kerasseg")
class Resample(layers.Layer):
    """Resizes bilinearly so that cell `k` lies at cell `k * step` of the input.

    The first cells coincide, as for strided convolutions.

    Args:
        step: Numerator and denominator of the step; (4, 3) resizes 321 pixels to 241.
    """

    def __init__(self, step: Sequence[int], **options):
        super().__init__(autocast=False, **options)
        self.step = tuple(step)

    def call(self, x, like=None):
        """Resizes `[batch, height, width, channels]`.

        Args:
            x: Feature map.
            like: Tensor with the height and width of the result, for which the last
                cell is repeated; None to end at the last cell of `x`.
        """
        for axis in (1, 2):
            length = ops.shape(x)[axis]
            new_length = (
                self._new_length(length) if like is None else ops.shape(like)[axis]
            )
            x = self._resize_axis(x, axis, length, new_length)
        return x

    def _new_length(self, length):
        numerator, denominator = self.step
        return (length - 1) * denominator // numerator + 1

    def _resize_axis(self, x, axis, length, new_length):
        numerator, denominator = self.step
        at = ops.arange(new_length, dtype="int32") * numerator
        low = ops.minimum(at // denominator, length - 1)
        high = ops.minimum(low + 1, length - 1)
        weight = ops.cast(at % denominator, x.dtype) / denominator
        weight = ops.reshape(weight, (-1, 1, 1) if axis == 1 else (-1, 1))
        low, high = [ops.take(x, cells, axis=axis) for cells in (low, high)]
        return low + (high - low) * weight

    def compute_output_spec(self, x, like=None):
        """Returns the output spec."""
        sides = [side and self._new_length(side) for side in x.shape[1:3]]
        sides = sides if like is None else like.shape[1:3]
        return keras.KerasTensor((x.shape[0], *sides, x.shape[3]), x.dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "step": self.step}


def _vgg16_branches(image, rates, weights):
    """Builds VGG16 and the branches of fc6 and fc7, one for each rate."""
    maps = vgg.vgg16(image, pool=vgg.deeplab_pool, rates=(1, 1, 1, 1, 2))
    x = maps["pool5"]
    if len(rates) == 1:  # Only LargeFOV of the released networks has it.
        x = vgg.deeplab_mean_pool(x)
    branches = {}
    for i, rate in enumerate(rates, start=1):
        end = "" if i == 1 else f"_{i}"
        branch = vgg.fully_connected(x, 1024, 3, rate=rate, name=f"fc6{end}")
        branches[end] = vgg.fully_connected(branch, 1024, 1, name=f"fc7{end}")
    encoder = keras.Model(image, list(branches.values()))
    vgg.load_weights(encoder, weights)
    if weights == "imagenet":
        for end in branches:
            for name in ("fc6", "fc7"):
                first = encoder.get_layer(name).get_weights()
                encoder.get_layer(f"{name}{end}").set_weights(first)
    return branches.items()


def _classify(x, num_classes, kernel_size=1, *, rate=1, name):
    return blocks.Conv2D(
        num_classes,
        kernel_size,
        dilation_rate=rate,
        padding="same",
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        dtype="float32",
        name=name,
    )(x)


def _add(branches):
    if len(branches) == 1:
        return branches[0]
    return layers.Add(dtype="float32", name="sum")(branches)


def _scores_of_scales(network, image, full):
    """Runs the network on the smaller images too."""
    scores = {"full": full}
    for name, step in _STEPS.items():
        small = Resample(step, dtype="float32", name=f"picture_{name}")(image)
        # Calls the same layers, not a nested model, so that their names stay the same.
        scores[name] = network.call(small)
    scores["three_quarters"] = Resample(
        (3, 4), dtype="float32", name="scores_three_quarters"
    )(scores["three_quarters"], like=full)
    return {f"aux_{name}": x for name, x in scores.items()}


def _largest(scores):
    """Returns the maximum over the scales ([Chen16] section 4.1)."""
    half = Resample((1, 2), dtype="float32", name="scores_half")(
        scores["aux_half"], like=scores["aux_full"]
    )
    return layers.Maximum(dtype="float32", name="largest")(
        [scores["aux_full"], scores["aux_three_quarters"], half]
    )
