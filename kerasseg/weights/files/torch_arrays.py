"""Arrays of the tensors that a PyTorch file describes."""

import collections
import math
from collections.abc import Callable

import numpy as np

from kerasseg import errors
from kerasseg.weights.files import arrays, pickles

_BFLOAT16 = "BFloat16Storage"
# NumPy's types by the class of the storage, or by the dtype of an untyped one.
_TYPES = {
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "DoubleStorage": "f8",
    _BFLOAT16: "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "u1",
    "UntypedStorage": "u1",
    "uint16": "u2",
    "uint32": "u4",
    "uint64": "u8",
}


def num_bytes(storage: pickles.Storage) -> int:
    """Returns the number of bytes of a storage.

    Raises:
        errors.UserError: It has a type that NumPy does not have.
    """
    if storage.kind not in _TYPES:
        raise errors.UserError(
            f"it has tensors of {storage.kind[:40]!r}. Floating-point, integer and "
            "bool tensors can be read: convert them with PyTorch, and save the state "
            "dict again."
        )
    return storage.size * np.dtype(_TYPES[storage.kind]).itemsize


def build(
    tensors: dict[str, pickles.Tensor],
    file_bytes: int,
    load: Callable[[pickles.Storage], bytes],
    *,
    byteorder: str = "<",
) -> dict[str, np.ndarray]:
    """Returns the arrays of tensors, which own their memory.

    Args:
        tensors: Tensors by name.
        file_bytes: Size of the file, which limits the size of the arrays.
        load: Returns the bytes of a storage.
        byteorder: "<" or ">", of the bytes.

    Raises:
        errors.UserError: A tensor exceeds its storage, or the arrays are too large.
    """
    names = collections.defaultdict(list)
    for name, tensor in tensors.items():
        _check_bounds(tensor)
        names[tensor.storage].append(name)
    total = sum(_array_bytes(tensor) for tensor in set(tensors.values()))
    arrays.check_size(total, file_bytes)
    done: dict[pickles.Tensor, np.ndarray] = {}
    for storage, users in names.items():
        values = np.frombuffer(load(storage), byteorder + _TYPES[storage.kind])
        for name in users:
            if tensors[name] not in done:
                done[tensors[name]] = _array(tensors[name], values)
    return {name: done[tensor] for name, tensor in tensors.items()}


def _array_bytes(tensor):
    kind = tensor.storage.kind
    width = 4 if kind == _BFLOAT16 else np.dtype(_TYPES[kind]).itemsize
    return math.prod(tensor.shape) * width


def _check_bounds(tensor):
    num_bytes(tensor.storage)  # Checks its type.
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((side - 1) * step for side, step in steps)
    is_empty = 0 in tensor.shape
    if not is_empty and not 0 <= tensor.offset <= last < tensor.storage.size:
        raise arrays.damaged("a tensor exceeds its storage")


def _array(tensor, values):
    kind = tensor.storage.kind
    if 0 in tensor.shape:
        values = np.zeros(tensor.shape, values.dtype)
    else:
        strides = [step * values.itemsize for step in tensor.strides]
        start = values[tensor.offset :]
        values = np.lib.stride_tricks.as_strided(start, tensor.shape, strides)
    if kind == _BFLOAT16:
        return arrays.from_bfloat16(values)
    if kind == "BoolStorage":
        return values.astype(bool, order="C")
    return values.astype(values.dtype.newbyteorder("="), order="C", copy=True)
