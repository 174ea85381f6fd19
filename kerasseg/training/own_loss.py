"""A loss of the user's own in place of the losses of a recipe."""

from collections.abc import Callable

import keras
import tensorflow as tf

from kerasseg import errors
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.losses import pixels
from kerasseg.losses.keras_losses import KerasLoss
from kerasseg.training.few_labels import NO_METHOD, FewLabels
from kerasseg.training.few_labels.options import NO_STAGE
from kerasseg.training.recipe import Recipe

_SIDE = 64  # Pixels of the image with which a loss is checked.


def as_sums(loss: Callable, num_classes: int, *, multi_label: bool = False) -> Callable:
    """Returns a loss as the trainer calls it: as a total and a number of pixels.

    Args:
        loss: One of

            - a Keras class of `kerasseg.losses`, such as `losses.Dice()`;
            - a function of labels and logits that returns `(total, count)`, as those of
              `kerasseg.losses` do: the sum over the labeled pixels, and their number;
            - a function, or a `keras.losses.Loss`, that returns the mean over the
              labeled pixels of the batch, a scalar. The gradients of micro-batches are
              weighted by their number of labeled pixels.
        num_classes: Number of logits, for a call that checks the shape of the result.
        multi_label: Whether a pixel may have several classes. A function then gets
            labels of 0, 1 and 255, int32 `[batch, height, width, num_classes]`.

    Returns:
        Function of labels, uint8 `[batch, height, width]` with 255 for ignored pixels,
        or uint16 bits of classes, and logits, float32 `[batch, height, width,
        num_classes]`.

    Raises:
        errors.UserError: `loss` is not callable, or its result has another shape.
    """
    if isinstance(loss, KerasLoss):
        if multi_label != loss.multi_label:
            raise errors.UserError(
                f"`loss` has `multi_label={loss.multi_label}`, and the records "
                f"`multi_label={multi_label}`. Create it with that of the records."
            )
        return loss.sums
    if not callable(loss):
        raise errors.UserError(
            f"`loss={loss!r}` is neither the name of a loss nor a function. Give a "
            "name, as in docs/training.md, a class of kerasseg.losses, or a function "
            "of labels and logits."
        )
    name = getattr(loss, "__name__", type(loss).__name__)

    def sums(labels, logits):
        count = tf.reduce_sum(tf.cast(tf.not_equal(labels, IGNORE_LABEL), tf.float32))
        if multi_label:
            parts = [
                pixels.of_class(labels, k, num_classes) for k in range(num_classes)
            ]
            labels = tf.stack(parts, axis=-1)
        result = loss(labels, logits)
        if isinstance(result, tuple | list) and len(result) == 2:
            return tf.cast(result[0], tf.float32), tf.cast(result[1], tf.float32)
        mean = tf.convert_to_tensor(result)
        if mean.shape.rank != 0:
            raise errors.UserError(
                f"`loss` {name} returned shape {tuple(mean.shape)}, expected a scalar, "
                "the mean over the labeled pixels, or a total and a count."
            )
        # Without a labeled pixel a mean is not defined.
        mean = tf.where(count > 0, tf.cast(mean, tf.float32), 0.0)
        return mean * count, count

    # An error in the traced step would be lost in those of TensorFlow.
    labels = tf.zeros((1, _SIDE, _SIDE), tf.uint16 if multi_label else tf.uint8)
    sums(labels, tf.zeros((1, _SIDE, _SIDE, num_classes)))
    return sums


def check(
    loss: Callable | None, kind: str, recipe: Recipe, few_labels: FewLabels
) -> None:
    """Checks that a loss of the user's own fits the other options.

    Args:
        loss: The loss; None for those of the recipe.
        kind: What the network predicts, one of `models.KINDS`.
        recipe: The hyperparameters.
        few_labels: How few labels are learned from.

    Raises:
        errors.UserError: The network detects objects, or an option weights the losses
            of the recipe.
    """
    if loss is None:
        return
    given = {
        "class_weights": recipe.class_weights != "none",
        "border_weights": recipe.border_weights != 0,
        "semi": few_labels.semi != NO_METHOD,
        "stage": few_labels.stage != NO_STAGE,
    }
    wrong = [name for name, is_given in given.items() if is_given]
    if kind != "semantic" or wrong:
        reason = f"`{wrong[0]}`" if wrong else "a network that detects objects"
        raise errors.UserError(
            f"{reason} needs the losses of kerasseg.train by name. Give the name of a "
            "loss instead of `loss` as a function or class, or leave the other out."
        )
    if isinstance(loss, keras.losses.Loss) and loss.reduction not in (
        "sum_over_batch_size",
        "mean",
    ):
        raise errors.UserError(
            f"`loss` has the reduction {loss.reduction!r}, expected the mean. Create "
            "it without `reduction`."
        )
