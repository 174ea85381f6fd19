"""A single record: `encode_example` writes it, `parse_example` reads it."""

from collections.abc import Sequence

import cv2
import numpy as np
from google.protobuf import message

from kerasseg import errors, images
from kerasseg.records import example_proto
from kerasseg.records.objects import (
    EncodedObjects,
    Objects,
    from_instances,
    from_rles,
)

MAX_PIXELS = 1 << 28  # Larger images are neither written nor decoded.

_IMAGE = "image/encoded"  # JPEG or PNG file, as in the source.
_IMAGE_FORMAT = "image/format"  # "jpeg" or "png".
_NAME = "image/filename"  # Name in the source.
_HEIGHT = "image/height"  # Pixels.
_WIDTH = "image/width"
_CHANNELS = "image/channels"
_DTYPE = "image/dtype"  # "uint16" or "float32"; 8 bits and RGB have no such key.
_LABEL = "image/segmentation/class/encoded"  # 8-bit gray PNG of class indices.
_LABEL_FORMAT = "image/segmentation/class/format"
_INSTANCE = "image/segmentation/instance/encoded"  # 16-bit gray PNG, 0: no instance.
_INSTANCE_FORMAT = "image/segmentation/instance/format"
_PRESENT_CLASSES = "image/class/label"  # Indices of the classes in the image; or none.
# Schema version 2: one value for each instance. They take precedence over _INSTANCE.
_OBJECT_MASKS = "image/object/mask/rle"  # COCO's compressed strings of runs.
_OBJECT_CLASSES = "image/object/class/label"  # From 1; 0: a crowd of unknown class.
_OBJECT_IS_CROWD = "image/object/is_crowd"  # 0 or 1.


def encode_example(
    *,
    image: bytes,
    label: bytes | None,
    name: str,
    image_format: str,
    height: int,
    width: int,
    instance: bytes | None = None,
    present_classes: Sequence[int] | None = None,
    objects: EncodedObjects | None = None,
    kind: images.ImageKind = images.RGB,
) -> bytes:
    """Serializes one image as a `tf.train.Example` with TF DeepLab's keys.

    Args:
        image: Bytes of the image: a JPEG or PNG file of 8-bit RGB, or else a `.npy`
            file.
        label: Class indices, an 8-bit gray PNG file of the size of the image; None for
            an image without a label.
        name: Name of the image in its source.
        image_format: "jpeg", "png" or "npy".
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        instance: Instance ids, a 16-bit gray PNG file; 0 is no instance.
        present_classes: Indices of the classes that the image shows, for weak
            supervision; empty if it shows none, None if they are not known.
        objects: Instances that may overlap; None for a record without these keys.
        kind: Channels and type of the image.

    Returns:
        Bytes that depend on the arguments only.
    """
    example = example_proto.Example()
    features = example.features.feature
    name_bytes = name.encode("utf-8", "surrogateescape")  # As in the file system.
    texts = {_IMAGE: image, _IMAGE_FORMAT: image_format.encode(), _NAME: name_bytes}
    if not kind.is_rgb:
        texts[_DTYPE] = kind.dtype.encode()
    if label is not None:
        texts.update({_LABEL: label, _LABEL_FORMAT: b"png"})
    if instance is not None:
        texts.update({_INSTANCE: instance, _INSTANCE_FORMAT: b"png"})
    for key, value in texts.items():
        features[key].bytes_list.value.append(value)
    numbers = {_HEIGHT: height, _WIDTH: width, _CHANNELS: kind.channels}
    for key, number in numbers.items():
        features[key].int64_list.value.append(number)
    if present_classes is not None:
        features[_PRESENT_CLASSES].int64_list.SetInParent()  # Written if empty, too.
        features[_PRESENT_CLASSES].int64_list.value.extend(present_classes)
    if objects is not None:
        for key, values in (
            (_OBJECT_CLASSES, objects.classes),
            (_OBJECT_IS_CROWD, objects.is_crowd),
        ):
            features[key].int64_list.SetInParent()  # Written without instances, too.
            features[key].int64_list.value.extend(map(int, values))
        features[_OBJECT_MASKS].bytes_list.SetInParent()
        features[_OBJECT_MASKS].bytes_list.value.extend(objects.rles)
    return example.SerializeToString(deterministic=True)


def parse_example(serialized: bytes) -> dict:
    r"""Parses one record that `encode_example` or a script of TF DeepLab wrote.

    Returns:
        Dict of "image" (bytes of the file), "label" and "instance" (bytes of the file,
        or None if the record has none), "objects" (`EncodedObjects`, or None),
        "present_classes" (see `encode_example`), "name", "height" and "width". In
        "name", bytes that are not UTF-8 are written as in `caf\xe9`.

    Raises:
        errors.UserError: The bytes are not a `tf.train.Example`, or a feature is
            missing, or those of instances do not fit together.
    """
    try:
        example = example_proto.Example.FromString(serialized)
    except message.DecodeError as error:
        raise errors.UserError(
            f"The {len(serialized)} bytes are not a tf.train.Example ({error}). Build "
            "the records again with python -m tfrecords_tools.build"
        ) from error
    features = example.features.feature
    return {
        "image": _value(features, _IMAGE, "bytes_list"),
        "label": _value(features, _LABEL, "bytes_list", required=False),
        "instance": _value(features, _INSTANCE, "bytes_list", required=False),
        "objects": _objects(features),
        "present_classes": _present_classes(features),
        "name": _value(features, _NAME, "bytes_list").decode(
            "utf-8", "backslashreplace"
        ),
        "height": _value(features, _HEIGHT, "int64_list"),
        "width": _value(features, _WIDTH, "int64_list"),
    }


def _value(features, key, kind, *, required=True):
    values = list(getattr(features[key], kind).value) if key in features else []
    if len(values) == 1:
        return values[0]
    if not required and not values:
        return None
    raise errors.UserError(
        f"The record has {len(values)} values for '{key}', expected one. Its keys are "
        f"{', '.join(sorted(features)) or 'none'}. Build the records again with "
        "python -m tfrecords_tools.build, or give them TF DeepLab's keys."
    )


def _objects(features):
    if _OBJECT_MASKS not in features:
        return None
    return EncodedObjects(
        tuple(features[_OBJECT_MASKS].bytes_list.value),
        tuple(features[_OBJECT_CLASSES].int64_list.value),
        tuple(map(bool, features[_OBJECT_IS_CROWD].int64_list.value)),
    )


def _present_classes(features):
    if _PRESENT_CLASSES not in features:
        return None
    return tuple(features[_PRESENT_CLASSES].int64_list.value)


def decode_objects(example: dict, label: np.ndarray) -> Objects:
    """Decodes the instances of a record: its objects, or else its instance map.

    Args:
        example: What `parse_example` returns.
        label: The decoded label, of the size of the image.

    Raises:
        errors.UserError: The record has no instances, or they are damaged, of another
            size, or of class 0.
    """
    if example["objects"] is not None:
        return from_rles(example["objects"], label.shape)
    if example["instance"] is None:
        raise errors.UserError(
            "the record has no instances. Build the records with `instances`"
        )
    return from_instances(decode_instances(example["instance"], label.shape), label)


def decode_image(data: bytes) -> np.ndarray:
    """Decodes the image of a record.

    The pixels of a JPEG or PNG file equal those of TensorFlow's decoder. EXIF
    orientation is not applied.

    Returns:
        RGB, uint8 `[height, width, 3]`; or of a `.npy` file, uint8, uint16 or float32
        `[height, width, channels]`.

    Raises:
        errors.UserError: It cannot be read, or has more than `MAX_PIXELS`.
    """
    if images.is_npy(data):
        return images.decode_npy(data, max_pixels=MAX_PIXELS)
    _check_header(data)
    image = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def decode_label(
    data: bytes, size: tuple[int, int] | None = None, *, multi_label: bool = False
) -> np.ndarray:
    """Decodes a gray PNG file of class indices, or of the bits of several classes.

    Args:
        data: The file.
        size: Height and width of the image; other sizes are refused before decoding.
        multi_label: Whether a pixel may have several classes, see `images.bit_masks`.

    Returns:
        Class indices, uint8 `[height, width]`; bits of classes, uint16.

    Raises:
        errors.UserError: OpenCV cannot read it, it is not 8-bit gray, or 16-bit gray
            for several classes, or has another size or more than `MAX_PIXELS`.
    """
    _check_header(data, size, "label")
    label = _decode(data, cv2.IMREAD_UNCHANGED)
    if multi_label and label.ndim == 2 and label.dtype in (np.uint8, np.uint16):
        return label.astype(np.uint16)
    if label.ndim != 2 or label.dtype != np.uint8:
        raise errors.UserError(
            f"A label is {label.dtype} {list(label.shape)}, expected an 8-bit gray PNG "
            "of class indices. Convert palette or color PNG files to class indices, as "
            "python -m tfrecords_tools.build does"
        )
    return label


def decode_instances(data: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decodes a gray PNG file of instance ids, of 8 or 16 bits.

    Args:
        data: The file.
        size: Height and width of the image; other sizes are refused before decoding.

    Returns:
        Instance ids, uint16 `[height, width]`; 0 is no instance.

    Raises:
        errors.UserError: OpenCV cannot read it, it is not gray, or has another size or
            more than `MAX_PIXELS`.
    """
    _check_header(data, size, "instance map")
    instances = _decode(data, cv2.IMREAD_UNCHANGED)
    if instances.ndim != 2 or instances.dtype not in (np.uint8, np.uint16):
        raise errors.UserError(
            f"An instance map is {instances.dtype} {list(instances.shape)}, expected a "
            "16-bit gray PNG of instance ids. Build the records again with "
            "python -m tfrecords_tools.build"
        )
    return instances.astype(np.uint16)


def _check_header(data, size=None, what="image"):
    """Checks the size of an image file before it is decoded."""
    try:
        header = images.probe(data, formats=images.RECORD_FORMATS)
    except images.ImageError as error:
        raise _unreadable(data) from error
    height, width = header.height, header.width
    if height * width > MAX_PIXELS:
        raise errors.UserError(
            f"the {what} is {width}x{height}, with more than {MAX_PIXELS:,} pixels. "
            f"{_BUILD_AGAIN} from smaller images"
        )
    if size is not None and (height, width) != tuple(size):
        raise errors.UserError(
            f"the {what} is {width}x{height}, the image {size[1]}x{size[0]}. "
            f"{_BUILD_AGAIN}"
        )


def _decode(data, flags):
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise _unreadable(data)
    return pixels


def _unreadable(data):
    return errors.UserError(
        f"The {len(data)} bytes are not a readable JPEG or PNG file. {_BUILD_AGAIN}"
    )


_BUILD_AGAIN = "Build the records again with python -m tfrecords_tools.build"
