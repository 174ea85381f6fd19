"""Class tags of images, and pairs of an image and a class (DecoupledNet).

Class 0 is the background. A vector of tags, or of scores, has one entry for each other
class: entry k - 1 is class k.
"""

from typing import NamedTuple

import numpy as np
from keras import ops

from kerasseg import datasets, errors


class ClassPairs(NamedTuple):
    """Pairs of an image of a batch and a class that is segmented.

    Attributes:
        image: Index of the image in the batch, int32 `[pairs]`.
        classes: The class of each pair, float32 `[pairs, num_classes - 1]`, one-hot.
        target: uint8 `[pairs, height, width]`: 1 for pixels of the class, 0 for other
            pixels, and the ignore label where the label is.
    """

    image: np.ndarray
    classes: np.ndarray
    target: np.ndarray


def class_tags(
    labels: np.ndarray, num_classes: int, ignore_label: int = datasets.IGNORE_LABEL
) -> np.ndarray:
    """Returns which classes occur in each image.

    Args:
        labels: Class numbers `[batch, height, width]`.
        num_classes: Number of classes with the background.
        ignore_label: Label of pixels without a class.

    Returns:
        float32 `[batch, num_classes - 1]`: 1 if at least one pixel has the class.

    Raises:
        UserError: A label is neither a class number nor `ignore_label`.
    """
    labels = np.asarray(labels)
    tags = np.zeros((len(labels), num_classes), "float32")
    for tag, label in zip(tags, labels, strict=True):
        numbers = np.unique(label)
        numbers = numbers[numbers != ignore_label]
        wrong = numbers[(numbers < 0) | (numbers >= num_classes)]
        if wrong.size:
            raise errors.UserError(
                f"`labels` contain {wrong.tolist()}, which are neither class numbers "
                f"below `num_classes={num_classes}` nor `ignore_label={ignore_label}`. "
                "Correct the labels, or the number of classes."
            )
        tag[numbers] = 1.0
    return tags[:, 1:]


def binary_target(
    label: np.ndarray, class_number: int, ignore_label: int = datasets.IGNORE_LABEL
) -> np.ndarray:
    """Returns the target of a binary segmentation of one class.

    Args:
        label: Class numbers of any shape.
        class_number: The class that is foreground.
        ignore_label: Label of pixels without a class; they keep it.

    Returns:
        uint8 of the same shape: 1 for the class, 0 for others, or `ignore_label`.
    """
    label = np.asarray(label)
    target = (label == class_number).astype("uint8")
    return np.where(label == ignore_label, np.uint8(ignore_label), target)


def class_pairs(
    labels: np.ndarray, num_classes: int, ignore_label: int = datasets.IGNORE_LABEL
) -> ClassPairs:
    """Lists all pairs of an image and a class that occurs in it.

    The images of the pairs are `images[pairs.image]`. The segmentation network is
    trained on `pairs.target` with the softmax cross-entropy of two classes.

    Args:
        labels: See `class_tags`.
        num_classes: See `class_tags`.
        ignore_label: See `class_tags`.

    Returns:
        The pairs, by image and then by class. Images without a class other than the
        background have none.

    Raises:
        UserError: See `class_tags`.

    Source: https://arxiv.org/abs/1506.04924, training of the segmentation network.
    """
    labels = np.asarray(labels)
    tags = class_tags(labels, num_classes, ignore_label)
    image, column = np.nonzero(tags)
    targets = [
        binary_target(labels[i], int(k) + 1, ignore_label)
        for i, k in zip(image, column, strict=True)
    ]
    return ClassPairs(
        image=image.astype("int32"),
        classes=np.eye(num_classes - 1, dtype="float32")[column],
        target=np.array(targets, "uint8").reshape(-1, *labels.shape[1:]),
    )


def tag_crossentropy(tags, scores, known=None):
    """Sums the sigmoid cross-entropy of class tags over images and classes.

    Args:
        tags: 1 for classes that occur in the image, else 0, `[batch, classes]`.
        scores: Logits of the classes, of the same shape.
        known: Whether the tags of each image are known, bool `[batch]`; other images do
            not count. None if all are.

    Returns:
        `(total, count)`: sum in nats and number of images, float32. The released code
        divides one by the other.

    Source: https://arxiv.org/abs/1506.04924, training of the classification network.
    """
    scores = ops.cast(scores, "float32")
    tags = ops.cast(tags, "float32")
    # max(x, 0) - x * tag + log(1 + exp(-|x|)) does not overflow.
    values = ops.relu(scores) - scores * tags + ops.log1p(ops.exp(-ops.abs(scores)))
    counted = ops.ones_like(scores[:, 0]) if known is None else known
    counted = ops.cast(counted, "float32")
    return ops.sum(values * counted[:, None]), ops.sum(counted)
