"""Checks a pair and encodes it as a record."""

import dataclasses
import functools
from typing import NamedTuple

import cv2
import numpy as np

from kerasseg import datasets, images, records
from kerasseg.images import bit_masks
from kerasseg.system import files
from tfrecords_tools.converters import pairs, source_files
from tfrecords_tools.writing import (
    instance_labels,
    label_rules,
    multi_labels,
    scaling,
)


@dataclasses.dataclass(frozen=True)
class Rules:
    """How images and labels are read.

    The key of a build depends on the names of these fields.

    Attributes:
        max_pixels: Images with more pixels are refused.
        apply_exif: Store images that are rotated according to EXIF upright, as PNG,
            instead of refusing them. Images without a label are stored so anyway.
        ignore_exif: Store such images unchanged, because their labels fit them so.
        labels: What the values and colors of labels mean.
        channels: "rgb" for 8-bit RGB, a number of channels, or "" for those of the
            first image; see `image_kinds.find`.
        scale: Factor by which images and labels are reduced, in (0, 1].
    """

    max_pixels: int = images.DEFAULT_MAX_PIXELS
    apply_exif: bool = False
    ignore_exif: bool = False
    labels: label_rules.LabelRules = label_rules.DEFAULT_RULES
    channels: str = ""
    scale: float = 1.0

    def to_json(self) -> dict:
        """Returns what records depend on; channels are part of the data set's spec."""
        content = dataclasses.asdict(self)
        del content["channels"]
        if self.scale == 1:  # Earlier builds did not know it.
            del content["scale"]
        return content


def check_size(pair: pairs.Pair, rules: Rules) -> None:
    """Checks the size of an image with annotations, before they are drawn on it.

    Raises:
        ImageError: It cannot be read, or has too many pixels.
    """
    if not (pair.shapes and pair.image) or pair.fault:
        return
    header = images.read_header(files.read_bytes(pair.image), name=pair.image)
    images.check_pixels(header, _max_pixels(rules), pair.image)


def _max_pixels(rules):
    return min(rules.max_pixels, records.MAX_PIXELS)


def encode_pair(
    pair: pairs.Pair,
    contents: pairs.Contents,
    spec: datasets.DatasetSpec,
    rules: Rules,
) -> bytes:
    """Checks a pair and encodes it as a record.

    Args:
        pair: Names and paths.
        contents: The image and the label.
        spec: Spec of the data set; the image must be of its kind.
        rules: How they are read.

    Returns:
        A serialized `tf.train.Example`.

    Raises:
        errors.UserError: The pair is bad; the message names its file.
    """
    example = _encode(pair, contents, spec, rules)
    if rules.scale == 1:
        return example
    return scaling.reduce(example, rules.scale, pair, spec)


def _encode(pair, contents, spec, rules):
    image = _check_image(pair, contents.image, rules, spec.image_kind)
    size = image.size
    encode = functools.partial(
        records.encode_example,
        image=image.data,
        name=pair.name,
        image_format=image.format,
        height=size[0],
        width=size[1],
        kind=spec.image_kind,
    )
    if pair.is_unlabeled:
        return encode(label=None, present_classes=pair.image_classes)
    if spec.multi_label:
        label = multi_labels.combine(pair, contents, spec, size)
        if image.valid is not None:  # Pixels without a value are ignored.
            label[~image.valid] = datasets.IGNORE_LABEL
        classes = pair.image_classes
        if classes is None:
            classes = tuple(bit_masks.present(label, spec.num_classes)) or None
        return encode(label=images.encode_label(label), present_classes=classes)
    values = _read_label(pair, contents.label, rules)
    if values.shape != size and rules.labels.resize:
        values = label_rules.resize(values, size, pair.label or pair.name)
    _check_label_size(pair, values.shape, size)
    if image.valid is not None:  # Pixels without a value are ignored.
        values = np.where(image.valid, values, np.uint8(datasets.IGNORE_LABEL))
    numbers, present = _class_numbers(pair, values, spec)
    instance = contents.instances
    if pair.instances and instance is not None:
        instance = instance_labels.check_map(pair, instance, numbers, rules.labels)
    return encode(
        label=_label_file(contents.label, numbers),
        instance=instance,
        objects=_encode_objects(pair, contents, spec, rules, numbers),
        present_classes=(
            (present or None) if pair.image_classes is None else pair.image_classes
        ),
    )


def _check_label_size(pair, label_size, size):
    if label_size != size:
        raise images.ImageError(
            f"{pair.image or pair.name} is {size[1]} x {size[0]} pixels, its label "
            f"{pair.label} is {label_size[1]} x {label_size[0]}. A label must have "
            "the size of its image and is never resized. Give the right label."
        )


def _encode_objects(pair, contents, spec, rules, label):
    """Returns the objects, whose classes are mapped as those of pixels; or None."""
    if contents.masks is not None:
        return instance_labels.encode_masks(contents.masks, pair, label, rules.labels)
    if not contents.objects:
        return None if contents.objects is None else instance_labels.NONE
    classes = np.array([[each.number for each in contents.objects]], np.uint8)
    classes = label_rules.map_numbers(classes, rules.labels, pair.label)
    classes, _ = _class_numbers(pair, classes, spec)
    drawn_size = np.shape(contents.label)
    return instance_labels.encode(contents.objects, classes[0], drawn_size, label.shape)


class _Image(NamedTuple):
    """The file to store, its format, height and width, and `images.Raster.valid`."""

    data: bytes
    format: str
    size: tuple[int, int]
    valid: np.ndarray | None = None


def _check_image(pair, data, rules, kind):
    """Returns the `_Image` to store."""
    name = pair.image or pair.name
    header = images.read_header(data, name=name)
    is_unclear = rules.apply_exif == rules.ignore_exif and not pair.is_unlabeled
    if header.orientation != 1 and is_unclear:
        raise images.ImageError(
            f"{name}: according to EXIF, the image is rotated (orientation "
            f"{header.orientation}), so its label may not fit. Store it upright with "
            "`apply_exif` if the label is upright, or unchanged with `ignore_exif`."
        )
    raster = images.read_of_kind(
        data,
        kind,
        max_pixels=_max_pixels(rules),
        apply_exif=not rules.ignore_exif,
        name=name,
    )
    pixels, size = raster.pixels, raster.pixels.shape[:2]
    if not kind.is_rgb:
        return _Image(images.encode_npy(pixels), "npy", size, raster.valid)
    is_upright = header.orientation == 1 or rules.ignore_exif
    if is_upright and header.format in images.RECORD_FORMATS:
        return _Image(data, header.format, size)
    return _Image(images.encode_image(pixels), "png", size, raster.valid)


def _read_label(pair, label, rules):
    name = pair.label or pair.name
    if isinstance(label, np.ndarray):
        return label_rules.map_numbers(label, rules.labels, name)
    return label_rules.read_mask(
        label, rules.labels, max_pixels=rules.max_pixels, name=name
    )


def _class_numbers(pair, values, spec):
    """Returns the class numbers, and those that occur without the ignore label."""
    counts = np.bincount(values.ravel(), minlength=256)
    table = np.full(256, -1)
    table[: spec.num_classes] = range(spec.num_classes)
    table[[*spec.source_ignore, datasets.IGNORE_LABEL]] = datasets.IGNORE_LABEL
    unknown = np.flatnonzero((counts > 0) & (table < 0)).tolist()
    if unknown:
        listed = source_files.shorten(
            unknown,
            format_item=lambda i: f"{i} ({source_files.count(counts[i], 'pixel')})",
        )
        raise images.ImageError(
            f"{pair.label or pair.name}: {listed} are not classes of {spec.name}, "
            f"which has 0 to {spec.num_classes - 1} and ignores "
            f"{sorted({*spec.source_ignore, datasets.IGNORE_LABEL})}. "
            f"{_INSPECT if spec.name == pairs.OWN else _OTHER_VALUES}"
        )
    present = np.flatnonzero(counts[: spec.num_classes]).tolist()
    without_ignored = [i for i in present if table[i] == i]
    return cv2.LUT(values, table.astype(np.uint8)), without_ignored


_OTHER_VALUES = (
    "Check that the label holds class numbers, not gray values or palette colors."
)
_INSPECT = (
    "python -m tfrecords_tools.inspect with the same `images`, `masks` and `classes` "
    "proposes options that help."
)


def _label_file(label, numbers):
    """Returns the source's own file if it holds the class numbers in 8-bit gray."""
    if isinstance(label, bytes) and images.stores_plain_numbers(label):
        try:
            if np.array_equal(records.decode_label(label), numbers):
                return label
        except ValueError:  # Gray with transparency, for example.
            pass
    return images.encode_label(numbers)
