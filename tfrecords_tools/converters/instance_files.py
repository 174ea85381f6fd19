"""Reads maps of instance ids."""

import numpy as np

from kerasseg import images, records
from kerasseg.system import files
from tfrecords_tools.converters import pairs, source_files

_BIT_DEPTH = 24  # Offset of the bit depth in a PNG file.


def read_ids(path: str, *, void: int | None = None) -> np.ndarray:
    """Reads a PNG file of instance ids: gray of up to 16 bits, or palette indices.

    Args:
        path: The file.
        void: Value of pixels that belong to no instance, besides 0; or None.

    Returns:
        uint16 `[height, width]`; 0 is no instance.

    Raises:
        ImageError: It cannot be read, or has colors.
    """
    ids = _decode(files.read_bytes(path), path)
    if void is not None:
        ids[ids == void] = 0
    return ids


def _decode(data, path):
    """Returns the values of a PNG file of one channel, uint16 `[height, width]`."""
    header = images.probe(data, name=path)
    images.check_pixels(header, images.DEFAULT_MAX_PIXELS, path)
    if header.format != "png" or data[_BIT_DEPTH] != 16:
        return images.read_label(data, name=path).astype(np.uint16)
    try:
        return records.decode_instances(data)
    except ValueError as error:
        raise images.ImageError(
            f"{path} cannot be read as 16-bit gray instance ids. Export it again."
        ) from error


def decode_mask(data: bytes, path: str, *, allow_empty: bool = False) -> np.ndarray:
    """Decodes the binary mask of an object: a PNG file, gray or with a palette.

    Args:
        data: The file.
        path: Its path, for error messages.
        allow_empty: Whether all pixels may be 0.

    Returns:
        bool `[height, width]`; true where the value is not 0.

    Raises:
        ImageError: It cannot be read, has colors, no pixel of the object, or more
            values than 0 and another one.
    """
    values = _decode(data, path)
    found = np.unique(values).tolist()
    if found == [0] and not allow_empty:
        raise images.ImageError(
            f"{path} has no pixel of an object: all are 0. Remove the file, or draw "
            "the object."
        )
    if len(found) > 2 or (len(found) == 2 and found[0]):
        listed = source_files.shorten(found)
        raise images.ImageError(
            f"{path} has the values {listed}, and the mask of an object has 0 and one "
            "other value. Save it without smooth edges; a file of several objects is "
            "a map of ids, which has the name of the image."
        )
    return values != 0


def check_size(ids: np.ndarray, label: np.ndarray, pair: pairs.Pair) -> None:
    """Checks that instance ids have the size of a label.

    Raises:
        ImageError: They do not.
    """
    if ids.shape != label.shape:
        raise images.ImageError(
            f"{pair.instances} is {ids.shape[1]} x {ids.shape[0]} pixels, the label "
            f"{pair.label} {label.shape[1]} x {label.shape[0]}. Give instance ids of "
            "the size of the label."
        )
