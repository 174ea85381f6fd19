"""Per-pixel inputs and values that several losses share."""

import keras
import numpy as np
from keras import ops

from kerasseg import datasets, errors
from kerasseg.images import bit_masks, class_rules

_NO_CLASS = -(2**31)  # Neither a class nor a label that is ignored.


def without_channel(values):
    """Reshapes `[batch, height, width, 1]` to `[batch, height, width]`."""
    is_channel = len(values.shape) == 4 and values.shape[-1] == 1
    return ops.squeeze(values, axis=-1) if is_channel else values


def class_numbers(labels):
    """Converts labels of any type to integers, for Keras, which passes floats.

    Args:
        labels: Class numbers, any shape and type.

    Returns:
        Integers of the same shape. A number that is not whole, NaN, or 2**24 and more
        as a float becomes one that is no class, so that it is not lost.
    """
    label_type = keras.backend.standardize_dtype(labels.dtype)
    if "float" not in label_type:
        return labels if "int" in label_type else ops.cast(labels, "int32")
    labels = ops.cast(labels, "float32")
    exact = ops.logical_and(labels == ops.floor(labels), ops.abs(labels) < 2**24)
    return ops.cast(ops.where(exact, labels, float(_NO_CLASS)), "int32")


def of_class(labels, k: int, num_classes: int):
    """Returns the label of one of several classes: 0 or 1.

    Args:
        labels: Bits of classes, see `images.bit_masks`, any integer type; or 0, 1 and
            255 for each class, `[batch, height, width, num_classes]`.
        k: Number of the class.
        num_classes: Number of classes.

    Returns:
        int32 `[batch, height, width]`: 255 for ignored pixels, -1 for other values.
    """
    labels = ops.cast(labels, "int32")
    if len(labels.shape) == 4:
        return labels[..., k]
    values = [int(value) for value in bit_masks.bits(num_classes)]
    ignored = ops.equal(labels, datasets.IGNORE_LABEL)
    other = ops.not_equal(ops.bitwise_and(labels, ~sum(values)), 0)
    has = ops.cast(ops.not_equal(ops.bitwise_and(labels, values[k]), 0), "int32")
    return ops.where(ignored, datasets.IGNORE_LABEL, ops.where(other, -1, has))


def read(labels, logits, ignore_label: int):
    """Checks and converts labels and logits.

    A single logit becomes the two logits of a binary network, see `class_rules`.

    Returns:
        `(logits, classes, valid)`: float32 logits; int32 class numbers, 0 for pixels
        without a class; and float32 1 for labeled pixels, 0 for ignored ones, NaN
        for labels that are neither a class number nor `ignore_label`.
    """
    labels, logits = _as_tensors(labels, logits)
    is_class = ops.logical_and(labels >= 0, labels < logits.shape[-1])
    ignored = ops.equal(labels, ignore_label)
    labeled = ops.logical_and(is_class, ops.logical_not(ignored))
    # Kernels differ in how they treat an index out of range, so pass class 0.
    classes = ops.cast(ops.where(labeled, labels, ops.zeros_like(labels)), "int32")
    valid = ops.cast(labeled, "float32")
    return logits, classes, ops.where(ops.logical_or(is_class, ignored), valid, np.nan)


def count(valid):
    """Returns the number of labeled pixels, including those whose label is wrong."""
    return ops.sum(ops.cast(ops.not_equal(valid, 0), "float32"))


def flatten(values):
    """Reshapes `[batch, height, width, ...]` to `[batch, pixels, ...]`."""
    num_pixels = ops.shape(values)[1] * ops.shape(values)[2]
    return ops.reshape(values, (-1, num_pixels, *values.shape[3:]))


def crossentropy(classes, logits, label_smoothing: float = 0.0):
    """Returns the cross-entropy of each pixel, `[batch, height, width]`."""
    if not 0 <= label_smoothing < 1:
        raise errors.UserError(
            f"`label_smoothing` must be in [0, 1), got {label_smoothing}."
        )
    if not label_smoothing:  # One fused kernel in TensorFlow, without one-hot targets.
        return ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
    num_classes = logits.shape[-1]
    targets = ops.one_hot(classes, num_classes, dtype="float32")
    targets = targets * (1 - label_smoothing) + label_smoothing / num_classes
    return ops.categorical_crossentropy(targets, logits, from_logits=True)


def weigh(values, classes, num_classes: int, class_weights, pixel_weights):
    """Multiplies per-pixel values by class weights and pixel weights, if any."""
    if class_weights is not None:
        table = _weight_table(class_weights, num_classes)
        values = values * ops.take(table, classes)
    if pixel_weights is None:
        return values
    pixel_weights = ops.cast(pixel_weights, "float32")
    shape, expected = tuple(pixel_weights.shape), tuple(values.shape)
    if len(shape) != 3 or not _are_compatible(shape, expected):
        raise errors.UserError(
            f"`pixel_weights` must have the shape of the labels, {expected}, got "
            f"{shape}."
        )
    return values * pixel_weights


def _as_tensors(labels, logits):
    """Returns labels as int32 or int64 and logits as float32, after checks."""
    labels, logits = ops.convert_to_tensor(labels), ops.convert_to_tensor(logits)
    label_type = keras.backend.standardize_dtype(labels.dtype)
    if "int" not in label_type:
        raise errors.UserError(
            f"`labels` must be class numbers of an integer type, got {label_type}."
        )
    label_shape, shape = tuple(labels.shape), tuple(logits.shape)
    if (
        len(label_shape) != 3
        or len(shape) != 4
        or not _are_compatible(label_shape, shape[:3])
    ):
        raise errors.UserError(
            "`labels` must have shape [batch, height, width] and `logits` [batch, "
            f"height, width, num_classes] with the same size, got {label_shape} and "
            f"{shape}. Resize the logits to the labels, never the labels."
        )
    logits = class_rules.class_logits(logits, ops)
    wide = "int64" if label_type.endswith("64") else "int32"
    return ops.cast(labels, wide), ops.cast(logits, "float32")


def _are_compatible(shape, other):
    """Returns whether two static shapes are equal where both are known."""
    return all(a == b for a, b in zip(shape, other, strict=True) if None not in (a, b))


def _weight_table(class_weights, num_classes):
    """Returns the class weights as a tensor `[num_classes]`, after checks."""
    table = np.asarray(class_weights, "float32")
    if table.shape != (num_classes,):
        raise errors.UserError(
            f"`class_weights` must be one number for each of {num_classes} classes, "
            f"got shape {table.shape}."
        )
    if not np.all(np.isfinite(table)) or table.min() < 0:
        raise errors.UserError(
            f"`class_weights` must be finite and at least 0, got {table.tolist()}. A "
            "class without pixels has no median-frequency weight: give it 1."
        )
    return ops.convert_to_tensor(table)
