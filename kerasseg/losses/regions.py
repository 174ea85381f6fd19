"""Losses of whole regions: how well each class's region of a picture is covered."""

import math

from keras import ops

from kerasseg import errors
from kerasseg.losses import pixels


def tversky(
    labels,
    logits,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    exponent: float = 1.0,
    ignore_label: int = 255,
):
    """Averages `(1 - index) ** exponent` over the classes of each picture.

    The index of a class is `hits / (hits + alpha * false + beta * missed)`, of the
    probabilities over the labelled pixels: `hits` their sum where the label is the
    class, `false` where it is another, and `missed` what `hits` lack to the number of
    the class's pixels. Classes that a picture's labels do not show are left out of
    it: whatever is predicted, their index is 0.

    Args:
        labels: See `crossentropy`.
        logits: See `crossentropy`.
        alpha: Weight of what is falsely predicted, above 0.
        beta: Weight of what is missed, above 0.
        exponent: Above 0; of the focal Tversky loss (3/4 in its paper), whose
            names for `alpha` and `beta` are the other way round.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)`, float32 scalars: the loss of each picture, 0 to 1, times its
        labelled pixels, and the number of these. What is NaN in `crossentropy` is NaN.

    Raises:
        ValueError: Shapes, types or options that do not fit.

    Source: https://arxiv.org/abs/1706.05721, equation 3, for one class against the
    rest; the exponent https://arxiv.org/abs/1810.07842, equation 4.
    """
    for name, value in {"alpha": alpha, "beta": beta, "exponent": exponent}.items():
        if not 0 < value < math.inf:
            raise errors.UserError(f"{name} is above 0 and finite, got {value}.")
    hits, found, sizes, marks = _regions(labels, logits, ignore_label)
    present = ops.cast(sizes > 0, "float32")
    index = hits / (
        hits + alpha * (found - hits) + beta * (sizes - hits) + (1 - present)
    )
    values = 1 - index
    if exponent != 1:  # Away from 0, where a power below 1 has no slope.
        values = ops.power(ops.maximum(values, 1e-7), exponent)
    return weigh_pictures(values, present, marks)


def dice(labels, logits, *, ignore_label: int = 255):
    """Averages one minus the soft Dice coefficient over the classes of each picture.

    It is `2 hits / (found + size)`: twice the probability on the class's own pixels
    over all probability of the class and the number of its pixels (see `tversky`,
    of which it is the case 1/2 and 1/2).

    Args:
        labels: See `crossentropy`.
        logits: See `crossentropy`.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)` as of `tversky`.

    Raises:
        ValueError: Shapes or types that do not fit.

    Source: https://arxiv.org/abs/1608.04117, equation 1.
    """
    return tversky(labels, logits, alpha=0.5, beta=0.5, ignore_label=ignore_label)


def jaccard(labels, logits, *, ignore_label: int = 255):
    """Averages one minus the soft intersection over union of each picture's classes.

    It is `hits / (found + size - hits)` (see `tversky`, of which it is the case 1
    and 1).

    Args:
        labels: See `crossentropy`.
        logits: See `crossentropy`.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)` as of `tversky`.

    Raises:
        ValueError: Shapes or types that do not fit.

    Source: Rahman and Wang, 2016, https://doi.org/10.1007/978-3-319-50835-1_22,
    equation 3.
    """
    return tversky(labels, logits, alpha=1.0, beta=1.0, ignore_label=ignore_label)


def lovasz_softmax(labels, logits, *, ignore_label: int = 255):
    """Averages the Lovasz extension of the Jaccard loss over each picture's classes.

    A pixel's error for a class is `1 - p` where it has that label and `p` elsewhere.
    Errors are sorted, the largest first; each counts as much as the Jaccard loss grows
    when its pixel is the next to be wrong. Sorting costs about twenty times what the
    cross-entropy does on a CPU.

    Args:
        labels: See `crossentropy`.
        logits: See `crossentropy`.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)` as of `tversky`.

    Raises:
        ValueError: Shapes or types that do not fit.

    Source: https://arxiv.org/abs/1705.08790, equations 9 and 11, over the classes
    present in each picture.
    """
    chances, own, marks = _chances(labels, logits, ignore_label)
    chances, own = [ops.transpose(x, (0, 2, 1)) for x in (chances, own)]
    errors = ops.where(own, 1 - chances, chances)
    # A NaN compares with nothing, which a sort does not survive everywhere.
    known = ops.logical_and(marks[:, None] > 0, errors >= 0)
    errors = ops.where(known, errors, -1.0)
    errors, order = ops.top_k(errors, ops.shape(errors)[-1])
    own = ops.take_along_axis(ops.cast(own, "float32"), order, axis=-1)
    growth = ops.stop_gradient(_jaccard_growth(own))
    values = ops.sum(ops.relu(errors) * growth, axis=-1)
    present = ops.cast(ops.any(own > 0, axis=-1), "float32")
    marks = marks + 0 * ops.sum(chances, axis=1)  # NaN there must still be seen.
    return weigh_pictures(values, present, marks)


def _jaccard_growth(own):
    """Returns how much the Jaccard loss grows with each pixel that is wrong.

    The loss of the first `i` pixels is `i / union`, the union that of the class and
    the pixels of other classes among them; its differences, without cancellation.

    Args:
        own: 1 for a pixel of the class, else 0, in the order in which they go wrong.
    """
    seen = ops.cumsum(own, axis=-1)
    size = seen[..., -1:]
    others = ops.cumsum(1 - own, axis=-1)
    union = ops.maximum(size + others, 1.0)
    growth = (size - seen) / (union * ops.maximum(union - 1, 1.0))
    return ops.where(own > 0, 1 / union, growth)


def _regions(labels, logits, ignore_label):
    """Sums over each picture.

    Returns:
        `(hits, found, sizes, marks)`: the probability of each class on its own pixels,
        on all labelled pixels, and the number of its pixels, `[batch, num_classes]`;
        and the marks of `pixels.read`, `[batch, pixels]`.
    """
    chances, own, marks = _chances(labels, logits, ignore_label)
    chances = chances * marks[..., None]
    hits = ops.sum(ops.where(own, chances, 0.0), axis=1)
    return hits, ops.sum(chances, axis=1), ops.sum(ops.cast(own, "float32"), 1), marks


def _chances(labels, logits, ignore_label):
    """Returns probabilities, whether the class is the label's own, and marks."""
    logits, classes, marks = pixels.read(labels, logits, ignore_label)
    classes, marks = pixels.in_rows(classes), pixels.in_rows(marks)
    classes = ops.where(marks > 0, classes, -1)
    own = ops.equal(classes[..., None], ops.arange(logits.shape[-1], dtype="int32"))
    return ops.softmax(pixels.in_rows(logits)), own, marks


def weigh_pictures(values, present, marks):
    """Averages over the classes of a picture, then weighs it by its labelled pixels.

    Args:
        values: Loss of each class, `[batch, num_classes]`.
        present: 1 where a picture shows the class, else 0; same shape.
        marks: Of `pixels.read`, `[batch, pixels]`.

    Returns:
        `(total, count)`.
    """
    num_present = ops.maximum(ops.sum(present, axis=1), 1.0)
    # Products, not selections: a NaN must be seen wherever it is.
    values = ops.sum(values * present, axis=1) / num_present
    return ops.sum(values * ops.sum(marks, axis=1)), pixels.count(marks)
