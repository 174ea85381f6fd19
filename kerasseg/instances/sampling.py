"""Which anchors and regions a training step takes."""

from typing import Any, NamedTuple

from keras import ops

from kerasseg.instances import matching, nms


class Sample(NamedTuple):
    """Candidates that were drawn, the positive ones first.

    Attributes:
        index: Numbers of candidates, int32 `[batch, count]`.
        is_positive: bool `[batch, count]`.
        is_negative: bool `[batch, count]`; neither is padding.
    """

    index: Any
    is_positive: Any
    is_negative: Any


def draw(kind, random, count: int, fraction: float) -> Sample:
    """Draws positive and negative candidates ([Ren15] section 3.1.3).

    Args:
        kind: See `matching.Matches`.
        random: Different numbers from 0 to 1 that decide, `[batch, candidates]`.
        count: Number of candidates that are drawn, if there are as many.
        fraction: Largest part of them that is positive; negative ones take the place of
            missing ones.
    """
    most = int(count * fraction)
    first, has_first = _draw(kind == matching.POSITIVE, random, most)
    others, has_other = _draw(kind == matching.NEGATIVE, random, count)
    num_positive = ops.sum(ops.cast(has_first, "int32"), axis=-1, keepdims=True)
    has_other &= ops.arange(count)[None, :] < count - num_positive
    none = ops.zeros_like(has_other)
    index = ops.concatenate([first, others], axis=1)
    is_positive = ops.concatenate([has_first, none], axis=1)
    is_negative = ops.concatenate([ops.zeros_like(has_first), has_other], axis=1)
    # `most` more than are needed: the last ones are padding.
    order = ops.where(is_positive | is_negative, 0, 1)
    order = ops.argsort(order * (count + most) + ops.arange(count + most), axis=-1)
    order = ops.cast(order[:, :count], "int32")
    return Sample(*(nms.take(x, order) for x in (index, is_positive, is_negative)))


def _draw(chosen, random, count):
    n = chosen.shape[1]
    values, index = ops.top_k(ops.where(chosen, random, -1.0), min(count, n))
    padding = [[0, 0], [0, count - min(count, n)]]
    index = ops.cast(ops.pad(index, padding), "int32")
    return index, ops.pad(values, padding, constant_values=-1.0) >= 0
