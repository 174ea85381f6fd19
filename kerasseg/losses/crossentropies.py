"""Cross-entropy and its variants: sums over pixels."""

import math

from keras import ops

from kerasseg import errors, losses
from kerasseg.losses import pixels


@losses.register(
    class_name="CrossEntropy",
    test_options=[{"class_weights": [1, 2, 3]}, {"label_smoothing": 0.1}],
)
def crossentropy(
    labels,
    logits,
    *,
    class_weights=None,
    label_smoothing: float = 0.0,
    pixel_weights=None,
    ignore_label: int = 255,
):
    """Sums the cross-entropy of all labeled pixels.

    Args:
        labels: Class numbers, `[batch, height, width]`, any integer type.
        logits: Scores before the softmax, `[batch, height, width, num_classes]`, any
            float type; or before the sigmoid, `[batch, height, width, 1]`, of class 1
            against class 0: then the loss is that of the two logits 0 and z, which is
            the binary cross-entropy. The loss is computed in float32.
        class_weights: One factor per class for the pixels labeled with it, or None
            for 1. The number of pixels is not weighted, so a weight of 2 doubles the
            gradient.
        label_smoothing: Share of the target, in [0, 1), that is spread evenly over
            all classes.
        pixel_weights: One factor per pixel, at least 0, `[batch, height, width]`, or
            None for 1. The number of pixels is not weighted.
        ignore_label: Label of ignored pixels.

    Returns:
        `(total, count)`, float32 scalars: sum over the labeled pixels, in nats, and
        their number. Both are 0 if no pixel is labeled. `total` is NaN if a label is
        neither a class number nor `ignore_label`, on any device and under XLA, or if
        a logit is NaN, also at an ignored pixel, so that training stops there.

    Raises:
        UserError: Wrong shapes, types or options.
    """
    logits, classes, valid = pixels.read(labels, logits, ignore_label)
    values = valid * pixels.crossentropy(classes, logits, label_smoothing)
    num_classes = logits.shape[-1]
    values = pixels.weigh(values, classes, num_classes, class_weights, pixel_weights)
    return ops.sum(values), pixels.count(valid)


@losses.register(test_options=[{"class_weights": [1, 2, 3]}, {"gamma": 0.5}])
def focal(
    labels,
    logits,
    *,
    gamma: float = 2.0,
    class_weights=None,
    pixel_weights=None,
    ignore_label: int = 255,
):
    """Sums the focal loss, `-(1 - p) ** gamma * log(p)`, of all labeled pixels.

    `p` is the probability of the true class.

    Args:
        labels: See `crossentropy`.
        logits: See `crossentropy`.
        gamma: Focusing parameter, at least 0: how strongly well-classified pixels are
            down-weighted. 0 gives the cross-entropy.
        class_weights: See `crossentropy`; alpha in the paper.
        pixel_weights: See `crossentropy`.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)` as `crossentropy` returns them.

    Raises:
        UserError: Wrong shapes, types or options.

    Source: https://arxiv.org/abs/1708.02002, equation 5.
    """
    if not 0 <= gamma < math.inf:
        raise errors.UserError(f"`gamma` must be at least 0 and finite, got {gamma}.")
    logits, classes, valid = pixels.read(labels, logits, ignore_label)
    values = pixels.crossentropy(classes, logits)
    if gamma:  # At 0, a power below 1 has no finite gradient.
        missing = ops.maximum(-ops.expm1(-values), 1e-7)
        values = values * ops.power(missing, gamma)
    num_classes = logits.shape[-1]
    values = pixels.weigh(
        valid * values, classes, num_classes, class_weights, pixel_weights
    )
    return ops.sum(values), pixels.count(valid)


@losses.register(
    class_name="HardPixelCrossEntropy",
    test_options=[
        {"class_weights": [1, 2, 3]},
        {"label_smoothing": 0.1},
        {"keep": 0.1, "threshold": 0.7},
    ],
)
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
    """Averages the cross-entropy of the hardest labeled pixels of each image.

    Pixels are selected within an image, so the result does not depend on how images
    are distributed over batches and replicas. Pixels with exactly the limiting loss
    share the remaining weight evenly.

    Args:
        labels: See `crossentropy`.
        logits: See `crossentropy`.
        keep: Fraction of an image's labeled pixels that count, in (0, 1], hardest
            first. Their number is rounded up.
        threshold: Probability of the true class, in (0, 1), below which every pixel
            counts; `keep` is then the least fraction (OHEM: 0.7 and 1/16). None
            selects by `keep` alone. With weights, a pixel counts if its weighted loss
            is above `-log(threshold)`.
        class_weights: See `crossentropy`; pixels are compared by weighted loss.
        label_smoothing: See `crossentropy`.
        pixel_weights: See `crossentropy`; pixels are compared by weighted loss.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)` as `crossentropy` returns them. The total of an image is the
        mean over its selected pixels times the number of its labeled pixels.

    Raises:
        UserError: Wrong shapes, types or options.

    Source: online bootstrapping, https://arxiv.org/abs/1604.04339, section 4.
    `threshold` with a least number of pixels is OHEM as in the code of BiSeNet and
    HRNet.
    """
    if not 0 < keep <= 1:
        raise errors.UserError(f"`keep` must be in (0, 1], got {keep}.")
    if threshold is not None and not 0 < threshold < 1:
        raise errors.UserError(
            f"`threshold` must be a probability in (0, 1), got {threshold}."
        )
    logits, classes, valid = pixels.read(labels, logits, ignore_label)
    values = valid * pixels.crossentropy(classes, logits, label_smoothing)
    num_classes = logits.shape[-1]
    values = pixels.weigh(values, classes, num_classes, class_weights, pixel_weights)
    values, valid = pixels.flatten(values), pixels.flatten(valid)
    labeled = ops.cast(ops.not_equal(valid, 0), "float32")
    num_labeled = ops.sum(labeled, axis=1, keepdims=True)
    num_kept = ops.ceil(keep * num_labeled)
    if threshold is not None:
        hard = ops.cast(values > -math.log(threshold), "float32")
        num_kept = ops.maximum(num_kept, ops.sum(hard, axis=1, keepdims=True))
    # A product instead of a selection propagates NaN from unselected pixels.
    shares = _hardest(values, labeled, num_kept) / ops.maximum(num_kept, 1.0)
    return ops.sum(values * shares * num_labeled), ops.sum(num_labeled)


def _hardest(values, labeled, num_kept):
    """Returns the weight, 0 to 1, with which each pixel is among the hardest.

    Args:
        values: Losses, `[batch, pixels]`.
        labeled: 1 where a pixel has a label, else 0; same shape.
        num_kept: Number of pixels to keep per image, `[batch, 1]`.
    """
    # Not every backend can sort NaN.
    finite = ops.logical_and(labeled > 0, values >= 0)
    hardness = ops.stop_gradient(ops.where(finite, values, -1.0))
    ascending = ops.sort(hardness, axis=1)
    last = ops.shape(values)[1] - ops.cast(ops.maximum(num_kept, 1.0), "int32")
    limit = ops.take_along_axis(ascending, last, axis=1)
    above = ops.cast(hardness > limit, "float32")
    tied = ops.cast(ops.equal(hardness, limit), "float32") * labeled
    remaining = num_kept - ops.sum(above, axis=1, keepdims=True)
    return above + tied * ops.divide_no_nan(
        remaining, ops.sum(tied, axis=1, keepdims=True)
    )
