"""Combinatorial cropping: many training images from a few masks (DecoupledNet)."""

from typing import NamedTuple

import numpy as np

from kerasseg import datasets, errors

_Box = tuple[int, int, int, int]  # Top, left, bottom, right.


class Crop(NamedTuple):
    """A part of an image that encloses all pixels of some classes.

    Attributes:
        top: First row.
        left: First column.
        bottom: Row after the last.
        right: Column after the last.
        classes: Numbers of the classes that lie in the crop as a whole, ascending.
    """

    top: int
    left: int
    bottom: int
    right: int
    classes: tuple[int, ...]


def combinatorial_crops(
    label: np.ndarray, ignore_label: int = datasets.IGNORE_LABEL
) -> list[Crop]:
    """Lists the bounding boxes of all subsets of the classes of an image.

    Subsets with the same box give one crop. The boxes of n classes have at most n
    different upper edges, and so on, so that there are at most n**4 crops.

    Args:
        label: Class numbers `[height, width]`. Class 0 is the background, which has no
            box.
        ignore_label: Label of pixels without a class.

    Returns:
        The crops, sorted by their edges; none if no class has a pixel.

    Raises:
        UserError: The label is not a 2-D array of integers.

    Source: https://arxiv.org/abs/1506.04924, "combinatorial cropping".
    """
    boxes = _class_boxes(label, ignore_label)
    unions: set[_Box] = set()
    for box in boxes.values():
        unions |= {_union(box, other) for other in unions} | {box}
    crops = []
    for union in sorted(unions):
        inside = [i for i, box in boxes.items() if _union(box, union) == union]
        crops.append(Crop(*union, classes=tuple(inside)))
    return crops


def _class_boxes(label, ignore_label) -> dict[int, _Box]:
    """Returns the box of each foreground class."""
    label = np.asarray(label)
    if label.ndim != 2 or label.dtype.kind not in "iu":
        raise errors.UserError(
            f"`label` must be class numbers of shape [height, width], got shape "
            f"{label.shape} of {label.dtype}. Pass the label of one image."
        )
    boxes = {}
    for number in map(int, np.unique(label)):
        if number not in (0, ignore_label):
            rows, columns = np.nonzero(label == number)
            boxes[number] = (
                int(rows.min()),
                int(columns.min()),
                int(rows.max()) + 1,
                int(columns.max()) + 1,
            )
    return boxes


def _union(a: _Box, b: _Box) -> _Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
