"""Combines the masks of classes that may overlap to the label of an image."""

import numpy as np

from kerasseg import datasets, images
from kerasseg.images import bit_masks
from tfrecords_tools.converters import instance_files, pairs


def combine(
    pair: pairs.Pair,
    contents: pairs.Contents,
    spec: datasets.DatasetSpec,
    size: tuple[int, int],
) -> np.ndarray:
    """Returns the label of a pair, see `bit_masks`.

    Args:
        pair: Names and paths.
        contents: The masks of the classes as files, or the label that was drawn.
        spec: Spec of the data set.
        size: Height and width of the image.

    Returns:
        `[height, width]` of `bit_masks.dtype`.

    Raises:
        ImageError: A mask cannot be read, is not binary or has another size.
    """
    name = pair.label or pair.name
    if contents.masks is None:
        label = np.asarray(contents.label)
        _check_size(label.shape, size, pair, name)
        bit_masks.check(label, spec.num_classes, name=name)
        return label.astype(bit_masks.dtype(spec.num_classes))
    masks = np.zeros((*size, spec.num_classes), bool)
    ignored = np.zeros(size, bool)
    for each in contents.masks:
        mask = instance_files.decode_mask(each.data, each.path, allow_empty=True)
        _check_size(mask.shape, size, pair, each.path)
        if each.number == datasets.IGNORE_LABEL:
            ignored |= mask
        else:
            masks[..., each.number] |= mask
    return bit_masks.encode(masks, ignored)


def _check_size(shape, size, pair, name):
    if tuple(shape) != tuple(size):
        raise images.ImageError(
            f"{pair.image or pair.name} is {size[1]} x {size[0]} pixels, its mask "
            f"{name} is {shape[1]} x {shape[0]}. A mask must have the size of its "
            "image and is never resized. Give the right mask."
        )
