"""Pairs of image and label that are scored like a split of records."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasseg import errors, images
from kerasseg.datasets import IGNORE_LABEL, DatasetSpec
from kerasseg.images import bit_masks
from kerasseg.inference import sources


@dataclasses.dataclass(frozen=True)
class _Split:
    """What scores and reports need of a split."""

    name: str
    spec: DatasetSpec
    length: int

    def __len__(self):
        return self.length


class Pairs:
    """Reads pairs of image and label, as `pipeline.ImageReader` reads records.

    Args:
        data: A sequence of pairs of an image, see `inference.sources.as_raster`, and a
            label: a file, or an integer array `[height, width]` of class numbers and
            255; of several classes the bits of `images.bit_masks`, or a mask of 0 and 1
            for each class, `[height, width, num_classes]`. A name may follow.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        image_kind: Channels and type of the images.
        multi_label: Whether a pixel may have several classes.

    Attributes:
        kind: `image_kind`.
        split: Name, spec and length, as a split of records has them.

    Raises:
        errors.UserError: `data` is not a sequence.
    """

    def __init__(
        self,
        data: Any,
        class_names: Sequence[str],
        palette: np.ndarray,
        image_kind: images.ImageKind,
        *,
        multi_label: bool = False,
    ):
        if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
            raise errors.UserError(
                f"`data` is {type(data).__name__}, expected a folder of records or a "
                f"sequence of pairs of image and label. Give list(data)."
            )
        colors = map(tuple, np.asarray(palette).tolist())
        classes = dict(zip(class_names, colors, strict=True))
        spec = DatasetSpec(
            source="",
            classes=classes,
            num_images={},
            image_kind=image_kind,
            multi_label=multi_label,
        )
        self._data, self.kind = data, image_kind
        self.split = _Split("data", spec, len(data))

    def read(self, i: int) -> tuple[np.ndarray, np.ndarray, str]:
        """Returns image, label and name of pair `i`.

        Raises:
            errors.UserError: It is not a pair, or the label does not fit the image.
        """
        pair, name = self._data[i], f"image {i}"
        if not isinstance(pair, tuple | list) or len(pair) not in (2, 3):
            raise errors.UserError(
                f"`data`: item {i} is {type(pair).__name__}, expected a pair of image "
                f"and label. Give a list such as [(image, label), ...]."
            )
        image, label, *names = pair
        name = str(names[0]) if names else name
        image, valid, _ = sources.as_raster(image, self.kind, name)
        label = self._label(label, image.shape[:2], name)
        if valid is not None:
            label[~valid] = IGNORE_LABEL
        return image, label, name

    def _label(self, label, size, name):
        spec = self.split.spec
        if isinstance(label, str | os.PathLike):
            label = images.read_label(label, multi_label=spec.multi_label)
        label = np.asarray(label)
        if spec.multi_label and label.ndim == 3:  # A mask of each class.
            ignored = (label == IGNORE_LABEL).any(axis=-1)
            label = bit_masks.encode(label == 1, ignored)
        is_integer = np.issubdtype(label.dtype, np.integer)
        most = np.iinfo(spec.label_dtype).max
        if (
            label.shape != size
            or not is_integer
            or ((label < 0) | (label > most)).any()
        ):
            raise errors.UserError(
                f"The label of {name} is {label.dtype} {list(label.shape)}, expected "
                f"class numbers from 0 to {most} of an integer type, {list(size)}: the "
                f"size of the image. Correct `data`."
            )
        label = label.astype(spec.label_dtype)
        images.check_label_range(
            label, spec.num_classes, name=name, multi_label=spec.multi_label
        )
        return label
