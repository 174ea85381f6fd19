"""From one pair to one record, with everything checked that can go wrong silently."""

import dataclasses

import cv2
import numpy as np

from kerasseg import datasets, images, records
from tfrecords_tools import texts
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import label_rules


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a pair must fulfil.

    Attributes:
        max_pixels: Larger pictures are refused.
        apply_exif: Store pictures that EXIF says are rotated upright, as PNG, instead
            of refusing them.
        ignore_exif: Store such pictures as they are, as their labels fit them so.
        labels: What the numbers and colours of labels mean.
    """

    max_pixels: int = images.DEFAULT_MAX_PIXELS
    apply_exif: bool = False
    ignore_exif: bool = False
    labels: label_rules.LabelRules = label_rules.AS_THEY_ARE


def encode_pair(
    pair: pairs.Pair,
    contents: pairs.Contents,
    spec: datasets.DatasetSpec,
    rules: Rules,
) -> bytes:
    """Checks a pair and packs it as a record.

    Raises:
        ValueError: The pair is bad; the text names its file and says why.
    """
    image, image_format, size = _checked_image(pair, contents.image, rules)
    source = _source_numbers(pair, contents.label, rules)
    if source.shape != size and rules.labels.resize:
        source = label_rules.resize(source, size, pair.label or pair.name)
    if source.shape != size:
        raise images.ImageError(
            f"{pair.image or pair.name} is {size[1]} x {size[0]} pixels, its label "
            f"{pair.label} is {source.shape[1]} x {source.shape[0]}. A label must be "
            "as large as its picture and is never resized"
        )
    numbers, present = _class_numbers(pair, source, spec)
    return records.encode_example(
        image=image,
        label=_label_file(contents.label, numbers),
        instance=contents.instances,
        name=pair.name,
        image_format=image_format,
        height=size[0],
        width=size[1],
        present_classes=present,
    )


def _checked_image(pair, data, rules):
    """Returns the file to store, its format and the size that it shows."""
    name = pair.image or pair.name
    header = images.probe(data, name=name)
    if header.orientation != 1 and rules.apply_exif == rules.ignore_exif:
        raise images.ImageError(
            f"{name}: EXIF says that the picture is rotated (orientation "
            f"{header.orientation}), so that its label may not fit. Store it upright "
            "with `apply_exif` if the label is upright, or as it is with `ignore_exif`"
        )
    pixels = images.read_image(
        data,
        max_pixels=rules.max_pixels,
        apply_exif=not rules.ignore_exif,
        name=name,
    )
    if header.orientation == 1 or rules.ignore_exif:
        return data, header.format, pixels.shape[:2]
    return images.encode_image(pixels), "png", pixels.shape[:2]


def _source_numbers(pair, label, rules):
    name = pair.label or pair.name
    if isinstance(label, np.ndarray):
        return label_rules.map_numbers(label, rules.labels, name)
    return label_rules.read_mask(
        label, rules.labels, max_pixels=rules.max_pixels, name=name
    )


def _class_numbers(pair, source, spec):
    """Returns our class numbers, and those that occur without the ignore label."""
    counts = np.bincount(source.ravel(), minlength=256)
    ours = np.full(256, -1)
    ours[: spec.num_classes] = range(spec.num_classes)
    ours[[*spec.source_ignore, datasets.IGNORE_LABEL]] = datasets.IGNORE_LABEL
    unknown = np.flatnonzero((counts > 0) & (ours < 0)).tolist()
    if unknown:
        listed = texts.some(unknown, say=lambda i: f"{i} ({counts[i]} pixels)")
        raise images.ImageError(
            f"{pair.label or pair.name}: {listed} are no classes of {spec.name}, "
            f"which has 0 to {spec.num_classes - 1} and ignores "
            f"{sorted({*spec.source_ignore, datasets.IGNORE_LABEL})}. "
            f"{_ASK_THE_DOCTOR if spec.name == pairs.OWN else _WHAT_ELSE}"
        )
    present = np.flatnonzero(counts[: spec.num_classes]).tolist()
    kept = [i for i in present if ours[i] == i]
    return cv2.LUT(source, ours.astype(np.uint8)), kept


_WHAT_ELSE = "Are they grey values or palette colours instead of class numbers?"
_ASK_THE_DOCTOR = (
    "python -m tfrecords_tools.inspect with the same --images, --masks and --classes "
    "says which flags help"
)


def _label_file(source, numbers):
    """Returns the source's own file where it already holds our numbers in grey."""
    if isinstance(source, bytes) and images.stores_plain_numbers(source):
        try:
            if np.array_equal(records.decode_label(source), numbers):
                return source
        except ValueError:  # For instance transparent grey, which is no plain grey.
            pass
    return images.encode_label(numbers)
