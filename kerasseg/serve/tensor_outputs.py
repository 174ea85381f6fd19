"""Output tensors in TensorFlow Serving's JSON format.

Row format: `{"predictions": [...]}`, column format: `{"outputs": ...}`; see
`tensor_inputs`. A single output is written without its name.
"""

import base64
import json

import numpy as np

from kerasseg.serve.request_errors import RequestError

MAX_VALUES = 20_000_000  # Of a response: enough for masks, not for logits.


def write(outputs: dict[str, np.ndarray], row: bool) -> bytes:
    """Returns the JSON body of a response.

    Args:
        outputs: Arrays by name; object arrays hold bytes.
        row: Whether to use the row format.

    Raises:
        RequestError: 413, the body would be huge; 400, the outputs have different
            numbers of rows.
    """
    if sum(array.size for array in outputs.values()) > MAX_VALUES:
        raise RequestError(
            413,
            f"The response has more than {MAX_VALUES:,} numbers; send a smaller image, "
            f"or call serving_default, which returns PNG files.",
        )
    values = {name: _as_list(name, array) for name, array in outputs.items()}
    single = len(values) == 1
    if not row:
        body = {"outputs": next(iter(values.values())) if single else values}
    elif len({len(value) for value in values.values()}) > 1:
        raise RequestError(
            400, "The outputs have inconsistent batch sizes; use 'inputs'."
        )
    elif single:
        body = {"predictions": next(iter(values.values()))}
    else:
        rows = zip(*values.values(), strict=True)
        body = {"predictions": [dict(zip(values, row, strict=True)) for row in rows]}
    return json.dumps(body).encode()


def _as_list(name, array):
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
