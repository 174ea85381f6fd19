"""SegFormer (Xie et al., 2021): a hierarchical transformer and a head of linear layers.

Details that the paper does not state are those of the authors' code (NVlabs/SegFormer):
epsilons, initializers, half-pixel centers. At image sizes that are not a multiple of
32, keys and values leave out up to `reduction - 1` rows and columns at the bottom and
right, as in that code.
"""

import functools
from collections.abc import Sequence

import keras
from keras import initializers, layers, ops

from kerasseg import blocks, errors, models

_HEADS = (1, 2, 5, 8)
_REDUCTIONS = (8, 4, 2, 1)  # Factors of the height and width of keys and values.
_EXPANSION = 4
# Called for each layer: one instance would give layers of equal shape the same values.
_initializer = functools.partial(initializers.VarianceScaling, 2.0, "fan_out", "normal")


def _builder(name, *, filters=(64, 128, 320, 512), depths, head_filters=768):
    """Returns the builder of a variant, whose sizes are the defaults of its options."""
    sizes = filters, depths, head_filters

    def builder(
        num_classes: int,
        image_size: Sequence[int | None],
        *,
        filters: Sequence[int] = sizes[0],
        depths: Sequence[int] = sizes[1],
        head_filters: int = sizes[2],
        head_norm: bool = False,
        embed_epsilon: float = 1e-5,
        stochastic_depth: float = 0.1,
        gelu: str = "exact",
        norm_epsilon: float = 1e-6,
        resize: str = "half_pixel",
    ) -> keras.Model:
        """Builds a SegFormer ([Xie21] figure 2 and table 6).

        Args:
            num_classes: Number of classes.
            image_size: Height and width in pixels; None where they vary.
            filters: Channels of the stages, multiples of their 1, 2, 5 and 8 heads.
            depths: Number of blocks of the stages.
            head_filters: Channels of the head. The paper has 256 for B0 and B1, 768
                for the others; MMSegmentation and KerasHub have 256 for all.
            head_norm: Whether batch normalization and ReLU follow the linear layers of
                the head, as in MMSegmentation.
            embed_epsilon: Epsilon of layer normalization after strided convolutions;
                1e-6 in MMSegmentation, as for all others.
            stochastic_depth: Probability in training that an image skips a branch of
                the last block. It increases linearly from 0 at the first block.
            gelu: "exact" as in the authors' code, or "tanh", the approximation that
                KerasHub computes.
            norm_epsilon: Epsilon of the layer normalizations of blocks and stages; 1e-6
                in the authors' code, 1e-5 in Hugging Face transformers.
            resize: How logits are resized: "half_pixel", or "corners" as in
                segmentation_models.pytorch.

        Returns:
            A model from images to logits; see `models.build_model`.
        """
        _check(name, filters, depths, gelu)
        image, padded = blocks.image_input(image_size, "torch")
        c = mix_transformer(
            padded,
            filters,
            depths,
            stochastic_depth,
            embed_epsilon=embed_epsilon,
            gelu=gelu,
            norm_epsilon=norm_epsilon,
        )
        x = head(c, head_filters, num_classes, head_norm)
        logits = blocks.full_size_logits(x, padded, image, resize=resize)
        return keras.Model(image, logits, name=name)

    builder.__name__ = name
    return builder


@keras.saving.register_keras_serializable("kerasseg")
def gelu_tanh(x):
    """Approximates GELU by a hyperbolic tangent."""
    return keras.activations.gelu(x, approximate=True)


_GELUS = {"exact": "gelu", "tanh": gelu_tanh}
_register = functools.partial(
    models.register,
    paper="https://arxiv.org/abs/2105.15203",
    output_stride=32,
    setting={"num_classes": 150},
    test_options={
        "filters": (16, 32, 40, 64),
        "depths": (1, 1, 1, 1),
        "head_filters": 32,
        "stochastic_depth": 0.0,  # A skipped branch gets no gradient.
    },
)

# [Xie21] table 6.
_register(name="segformer_b0", params=3_752_694, macs=7_559_219_296)(
    _builder(
        "segformer_b0",
        filters=(32, 64, 160, 256),
        depths=(2, 2, 2, 2),
        head_filters=256,
    )
)
_register(name="segformer_b1", params=13_715_798, macs=14_386_715_328)(
    _builder("segformer_b1", depths=(2, 2, 2, 2), head_filters=256)
)
_register(name="segformer_b2", params=27_461_974, macs=60_057_669_568)(
    _builder("segformer_b2", depths=(3, 4, 6, 3))
)
_register(name="segformer_b3", params=47_337_814, macs=75_477_281_728)(
    _builder("segformer_b3", depths=(3, 4, 18, 3))
)
_register(name="segformer_b4", params=64_108_374, macs=90_190_751_936)(
    _builder("segformer_b4", depths=(3, 8, 27, 3))
)
_register(name="segformer_b5", params=84_708_694, macs=105_320_951_232)(
    _builder("segformer_b5", depths=(3, 6, 40, 3))
)


def mix_transformer(
    x,
    filters: Sequence[int],
    depths,
    stochastic_depth,
    *,
    embed_epsilon: float = 1e-5,
    gelu: str = "exact",
    norm_epsilon: float = 1e-6,
):
    """Builds the encoder, MiT ([Xie21] section 3.1).

    Returns:
        Dict of "c2" to "c5", at strides 4 to 32.
    """
    c, done = {}, 0
    norm = functools.partial(_norm, epsilon=norm_epsilon)
    for stage, depth in enumerate(depths):
        name = f"stage{stage + 1}"
        first, sizes = stage == 0, (filters[stage], embed_epsilon)
        x = _embed_patches(x, *sizes, first=first, name=f"{name}_embed")
        for block in range(depth):
            rate = stochastic_depth * done / max(sum(depths) - 1, 1)
            block_name, done = f"{name}_block{block + 1}", done + 1
            branch = norm(x, name=f"{block_name}_attend_norm")
            branch = efficient_attention(
                branch,
                _HEADS[stage],
                _REDUCTIONS[stage],
                embed_epsilon,
                name=f"{block_name}_attend",
            )
            x = _add(x, branch, rate, name=f"{block_name}_attend")
            branch = norm(x, name=f"{block_name}_mix_norm")
            branch = mix(branch, gelu, name=f"{block_name}_mix")
            x = _add(x, branch, rate, name=f"{block_name}_mix")
        x = c[f"c{stage + 2}"] = norm(x, name=f"{name}_norm")
    return c


def efficient_attention(x, heads, reduction, epsilon: float = 1e-5, *, name: str):
    """Applies efficient self-attention ([Xie21] equation 2)."""
    filters = x.shape[-1]
    query = _linear(x, filters, name=f"{name}_query")
    if reduction > 1:
        x = layers.Conv2D(
            filters,
            reduction,
            strides=reduction,
            kernel_initializer=_initializer(),
            name=f"{name}_reduce",
        )(x)
        x = _norm(x, epsilon=epsilon, name=f"{name}_reduce_norm")
    key_value = _linear(x, 2 * filters, name=f"{name}_key_value")
    x = Attention(heads, name=name)([query, key_value])
    return _linear(x, filters, name=f"{name}_project")


def mix(x, gelu: str = "exact", *, name: str):
    """Applies Mix-FFN with a GELU, one of `_GELUS` ([Xie21] equation 3)."""
    filters = x.shape[-1]
    x = _linear(x, _EXPANSION * filters, name=f"{name}_widen")
    x = layers.DepthwiseConv2D(
        3,
        padding="same",
        depthwise_initializer=_initializer(),
        name=f"{name}_depthwise",
    )(x)
    x = layers.Activation(_GELUS[gelu], name=f"{name}_gelu")(x)
    return _linear(x, filters, name=f"{name}_narrow")


def head(c, filters: int, num_classes: int, norm: bool = False):
    """Applies the all-MLP decoder ([Xie21] section 3.2)."""
    maps = []
    for level in (5, 4, 3, 2):
        if norm:
            x = blocks.conv_bn_relu(c[f"c{level}"], filters, 1, name=f"head_c{level}")
        else:
            x = layers.Dense(filters, name=f"head_c{level}")(c[f"c{level}"])
        if level > 2:
            x = blocks.ResizeLike(name=f"head_c{level}_up")([x, c["c2"]])
        maps.append(x)
    x = layers.Concatenate(name="head_concat")(maps)
    x = blocks.conv_bn_relu(x, filters, 1, name="head_fuse")
    x = layers.Dropout(0.1, name="head_dropout")(x)
    initializer = initializers.RandomNormal(stddev=0.01)
    return layers.Conv2D(
        num_classes, 1, kernel_initializer=initializer, dtype="float32", name="classify"
    )(x)


@keras.saving.register_keras_serializable("kerasseg")
class Attention(layers.Layer):
    """Multi-head attention between feature maps.

    Its inputs are `[query, key_value]`: `[batch, height, width, channels]`, and a
    feature map of any size whose `2 * channels` are keys and values. The softmax is
    computed in float32.

    Args:
        heads: Number of heads.
    """

    def __init__(self, heads: int, **options):
        super().__init__(**options)
        self.heads = heads

    def call(self, inputs):
        """Returns a feature map of the size of the query."""
        query, key_value = inputs
        height, width = ops.shape(query)[1:3]
        channels = query.shape[3]
        # Scaled before the product, which could overflow float16.
        query = self._split_heads(query * (channels // self.heads) ** -0.5)
        key, value = [self._split_heads(x) for x in ops.split(key_value, 2, axis=-1)]
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        # ops.softmax warns if a small map has a single key.
        weights = ops.exp(ops.log_softmax(ops.cast(scores, "float32"), axis=-1))
        x = ops.matmul(ops.cast(weights, value.dtype), value)
        x = ops.transpose(x, (0, 2, 1, 3))
        return ops.reshape(x, (-1, height, width, channels))

    def _split_heads(self, x):
        """Reshapes a map to `[batch, heads, cells, channels per head]`."""
        height, width = ops.shape(x)[1:3]
        x = ops.reshape(x, (-1, height * width, self.heads, x.shape[3] // self.heads))
        return ops.transpose(x, (0, 2, 1, 3))

    def compute_output_spec(self, inputs):
        """Returns the output spec."""
        return keras.KerasTensor(inputs[0].shape, self.compute_dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "heads": self.heads}


def _embed_patches(x, filters, epsilon, *, first, name):
    """Applies overlapped patch merging ([Xie21] section 3.1)."""
    size, stride = (7, 4) if first else (3, 2)
    x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        filters, size, strides=stride, kernel_initializer=_initializer(), name=name
    )(x)
    return _norm(x, epsilon=epsilon, name=f"{name}_norm")


def _add(x, branch, rate, *, name):
    """Adds a branch, which training skips with probability `rate` per image."""
    branch = layers.Dropout(rate, (None, 1, 1, 1), name=f"{name}_skip")(branch)
    return layers.Add(name=f"{name}_add")([x, branch])


def _linear(x, filters, *, name):
    initializer = initializers.TruncatedNormal(stddev=0.02)
    return layers.Dense(filters, kernel_initializer=initializer, name=name)(x)


def _norm(x, *, epsilon=1e-6, name):
    return layers.LayerNormalization(epsilon=epsilon, name=name)(x)


def _check(name, filters, depths, gelu):
    if gelu not in _GELUS:
        raise errors.UserError(
            f"`gelu={gelu}` of '{name}' must be one of {tuple(_GELUS)}."
        )
    divisible = [f % heads == 0 for f, heads in zip(filters, _HEADS, strict=False)]
    if len(filters) != len(_HEADS) or len(depths) != len(_HEADS) or not all(divisible):
        raise errors.UserError(
            f"`filters={filters}` and `depths={depths}` of '{name}' must be four "
            f"numbers each, and the filters multiples of the attention heads {_HEADS}."
        )
