"""Reader of Keras' files: `.weights.h5`, `.keras`, and `.h5` of Keras 2."""

import io
import math
import os

import h5py
import numpy as np

from kerasseg import errors
from kerasseg.system import names
from kerasseg.weights.files import arrays, zip_archive

WEIGHTS = "model.weights.h5"  # In a `.keras` file, and in a preset of KerasHub.
TASK = "task.weights.h5"  # In a preset of KerasHub: the layers after its backbone.
_ERRORS = (KeyError, OSError, OverflowError, RuntimeError, TypeError, ValueError)
_LEFT_OUT = ("optimizer", "optimizer_weights")
_KERAS_2 = "model_weights"  # Of a whole model.
_MAX_ARRAYS = 100_000


def is_keras(entries: list[str]) -> bool:
    """Returns whether an archive with entries of these names is a `.keras` file."""
    return WEIGHTS in entries


def read(path: str | os.PathLike) -> arrays.Weights:
    """Reads an HDF5 file; names are the paths of its arrays, `layers/dense/vars/0`.

    Raises:
        errors.UserError: See `reading.read`.
    """
    return _read(path, os.path.getsize(path), "Keras (HDF5)")


def read_archive(path: str | os.PathLike) -> arrays.Weights:
    """Reads a `.keras` file; see `read`."""
    with zip_archive.open_archive(path) as archive:
        data = archive.read(WEIGHTS)
    return _read(io.BytesIO(data), len(data), "Keras (.keras)")


def _read(source, num_bytes, file_format):
    try:
        with h5py.File(source, "r") as file:
            key = _KERAS_2 if isinstance(file.get(_KERAS_2), h5py.Group) else ""
            datasets, left_out = _datasets(file[key] if key else file, key)
            left_out += [
                f"{name}/"
                for name in file
                if name in _LEFT_OUT or (key and name != key)
            ]
            sizes = (_checked_size(name, dataset) for name, dataset in datasets.items())
            arrays.check_size(sum(sizes), num_bytes)
            values = {name: _array(dataset) for name, dataset in datasets.items()}
    except errors.UserError:
        raise
    except _ERRORS as error:
        raise arrays.damaged(f"HDF5: {error}") from error
    if not values:
        raise errors.UserError(
            "it is an HDF5 file without arrays of numbers. Save the weights with "
            "model.save_weights."
        )
    return arrays.Weights(values, file_format=file_format, key=key, left_out=left_out)


def _datasets(group, key):
    """Returns the datasets of numbers by path, and the paths of others.

    Links to other files are not followed.
    """
    found: dict[str, h5py.Dataset] = {}
    left_out: list[str] = []

    def visit(path, item):
        if len(found) + len(left_out) >= _MAX_ARRAYS:
            raise errors.UserError(
                f"it has more than {_MAX_ARRAYS:,} arrays. This is no file of weights; "
                "give another."
            )
        if not isinstance(item, h5py.Dataset):
            return
        if not key and path.split("/")[0] in _LEFT_OUT:
            return
        if item.dtype.kind in "fiub" or _is_bfloat16(item):
            found[path] = item
        else:
            left_out.append(path)

    group.visititems(visit)
    return found, left_out


def _is_bfloat16(dataset):
    is_two_bytes = dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2
    return is_two_bytes and dataset.attrs.get("dtype") == "bfloat16"


def _checked_size(path, dataset):
    """Returns the bytes of an array, none of which come from another file."""
    if dataset.shape is None or dataset.is_virtual or dataset.external:
        raise errors.UserError(
            f"{names.one_line(path)[:80]!r} is empty or stored in another file. Save "
            "the weights again with model.save_weights."
        )
    # HDF5 extracts a chunk whatever its size becomes; Keras does not compress weights.
    if dataset.id.get_create_plist().get_nfilters():
        raise errors.UserError(
            f"{names.one_line(path)[:80]!r} is compressed. Run `h5repack -f NONE`, or "
            "save the weights again with model.save_weights."
        )
    size = max(dataset.size, math.prod(dataset.chunks or ()))
    return size * max(dataset.dtype.itemsize, 4 if _is_bfloat16(dataset) else 1)


def _array(dataset):
    values = dataset[()]
    if _is_bfloat16(dataset):
        return arrays.from_bfloat16(np.asarray(values).view("<u2"))
    return np.asarray(values, dataset.dtype.newbyteorder("="))
