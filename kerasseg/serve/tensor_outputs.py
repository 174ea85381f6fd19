"""Output tensors in TensorFlow Serving's JSON format.

Row format: `{"predictions": [...]}`, column format: `{"outputs": ...}`; see
`tensor_inputs`. A single output is written without its name.
"""

import base64
import io
import json
import math
import time

import numpy as np

from kerasseg.serve.request_errors import RequestError

MAX_VALUES = 20_000_000  # Of a response: enough for masks, not for logits.
_PART_VALUES = 2**16


def write(
    outputs: dict[str, np.ndarray], row: bool, *, deadline: float = math.inf
) -> bytes:
    """Returns the JSON body of a response.

    Args:
        outputs: Arrays by name; object arrays hold bytes.
        row: Whether to use the row format.
        deadline: Monotonic time after which the result is not needed.

    Raises:
        RequestError: 413, the body would be huge; 400, the outputs have different
            numbers of rows; 504, the deadline has passed.
    """
    if sum(array.size for array in outputs.values()) > MAX_VALUES:
        raise RequestError(
            413,
            f"The response has more than {MAX_VALUES:,} numbers; send a smaller image, "
            f"or call serving_default, which returns PNG files.",
        )
    rows = {array.shape[:1] for array in outputs.values()}
    if row and (len(rows) > 1 or () in rows):
        raise RequestError(
            400, "The outputs have inconsistent batch sizes; use 'inputs'."
        )
    body = io.BytesIO()
    for part in _predictions(outputs) if row else _columns(outputs):
        if time.monotonic() > deadline:
            raise too_late()
        body.write(part.encode())
    return body.getvalue()


def num_bytes(array: np.ndarray) -> int:
    """Returns the bytes of an output; those of files where it holds files."""
    if array.dtype == object:
        return sum(map(len, array.ravel()))
    return array.nbytes


def too_late() -> RequestError:
    """Returns the error of a request whose JSON takes too long."""
    return RequestError(
        504,
        "The deadline passed while the JSON was read or written; send less, or use "
        "serving_default or gRPC.",
    )


def _predictions(outputs):
    yield '{"predictions": ['
    (single, *others) = outputs
    for i in range(len(outputs[single])):
        yield ", " if i else ""
        if others:
            yield from _object({name: array[i] for name, array in outputs.items()})
        else:
            yield from _parts(single, outputs[single][i])
    yield "]}"


def _columns(outputs):
    yield '{"outputs": '
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        yield from _parts(name, array)
    else:
        yield from _object(outputs)
    yield "}"


def _object(arrays):
    yield "{"
    for i, (name, array) in enumerate(arrays.items()):
        yield f"{', ' if i else ''}{json.dumps(name)}: "
        yield from _parts(name, array)
    yield "}"


def _parts(name, array):
    """Yields the text of an array in parts, each of which takes milliseconds."""
    if isinstance(array, bytes) or array.dtype == object:
        value = array if isinstance(array, bytes) else array.tolist()
        yield json.dumps(_text(value, name.endswith("_bytes")))
    elif array.size <= _PART_VALUES or not array.ndim:
        yield json.dumps(array.tolist())
    elif array.ndim == 1:
        yield "["
        for i in range(0, len(array), _PART_VALUES):
            yield ", " if i else ""
            yield json.dumps(array[i : i + _PART_VALUES].tolist())[1:-1]
        yield "]"
    else:
        yield "["
        for i, part in enumerate(array):
            yield ", " if i else ""
            yield from _parts(name, part)
        yield "]"


def _text(value, as_bytes):
    if isinstance(value, list):
        return [_text(part, as_bytes) for part in value]
    if as_bytes:
        return {"b64": base64.b64encode(value).decode()}
    return value.decode("utf-8", "replace")
