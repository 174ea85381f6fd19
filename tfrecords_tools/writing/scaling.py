"""Reduces images and labels before they are stored."""

import cv2
import numpy as np

from kerasseg import errors, images, records
from kerasseg.images import bit_masks
from tfrecords_tools.converters import pairs


def check(scale: float) -> None:
    """Checks the option `image_scale`.

    Raises:
        errors.UserError: It is out of range.
    """
    if not 0 < scale <= 1:
        raise errors.UserError(
            f"`image_scale={scale:g}` is out of range. Give a factor above 0 and at "
            "most 1, such as 0.5 for images of half the width and height."
        )


def reduce(
    serialized: bytes,
    scale: float,
    pair: pairs.Pair,
    kind: images.ImageKind,
    *,
    multi_label: bool = False,
) -> bytes:
    """Reduces the image and the label of a record.

    The image is averaged over the area of each new pixel, and stored without loss. The
    label takes the class, or the classes, of the nearest pixel.

    Args:
        serialized: A `tf.train.Example` of `records.encode_example`.
        scale: Factor of width and height, in (0, 1]; sides have at least one pixel.
        pair: What the record was made of.
        kind: Channels and type of the image.
        multi_label: Whether a pixel of the label may have several classes.

    Raises:
        errors.UserError: The record has instances.
    """
    example = records.parse_example(serialized)
    if example["instance"] is not None or example["objects"] is not None:
        raise errors.UserError(
            f"`image_scale={scale:g}` does not reduce the masks of instances. Leave "
            "out `image_scale` or `instances`."
        )
    height, width = (
        max(1, round(scale * example[side])) for side in ("height", "width")
    )
    image = records.decode_image(example["image"])
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    encode = images.encode_image if kind.is_rgb else images.encode_npy
    label, classes = None, pair.image_classes
    if example["label"] is not None:
        numbers = records.decode_label(example["label"], multi_label=multi_label)
        exact = cv2.INTER_NEAREST_EXACT
        numbers = cv2.resize(numbers, (width, height), interpolation=exact)
        label = images.encode_label(numbers)
        if classes is None and example["present_classes"] is not None:
            before = sorted(example["present_classes"])
            if multi_label:
                has = bit_masks.decode(numbers, before[-1] + 1)
                classes = tuple(i for i in before if has[..., i].any()) or None
            else:
                classes = tuple(np.intersect1d(numbers, before).tolist()) or None
    return records.encode_example(
        image=encode(image.reshape(height, width, -1)),
        label=label,
        name=pair.name,
        image_format="png" if kind.is_rgb else "npy",
        height=height,
        width=width,
        present_classes=classes,
        kind=kind,
    )
