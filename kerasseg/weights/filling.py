"""Copies the arrays of a file into the model that it is of."""

import re
from collections.abc import Mapping

import keras
import numpy as np

from kerasseg import errors
from kerasseg.weights.networks import Network, Source

_SHOWN = 3


def fill(
    model: keras.Model, arrays: Mapping[str, np.ndarray], network: Network
) -> list[str]:
    """Sets all variables of a model, and the epsilons of its batch normalizations.

    Args:
        model: The model, built with the options of the network; of an encoder, one
            with the encoder's layers only. Its first kernel may have more input
            channels: those after the file's start at 0.
        arrays: Arrays by name; see `files.read`.
        network: What they are of.

    Returns:
        Sorted names of the arrays that the model does not have, all of which
        `network.unused` lists.

    Raises:
        errors.UserError: A variable has no array or one of another shape, or the file
            has arrays that are not expected. The model is not changed.
    """
    values, used, problems = [], set(), []
    for layer in model.layers:
        for variable in layer.weights:
            try:
                array, names = _array(arrays, network, layer, variable)
            except _MissingError as error:
                problems.append(f"{variable.path}: {error}")
                continue
            values.append((variable, array))
            used.update(names)
    rest = sorted(set(arrays) - used)
    unknown = [n for n in rest if not any(re.fullmatch(p, n) for p in network.unused)]
    if problems or unknown:
        raise errors.UserError(_message(network, problems, unknown))
    for variable, array in values:
        variable.assign(array)
    set_epsilon(model, network)
    return rest


def set_epsilon(model: keras.Model, network: Network) -> None:
    """Sets the epsilons of batch normalizations to those of the network."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            given = network.epsilon
            layer.epsilon = given(layer.name) if callable(given) else given


class _MissingError(Exception):
    """A variable has no array in the file, or one of another shape."""


def _array(arrays, network, layer, variable):
    """Returns the array of a variable, and the names in the file that it is from."""
    source = network.source(layer.name)
    if source is None:
        raise _MissingError("not in files of this family")
    if not isinstance(source, Source):
        source = Source(source)
    name = variable.name
    names = _names(source, network.layout, name)
    if name in source.defaults and not all(n in arrays for n in names):
        return np.full(variable.shape, source.defaults[name], "float32"), ()
    missing = [n for n in names if n not in arrays]
    if missing:
        raise _MissingError(f"the file has no {missing[0]}")
    try:
        parts = [network.layout.order(arrays[n], layer, variable) for n in names]
        array = np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        if source.change is not None:
            array = source.change(array, name)
    except (ValueError, IndexError) as error:  # Of NumPy, for another number of axes.
        raise _MissingError(
            f"its shape is {list(variable.shape)}, and {names[0]} has, in the order "
            f"of the file, {list(arrays[names[0]].shape)}"
        ) from error
    array = _inflated(array, variable)
    if array.shape != tuple(variable.shape):
        raise _MissingError(
            f"its shape is {list(variable.shape)}, and {names[0]} has "
            f"{list(array.shape)}"
        )
    return array, names


def _names(source, layout, name):
    if name in source.names:
        return (source.names[name],)
    suffix = layout.names.get(name, name)
    modules = (source.module,) if isinstance(source.module, str) else source.module
    return tuple(f"{module}{layout.separator}{suffix}" for module in modules)


def _inflated(array, variable):
    """Adds the input channels that a first kernel lacks; see `backbones.inflate`."""
    shape = tuple(variable.shape)
    if array.ndim != 4 or len(shape) != 4 or array.shape[2] != 3 or shape[2] <= 3:
        return array
    if (*array.shape[:2], array.shape[3]) != (*shape[:2], shape[3]):
        return array
    return np.pad(array, [(0, 0), (0, 0), (0, shape[2] - 3), (0, 0)])


def _message(network, problems, unknown):
    parts = [f"The weights are not those of '{network.model}' as built here."]
    if problems:
        parts.append(
            f"{len(problems)} variables have no array, such as "
            f"{'; '.join(problems[:_SHOWN])}."
        )
    if unknown:
        parts.append(
            f"{len(unknown)} arrays of the file are not used, such as "
            f"{', '.join(unknown[:_SHOWN])}."
        )
    parts.append("Give a file of this network, or the options it was built with.")
    return " ".join(parts)
