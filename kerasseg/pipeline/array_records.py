"""Records of images and masks that are arrays."""

import collections
import dataclasses
import hashlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Sequence

import numpy as np

from kerasseg import datasets, errors, images, records
from kerasseg.images import bit_masks
from kerasseg.system.image_kinds import DTYPES, MAX_CHANNELS, RGB, ImageKind

_PER_SHARD = 256  # Images.


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Images and masks of equal number, which are checked.

    Attributes:
        images: RGB, each uint8 `[height, width, 3]`; or other channels, uint8, uint16
            or float32, equal for all images.
        masks: Class numbers and 255, each an integer type or bool `[height, width]`, or
            `[height, width, 1]`; with `multi_label` 0 or 1, and 255 in all classes for
            an ignored pixel, `[height, width, num_classes]`.
        names: Name of each image.
        num_classes: Number of classes.
        kind: Channels and type of the images.
        multi_label: Whether a pixel may have several classes.

    Raises:
        errors.UserError: Numbers, shapes or types differ from this, a label is out of
            range, or two images have one name; the message names the image.
    """

    images: Sequence[np.ndarray] | np.ndarray
    masks: Sequence[np.ndarray] | np.ndarray
    names: Sequence[str]
    num_classes: int
    kind: ImageKind = RGB
    multi_label: bool = False

    def __post_init__(self):
        """Checks the number of arrays and the names; `pair` checks each array."""
        lengths = len(self.images), len(self.masks), len(self.names)
        if len(set(lengths)) > 1 or not lengths[0]:
            raise errors.UserError(
                f"There are {lengths[0]} `images`, {lengths[1]} `masks` and "
                f"{lengths[2]} `names`. Give one mask and one name for each image, and "
                "at least one image."
            )
        counts = collections.Counter(self.names)
        double = sorted(name for name, count in counts.items() if count > 1)
        if double:
            raise errors.UserError(
                f"`names` has {', '.join(double[:10])} more than once. Names must "
                "differ."
            )

    def pair(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns an image, and its mask as uint8 (uint16) `[height, width]`."""
        image, mask = np.asarray(self.images[i]), np.asarray(self.masks[i])
        name = self.names[i]
        expected = (self.kind.channels, self.kind.dtype)
        if image.ndim != 3 or (image.shape[-1], str(image.dtype)) != expected:
            raise errors.UserError(
                f"Image {name} is {image.dtype} {image.shape}, expected "
                f"{_text(self.kind)}."
            )
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise errors.UserError(
                f"Image {name} has values that are not finite. Replace them, and give "
                "their pixels the label 255."
            )
        if self.multi_label:
            return image, self._bits(mask, image.shape[:2], name)
        mask = mask[..., 0] if mask.ndim == 3 and mask.shape[-1] == 1 else mask
        kinds = np.issubdtype(mask.dtype, np.integer) or mask.dtype == bool
        if mask.shape != image.shape[:2] or not kinds:
            raise errors.UserError(
                f"The mask of image {name} is {mask.dtype} {mask.shape}, expected "
                f"class numbers of an integer type, {image.shape[:2]}: the size of the "
                "image."
            )
        if mask.min(initial=0) < 0 or mask.max(initial=0) > datasets.IGNORE_LABEL:
            raise errors.UserError(
                f"The mask of image {name} has values from {mask.min()} to "
                f"{mask.max()}. Labels are 0 to {self.num_classes - 1}, or 255 for "
                "ignored pixels."
            )
        mask = mask.astype(np.uint8)
        try:
            images.check_label_range(
                mask, self.num_classes, name=f"The mask of image {name}"
            )
        except images.ImageError as error:
            text = str(error).partition(" Check that")[0]
            raise errors.UserError(f"{text} List all classes in `classes`.") from None
        return image, mask

    def _bits(self, mask, size, name):
        """Returns the masks of several classes as one, after checks."""
        expected = (*size, self.num_classes)
        kinds = np.issubdtype(mask.dtype, np.integer) or mask.dtype == bool
        if mask.shape != expected or not kinds:
            raise errors.UserError(
                f"The mask of image {name} is {mask.dtype} {mask.shape}, expected "
                f"integers or bool, {expected}: one mask for each class."
            )
        ignored = np.any(mask == datasets.IGNORE_LABEL, axis=-1)
        if not np.isin(mask[~ignored], (0, 1)).all():
            raise errors.UserError(
                f"The mask of image {name} has values from {mask.min()} to "
                f"{mask.max()}. Multi-label masks are 0 or 1, or 255 in all classes "
                "for ignored pixels."
            )
        return bit_masks.encode(mask == 1, ignored)

    def checksum(self) -> str:
        """Returns a checksum of all names and pixels."""
        digest = hashlib.sha256()
        for i, name in enumerate(self.names):
            image, mask = self.pair(i)
            digest.update(f"{name}\0{image.shape}\0".encode())
            digest.update(np.ascontiguousarray(image).data)
            digest.update(np.ascontiguousarray(mask).data)
        return digest.hexdigest()

    def encode(self, i: int) -> bytes:
        """Returns the record of an image: PNG files, or an array and a PNG file."""
        image, mask = self.pair(i)
        is_rgb = self.kind.is_rgb
        if self.multi_label:
            present = bit_masks.present(mask, self.num_classes)
        else:
            present = np.setdiff1d(mask, datasets.IGNORE_LABEL).tolist()
        return records.encode_example(
            image=images.encode_image(image) if is_rgb else images.encode_npy(image),
            label=images.encode_label(mask),
            name=self.names[i],
            image_format="png" if is_rgb else "npy",
            height=image.shape[0],
            width=image.shape[1],
            present_classes=present or None,
            kind=self.kind,
        )


def kind_of(image: np.ndarray) -> ImageKind:
    """Returns channels and type of an array; 8-bit RGB if it cannot be an image."""
    image = np.asarray(image)
    number = image.shape[-1] if image.ndim == 3 else 0
    if str(image.dtype) in DTYPES and 1 <= number <= MAX_CHANNELS:
        return ImageKind(number, str(image.dtype))
    return RGB


def _text(kind):
    if kind.is_rgb:
        return "RGB, uint8 (height, width, 3) with values from 0 to 255"
    return f"{kind.dtype} (height, width, {kind.channels}), as the first image"


def write(
    arrays: Arrays,
    splits: dict[str, Sequence[int]],
    spec: datasets.DatasetSpec,
    records_dir: str | os.PathLike,
) -> None:
    """Writes records of arrays; the folder gets its name when it is complete.

    Args:
        arrays: The images and masks.
        splits: Indices of the images of each split.
        spec: The data set.
        records_dir: Folder to write. If it holds the same records, it is left as it is.

    Raises:
        errors.UserError: The folder holds something else, or an array is wrong.
    """
    target = pathlib.Path(records_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".arrays-") as temporary:
        folder = pathlib.Path(temporary, "records")
        folder.mkdir()
        shards = {
            split: _write_split(folder, split, arrays, indices)
            for split, indices in splits.items()
            if len(indices)
        }
        spec = dataclasses.replace(spec, image_kind=arrays.kind)
        spec = records.with_statistics(spec, folder, shards)
        rgb, other = records.SCHEMA_VERSION, records.OBJECTS_VERSION
        version = rgb if arrays.kind.is_rgb else other
        records.write_info(folder, records.DatasetInfo(spec, shards, version))
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        if not target.exists():
            shutil.move(folder, target)
            return
        info = target / records.INFO_FILE
        written = (folder / records.INFO_FILE).read_bytes()
        if not info.is_file() or info.read_bytes() != written:
            raise errors.UserError(
                f"`records_dir={target}` exists and does not hold the records of these "
                "arrays. Give another folder, or delete this one."
            )


def _write_split(folder, split, arrays, indices):
    parts = [indices[i : i + _PER_SHARD] for i in range(0, len(indices), _PER_SHARD)]
    return [
        records.write_shard(
            folder / records.shard_name(split, i, len(parts)), map(arrays.encode, part)
        )
        for i, part in enumerate(parts)
    ]
