"""MATLAB's files of version 7.3, which are HDF5: one part of an array at a time."""

import functools
import os

import h5py
import numpy as np

from kerasseg import images

_BROKEN = (
    *(OSError, KeyError, ValueError, TypeError, RuntimeError, IndexError),
    MemoryError,  # Of a size that is damaged.
)


@functools.lru_cache(maxsize=4)
def _open(path, time):
    del time  # A file that was replaced is opened again.
    return h5py.File(path, "r")


def read_part(path: str, variable: str, i: int) -> np.ndarray:
    """Reads what one index of an array's last axis in MATLAB, the first here, holds.

    Args:
        path: The file; it stays open.
        variable: Names with slashes between.
        i: From 0. Where the array holds references, what it refers to is read.

    Returns:
        The rest of the axes in HDF5's order, which is MATLAB's turned round.

    Raises:
        ImageError: The file cannot be read, or lacks the variable or the index.
    """
    try:
        file = _open(path, os.stat(path).st_mtime_ns)
        found = file[variable][i]
        if h5py.check_ref_dtype(file[variable].dtype):
            found = file[found.ravel()[0]][()]
        return np.asarray(found)
    except _BROKEN as error:
        raise images.ImageError(
            f"{path}: {variable}, number {i + 1}, cannot be read ({error}). It "
            "must be MATLAB's of version 7.3: get the file again"
        ) from error
