"""Checks the instances of an image, and encodes them as a record stores them."""

from collections.abc import Sequence

import numpy as np

from kerasseg import datasets, images, records
from kerasseg.records import rle
from tfrecords_tools import annotations
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import label_rules

NONE = records.EncodedObjects((), (), ())


def encode(
    instances: Sequence[annotations.Instance],
    classes: np.ndarray,
    drawn_size: tuple[int, int],
    size: tuple[int, int],
) -> records.EncodedObjects:
    """Encodes objects for a record.

    Objects of class 0 are left out, as they show the background. Those of class 255 are
    crowds of unknown class.

    Args:
        instances: The objects.
        classes: Class number of each object, after mapping; uint8 `[objects]`.
        drawn_size: Height and width of the masks.
        size: Height and width of the image; the masks are resized to it.
    """
    rles, numbers, crowds = [], [], []
    for instance, number in zip(instances, classes.tolist(), strict=True):
        if number == 0:
            continue
        is_ignored = number == datasets.IGNORE_LABEL
        rles.append(_resize(instance.rle, drawn_size, size))
        numbers.append(0 if is_ignored else number)
        crowds.append(instance.is_crowd or is_ignored)
    return records.EncodedObjects(tuple(rles), tuple(numbers), tuple(crowds))


def _resize(text, drawn_size, size):
    if tuple(drawn_size) == tuple(size):
        return text
    encoded = records.EncodedObjects((text,), (1,), (False,))
    mask = records.from_rles(encoded, drawn_size).mask(0).astype(np.uint8)
    return rle.encode(label_rules.resize(mask, size, "a mask").astype(bool))


def check_map(
    pair: pairs.Pair, data: bytes, label: np.ndarray, rules: label_rules.LabelRules
) -> bytes:
    """Checks a map of instance ids; returns the file to store.

    Args:
        pair: Names and paths.
        data: 16-bit gray PNG of instance ids.
        label: Class numbers of the image, uint8 `[height, width]`.
        rules: Whether a map of another size is resized, as a label is.

    Raises:
        ImageError: The sizes differ, or an instance has no class; the message names the
            file.
    """
    ids = records.decode_instances(data)
    if ids.shape != label.shape and rules.resize:
        ids = label_rules.resize(ids, label.shape, pair.instances)
        data = images.encode_label(ids)
    try:
        records.from_instances(ids, label)
    except ValueError as error:
        raise images.ImageError(f"{pair.instances}: {error}.") from error
    return data
