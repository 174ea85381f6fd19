"""Losses on the overlap of each class's predicted and labeled region in an image."""

import math

from keras import ops

from kerasseg import errors, losses
from kerasseg.losses import pixels


@losses.register(test_options=[{"exponent": 0.75}, {"alpha": 0.9, "beta": 0.1}])
def tversky(
    labels,
    logits,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    exponent: float = 1.0,
    ignore_label: int = 255,
):
    """Averages `(1 - index) ** exponent` over the classes of each image.

    The Tversky index of a class is `tp / (tp + alpha * fp + beta * fn)` with soft
    counts: `tp` and `fp` are sums of the class's probability over the labeled pixels
    of the class and of other classes, and `fn` is the class's number of pixels minus
    `tp`. Classes without a labeled pixel in an image are left out, because their
    index is 0 for any prediction.

    Args:
        labels: See `crossentropy`.
        logits: See `crossentropy`.
        alpha: Weight of false positives, above 0.
        beta: Weight of false negatives, above 0.
        exponent: Exponent of the focal Tversky loss, above 0. Its paper uses 3/4, and
            exchanges the names `alpha` and `beta`.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)`, float32 scalars: sum over the images of their loss, 0 to 1,
        times the number of their labeled pixels, and the sum of these numbers. `total`
        is NaN wherever that of `crossentropy` is.

    Raises:
        UserError: Wrong shapes, types or options.

    Source: https://arxiv.org/abs/1706.05721, equation 3, for each class against the
    others; `exponent`: https://arxiv.org/abs/1810.07842, equation 4.
    """
    for name, value in {"alpha": alpha, "beta": beta, "exponent": exponent}.items():
        if not 0 < value < math.inf:
            raise errors.UserError(f"`{name}` must be above 0 and finite, got {value}.")
    true_positives, predicted, labeled, valid = _soft_counts(
        labels, logits, ignore_label
    )
    present = ops.cast(labeled > 0, "float32")
    false_positives = predicted - true_positives
    false_negatives = labeled - true_positives
    index = true_positives / (
        true_positives
        + alpha * false_positives
        + beta * false_negatives
        + (1 - present)
    )
    values = 1 - index
    if exponent != 1:  # At 0, a power below 1 has no finite gradient.
        values = ops.power(ops.maximum(values, 1e-7), exponent)
    return weigh_images(values, present, valid)


@losses.register()
def dice(labels, logits, *, ignore_label: int = 255):
    """Averages one minus the soft Dice coefficient over the classes of each image.

    The coefficient is `2 tp / (2 tp + fp + fn)` with the soft counts of `tversky`,
    which it equals for `alpha=0.5` and `beta=0.5`.

    Args:
        labels: See `crossentropy`.
        logits: See `crossentropy`.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)` as `tversky` returns them.

    Raises:
        UserError: Wrong shapes or types.

    Source: https://arxiv.org/abs/1608.04117, equation 1.
    """
    return tversky(labels, logits, alpha=0.5, beta=0.5, ignore_label=ignore_label)


@losses.register()
def jaccard(labels, logits, *, ignore_label: int = 255):
    """Averages one minus the soft intersection over union of each image's classes.

    It is `tp / (tp + fp + fn)` with the soft counts of `tversky`, which it equals for
    `alpha=1` and `beta=1`.

    Args:
        labels: See `crossentropy`.
        logits: See `crossentropy`.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)` as `tversky` returns them.

    Raises:
        UserError: Wrong shapes or types.

    Source: Rahman and Wang, 2016, https://doi.org/10.1007/978-3-319-50835-1_22,
    equation 3.
    """
    return tversky(labels, logits, alpha=1.0, beta=1.0, ignore_label=ignore_label)


@losses.register()
def lovasz_softmax(labels, logits, *, ignore_label: int = 255):
    """Averages the Lovasz extension of the Jaccard loss over each image's classes.

    A pixel's error for a class is `1 - p` if it is labeled with the class, else `p`.
    The errors are sorted in descending order, and each is weighted by how much the
    Jaccard loss increases when its pixel is added to the wrong ones. Sorting makes it
    about twenty times as slow as cross-entropy on a CPU.

    Args:
        labels: See `crossentropy`.
        logits: See `crossentropy`.
        ignore_label: See `crossentropy`.

    Returns:
        `(total, count)` as `tversky` returns them.

    Raises:
        UserError: Wrong shapes or types.

    Source: https://arxiv.org/abs/1705.08790, equations 9 and 11, over the classes
    present in each image.
    """
    probabilities, targets, valid = _flat_inputs(labels, logits, ignore_label)
    probabilities, targets = [
        ops.transpose(x, (0, 2, 1)) for x in (probabilities, targets)
    ]
    distances = ops.where(targets, 1 - probabilities, probabilities)
    # Not every backend can sort NaN.
    finite = ops.logical_and(valid[:, None] > 0, distances >= 0)
    distances = ops.where(finite, distances, -1.0)
    distances, order = ops.top_k(distances, ops.shape(distances)[-1])
    targets = ops.take_along_axis(ops.cast(targets, "float32"), order, axis=-1)
    growth = ops.stop_gradient(_jaccard_growth(targets))
    values = ops.sum(ops.relu(distances) * growth, axis=-1)
    present = ops.cast(ops.any(targets > 0, axis=-1), "float32")
    valid = valid + 0 * ops.sum(probabilities, axis=1)  # Propagates NaN.
    return weigh_images(values, present, valid)


def _jaccard_growth(targets):
    """Returns how much the Jaccard loss increases with each wrong pixel.

    The loss of the first `i` pixels is `i / union`, where the union is that of the
    class and the pixels of other classes among them. The differences are computed
    without cancellation.

    Args:
        targets: 1 for a pixel of the class, else 0, by descending error.
    """
    found = ops.cumsum(targets, axis=-1)
    size = found[..., -1:]
    others = ops.cumsum(1 - targets, axis=-1)
    union = ops.maximum(size + others, 1.0)
    growth = (size - found) / (union * ops.maximum(union - 1, 1.0))
    return ops.where(targets > 0, 1 / union, growth)


def _soft_counts(labels, logits, ignore_label):
    """Sums probabilities over the pixels of each image.

    Returns:
        `(true_positives, predicted, labeled, valid)`: the probability of each class
        summed over its own pixels and over all labeled pixels, and the number of its
        pixels, `[batch, num_classes]`; and `valid` of `pixels.read`, `[batch, pixels]`.
    """
    probabilities, targets, valid = _flat_inputs(labels, logits, ignore_label)
    probabilities = probabilities * valid[..., None]
    true_positives = ops.sum(ops.where(targets, probabilities, 0.0), axis=1)
    predicted = ops.sum(probabilities, axis=1)
    return true_positives, predicted, ops.sum(ops.cast(targets, "float32"), 1), valid


def _flat_inputs(labels, logits, ignore_label):
    """Returns probabilities and boolean one-hot targets, and `valid`, by pixel."""
    logits, classes, valid = pixels.read(labels, logits, ignore_label)
    classes, valid = pixels.flatten(classes), pixels.flatten(valid)
    classes = ops.where(valid > 0, classes, -1)
    targets = ops.equal(classes[..., None], ops.arange(logits.shape[-1], dtype="int32"))
    return ops.softmax(pixels.flatten(logits)), targets, valid


def weigh_images(values, present, valid):
    """Averages over the classes of an image and weights it by its labeled pixels.

    Args:
        values: Loss of each class, `[batch, num_classes]`.
        present: 1 for classes present in the image, else 0; same shape.
        valid: `valid` of `pixels.read`, `[batch, pixels]`.

    Returns:
        `(total, count)`.
    """
    num_present = ops.maximum(ops.sum(present, axis=1), 1.0)
    # Products instead of selections propagate NaN.
    values = ops.sum(values * present, axis=1) / num_present
    return ops.sum(values * ops.sum(valid, axis=1)), pixels.count(valid)
