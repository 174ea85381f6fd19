"""What one record is: `encode_example` writes it, `parse_example` reads it."""

import cv2
import numpy as np
from google.protobuf import message

from kerasseg import errors
from kerasseg.records import example_proto

_IMAGE = "image/encoded"  # JPEG or PNG file, as the source has it.
_IMAGE_FORMAT = "image/format"  # "jpeg" or "png".
_NAME = "image/filename"  # Name in the source.
_HEIGHT = "image/height"  # Pixels.
_WIDTH = "image/width"
_CHANNELS = "image/channels"
_LABEL = "image/segmentation/class/encoded"  # 8-bit grey PNG of class numbers.
_LABEL_FORMAT = "image/segmentation/class/format"
_INSTANCE = "image/segmentation/instance/encoded"  # 16-bit grey PNG, 0: no instance.
_INSTANCE_FORMAT = "image/segmentation/instance/format"
_PRESENT_CLASSES = "image/class/label"  # Numbers of the classes in the picture.


def encode_example(
    *,
    image: bytes,
    label: bytes | None,
    name: str,
    image_format: str,
    height: int,
    width: int,
    instance: bytes | None = None,
    present_classes=(),
) -> bytes:
    """Packs one picture as a serialized `tf.train.Example` with TF DeepLab's keys.

    Args:
        image: The picture, a JPEG or PNG file.
        label: Class numbers, a grey 8-bit PNG file as large as the picture; None for a
            picture without a label.
        name: The picture's name in its source.
        image_format: "jpeg" or "png".
        height: Rows of the picture.
        width: Columns of the picture.
        instance: Instance numbers, a grey 16-bit PNG file; 0 belongs to no instance.
        present_classes: Numbers of the classes that occur, for weak supervision.

    Returns:
        Bytes that depend on the arguments only.
    """
    example = example_proto.Example()
    features = example.features.feature
    texts = {_IMAGE: image, _IMAGE_FORMAT: image_format.encode(), _NAME: name.encode()}
    if label is not None:
        texts.update({_LABEL: label, _LABEL_FORMAT: b"png"})
    if instance is not None:
        texts.update({_INSTANCE: instance, _INSTANCE_FORMAT: b"png"})
    for key, value in texts.items():
        features[key].bytes_list.value.append(value)
    for key, number in {_HEIGHT: height, _WIDTH: width, _CHANNELS: 3}.items():
        features[key].int64_list.value.append(number)
    if present_classes:
        features[_PRESENT_CLASSES].int64_list.value.extend(present_classes)
    return example.SerializeToString(deterministic=True)


def parse_example(serialized: bytes) -> dict:
    """Unpacks one record that `encode_example` or a script of TF DeepLab made.

    Returns:
        Dict of "image" (file bytes), "label" and "instance" (file bytes, or None where
        the record has none), "name", "height" and "width".

    Raises:
        ValueError: The bytes are no `tf.train.Example`, or a feature is missing.
    """
    try:
        example = example_proto.Example.FromString(serialized)
    except message.DecodeError as error:
        raise errors.UserError(
            f"{len(serialized)} bytes are no tf.train.Example ({error}); "
            "build the records again with python -m tfrecords_tools.build"
        ) from error
    features = example.features.feature
    return {
        "image": _value(features, _IMAGE, "bytes_list"),
        "label": _value(features, _LABEL, "bytes_list", wanted=False),
        "instance": _value(features, _INSTANCE, "bytes_list", wanted=False),
        "name": _value(features, _NAME, "bytes_list").decode("utf-8", "replace"),
        "height": _value(features, _HEIGHT, "int64_list"),
        "width": _value(features, _WIDTH, "int64_list"),
    }


def _value(features, key, kind, *, wanted=True):
    values = list(getattr(features[key], kind).value) if key in features else []
    if len(values) == 1:
        return values[0]
    if not wanted and not values:
        return None
    raise errors.UserError(
        f"The record has {len(values)} values in '{key}', wanted is one; it has "
        f"{', '.join(sorted(features)) or 'nothing'}. Build the records again with "
        "python -m tfrecords_tools.build, or give them TF DeepLab's keys."
    )


def decode_image(data: bytes) -> np.ndarray:
    """Decodes a JPEG or PNG file, equal to TensorFlow's accurate decoder bit for bit.

    Never rotated by EXIF. Size and content are not checked first, since the builder did
    that: `images.read_image` reads what comes from outside.

    Returns:
        RGB, uint8 `[height, width, 3]`.

    Raises:
        ValueError: OpenCV cannot read it.
    """
    image = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def decode_label(data: bytes) -> np.ndarray:
    """Decodes a grey PNG file of class numbers.

    Returns:
        Class numbers, uint8 `[height, width]`.

    Raises:
        ValueError: OpenCV cannot read it, or it is not 8-bit grey.
    """
    label = _decode(data, cv2.IMREAD_UNCHANGED)
    if label.ndim != 2 or label.dtype != np.uint8:
        raise errors.UserError(
            f"A label is {label.dtype} {list(label.shape)}, wanted is an 8-bit grey "
            "PNG of class numbers; a palette or colour PNG must become class numbers "
            "first, as python -m tfrecords_tools.build does"
        )
    return label


def decode_instances(data: bytes) -> np.ndarray:
    """Decodes a grey PNG file of instance numbers, 8 or 16 bits deep.

    Returns:
        Instance numbers, uint16 `[height, width]`; 0 belongs to no instance.

    Raises:
        ValueError: OpenCV cannot read it, or it is not grey.
    """
    instances = _decode(data, cv2.IMREAD_UNCHANGED)
    if instances.ndim != 2 or instances.dtype not in (np.uint8, np.uint16):
        raise errors.UserError(
            f"An instance map is {instances.dtype} {list(instances.shape)}, wanted is "
            "a grey PNG of instance numbers, 16 bits deep; build the records again "
            "with python -m tfrecords_tools.build"
        )
    return instances.astype(np.uint16)


def _decode(data, flags):
    buffer = np.frombuffer(data, np.uint8)
    pixels = cv2.imdecode(buffer, flags) if len(buffer) else None
    if pixels is None:
        raise errors.UserError(
            f"{len(data)} bytes are no readable JPEG or PNG file; build the records "
            "again with python -m tfrecords_tools.build"
        )
    return pixels
