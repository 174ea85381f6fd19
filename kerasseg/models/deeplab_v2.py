"""DeepLab v2 (Chen et al., 2016): atrous spatial pyramid pooling, several scales."""

import keras
from keras import initializers, layers, ops

from kerasseg import backbones, blocks, errors, models
from kerasseg.backbones import vgg

_HEADS = {  # Rates of the branches.
    "large_fov": (12,),
    "aspp_s": (2, 4, 8, 12),
    "aspp_l": (6, 12, 18, 24),
}
_STEPS = {"half": (2, 1), "three_quarters": (4, 3)}  # Pixels to one of a small picture.


@models.register(
    paper="https://arxiv.org/abs/1606.00915",
    params=44_048_532,
    macs=188_885_763_264,
    output_stride=8,
    test_options={"backbone": "resnet18_quarter", "multi_scale": True},
)
def deeplab_v2(
    num_classes,
    image_size,
    *,
    backbone="resnet101",
    backbone_weights=None,
    head="aspp_l",
    multi_scale=False,
    aux=False,
):
    """Builds DeepLab v2 ([Chen16] sections 3.1, 3.2 and 4.1), as the released nets do.

    VGG16 has the pools and holes of v1's LargeFOV; its branches are fc6, fc7 and fc8
    each ([Chen16] figure 7). Other encoders are taken at output stride 8, a branch is
    one convolution of 3x3. The scores of the branches are added up.

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        backbone: Name of the encoder.
        backbone_weights: See `backbones.build`; of VGG16, fc6 and fc7 too: "imagenet"
            gives every branch the same.
        head: "large_fov" (one branch, rate 12), "aspp_s" (rates 2, 4, 8, 12) or
            "aspp_l" (6, 12, 18, 24).
        multi_scale: Runs the network on the picture at 0.5, 0.75 and 1 and takes the
            largest of the three scores ("MSC").
        aux: Gives "aux_scores" too, one cell to 8 pixels: what the paper trains. Of
            several scales also those of each alone: "aux_full", "aux_three_quarters"
            (brought to the same cells) and "aux_half" (one cell to 16 pixels).
    """
    if head not in _HEADS:
        raise errors.UserError(
            f"head='{head}' of 'deeplab_v2' is not known; choose one of {[*_HEADS]}."
        )
    image, padded = blocks.picture(image_size, backbones.normalization(backbone))
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

    The first cells lie on each other, as in every map of a strided network.

    Args:
        step: Numerator and denominator: (4, 3) makes 241 pixels of 321.
    """

    def __init__(self, step, **options):
        super().__init__(autocast=False, **options)
        self.step = tuple(step)

    def call(self, x, like=None):
        """Takes a map, `[batch, height, width, channels]`.

        With `like` the result has its height and width, and the last cell stands for
        all beyond it; without, it ends where the map ends.
        """
        for axis in (1, 2):
            length = ops.shape(x)[axis]
            wanted = self._shrunk(length) if like is None else ops.shape(like)[axis]
            x = self._along(x, axis, length, wanted)
        return x

    def _shrunk(self, length):
        numerator, denominator = self.step
        return (length - 1) * denominator // numerator + 1

    def _along(self, x, axis, length, wanted):
        numerator, denominator = self.step
        at = ops.arange(wanted, dtype="int32") * numerator
        low = ops.minimum(at // denominator, length - 1)
        high = ops.minimum(low + 1, length - 1)
        share = ops.cast(at % denominator, x.dtype) / denominator
        share = ops.reshape(share, (-1, 1, 1) if axis == 1 else (-1, 1))
        low, high = [ops.take(x, cells, axis=axis) for cells in (low, high)]
        return low + (high - low) * share

    def compute_output_spec(self, x, like=None):
        """Knows a side where the side of the input, or of `like`, is known."""
        sides = [side and self._shrunk(side) for side in x.shape[1:3]]
        sides = sides if like is None else like.shape[1:3]
        return keras.KerasTensor((x.shape[0], *sides, x.shape[3]), x.dtype)

    def get_config(self):
        """Adds the step."""
        return {**super().get_config(), "step": self.step}


def _vgg16_branches(image, rates, weights):
    """Builds VGG16 and, for each rate, fc6 and fc7; the first are called so."""
    maps = vgg.vgg16(image, pool=vgg.deeplab_pool, rates=(1, 1, 1, 1, 2))
    x = maps["pool5"]
    if len(rates) == 1:  # LargeFOV has it, the released pyramid does not.
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
    """Runs the network on the smaller pictures too."""
    scores = {"full": full}
    for name, step in _STEPS.items():
        picture = Resample(step, dtype="float32", name=f"picture_{name}")(image)
        # Its layers once more, not a network within the network: they stay those of
        # one scale, with their names.
        scores[name] = network.call(picture)
    scores["three_quarters"] = Resample(
        (3, 4), dtype="float32", name="scores_three_quarters"
    )(scores["three_quarters"], like=full)
    return {f"aux_{name}": x for name, x in scores.items()}


def _largest(scores):
    """Fuses the scales ([Chen16] section 4.1)."""
    half = Resample((1, 2), dtype="float32", name="scores_half")(
        scores["aux_half"], like=scores["aux_full"]
    )
    return layers.Maximum(dtype="float32", name="largest")(
        [scores["aux_full"], scores["aux_three_quarters"], half]
    )
