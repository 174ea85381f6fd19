"""Losses that are a sum over pixels: each pixel has its own."""

import math

from keras import ops

from kerasseg import errors
from kerasseg.losses import pixels


def crossentropy(
    labels,
    logits,
    *,
    class_weights=None,
    label_smoothing: float = 0.0,
    pixel_weights=None,
    ignore_label: int = 255,
):
    """Sums the cross-entropy of every labelled pixel.

    Args:
        labels: Class numbers, `[batch, height, width]`, any integer type.
        logits: Scores before softmax, `[batch, height, width, num_classes]`, any
            float type; the arithmetic is float32.
        class_weights: One factor a class for the pixels labelled with it, or None for
            1. The number of pixels stays unweighted, so that a weight of 2 doubles
            the gradient.
        label_smoothing: Share of the target, in [0, 1), that is spread evenly over
            all classes.
        pixel_weights: One factor a pixel, at least 0, `[batch, height, width]`, or
            None for 1; they leave the number of pixels alone as well.
        ignore_label: Label of the pixels that never count.

    Returns:
        `(total, count)`, float32 scalars: nats summed over the labelled pixels, and
        their number. Both are 0 where no pixel is labelled. A label that is neither a
        class number nor `ignore_label` makes `total` NaN, on any device and under
        XLA, and so does a NaN among the logits, of ignored pixels too: a run must
        stop there.

    Raises:
        ValueError: Shapes, types or options that do not fit.
    """
    logits, classes, marks = pixels.read(labels, logits, ignore_label)
    values = marks * pixels.crossentropy(classes, logits, label_smoothing)
    num_classes = logits.shape[-1]
    values = pixels.weigh(values, classes, num_classes, class_weights, pixel_weights)
    return ops.sum(values), pixels.count(marks)


def focal(
    labels,
    logits,
    *,
    gamma: float = 2.0,
    class_weights=None,
    pixel_weights=None,
    ignore_label: int = 255,
):
    """Sums `-(1 - p) ** gamma * log(p)`, `p` the probability of the true class.

    Args:
        labels: See `crossentropy`, as for the other options.
        logits: See `crossentropy`.
        gamma: How much less a pixel counts that is almost right, at least 0; 0 gives
            the cross-entropy.
        class_weights: See `crossentropy`; the paper's alpha.
        pixel_weights: See `crossentropy`.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)` as of `crossentropy`.

    Raises:
        ValueError: Shapes, types or options that do not fit.

    Source: https://arxiv.org/abs/1708.02002, equation 5.
    """
    if not 0 <= gamma < math.inf:
        raise errors.UserError(f"gamma is at least 0 and finite, got {gamma}.")
    logits, classes, marks = pixels.read(labels, logits, ignore_label)
    values = pixels.crossentropy(classes, logits)
    if gamma:  # Away from 0, where a power below 1 has no slope.
        missing = ops.maximum(-ops.expm1(-values), 1e-7)
        values = values * ops.power(missing, gamma)
    num_classes = logits.shape[-1]
    values = pixels.weigh(
        marks * values, classes, num_classes, class_weights, pixel_weights
    )
    return ops.sum(values), pixels.count(marks)


def hard_pixel_crossentropy(
    labels,
    logits,
    *,
    keep: float = 0.25,
    threshold: float | None = None,
    class_weights=None,
    label_smoothing: float = 0.0,
    pixel_weights=None,
    ignore_label: int = 255,
):
    """Averages the cross-entropy of the hardest labelled pixels of each picture.

    They are chosen within a picture, so that the result does not depend on how
    pictures are dealt to batches and replicas. Pixels equally hard at the limit share
    what is left of it.

    Args:
        labels: See `crossentropy`, as for the other options.
        logits: See `crossentropy`.
        keep: Share of a picture's labelled pixels that count, hardest first, in
            (0, 1]; rounded up to whole pixels.
        threshold: Probability of the true class, in (0, 1), below which a pixel counts
            whatever `keep` says, which then is the least share (OHEM: 0.7 and 1/16);
            None leaves it to `keep`. With weights it is their product with the loss
            that must be above `-log(threshold)`.
        class_weights: See `crossentropy`; a pixel is as hard as its weighted loss.
        label_smoothing: See `crossentropy`.
        pixel_weights: See `crossentropy`; a pixel is as hard as its weighted loss.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)` as of `crossentropy`: the mean over the pixels kept of each
        picture times the picture's labelled pixels, and the number of these.

    Raises:
        ValueError: Shapes, types or options that do not fit.

    Source: online bootstrapping, https://arxiv.org/abs/1604.04339, section 4.
    The threshold with a least number is OHEM as in the code of BiSeNet and HRNet.
    """
    if not 0 < keep <= 1:
        raise errors.UserError(f"keep is a share in (0, 1], got {keep}.")
    if threshold is not None and not 0 < threshold < 1:
        raise errors.UserError(
            f"threshold is a probability in (0, 1), got {threshold}."
        )
    logits, classes, marks = pixels.read(labels, logits, ignore_label)
    values = marks * pixels.crossentropy(classes, logits, label_smoothing)
    num_classes = logits.shape[-1]
    values = pixels.weigh(values, classes, num_classes, class_weights, pixel_weights)
    values, marks = pixels.in_rows(values), pixels.in_rows(marks)
    labelled = ops.cast(ops.not_equal(marks, 0), "float32")
    num_labelled = ops.sum(labelled, axis=1, keepdims=True)
    num_kept = ops.ceil(keep * num_labelled)
    if threshold is not None:
        hard = ops.cast(values > -math.log(threshold), "float32")
        num_kept = ops.maximum(num_kept, ops.sum(hard, axis=1, keepdims=True))
    # A product, not a selection: a NaN outside the choice must still be seen.
    shares = _hardest(values, labelled, num_kept) / ops.maximum(num_kept, 1.0)
    return ops.sum(values * shares * num_labelled), ops.sum(num_labelled)


def _hardest(values, labelled, num_kept):
    """Returns the share, 0 to 1, with which each pixel is among the hardest.

    Args:
        values: Losses, `[batch, pixels]`.
        labelled: 1 where a pixel has a label, else 0; same shape.
        num_kept: Pixels to keep of each picture, `[batch, 1]`.
    """
    # A NaN compares with nothing, which a sort does not survive everywhere.
    known = ops.logical_and(labelled > 0, values >= 0)
    hardness = ops.stop_gradient(ops.where(known, values, -1.0))
    ascending = ops.sort(hardness, axis=1)
    last = ops.shape(values)[1] - ops.cast(ops.maximum(num_kept, 1.0), "int32")
    limit = ops.take_along_axis(ascending, last, axis=1)
    above = ops.cast(hardness > limit, "float32")
    level = ops.cast(ops.equal(hardness, limit), "float32") * labelled
    room = num_kept - ops.sum(above, axis=1, keepdims=True)
    return above + level * ops.divide_no_nan(
        room, ops.sum(level, axis=1, keepdims=True)
    )
