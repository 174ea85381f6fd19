"""Reader of PyTorch's file format before version 1.6: pickles, then storages."""

import os

from kerasseg import errors
from kerasseg.weights.files import (
    arrays,
    pickles,
    state_dict,
    torch_arrays,
)

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read(path: str | os.PathLike) -> arrays.Weights:
    """Reads a state dict; see `reading.read`.

    Storages are little-endian on any machine.

    Raises:
        errors.UserError: See `reading.read`.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:

        def load():
            return pickles.load(file, size - file.tell())

        if load()[0] != MAGIC:
            raise errors.UserError(
                "it is a pickle, but not one of torch.save. Save "
                "model.state_dict() with torch.save."
            )
        if load()[0] != _PROTOCOL:
            raise arrays.damaged("an unknown version of PyTorch's format")
        load()  # Of the machine that wrote it.
        tree, storages = load()
        keys = load()[0]
        found = state_dict.find(tree)
        starts = _starts(file, size, keys, storages)

        def content(storage):
            if storage.key not in starts:
                raise arrays.damaged("a storage is missing")
            file.seek(starts[storage.key])
            return file.read(torch_arrays.num_bytes(storages[storage.key]))

        values = torch_arrays.build(found.tensors, size, content)
    return found.weights(values, "PyTorch (before 1.6)")


def _starts(file, file_bytes, keys, storages):
    """Returns the position of each storage: its size as 8 bytes, then its bytes."""
    starts = {}
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise arrays.damaged("the list of storages is none")
    for key in keys:
        size = int.from_bytes(file.read(8), "little")
        if key not in storages or storages[key].size != size:
            raise arrays.damaged("the size of a storage is another one")
        starts[key] = file.tell()
        end = starts[key] + torch_arrays.num_bytes(storages[key])
        if end > file_bytes:
            raise arrays.damaged("it ends within a storage")
        file.seek(end)
    return starts
