"""Losses of labelled pictures, as a sum and the number of pixels that made it.

A trainer adds both up over replicas and gradient-accumulation steps and divides once,
so that a replica whose pixels are mostly ignored does not weigh more.
"""

import keras
import numpy as np
from keras import ops


def crossentropy(
    labels,
    logits,
    *,
    class_weights=None,
    label_smoothing: float = 0.0,
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
    values, labelled = _pixel_values(
        labels, logits, class_weights, label_smoothing, ignore_label
    )
    return ops.sum(values), ops.sum(labelled)


def hard_pixel_crossentropy(
    labels,
    logits,
    *,
    keep: float = 0.25,
    class_weights=None,
    label_smoothing: float = 0.0,
    ignore_label: int = 255,
):
    """Sums the cross-entropy of the hardest labelled pixels of each picture.

    They are chosen within a picture, so that the result does not depend on how
    pictures are dealt to batches and replicas. Pixels equally hard at the limit share
    what is left of it.

    Args:
        labels: See `crossentropy`, as for the other options.
        logits: See `crossentropy`.
        keep: Share of a picture's labelled pixels that count, hardest first, in
            (0, 1]; rounded up to whole pixels.
        class_weights: See `crossentropy`; a pixel is as hard as its weighted loss.
        label_smoothing: See `crossentropy`.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)` as of `crossentropy`, of the pixels kept.

    Raises:
        ValueError: Shapes, types or options that do not fit.

    Source: online bootstrapping, https://arxiv.org/abs/1604.04339, section 4.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"keep is a share in (0, 1], got {keep}.")
    values, labelled = _pixel_values(
        labels, logits, class_weights, label_smoothing, ignore_label
    )
    num_pixels = ops.shape(values)[1] * ops.shape(values)[2]
    values = ops.reshape(values, (-1, num_pixels))
    labelled = ops.reshape(labelled, (-1, num_pixels))
    num_kept = ops.ceil(keep * ops.sum(labelled, axis=1, keepdims=True))
    chosen = _hardest(values, labelled, num_kept)
    # A product, not a selection: a NaN outside the choice must still be seen.
    return ops.sum(values * chosen), ops.sum(num_kept)


def mean(total, count):
    """Returns `total` for each pixel of `count`, 0 of no pixels, NaN of a NaN."""
    return total / ops.maximum(count, 1.0)


LOSSES = {
    "crossentropy": crossentropy,
    "hard_pixel_crossentropy": hard_pixel_crossentropy,
}


def get(name: str):
    """Returns the loss called `name`, a key of `LOSSES`.

    Raises:
        ValueError: No loss has that name.
    """
    if name not in LOSSES:
        known = ", ".join(sorted(LOSSES))
        raise ValueError(f"No loss is called {name!r}. Choose one of: {known}.")
    return LOSSES[name]


def _pixel_values(labels, logits, class_weights, label_smoothing, ignore_label):
    """Returns each pixel's loss (ignored: 0, bad label: NaN) and 1 where labelled."""
    labels, logits = _as_tensors(labels, logits)
    num_classes = logits.shape[-1]
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is in [0, 1), got {label_smoothing}.")
    known = ops.logical_and(labels >= 0, labels < num_classes)
    labelled = ops.not_equal(labels, ignore_label)
    counted = ops.logical_and(known, labelled)
    # The kernels differ in what they do with a number that is no class: send class 0.
    classes = ops.cast(ops.where(counted, labels, ops.zeros_like(labels)), "int32")
    if class_weights is None:
        weights = ops.cast(counted, "float32")
    else:
        table = _weight_table(class_weights, num_classes)
        weights = ops.where(counted, ops.take(table, classes), 0.0)
    weights = ops.where(
        ops.logical_and(labelled, ops.logical_not(known)), np.nan, weights
    )
    if label_smoothing:
        targets = ops.one_hot(classes, num_classes, dtype="float32")
        targets = targets * (1 - label_smoothing) + label_smoothing / num_classes
        values = ops.categorical_crossentropy(targets, logits, from_logits=True)
    else:  # One fused kernel on TensorFlow; no [..., num_classes] targets in memory.
        values = ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
    return weights * values, ops.cast(labelled, "float32")


def _hardest(values, labelled, num_kept):
    """Returns the share, 0 to 1, with which each pixel is among the hardest.

    Args:
        values: Losses, `[batch, pixels]`.
        labelled: 1 where a pixel has a label, else 0; same shape.
        num_kept: Pixels to keep of each picture, `[batch, 1]`.
    """
    hardness = ops.stop_gradient(ops.where(labelled > 0, values, -1.0))
    ascending = ops.sort(hardness, axis=1)
    last = ops.shape(values)[1] - ops.cast(ops.maximum(num_kept, 1.0), "int32")
    limit = ops.take_along_axis(ascending, last, axis=1)
    above = ops.cast(hardness > limit, "float32")
    level = ops.cast(ops.equal(hardness, limit), "float32") * labelled
    room = num_kept - ops.sum(above, axis=1, keepdims=True)
    return above + level * ops.divide_no_nan(
        room, ops.sum(level, axis=1, keepdims=True)
    )


def _as_tensors(labels, logits):
    """Returns labels as a wide integer and logits as float32, after checks."""
    labels, logits = ops.convert_to_tensor(labels), ops.convert_to_tensor(logits)
    label_type = keras.backend.standardize_dtype(labels.dtype)
    if "int" not in label_type:
        raise ValueError(
            f"labels are class numbers of an integer type, got {label_type}."
        )
    sizes = tuple(labels.shape), tuple(logits.shape)
    if len(sizes[0]) != 3 or len(sizes[1]) != 4 or not _same(sizes[0], sizes[1][:3]):
        raise ValueError(
            "labels are [batch, height, width] and logits [batch, height, width, "
            f"num_classes] of the same size, got {sizes[0]} and {sizes[1]}. Resize the "
            "logits to the labels, never the labels."
        )
    wide = "int64" if label_type.endswith("64") else "int32"
    return ops.cast(labels, wide), ops.cast(logits, "float32")


def _same(one, other):
    """Tells whether two static shapes agree where both are known."""
    return all(a == b for a, b in zip(one, other, strict=True) if None not in (a, b))


def _weight_table(class_weights, num_classes):
    """Returns the weights as a tensor `[num_classes]`, after checks."""
    table = np.asarray(class_weights, "float32")
    if table.shape != (num_classes,):
        raise ValueError(
            f"class_weights holds one number for each of {num_classes} classes, got "
            f"shape {table.shape}."
        )
    if not np.all(np.isfinite(table)) or table.min() < 0:
        raise ValueError(
            f"class_weights are finite and at least 0, got {table.tolist()}. A class "
            "without pixels has no median-frequency weight: give it 1."
        )
    return ops.convert_to_tensor(table)
