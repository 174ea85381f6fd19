"""Input tensors in TensorFlow Serving's JSON format, with its error messages.

Row format: `{"instances": [...]}`, column format: `{"inputs": ...}`. Bytes are `{"b64":
"..."}`. Numbers may be NaN, Infinity and -Infinity.

Source: https://www.tensorflow.org/tfx/serving/api_rest; error messages as in
tensorflow_serving/util/json_tensor.cc.
"""

import base64
import binascii
import itertools
import json
import reprlib

import numpy as np

from kerasseg.serve.request_errors import RequestError

_MAX_LEVELS = 64  # Of nested lists.
_SHOWN = 200  # Characters of a wrong value in an error message.


def parse(body: bytes) -> dict:
    """Parses the JSON object of a request.

    Raises:
        RequestError: 400, not JSON or not an object.
    """
    if not body:
        raise RequestError(400, "JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except RecursionError:
        raise RequestError(
            400, "JSON Parse error: The document is nested too deep"
        ) from None
    except json.JSONDecodeError as error:
        reason = f"JSON Parse error: {error.msg} at offset: {error.pos}"
        raise RequestError(400, reason) from None
    except ValueError as error:  # Not UTF-8, or a number with thousands of digits.
        raise RequestError(400, f"JSON Parse error: {str(error)[:_SHOWN]}") from None
    if not isinstance(document, dict):
        raise _wrong(document, "Is not object")
    return document


def signature_name(document: dict, default: str) -> str:
    """Returns the signature of a request, or the default one."""
    name = document.get("signature_name", default)
    if not isinstance(name, str):
        raise _wrong(
            document,
            "not formatted correctly. 'signature_name' key must be a string value.",
        )
    return name or default


def read(document: dict, inputs: dict) -> tuple[bool, dict[str, np.ndarray]]:
    """Returns the arrays of a request.

    Args:
        document: The result of `parse`.
        inputs: NumPy dtype and shape of each input, by name.

    Returns:
        Whether the format is row, and an array for each input.

    Raises:
        RequestError: 400, the request does not match the inputs.
    """
    if "instances" in document and "inputs" in document:
        raise _wrong(
            document,
            "Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist ",
        )
    if "instances" in document:
        return True, _rows(document, inputs)
    if "inputs" in document:
        return False, _columns(document["inputs"], inputs)
    raise RequestError(400, "Missing 'inputs' or 'instances' key")


def _rows(document, inputs):
    rows = document["instances"]
    if not isinstance(rows, list):
        raise _wrong(document, "Excepting 'instances' to be an list/array")
    if not rows:
        raise _wrong(document, "No values in 'instances' array")
    if not isinstance(rows[0], dict) and len(inputs) > 1:
        raise RequestError(
            400,
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map",
        )
    if not _is_named(rows[0]):
        for i, row in enumerate(rows):
            if _is_named(row):
                reason = (
                    f"Expecting value/list but got object at item {i} of input list"
                )
                raise RequestError(400, reason)
        (name,) = inputs
        return {name: _array(rows, inputs[name][0])}
    for i, row in enumerate(rows):
        if not _is_named(row):
            reason = f"Expecting object but got list at item {i} of input list"
            raise RequestError(400, reason)
        if set(row) != set(inputs):
            names = ",".join(sorted(inputs))
            raise RequestError(
                400,
                f"Failed to process element: {i} of 'instances' list. JSON object: "
                f"{_shown(row)} keys must be equal to: {names}",
            )
    return {
        name: _array([row[name] for row in rows], kind)
        for name, (kind, _) in inputs.items()
    }


def _columns(value, inputs):
    if not _is_named(value):
        if len(inputs) > 1:
            raise RequestError(
                400,
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map",
            )
        (name,) = inputs
        value = {name: value}
    for name in inputs:
        if name not in value:
            raise RequestError(400, f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(value[name], kind) for name, (kind, _) in inputs.items()}


def _is_bytes(value):
    return (
        isinstance(value, dict)
        and len(value) == 1
        and isinstance(value.get("b64"), str)
    )


def _is_named(value):
    return isinstance(value, dict) and not _is_bytes(value)


def _array(value, kind):
    """Converts nested lists into an array; checks the type of each value."""
    if kind is not object:
        array = _numbers(value)
        if array.dtype.kind in ("iuf" if np.dtype(kind).kind == "f" else "iu"):
            return array.astype(kind)
    shape = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    if len(shape) > _MAX_LEVELS:
        raise RequestError(
            400, f"JSON Value: lists are nested {len(shape)} levels deep"
        )
    flat: list = []
    _flatten(value, 0, shape, kind, flat)
    array = np.empty(len(flat), kind)
    array[:] = flat
    return array.reshape(shape)


def _numbers(value):
    """Converts regular nested lists of numbers; anything else into an object array.

    NumPy itself would convert numbers beside a string into strings of its length.
    """
    shape, parts = [], [value]
    while set(map(type, parts)) == {list} and len(set(map(len, parts))) == 1:
        shape.append(len(parts[0]))
        parts = list(itertools.chain.from_iterable(parts))
    if set(map(type, parts)) <= {int, float} and len(shape) <= _MAX_LEVELS:
        return np.array(parts).reshape(shape)
    return np.array(None)


def _flatten(value, level, shape, kind, flat):
    if not isinstance(value, list):
        if level != len(shape):
            raise _wrong(
                value,
                f"found at incorrect level: {level + 1} in the JSON DOM. Expected at "
                f"level: {len(shape)}",
            )
        flat.append(_scalar(value, kind))
        return
    if level >= len(shape):
        reason = (
            f"Encountered list at unexpected level: {level} expected < {len(shape)}"
        )
        raise RequestError(400, reason)
    if len(value) != shape[level]:
        raise RequestError(
            400,
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}",
        )
    for part in value:
        _flatten(part, level + 1, shape, kind, flat)


def _scalar(value, kind):
    if kind is object and _is_bytes(value):
        try:
            return _unpack(value["b64"])
        except (binascii.Error, ValueError):
            raise RequestError(400, "Unable to base64 decode") from None
    if kind is object and isinstance(value, dict):
        raise _wrong(value, "not formatted correctly for base64 data")
    if kind is object and isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if kind is not object and type(value) in (int, float):
        if type(value) is float and np.dtype(kind).kind == "f":
            return value
        if type(value) is int and abs(value) < 2**31:
            return value
    name = "string" if kind is object else np.dtype(kind).name.replace("32", "")
    raise _wrong(value, f"is not of expected type: {name}")


def _unpack(text):
    """Decodes base64 that may contain whitespace and lack its padding."""
    text = "".join(text.split())
    padding = "" if text.endswith("=") else "=" * (-len(text) % 4)
    return base64.b64decode(text + padding, validate=True)


def _wrong(value, reason):
    return RequestError(400, f"JSON Value: {_shown(value)} {reason}")


def _shown(value):
    return reprlib.repr(value)[:_SHOWN]
