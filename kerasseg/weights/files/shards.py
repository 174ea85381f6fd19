"""Weights that are split over several files, listed by a JSON index."""

import json
import os
import pathlib
from collections.abc import Callable

import numpy as np

from kerasseg import errors
from kerasseg.system import files, json_values
from kerasseg.weights.files import arrays

INDEX = ".index.json"
_MAX_INDEX = 16 << 20  # Bytes.


def read(
    path: str | os.PathLike, read_file: Callable[[pathlib.Path], arrays.Weights]
) -> arrays.Weights:
    """Reads the files of an index, `{"weight_map": {name: file}}`.

    Args:
        path: The index, in the folder of the files.
        read_file: Reads one of them.

    Raises:
        errors.UserError: It is no such index, a file or array is missing, or an array
            is in a file that does not list it.
    """
    path = pathlib.Path(path)
    weight_map = _weight_map(path)
    shards = [path.parent / name for name in sorted({*weight_map.values()})]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise errors.UserError(
            f"{len(missing)} of its {len(shards)} files are missing beside it, such as "
            f"{missing[0]!r}. Download them, too."
        )
    total = sum(os.path.getsize(shard) for shard in shards)
    arrays.check_size(total, total)
    values: dict[str, np.ndarray] = {}
    for shard in shards:
        found = read_file(shard)
        listed = {name for name, file in weight_map.items() if file == shard.name}
        if {*found} != listed:
            name = min({*found} ^ listed)
            raise errors.UserError(
                f"{shard.name!r} does not have the arrays that are listed, such as "
                f"{name[:80]!r}. Download all files of one version."
            )
        values.update(found)
        file_format = f"{found.file_format}, {len(shards)} files"
    return arrays.Weights(
        {name: values[name] for name in weight_map}, file_format=file_format
    )


def file_names(path: str | os.PathLike) -> list[str]:
    """Returns the names of the files that an index lists, sorted.

    Raises:
        errors.UserError: It is no index, or lists files of other folders.
    """
    return sorted({*_weight_map(path).values()})


def _weight_map(path):
    if os.path.getsize(path) > _MAX_INDEX:
        raise errors.UserError(
            f"it is JSON of more than {_MAX_INDEX:,} bytes, which is no index of "
            "weights. Give the weights that it describes."
        )
    try:
        index = json.loads(files.read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise arrays.damaged(f"JSON: {error}") from error
    if not isinstance(index, dict) or "weight_map" not in index:
        raise errors.UserError(
            'it is JSON without a "weight_map", so no index of weights. Give the '
            "weights that it describes."
        )
    weight_map = json_values.get(index, "weight_map", dict, "the index")
    if not weight_map:
        raise errors.UserError("its index lists no arrays. Download it again.")
    for name, file in weight_map.items():
        json_values.file_name(file, f"the file of {name[:80]!r}")
    return weight_map
