"""Finds the state dict in what torch.save wrote."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kerasseg import errors
from kerasseg.system import names
from kerasseg.weights.files import arrays, pickles

# Of several, the first is read.
KEYS = (
    *("state_dict", "model_state_dict", "model_state", "model", "module", "net"),
    *("network", "weights", "params"),
)
# Moving averages are read only if there are no other weights.
EMA_KEYS = (
    *("model_ema", "state_dict_ema", "ema_state_dict", "ema_model", "ema"),
    "params_ema",
)
_PREFIXES = ("module.", "_orig_mod.")  # Of DistributedDataParallel and torch.compile.
_MAX_DEPTH = 3
_SHOWN = 8  # Keys in a message.


class Found(NamedTuple):
    """The tensors of a state dict; the other fields as in `arrays.Weights`."""

    tensors: dict[str, pickles.Tensor]
    key: str
    prefix: str
    left_out: tuple[str, ...]

    def weights(
        self, values: Mapping[str, np.ndarray], file_format: str
    ) -> arrays.Weights:
        """Returns the arrays of the tensors with what was found."""
        found = self._asdict()
        del found["tensors"]
        return arrays.Weights(values, file_format=file_format, **found)


def find(tree: Any) -> Found:
    """Finds the state dict in nested dictionaries.

    The values of `KEYS` are searched first, then the dictionary itself, then the values
    of `EMA_KEYS`, and at last the only other dictionary of tensors.

    Args:
        tree: What `pickles.load` returned.

    Raises:
        errors.UserError: There is none, there are several under unknown keys, or it
            contains a tensor of a kind that NumPy does not have.
    """
    path = _search(tree, _MAX_DEPTH, set())
    if path is None:
        raise _missing(tree)
    left_out = []
    for i, key in enumerate(path):
        others = [_text(other) for other in tree if other != key]
        left_out += [".".join([*path[:i], other]) for other in others]
        tree = tree[key]
    tensors = _tensors(tree)
    for name, value in tree.items():
        if isinstance(value, pickles.Other) and value.source.startswith("torch."):
            raise errors.UserError(
                f"{_text(name)!r} is a tensor made by {value.source}, such as a "
                "quantized or sparse one, and only dense tensors of numbers can be "
                "read. Convert it with PyTorch, and save the state dict again."
            )
        if name not in tensors:
            left_out.append(".".join([*path, _text(name)]))
    prefix = ""
    while start := next((p for p in _PREFIXES if _is_prefix(p, tensors)), ""):
        prefix += start
        tensors = {name.removeprefix(start): t for name, t in tensors.items()}
    return Found(tensors, ".".join(path), prefix, tuple(left_out))


def _search(tree, depth, seen):
    """Returns the keys that lead to tensors, or None; `seen` are IDs of dictionaries.

    A dictionary may contain itself, and the same one many times.
    """
    if not isinstance(tree, dict) or depth < 0 or id(tree) in seen:
        return None
    seen.add(id(tree))
    own = _tensors(tree).values()
    for keys in (KEYS, (), EMA_KEYS):
        for key in keys:
            path = _search(tree.get(key), depth - 1, seen)
            if path is not None:
                return [key, *path]
        # A training checkpoint has scalars beside the weights, such as a best score.
        if not keys and any(tensor.shape for tensor in own):
            return []
    only = [key for key in _unknown(tree) if any(t.shape for t in tree[key].values())]
    if len(only) == 1:
        return only
    return [] if own and not only else None


def _unknown(tree):
    """Returns the keys of dictionaries that contain nothing but tensors."""
    return [
        key
        for key, value in tree.items()
        if isinstance(key, str)
        and isinstance(value, dict)
        and value
        and len(_tensors(value)) == len(value)
    ]


def _tensors(tree):
    return {
        name: value
        for name, value in tree.items()
        if isinstance(name, str) and isinstance(value, pickles.Tensor)
    }


def _is_prefix(prefix, tensors):
    return bool(tensors) and all(
        name.startswith(prefix) and name != prefix for name in tensors
    )


def _text(key):
    return names.one_line(key)[:80] if isinstance(key, str) else f"{key!r}"[:80]


def _missing(tree):
    values = tree.values() if isinstance(tree, dict) else [tree]
    classes = [v.source for v in values if isinstance(v, pickles.Other) and v.source]
    if isinstance(tree, pickles.Other) or (isinstance(tree, dict) and classes):
        return errors.UserError(
            f"it holds a pickled object ({(classes or ['unknown'])[0]}), not weights "
            "by name. Load it with the program that wrote it, and save "
            "model.state_dict() with torch.save."
        )
    if not isinstance(tree, dict):
        return errors.UserError(
            f"it holds a {type(tree).__name__}, expected a state dict. Save "
            "model.state_dict() with torch.save."
        )
    shown = ", ".join([repr(_text(key)) for key in tree][:_SHOWN])
    return errors.UserError(
        f"its state dict cannot be identified; its keys are {shown or 'none'}. Save "
        "the state dict alone, with torch.save."
    )
