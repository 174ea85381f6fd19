"""Reads MATLAB files of version 7.3, which are HDF5, one part of an array at a time.

HDF5 can also name other files, whose content would become labels: links to other files,
datasets whose values lie in other files, and virtual datasets are refused.
"""

import functools
import math
import os

import h5py
import numpy as np

from kerasseg import errors, images
from kerasseg.system import files

_MAX_BYTES = 1 << 28  # Of a part, and of a chunk that is decompressed for it.
_DAMAGED = (
    *(OSError, KeyError, ValueError, TypeError, RuntimeError, IndexError),
    MemoryError,  # The size is damaged.
)


@functools.lru_cache(maxsize=4)
def _open(path, time):
    del time  # A file that was replaced is opened again.
    return h5py.File(path, "r")


def read_part(path: str, variable: str, i: int) -> np.ndarray:
    """Reads one element along an array's last axis in MATLAB, which is the first here.

    Args:
        path: The file. It stays open.
        variable: Names joined by slashes.
        i: Index, from 0. If the array holds references, the referenced array is read.

    Returns:
        The other axes in HDF5's order, the reverse of MATLAB's.

    Raises:
        ImageError: The file cannot be read, refers to other files, or lacks the
            variable or the index.
    """
    try:
        status = os.stat(path)
        files.check_regular(status, path)
        file = _open(path, status.st_mtime_ns)
        dataset = _find(file, variable)
        value = dataset[i]
        if h5py.check_ref_dtype(dataset.dtype):
            _check(file[value.ravel()[0]], whole=True)
            value = file[value.ravel()[0]][()]
        return np.asarray(value)
    except _DAMAGED as error:
        raise images.ImageError(
            f"{path}: {variable}, number {i + 1}, cannot be read ({error}). Expected a "
            "MATLAB file of version 7.3. Get the file again."
        ) from error


def _find(file, variable):
    """Returns a dataset of the file itself; links of all other kinds are refused."""
    group = file
    for name in variable.split("/"):
        link = group.get(name, getlink=True)
        if link is not None and not isinstance(link, h5py.HardLink):
            raise errors.UserError(f"{name} is a link, expected data in this file")
        group = group[name]
    _check(group, whole=False)
    return group


def _check(dataset, whole):
    """Checks where the values of a dataset lie, and how large they are."""
    if not isinstance(dataset, h5py.Dataset):
        raise errors.UserError(f"it is a {type(dataset).__name__}, expected an array")
    if dataset.is_virtual or dataset.external:
        raise errors.UserError("its values lie in other files")
    if dataset.dtype.kind not in "biuf" and not h5py.check_ref_dtype(dataset.dtype):
        raise errors.UserError(f"its values are {dataset.dtype}, expected numbers")
    sizes = [dataset.shape if whole else dataset.shape[1:], dataset.chunks or ()]
    num_bytes = max(map(math.prod, sizes)) * dataset.dtype.itemsize
    if num_bytes > _MAX_BYTES:
        raise errors.UserError(
            f"an element takes {num_bytes:,} bytes, the maximum is {_MAX_BYTES:,}"
        )
