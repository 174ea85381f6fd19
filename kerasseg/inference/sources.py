"""What `predict` takes: one image of any kind, or several."""

import collections
import glob
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from kerasseg import errors, images
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.images import headers
from kerasseg.inference import inputs, reading, segmentation
from kerasseg.system import names, patterns

_EXPECTED = (
    "uint8 [height, width, 3] (RGB) or [height, width] (gray), uint16, or float from 0 "
    "to 1 or from 0 to 255"
)
_MIN_UINT16 = 4096  # Smaller maximums are those of 8 to 12 bits.
_MAX_LISTED = 3  # Failures in the warning at the end.


def as_image(source: Any, name: str = "") -> np.ndarray:
    """Reads or converts one image.

    Args:
        source: The path of a JPEG or PNG file, or its bytes, read by
            `images.read_image`; a PIL image, turned upright by its EXIF orientation,
            without its alpha channel; or an array or tensor: RGB `[height, width, 3]`,
            or gray `[height, width]` or `[height, width, 1]`. The range of an array
            follows from its type and its largest value:

            - uint8: 0 to 255.
            - uint16: 0 to 65,535, of which the upper 8 bits are used, as of 16-bit
              files. A largest value from 1 to 4,095 is refused: the values have 12 bits
              or fewer.
            - float: 0 to 1 if the largest value is at most 1, else 0 to 255, rounded. A
              largest value between 1 and 2 is refused: either may be meant.
        name: Name of the image in messages.

    Returns:
        RGB, uint8 `[height, width, 3]`.

    Raises:
        errors.UserError: It is not an image, its range is ambiguous, or the file is
            damaged.
        FileNotFoundError: The file does not exist.
    """
    if isinstance(source, str | os.PathLike):
        return images.read_image(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return images.read_image(bytes(source), name=name or None)
    prefix = f"{name}: " if name else ""
    if isinstance(source, Image.Image):
        source = _from_pil(source, prefix)
    if not hasattr(source, "__array__"):
        raise errors.UserError(
            f"{prefix}An image is a path, the bytes of a file, a PIL image or an "
            f"array; got {type(source).__name__}. Convert it to an array: {_EXPECTED}."
        )
    return _from_array(np.asarray(source), prefix)


def as_raster(
    source: Any, kind: images.ImageKind = images.RGB, name: str = ""
) -> images.Raster:
    """Reads or converts one image to the channels and the type of a network.

    Args:
        source: See `as_image`, for 8-bit RGB. For other kinds: the path or the bytes of
            a file, see `images.read_of_kind`; or an array `[height, width, channels]`,
            or `[height, width]` for one channel, of the type of the kind, with the
            range of values of the training images. For float32 every type of numbers is
            converted.
        kind: What the network takes.
        name: Name of the image in messages.

    Raises:
        errors.UserError: It is not an image, is damaged, or of another kind.
        FileNotFoundError: The file does not exist.
    """
    if isinstance(source, str | os.PathLike):
        return images.read_of_kind(source, kind)
    if isinstance(source, bytes | bytearray | memoryview):
        return images.read_of_kind(bytes(source), kind, name=name or None)
    if kind.is_rgb:
        return images.Raster(as_image(source, name))
    prefix = name or "The image"
    if not hasattr(source, "__array__") and not isinstance(source, Image.Image):
        raise errors.UserError(
            f"{prefix} is {type(source).__name__}, expected a path, the bytes of a "
            f"file, or an array of {kind}. Convert it to an array."
        )
    pixels = np.asarray(source)
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    if kind.dtype == "float32" and pixels.dtype.kind in "uif":
        pixels = pixels.astype(np.float32)
    kind.check(pixels, prefix)
    return images.read_of_kind(images.encode_npy(pixels), kind, name=prefix)


def _from_pil(image, prefix):
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode == "I":  # 16-bit files, as older versions of pillow read them.
            values = np.asarray(image)
            in_range = values.min(initial=0) >= 0 and values.max(initial=0) < 1 << 16
            return values.astype(np.uint16) if in_range else values
        is_deep = image.mode == "F" or image.mode.startswith("I;16")
        return np.asarray(image if is_deep else image.convert("RGB"))
    except headers.BROKEN as error:
        raise images.ImageError(
            f"{prefix}The PIL image cannot be decoded ({error}). Get the file again"
        ) from error


def _from_array(image, prefix):
    shape = f"{prefix}An image is {_EXPECTED}; got {image.dtype} {list(image.shape)}."
    if image.ndim == 4:
        raise errors.UserError(
            f"{shape} Of a batch, give a list of its images: list(batch)."
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim not in (2, 3) or not image.size or image.shape[2:] not in ((), (3,)):
        raise errors.UserError(
            f"{shape} Move the channels last, and keep three of them: "
            f"image[..., :3] drops an alpha channel."
        )
    if image.dtype == np.uint16:
        image = _from_uint16(image, prefix)
    elif np.issubdtype(image.dtype, np.floating):
        image = _from_float(image, prefix)
    elif image.dtype != np.uint8:
        raise errors.UserError(
            f"{shape} If its values are from 0 to 255, cast it: image.astype('uint8')."
        )
    if image.ndim == 2:
        image = np.repeat(image[..., np.newaxis], 3, axis=-1)
    return np.ascontiguousarray(image)


def _from_uint16(image, prefix):
    largest = int(image.max())
    if 0 < largest < _MIN_UINT16:
        raise errors.UserError(
            f"{prefix}The largest value of a uint16 image is {largest:,}, expected "
            f"values up to 65,535, of which the upper 8 bits are used. Multiply 12-bit "
            f"values by 16, or cast values up to 255 to uint8."
        )
    return (image >> 8).astype(np.uint8)


def _from_float(image, prefix):
    smallest, largest = float(image.min()), float(image.max())
    if not (smallest >= 0 and largest <= 255):  # Also where one is NaN.
        raise errors.UserError(
            f"{prefix}The values of a float image are from {smallest:g} to "
            f"{largest:g}, expected 0 to 1 or 0 to 255. Undo its normalization; the "
            f"network has its own."
        )
    if 1 < largest < 2:
        raise errors.UserError(
            f"{prefix}The largest value of a float image is {largest:g}, which is "
            f"ambiguous: expected 0 to 1 or 0 to 255. Clip it to 1, or cast it to "
            f"uint8."
        )
    return np.rint(image * (255.0 if largest <= 1 else 1.0)).astype(np.uint8)


def predict(source: Any, segment: Callable, kind: images.ImageKind = images.RGB) -> Any:
    """Predicts one image, or several one by one.

    Args:
        source: See `as_raster` and `several`.
        segment: See `Segmentations`.
        kind: What the network takes.

    Returns:
        What `segment` returns, or `Segmentations`.

    Raises:
        errors.UserError: See `as_raster` and `several`.
    """
    images_ = several(source)
    if images_ is not None:
        return Segmentations(images_, segment, kind)
    is_path = isinstance(source, str | os.PathLike)
    raster = as_raster(source, kind)
    return _masked(
        segment(raster.pixels, names.printable(source) if is_path else ""), raster
    )


def _masked(found, raster):
    """Gives pixels whose values are missing the ignore label."""
    if raster.valid is not None:
        found.mask[~raster.valid] = IGNORE_LABEL
    return found


def several(source: Any) -> Iterator[tuple[str, Any]] | None:
    """Returns the images of a source that holds several, or None for a single image.

    Args:
        source: A list, a tuple, or another iterable of images, see `as_image`; or the
            path of a folder (searched as by `inputs.find_images`), of a video, or a
            pattern such as `DIR/**/*.jpg`. Files of a folder that are neither images
            nor videos by their endings are counted in a warning.

    Returns:
        Names of the images and videos' frames, and what `as_image` takes, or an error.

    Raises:
        errors.MissingFileError: The folder or pattern has no image, or there is no such
            video.
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        exists = os.path.lexists(path)
        if os.path.isdir(path) or (glob.has_magic(path) and not exists):
            return _found(path)
        if not inputs.is_video(pathlib.Path(path)):
            return None
        if not exists:
            raise errors.MissingFileError(
                f"{names.printable(path)} does not exist. Give the path of a video."
            )
        return _files([pathlib.Path(path)])
    single = isinstance(source, bytes | bytearray | memoryview | Image.Image)
    if single or hasattr(source, "__array__") or not isinstance(source, Iterable):
        return None
    return _items(source)


def _found(pattern):
    with errors.renamed({"input": "image"}):
        paths = inputs.find_all(pattern)
    if passed_over := inputs.find_passed_over(pattern):
        logging.warning(
            "Passed over, as neither images nor videos by their endings: %s.",
            patterns.count_by_suffix(passed_over),
        )
    return _files(paths)


def _items(source):
    for i, item in enumerate(source):
        is_path = isinstance(item, str | os.PathLike)
        yield names.printable(item) if is_path else f"image {i}", item


def _files(paths):
    for path in paths:
        if inputs.is_video(path):
            yield from _frames(path)
        else:
            yield names.printable(path), path


def _frames(path):
    from kerasseg.inference import videos  # Takes longer to import than one image.

    text = names.printable(path)
    try:
        with videos.Frames(path, max_pixels=images.DEFAULT_MAX_PIXELS) as frames:
            for i, frame in enumerate(frames):
                yield f"{text}, frame {i}", frame
            if frames.missing:
                yield text, images.ImageError(frames.missing)
    except reading.FAILURES as error:
        yield text, error


class Segmentations(Iterator):
    """Iterates over the predictions of several images, in their order.

    Every image gives one item: its `Segmentation`, or a `FailedImage` if it cannot be
    read. The failures are also counted in a warning at the end.

    Args:
        source: Names and images of `several`.
        segment: Function of an image, of the network's kind, and its name to its
            `Segmentation`. What it raises is raised.
        kind: What the network takes.

    Attributes:
        num_predicted: Number of images that were predicted so far.
        failures: The `FailedImage`s so far.
    """

    def __init__(
        self,
        source: Iterator[tuple[str, Any]],
        segment: Callable,
        kind: images.ImageKind = images.RGB,
    ):
        self._source, self._segment, self._kind = source, segment, kind
        self.num_predicted = 0
        self.failures: list[segmentation.FailedImage] = []
        self._is_done = False

    def __next__(self):
        try:
            name, item = next(self._source)
        except StopIteration:
            self._warn()
            raise
        try:
            if isinstance(item, Exception):
                raise item
            raster = as_raster(item, self._kind, name)
        except reading.FAILURES as error:
            failed = segmentation.FailedImage(name, error)
            self.failures.append(failed)
            return failed
        found = _masked(self._segment(raster.pixels, name), raster)
        self.num_predicted += 1
        return found

    def save(self, folder: str | os.PathLike) -> list[str]:
        """Predicts the remaining images, and writes each mask as a palette PNG.

        A mask has the name of its image; of images with one name, and of the frames of
        a video, the second one is `NAME-1.png`, and so on.

        Args:
            folder: Folder of the masks; it is created.

        Returns:
            The paths of the masks, in the order of the images. Those that cannot be
            read have none, are in `failures`, and are counted in a warning.

        Raises:
            errors.UserError: An image cannot be predicted, see `predict`.
            OSError: A mask cannot be written.
        """
        os.makedirs(folder, exist_ok=True)
        paths: list[str] = []
        counts: collections.Counter[str] = collections.Counter()
        for found in self:
            if isinstance(found, segmentation.FailedImage):
                continue
            stem = os.path.splitext(os.path.basename(found.source))[0]
            number = counts[stem]
            counts[stem] += 1
            path = os.path.join(folder, f"{stem}{f'-{number}' if number else ''}.png")
            found.save(path)
            paths.append(path)
        return paths

    def _warn(self):
        if self.failures and not self._is_done:
            logging.warning(
                "%d of %d images could not be read: %s",
                len(self.failures),
                self.num_predicted + len(self.failures),
                "; ".join(str(each.error) for each in self.failures[:_MAX_LISTED])
                + "; ..." * (len(self.failures) > _MAX_LISTED),
            )
        self._is_done = True

    def __repr__(self):
        state = "done" if self._is_done else "so far"
        return (
            f"<Segmentations: {self.num_predicted} images predicted and "
            f"{len(self.failures)} failed {state}>"
        )
