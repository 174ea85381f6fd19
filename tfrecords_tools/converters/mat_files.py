"""Reads MATLAB files up to version 7 in pure Python.

A damaged file raises an error here; compiled readers may crash the process.

Source: MathWorks, "MAT-File Format", chapter 1 (Level 5 MAT-Files).
"""

import math
import typing
import zlib

import numpy as np

from kerasseg import errors, images

_HEADER = 128  # Bytes.
_ORDERS = {b"IM": "<", b"MI": ">"}
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
_NUMBERS |= {12: "i8", 13: "u8"}  # Stored type, by kind of element.
_MATRIX, _COMPRESSED = 14, 15
_TEXTS = {  # Encoding by kind of element, in little-endian and in big-endian files.
    1: ("latin1", "latin1"),
    2: ("latin1", "latin1"),
    4: ("utf-16-le", "utf-16-be"),
    16: ("utf-8", "utf-8"),
    17: ("utf-16-le", "utf-16-be"),
    18: ("utf-32-le", "utf-32-be"),
}
_CELL, _STRUCT, _CHAR = 1, 2, 4  # Classes of a matrix.
_ARRAYS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4"}
_ARRAYS |= {14: "i8", 15: "u8"}  # Type of the values, by class of the matrix.
_MAX_BYTES = 1 << 30  # Of one variable.
_MAX_ARRAY = 1 << 28  # Bytes of one array, in the type of its class.
_MAX_DEPTH = 32  # Cells in cells.


class _DamageError(errors.UserError):
    """A damaged file."""


def read_variable(
    data: bytes, variable: str, name: str, *, fields: tuple[str, ...] = ()
) -> typing.Any:
    """Reads one variable.

    Args:
        data: The file's bytes.
        variable: Name of the variable.
        name: Name of the file, for error messages.
        fields: Fields of a struct to read; all if empty.

    Returns:
        Numbers as an array, text as a str, cells as a list in MATLAB's order, a struct
        as a list with a dict for each element; None for other types.

    Raises:
        ImageError: The file is damaged, of another kind, or lacks the variable.
    """
    try:
        order = _order(data)
        names = []
        for kind, content in _elements(data, _HEADER, order):
            matrix = _inflate(content, order) if kind == _COMPRESSED else content
            parts = _Matrix(matrix, order)
            if parts.name == variable:
                return parts.value(fields=fields)
            names.append(parts.name)
        raise _DamageError(
            f"it holds {', '.join(names) or 'nothing'}, expected {variable}"
        )
    except (ValueError, zlib.error) as error:
        raise images.ImageError(
            f"{name} cannot be read as a MATLAB file: {error}. Get the file again."
        ) from error


def _order(data):
    if data.startswith(b"\x89HDF") or data.startswith(b"MATLAB 7.3"):
        raise _DamageError("it has version 7.3, expected version 7 or older")
    if len(data) < _HEADER or bytes(data[126:128]) not in _ORDERS:
        raise _DamageError("its header is damaged")
    return _ORDERS[bytes(data[126:128])]


def _inflate(content, order):
    inflater = zlib.decompressobj()
    data = inflater.decompress(content, _MAX_BYTES)
    if not inflater.eof:
        raise _DamageError(
            f"a variable is truncated, or larger than {_MAX_BYTES:,} bytes"
        )
    for _, matrix in _elements(data, 0, order):
        return matrix
    raise _DamageError("a variable is empty")


def _elements(data, position, order):
    """Yields the kind and the bytes of each element."""
    view = memoryview(data)
    while position < len(view):
        tag = view[position : position + 8]
        if len(tag) < 8:
            raise _DamageError("it ends in the header of an element")
        kind, length = np.frombuffer(tag, f"{order}u4").tolist()
        if kind >> 16:  # A small element: its four bytes are in the header.
            kind, length = kind & 0xFFFF, kind >> 16
            content, position = tag[4 : 4 + length], position + 8
        else:
            content = view[position + 8 : position + 8 + length]
            padding = 0 if kind == _COMPRESSED else -length % 8
            position += 8 + length + padding
        if len(content) < length:
            raise _DamageError(f"an element has {len(content)} of its {length} bytes")
        yield kind, content


class _Matrix:
    """One variable, or the contents of one cell."""

    def __init__(self, content, order):
        self._order = order
        self._elements = _elements(content, 0, order)
        self._num_bytes = len(content)
        self.name, self._kind, self._shape = "", 0, (0, 0)
        if self._num_bytes:  # MATLAB writes nothing for an empty matrix.
            self._kind = self._integers(at_least=1)[0] & 0xFF
            self._shape = tuple(self._integers(at_least=2))
            self.name = bytes(self._next()[1]).decode("latin1")
        if min(self._shape) < 0:
            raise _DamageError(f"a variable has the shape {list(self._shape)}")

    def value(self, depth=0, fields=()):
        """Returns the value, see `read_variable`."""
        if depth > _MAX_DEPTH:
            raise _DamageError(f"cells are nested more than {_MAX_DEPTH} deep")
        count = math.prod(self._shape)
        if self._kind in _ARRAYS:
            return self._array(count)
        if self._kind == _CHAR:
            return self._text()
        if self._kind == _CELL:
            values = (_Matrix(x, self._order) for x in self._children(count))
            return [value.value(depth + 1) for value in values]
        if self._kind == _STRUCT:
            return self._struct(count, depth, fields)
        return None

    def _array(self, count):
        numbers = self._numbers(at_least=count)
        if numbers.size != count:
            raise _DamageError(
                f"{numbers.size} numbers do not have the shape {list(self._shape)}"
            )
        dtype = np.dtype(_ARRAYS[self._kind])
        if count * dtype.itemsize > _MAX_ARRAY:  # It may be stored in a smaller type.
            raise _DamageError(
                f"an array of {count * dtype.itemsize:,} bytes is larger than "
                f"{_MAX_ARRAY:,}"
            )
        with np.errstate(invalid="ignore"):  # Floats that are not integers.
            return numbers.astype(dtype).reshape(self._shape, order="F")

    def _text(self):
        kind, content = self._next()
        if kind not in _TEXTS:
            raise _DamageError(f"an element of kind {kind} holds no text")
        return bytes(content).decode(_TEXTS[kind][self._order == ">"])

    def _children(self, count):
        # Each takes at least 8 bytes. This bounds the loop if the count is damaged.
        if count * 8 > self._num_bytes:
            raise _DamageError(f"{count} values do not fit in {self._num_bytes} bytes")
        for _ in range(count):
            kind, content = self._next()
            if kind != _MATRIX:
                raise _DamageError(f"an element of kind {kind} is not a value")
            yield content

    def _struct(self, count, depth, fields):
        length = self._integers(at_least=1)[0]
        text = bytes(self._next()[1])
        if length < 1:
            raise _DamageError(f"names of fields have {length} bytes")
        names = [
            text[i : i + length].split(b"\0")[0].decode("latin1")
            for i in range(0, len(text), length)
        ]
        if not names:
            return []
        rows: list[dict] = []
        for i, content in enumerate(self._children(count * len(names))):
            name = names[i % len(names)]
            if i % len(names) == 0:
                rows.append({})
            if not fields or name in fields:
                rows[-1][name] = _Matrix(content, self._order).value(depth + 1)
        return rows

    def _next(self):
        for element in self._elements:
            return element
        raise _DamageError("a variable ends too early")

    def _numbers(self, at_least):
        kind, content = self._next()
        if kind not in _NUMBERS:
            raise _DamageError(f"an element of kind {kind} holds no numbers")
        dtype = np.dtype(f"{self._order}{_NUMBERS[kind]}")
        if len(content) % dtype.itemsize or len(content) < at_least * dtype.itemsize:
            raise _DamageError(f"{len(content)} bytes are too few numbers")
        return np.frombuffer(content, dtype)

    def _integers(self, at_least):
        numbers = self._numbers(at_least)
        if numbers.dtype.kind == "f":
            raise _DamageError("sizes are not integers")
        return numbers.tolist()
