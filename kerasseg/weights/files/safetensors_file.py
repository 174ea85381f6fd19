"""Reader of safetensors files, by the library of that name."""

import os

import numpy as np

from kerasseg import errors
from kerasseg.system import files, names
from kerasseg.weights.files import arrays

_BFLOAT16 = "BF16"
_TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", _BFLOAT16: "<u2", "BOOL": "u1"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"},
}


def read(path: str | os.PathLike) -> arrays.Weights:
    """Reads all tensors; see `reading.read`.

    Raises:
        errors.MissingPackageError: safetensors is not installed.
        errors.UserError: See `reading.read`.
    """
    try:
        import safetensors
    except ImportError as error:
        raise errors.MissingPackageError(
            "safetensors files need the package safetensors. Install it with "
            "pip install 'kerasseg[weights]'."
        ) from error
    size = os.path.getsize(path)
    arrays.check_size(size, size)
    try:
        # Checks that the tensors cover the file, and none of it twice.
        tensors = safetensors.deserialize(files.read_bytes(path))
    except safetensors.SafetensorError as error:
        raise arrays.damaged(f"safetensors: {error}") from error
    for name, tensor in tensors:
        if tensor["dtype"] not in _TYPES:
            raise errors.UserError(
                f"{names.one_line(name)[:80]!r} has the type {tensor['dtype']}. "
                "Floating-point, integer and bool tensors of 8 to 64 bits, no float8, "
                "can be read: convert it, and save the file again."
            )
    tensors.reverse()
    values = {}
    while tensors:  # Bytes are released as they are converted.
        name, tensor = tensors.pop()
        values[name] = _array(tensor)
    return arrays.Weights(dict(sorted(values.items())), file_format="safetensors")


def _array(tensor):
    values = np.frombuffer(tensor["data"], _TYPES[tensor["dtype"]])
    values = values.reshape(tensor["shape"])
    if tensor["dtype"] == _BFLOAT16:
        return arrays.from_bfloat16(values)
    if tensor["dtype"] == "BOOL":
        return values.astype(bool)
    return values.astype(values.dtype.newbyteorder("="))
