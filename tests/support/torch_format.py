"""Writes files as torch.save does, without PyTorch."""

import dataclasses
import io
import pickle
import zipfile

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
KINDS = {
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "float64": "DoubleStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


@dataclasses.dataclass(frozen=True)
class Named:
    """A function or class that is written by its name only."""

    module: str
    name: str

    def __call__(self):
        raise AssertionError("only its name is pickled")


@dataclasses.dataclass(frozen=True)
class Storage:
    """A storage of `size` elements, which may be wrong."""

    key: str
    data: bytes
    kind: str
    size: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides are in elements."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


@dataclasses.dataclass(frozen=True)
class Call:
    """An object that is made by a call, and then gets a state."""

    function: Named
    arguments: tuple = ()
    state: object = None


def storage(values, key="0", *, kind=None):
    """Returns a storage of a one-dimensional array."""
    values = np.asarray(values)
    kind = kind or KINDS[values.dtype.name]
    return Storage(key, values.tobytes(), kind, values.size)


def tensor(values, key="0"):
    """Returns a tensor with its own storage."""
    values = np.asarray(values)
    values = np.ascontiguousarray(values).reshape(values.shape)
    strides = tuple(step // values.itemsize for step in values.strides)
    return Tensor(storage(values.ravel(), key), 0, values.shape, strides)


def parameter(value):
    """Returns a tensor as a torch.nn.Parameter."""
    return Call(Named("torch._utils", "_rebuild_parameter"), (value, True, {}))


class _Pickler(pickle._Pickler):
    def __init__(self, file, protocol):
        super().__init__(file, protocol)
        self.storages = {}

    def persistent_id(self, item):
        if not isinstance(item, Storage):
            return None
        self.storages[item.key] = item
        kind = Named("torch", item.kind)
        return ("storage", kind, item.key, "cpu", item.size, *self.view)

    def reducer_override(self, item):
        if isinstance(item, Call):
            return item.function, item.arguments, item.state
        if isinstance(item, Tensor):
            function = Named("torch._utils", "_rebuild_tensor_v2")
            return function, _fields(item)
        return NotImplemented

    def save_named(self, item):
        self.write(f"c{item.module}\n{item.name}\n".encode())
        self.memoize(item)

    dispatch = {**pickle._Pickler.dispatch, Named: save_named}  # noqa: RUF012


def _fields(item):
    return item.storage, item.offset, item.shape, item.strides, False, {}


def pickled(tree, *, protocol=2, view=()):
    """Returns the pickle of a tree, and its storages by key."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, protocol)
    pickler.view = view
    pickler.dump(tree)
    return buffer.getvalue(), pickler.storages


def write_zip(path, tree, *, entries=(), data=None, method=zipfile.ZIP_STORED, **kind):
    """Writes the format since PyTorch 1.6.

    Args:
        path: The file.
        tree: State dict or another object.
        entries: More entries of the archive, names and bytes.
        data: Bytes that replace the pickle.
        method: Compression.
        kind: See `pickled`.
    """
    content, storages = pickled(tree, **kind)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", content if data is None else data)
        for name, added in entries:
            archive.writestr(f"archive/{name}", added)
        for key, item in storages.items():
            archive.writestr(f"archive/data/{key}", item.data)
    return path


def write_legacy(path, tree, *, magic=MAGIC, **kind):
    """Writes the format before PyTorch 1.6."""
    content, storages = pickled(tree, view=(None,), **kind)
    parts = [pickle.dumps(part, 2) for part in (magic, 1001, {"little_endian": True})]
    parts += [content, pickle.dumps(sorted(storages), 2)]
    for key in sorted(storages):
        parts += [storages[key].size.to_bytes(8, "little"), storages[key].data]
    path.write_bytes(b"".join(parts))
    return path
