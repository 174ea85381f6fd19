"""What the labels say of each pixel, and its cross-entropy."""

import keras
import numpy as np
from keras import ops

from kerasseg import errors


def read(labels, logits, ignore_label):
    """Checks labels and logits and brings them to the types of the arithmetic.

    Returns:
        `(logits, classes, marks)`: float32 scores; int32 class numbers, 0 where a
        pixel has none; and float32 1 where a pixel counts, 0 where it is ignored, NaN
        where its label is neither a class nor `ignore_label`.
    """
    labels, logits = _as_tensors(labels, logits)
    known = ops.logical_and(labels >= 0, labels < logits.shape[-1])
    ignored = ops.equal(labels, ignore_label)
    counted = ops.logical_and(known, ops.logical_not(ignored))
    # The kernels differ in what they do with a number that is no class: send class 0.
    classes = ops.cast(ops.where(counted, labels, ops.zeros_like(labels)), "int32")
    marks = ops.cast(counted, "float32")
    return logits, classes, ops.where(ops.logical_or(known, ignored), marks, np.nan)


def count(marks):
    """Returns the number of labelled pixels; a label that is no class is one."""
    return ops.sum(ops.cast(ops.not_equal(marks, 0), "float32"))


def in_rows(values):
    """Brings `[batch, height, width, ...]` to `[batch, pixels, ...]`."""
    num_pixels = ops.shape(values)[1] * ops.shape(values)[2]
    return ops.reshape(values, (-1, num_pixels, *values.shape[3:]))


def crossentropy(classes, logits, label_smoothing=0.0):
    """Returns the cross-entropy of each pixel, `[batch, height, width]`."""
    if not 0 <= label_smoothing < 1:
        raise errors.UserError(f"label_smoothing is in [0, 1), got {label_smoothing}.")
    if not label_smoothing:  # One fused kernel on TensorFlow; no one-hot targets.
        return ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
    num_classes = logits.shape[-1]
    targets = ops.one_hot(classes, num_classes, dtype="float32")
    targets = targets * (1 - label_smoothing) + label_smoothing / num_classes
    return ops.categorical_crossentropy(targets, logits, from_logits=True)


def weigh(values, classes, num_classes, class_weights, pixel_weights):
    """Multiplies the values of the pixels by what their class and place weigh."""
    if class_weights is not None:
        table = _weight_table(class_weights, num_classes)
        values = values * ops.take(table, classes)
    if pixel_weights is None:
        return values
    pixel_weights = ops.cast(pixel_weights, "float32")
    sizes = tuple(pixel_weights.shape), tuple(values.shape)
    if len(sizes[0]) != 3 or not _same(*sizes):
        raise errors.UserError(
            f"pixel_weights holds one number a pixel, as the labels do: {sizes[1]}, "
            f"got {sizes[0]}."
        )
    return values * pixel_weights


def _as_tensors(labels, logits):
    """Returns labels as a wide integer and logits as float32, after checks."""
    labels, logits = ops.convert_to_tensor(labels), ops.convert_to_tensor(logits)
    label_type = keras.backend.standardize_dtype(labels.dtype)
    if "int" not in label_type:
        raise errors.UserError(
            f"labels are class numbers of an integer type, got {label_type}."
        )
    sizes = tuple(labels.shape), tuple(logits.shape)
    if len(sizes[0]) != 3 or len(sizes[1]) != 4 or not _same(sizes[0], sizes[1][:3]):
        raise errors.UserError(
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
        raise errors.UserError(
            f"class_weights holds one number for each of {num_classes} classes, got "
            f"shape {table.shape}."
        )
    if not np.all(np.isfinite(table)) or table.min() < 0:
        raise errors.UserError(
            f"class_weights are finite and at least 0, got {table.tolist()}. A class "
            "without pixels has no median-frequency weight: give it 1."
        )
    return ops.convert_to_tensor(table)
