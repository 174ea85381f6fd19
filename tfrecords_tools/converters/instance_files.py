"""Reads maps of instance ids."""

import numpy as np

from kerasseg import images, records
from kerasseg.system import files
from tfrecords_tools.converters import pairs

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
    data = files.read_bytes(path)
    header = images.probe(data, name=path)
    images.check_pixels(header, images.DEFAULT_MAX_PIXELS, path)
    if header.format == "png" and data[_BIT_DEPTH] == 16:
        try:
            ids = records.decode_instances(data)
        except ValueError as error:
            raise images.ImageError(
                f"{path} cannot be read as 16-bit gray instance ids. Export it again."
            ) from error
    else:
        ids = images.read_label(data, name=path).astype(np.uint16)
    if void is not None:
        ids[ids == void] = 0
    return ids


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
