"""Reader of weights in PyTorch's old file format, without PyTorch.

Such a file is a pickle, and unpickling can run arbitrary code. This reader creates only
NumPy arrays and raises an error for a file that contains other objects.
"""

import collections
import os
import pickle

import numpy as np

from kerasseg import errors

_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
_Tensor = collections.namedtuple("_Tensor", "storage offset shape strides")


class _Reader(pickle.Unpickler):
    def find_class(self, module, name: str):
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *parts: _Tensor(*parts[:4])
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        raise errors.UserError(
            f"The file contains {module}.{name}, but only float32 and int64 tensors "
            "can be read. Save a plain state dict of such tensors."
        )

    def persistent_load(self, pid):
        _, dtype, key, _, size, _ = pid
        return dtype, key, size


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a state dict in the format of PyTorch before 1.6.

    Args:
        path: The file, with little-endian storages.

    Returns:
        Arrays by name.

    Raises:
        UserError: The file has another format, is truncated, or contains other
            objects.
    """
    with open(path, "rb") as file:
        try:
            return _read(file)
        except (EOFError, pickle.UnpicklingError, TypeError, KeyError) as error:
            raise errors.UserError(
                f"{path} is not a complete file of PyTorch before 1.6: {error}. Copy "
                "or download it again."
            ) from error


def _read(file):
    if _Reader(file).load() != _MAGIC:
        raise pickle.UnpicklingError("its header is another one")
    for _ in ("protocol", "system"):
        _Reader(file).load()
    tensors = _Reader(file).load()
    dtypes = {t.storage[1]: np.dtype(t.storage[0]) for t in tensors.values()}
    storages = {}
    for key in _Reader(file).load():
        size = int.from_bytes(file.read(8), "little")
        data = file.read(size * dtypes[key].itemsize)
        if len(data) != size * dtypes[key].itemsize:
            raise EOFError("it is truncated")
        storages[key] = np.frombuffer(data, dtypes[key])
    return {name: _array(t, storages[t.storage[1]]) for name, t in tensors.items()}


def _array(tensor, storage):
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((side - 1) * step for side, step in steps)
    if min(tensor.strides, default=0) < 0 or not 0 <= tensor.offset <= last < len(
        storage
    ):
        raise EOFError("a tensor exceeds its storage")
    strides = [step * storage.itemsize for step in tensor.strides]
    start = storage[tensor.offset :]
    return np.lib.stride_tricks.as_strided(start, tensor.shape, strides).copy()
