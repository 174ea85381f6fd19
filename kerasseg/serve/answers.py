"""Tensors in JSON as TensorFlow Serving writes them.

Row form: `{"predictions": [...]}`, column form: `{"outputs": ...}`; see `tensors`. A
single output goes without its name.
"""

import base64
import json

import numpy as np

from kerasseg.serve.refusals import Refusal

MAX_VALUES = 20_000_000  # Numbers of an answer: a picture's masks, not its scores.


def write(outputs: dict[str, np.ndarray], row: bool) -> bytes:
    """Makes the JSON of an answer.

    Args:
        outputs: Arrays by name; of bytes where they hold objects.
        row: Whether the request was of the row form.

    Raises:
        Refusal: 413, the text would be huge; 400, rows of different numbers.
    """
    if sum(array.size for array in outputs.values()) > MAX_VALUES:
        raise Refusal(
            413,
            f"The answer has more than {MAX_VALUES:,} numbers; send a smaller picture, "
            f"or call the signature that gives PNG files.",
        )
    values = {name: _listed(name, array) for name, array in outputs.items()}
    single = len(values) == 1
    if not row:
        answer = {"outputs": next(iter(values.values())) if single else values}
    elif len({len(value) for value in values.values()}) > 1:
        raise Refusal(400, "The outputs have inconsistent batch sizes; use 'inputs'.")
    elif single:
        answer = {"predictions": next(iter(values.values()))}
    else:
        rows = zip(*values.values(), strict=True)
        answer = {"predictions": [dict(zip(values, row, strict=True)) for row in rows]}
    return json.dumps(answer).encode()


def _listed(name, array):
    if array.dtype != object:
        return array.tolist()
    as_bytes = name.endswith("_bytes")
    return [_text(value, as_bytes) for value in array.tolist()]


def _text(value, as_bytes):
    if isinstance(value, list):
        return [_text(part, as_bytes) for part in value]
    if as_bytes:
        return {"b64": base64.b64encode(value).decode()}
    return value.decode("utf-8", "replace")
