"""Reduces images and labels before they are stored."""

import cv2
import numpy as np

from kerasseg import datasets, errors, images, records
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
    serialized: bytes, scale: float, pair: pairs.Pair, spec: datasets.DatasetSpec
) -> bytes:
    """Reduces the image and the label of a record.

    The image is averaged over the area of each new pixel, and stored without loss. The
    label takes the class of the nearest pixel.

    Args:
        serialized: A `tf.train.Example` of `records.encode_example`.
        scale: Factor of width and height, in (0, 1]; sides have at least one pixel.
        pair: What the record was made of.
        spec: Spec of the data set.

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
    is_rgb = spec.image_kind.is_rgb
    encode = images.encode_image if is_rgb else images.encode_npy
    label, classes = None, pair.image_classes
    if example["label"] is not None:
        numbers = records.decode_label(example["label"], multi_label=spec.multi_label)
        exact = cv2.INTER_NEAREST_EXACT
        numbers = cv2.resize(numbers, (width, height), interpolation=exact)
        if spec.multi_label:
            numbers = numbers.astype(bit_masks.dtype(spec.num_classes))
        label = images.encode_label(numbers)
        if classes is None and example["present_classes"] is not None:
            shown = np.unique(numbers).tolist()
            if spec.multi_label:
                shown = bit_masks.present(numbers, spec.num_classes)
            kept = np.intersect1d(shown, example["present_classes"])
            classes = tuple(kept.tolist()) or None
    return records.encode_example(
        image=encode(image.reshape(height, width, -1)),
        label=label,
        name=pair.name,
        image_format="png" if is_rgb else "npy",
        height=height,
        width=width,
        present_classes=classes,
        kind=spec.image_kind,
    )
