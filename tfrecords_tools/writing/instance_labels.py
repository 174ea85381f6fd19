"""Checks the instances of an image, and encodes them as a record stores them."""

from collections.abc import Sequence

import numpy as np

from kerasseg import datasets, images, records
from kerasseg.records import rle
from tfrecords_tools import annotations
from tfrecords_tools.converters import instance_files, pairs
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


def encode_masks(
    masks: Sequence[pairs.ObjectMask],
    pair: pairs.Pair,
    label: np.ndarray,
    rules: label_rules.LabelRules,
) -> records.EncodedObjects:
    """Encodes binary masks for a record; they may overlap.

    The class of a mask without a number is the most frequent class of its labeled
    pixels. If all of them are ignored, it is a crowd of unknown class; so is one of
    class 255.

    Args:
        masks: The masks.
        pair: Names and paths.
        label: Class numbers of the image, uint8 `[height, width]`.
        rules: Whether masks of another size are resized, as a label is.

    Raises:
        ImageError: A mask cannot be read, is not binary, is empty, has another size, or
            shows class 0; the message names the file.
    """
    rles, numbers, crowds = [], [], []
    for each in masks:
        mask = instance_files.decode_mask(each.data, each.path)
        if mask.shape != label.shape:
            mask = _fit(mask, each, label, rules)
        number = each.number
        if number == pairs.CLASS_OF_LABEL:
            number = _class_of(label[mask], each.path, pair.label)
        is_ignored = number == datasets.IGNORE_LABEL
        rles.append(rle.encode(mask))
        numbers.append(0 if is_ignored else number)
        crowds.append(is_ignored)
    return records.EncodedObjects(tuple(rles), tuple(numbers), tuple(crowds))


def _fit(mask, each, label, rules):
    """Returns a mask of the size of the label."""
    if not rules.resize:
        raise images.ImageError(
            f"{each.path} is {mask.shape[1]} x {mask.shape[0]} pixels, the image "
            f"{label.shape[1]} x {label.shape[0]}. Give masks of the size of the image."
        )
    mask = label_rules.resize(mask.astype(np.uint8), label.shape, each.path) > 0
    if not mask.any():
        raise images.ImageError(
            f"{each.path} has no pixel left at the size of the image, {label.shape[1]} "
            f"x {label.shape[0]}. Remove the file, or give a larger image."
        )
    return mask


def _class_of(values, path, label_path):
    """Returns the most frequent class, 255 if there is none."""
    counts = np.bincount(values, minlength=datasets.IGNORE_LABEL + 1)
    classes = counts[: datasets.IGNORE_LABEL]
    if not classes.any():
        return datasets.IGNORE_LABEL
    number = int(classes.argmax())
    if number == 0:
        raise images.ImageError(
            f"{path}: most of its pixels belong to class 0 in {label_path}, which is "
            "no object. Correct one of the two, or put the mask into a folder with the "
            "name of its class."
        )
    return number


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
