"""Reader of PyTorch's file format since version 1.6, a zip archive."""

import io
import os

from kerasseg import errors
from kerasseg.weights.files import (
    arrays,
    pickles,
    state_dict,
    torch_arrays,
    zip_archive,
)

PICKLE = "data.pkl"


def is_torch(names: list[str]) -> bool:
    """Returns whether an archive with entries of these names is a file of PyTorch."""
    return any(name.split("/")[-1] == PICKLE for name in names)


def read(path: str | os.PathLike) -> arrays.Weights:
    """Reads a state dict; see `reading.read`.

    Raises:
        errors.UserError: See `reading.read`.
    """
    with zip_archive.open_archive(path) as archive:
        root = _root(archive.names)
        byteorder = _byteorder(archive, root)
        data = archive.read(f"{root}{PICKLE}")
        found = state_dict.find(pickles.load(io.BytesIO(data), len(data))[0])

        def content(storage):
            name = f"{root}data/{storage.key}"
            if archive.size(name) != torch_arrays.num_bytes(storage):
                raise arrays.damaged("the size of a storage is another one")
            return archive.read(name)

        values = torch_arrays.build(
            found.tensors, os.path.getsize(path), content, byteorder=byteorder
        )
    return found.weights(values, "PyTorch (zip)")


def _root(names):
    """Returns the folder of the archive, with a slash."""
    pickled = [name for name in names if name.split("/")[-1] == PICKLE]
    if len(pickled) != 1:
        raise errors.UserError(
            f"it has {len(pickled)} entries data.pkl, expected one. Save "
            "model.state_dict() with torch.save."
        )
    root = pickled[0].removesuffix(PICKLE)
    if f"{root}constants.pkl" in names or any(
        name.startswith(f"{root}code/") for name in names
    ):
        raise errors.UserError(
            "it is a TorchScript program. Load it with torch.jit.load, and save its "
            "state_dict() with torch.save."
        )
    return root


def _byteorder(archive, root):
    """Returns "<" or ">"; files of PyTorch before 2.1 do not state it."""
    name = f"{root}byteorder"
    if name not in archive.names:
        return "<"
    text = archive.read(name) if archive.size(name) < 16 else b""
    if text not in (b"little", b"big"):
        raise arrays.damaged("an unknown byte order")
    return "<" if text == b"little" else ">"
