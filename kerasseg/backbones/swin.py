"""Swin Transformer (Liu et al., 2021, https://arxiv.org/abs/2103.14030).

It takes images of any size like the authors' code for segmentation: images are padded
to whole patches and maps to whole windows, with zeros at the bottom and right, and
windows are shifted even where a map has a single one.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import initializers, layers, ops

from kerasseg import backbones, blocks, errors

_CHANNELS_PER_HEAD = 32
_EXPANSION = 4
_PATCH = 4
_MASKED = -100.0  # Added to the scores of keys of another region.


@dataclasses.dataclass(frozen=True)
class _Variant:
    width: int
    depths: tuple[int, int, int, int]
    params: int


# [Liu21] section 3.3.
VARIANTS = {
    "swin_tiny": _Variant(96, (2, 2, 6, 2), 27_519_354),
    "swin_small": _Variant(96, (2, 2, 18, 2), 48_837_258),
    "swin_base": _Variant(128, (2, 2, 18, 2), 86_743_224),
    "swin_large": _Variant(192, (2, 2, 18, 2), 194_995_476),
}


def swin(
    name: str,
    image,
    *,
    width: int,
    depths: Sequence[int],
    output_stride: int = 32,
    weights: str | None = None,
    window: int = 7,
    end_norms: bool = False,
    stochastic_depth: float = 0.2,
) -> dict[str, Any]:
    """Builds a Swin Transformer ([Liu21] figure 3).

    Args:
        name: Key of `VARIANTS`.
        image: Normalized image.
        width: Channels of "c2", a multiple of 32, the channels of a head.
        depths: Number of blocks of the four stages.
        output_stride: 32.
        weights: None.
        window: Side of a window in cells; 12 in weights for images of 384 pixels.
        end_norms: Whether "c2" to "c4" are followed by a layer normalization of their
            own, as in the authors' networks for segmentation; "c5" always is.
        stochastic_depth: Probability in training that an image skips a branch of the
            last block. It increases linearly from 0 at the first block.

    Returns:
        Dict of "c2" to "c5"; there is no "c1", because the first stride is 4.

    Raises:
        UserError: A size is out of range, or `output_stride` or `weights` is another.
    """
    _check(name, width, depths, window, output_stride, weights)
    x = blocks.PadToMultiple(_PATCH, name="embed_pad")(image)
    x = layers.Conv2D(width, _PATCH, strides=_PATCH, name="embed")(x)
    x = _norm(x, name="embed_norm")
    c, done = {}, 0
    for stage, depth in enumerate(depths):
        start = f"stage{stage + 1}"
        if stage:
            x = _merge(x, name=f"{start}_merge")
        for i in range(depth):
            x = block(
                x,
                window=window,
                shift=window // 2 if i % 2 else 0,
                rate=stochastic_depth * done / max(sum(depths) - 1, 1),
                name=f"{start}_block{i + 1}",
            )
            done += 1
        c[f"c{stage + 2}"] = x
    for key in c if end_norms else ("c5",):
        c[key] = _norm(c[key], name=f"{key}_norm")
    return c


for _name, _variant in VARIANTS.items():
    backbones.register(name=_name, normalization="torch", params=_variant.params)(
        functools.partial(swin, _name, width=_variant.width, depths=_variant.depths)
    )


def block(x, *, window: int, shift: int, rate: float, name: str):
    """Applies attention within windows, and two linear layers ([Liu21] equation 3).

    Args:
        x: Feature map.
        window: Side of a window in cells.
        shift: Cells by which windows are shifted to the bottom and right.
        rate: Probability in training that an image skips a branch.
        name: Start of the layers' names.
    """
    filters = x.shape[-1]
    branch = _norm(x, name=f"{name}_attend_norm")
    branch = blocks.PadToMultiple(window, name=f"{name}_attend_pad")(branch)
    branch = _linear(branch, 3 * filters, name=f"{name}_attend_query_key_value")
    attend = WindowAttention(
        filters // _CHANNELS_PER_HEAD, window, shift, name=f"{name}_attend"
    )
    branch = blocks.CropLike(name=f"{name}_attend_crop")([attend(branch), x])
    branch = _linear(branch, filters, name=f"{name}_attend_project")
    x = _add(x, branch, rate, name=f"{name}_attend")
    branch = _norm(x, name=f"{name}_mix_norm")
    branch = _linear(branch, _EXPANSION * filters, name=f"{name}_mix_widen")
    branch = layers.Activation("gelu", name=f"{name}_mix_gelu")(branch)
    branch = _linear(branch, filters, name=f"{name}_mix_narrow")
    return _add(x, branch, rate, name=f"{name}_mix")


@keras.saving.register_keras_serializable("kerasseg")
class WindowAttention(layers.Layer):
    """Multi-head self-attention within windows ([Liu21] section 3.2).

    Its input is a map of queries, keys and values, `[batch, height, width, 3 *
    channels]`, whose height and width are multiples of the window's. With a shift, the
    map is rolled, and cells of windows at its end attend only to those of the same side
    of the seam ([Liu21] figure 4). The softmax is computed in float32, or float64.

    Args:
        heads: Number of heads.
        window: Side of a window in cells.
        shift: Cells by which windows are shifted.
    """

    def __init__(self, heads: int, window: int, shift: int = 0, **options):
        super().__init__(**options)
        self.heads, self.window, self.shift = heads, window, shift

    def build(self, _):
        """Creates the biases, one for each head and relative position."""
        self.table = self.add_weight(
            name="relative_position_bias_table",
            shape=((2 * self.window - 1) ** 2, self.heads),
            initializer=initializers.TruncatedNormal(stddev=0.02),
        )

    def call(self, x):
        """Returns a map of a third of the channels."""
        height, width = ops.shape(x)[1:3]
        channels, cells = x.shape[3] // 3, self.window**2
        x = self._partition(_roll(x, self.shift), width)
        x = ops.reshape(x, (-1, cells, 3, self.heads, channels // self.heads))
        query, key, value = ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)))
        # Scaled before the product, which could overflow float16.
        query = query * (channels // self.heads) ** -0.5
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        scores = ops.cast(scores, dtype) + ops.cast(self._bias(), dtype)
        if self.shift:
            scores = self._mask(scores, height // self.window, width // self.window)
        x = ops.matmul(ops.cast(ops.softmax(scores, axis=-1), value.dtype), value)
        x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, cells, channels))
        return _roll(self._merge(x, height, width), -self.shift)

    def _partition(self, x, width):
        """Returns the windows, `[batch * windows, window, window * channels]`."""
        columns, row = width // self.window, self.window * x.shape[3]
        x = ops.reshape(x, (-1, self.window, columns, row))
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, self.window, row))

    def _merge(self, x, height, width):
        """Returns the map of windows `[batch * windows, window**2, channels]`."""
        columns, channels = width // self.window, x.shape[2]
        x = ops.reshape(x, (-1, columns, self.window, self.window * channels))
        x = ops.transpose(x, (0, 2, 1, 3))
        return ops.reshape(x, (-1, height, width, channels))

    def _bias(self):
        """Returns `[heads, cells, cells]`."""
        cell = np.indices((self.window, self.window)).reshape(2, -1)
        row, column = cell[:, :, None] - cell[:, None, :] + self.window - 1
        bias = ops.take(self.table, row * (2 * self.window - 1) + column, axis=0)
        return ops.transpose(bias, (2, 0, 1))

    def _mask(self, scores, rows, columns):
        """Lowers scores of cells that the roll brought together."""
        is_rolled = np.arange(self.window) >= self.window - self.shift
        row, column = np.meshgrid(is_rolled, is_rolled, indexing="ij")
        parts = row.reshape(-1), column.reshape(-1)
        differs = [part[:, None] != part[None, :] for part in parts]
        differs = [ops.cast(ops.array(part), scores.dtype) for part in differs]
        below = _is_last(rows, scores.dtype)[:, None, None, None] * differs[0]
        right = _is_last(columns, scores.dtype)[None, :, None, None] * differs[1]
        mask = _MASKED * ops.maximum(below, right)
        cells = self.window**2
        mask = ops.reshape(mask, (rows * columns, 1, cells, cells))
        shape = (-1, rows * columns, self.heads, cells, cells)
        scores = ops.reshape(scores, shape) + mask
        return ops.reshape(scores, (-1, self.heads, cells, cells))

    def compute_output_spec(self, x):
        """Returns the output spec."""
        shape = (*x.shape[:3], x.shape[3] // 3)
        return keras.KerasTensor(shape, self.compute_dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        sizes = {"heads": self.heads, "window": self.window, "shift": self.shift}
        return {**super().get_config(), **sizes}


@keras.saving.register_keras_serializable("kerasseg")
class MergePatches(layers.Layer):
    """Concatenates the channels of 2x2 cells: top left, bottom left, then the right.

    Height and width of the map are even.
    """

    def call(self, x):
        """Returns a map of half the height and width."""
        height, width = ops.shape(x)[1:3]
        channels = x.shape[3]
        x = ops.reshape(x, (-1, 2, width // 2, 2 * channels))
        left, right = ops.split(ops.transpose(x, (0, 2, 1, 3)), 2, axis=-1)
        x = ops.concatenate([left, right], axis=2)
        return ops.reshape(x, (-1, height // 2, width // 2, 4 * channels))

    def compute_output_spec(self, x):
        """Returns the output spec."""
        sides = [side and side // 2 for side in x.shape[1:3]]
        shape = (x.shape[0], *sides, 4 * x.shape[3])
        return keras.KerasTensor(shape, self.compute_dtype)


def _merge(x, *, name):
    """Halves the height and width of a map ([Liu21] section 3.1)."""
    filters = 2 * x.shape[-1]
    x = blocks.PadToMultiple(2, name=f"{name}_pad")(x)
    x = _norm(MergePatches(name=f"{name}_cells")(x), name=f"{name}_norm")
    return _linear(x, filters, use_bias=False, name=name)


def _roll(x, shift):
    """Moves cells by `shift` to the top and left, and those at the edge to the end."""
    if not shift:
        return x
    x = ops.concatenate([x[:, shift:], x[:, :shift]], axis=1)
    return ops.concatenate([x[:, :, shift:], x[:, :, :shift]], axis=2)


def _is_last(count, dtype):
    """Returns 1 for the last of `count` windows and 0 for the others."""
    return ops.concatenate([ops.zeros((count - 1,), dtype), ops.ones((1,), dtype)])


def _add(x, branch, rate, *, name):
    """Adds a branch, which training skips with probability `rate` per image."""
    branch = layers.Dropout(rate, (None, 1, 1, 1), name=f"{name}_skip")(branch)
    return layers.Add(name=f"{name}_add")([x, branch])


def _linear(x, filters, *, use_bias=True, name):
    return layers.Dense(
        filters,
        use_bias=use_bias,
        kernel_initializer=initializers.TruncatedNormal(stddev=0.02),
        name=name,
    )(x)


def _norm(x, *, name):
    return layers.LayerNormalization(epsilon=1e-5, name=name)(x)


def _check(name, width, depths, window, output_stride, weights):
    if width < 1 or width % _CHANNELS_PER_HEAD or len(depths) != 4 or window < 2:
        raise errors.UserError(
            f"`width={width}` of '{name}' must be a multiple of {_CHANNELS_PER_HEAD}, "
            f"`depths={depths}` four numbers, and `window={window}` at least 2."
        )
    if output_stride != 32:
        raise errors.UserError(
            f"`output_stride={output_stride}` of '{name}' must be 32: windows cannot "
            "be dilated."
        )
    if weights is not None:
        raise errors.UserError(
            f"Keras has no ImageNet weights of '{name}'. Set weights to None or a "
            ".keras file, or load a file of timm, torchvision or Hugging Face."
        )
