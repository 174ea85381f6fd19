"""Reads MATLAB files of version 7.3, which are HDF5, one part of an array at a time."""

import functools
import os

import h5py
import numpy as np

from kerasseg import images

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
        ImageError: The file cannot be read, or lacks the variable or the index.
    """
    try:
        file = _open(path, os.stat(path).st_mtime_ns)
        value = file[variable][i]
        if h5py.check_ref_dtype(file[variable].dtype):
            value = file[value.ravel()[0]][()]
        return np.asarray(value)
    except _DAMAGED as error:
        raise images.ImageError(
            f"{path}: {variable}, number {i + 1}, cannot be read ({error}). Expected a "
            "MATLAB file of version 7.3. Get the file again."
        ) from error
