"""What a file of weights is of: the model, and where its layers are in the file."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kerasseg.weights import catalogue, layouts

Shapes = Mapping[str, tuple[int, ...]]
KINDS = catalogue.KINDS


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the variables of a layer are in a file.

    Attributes:
        module: Name of the layer in the file, without the name of the array; several
            are concatenated along the last axis, output channels.
        change: Function of an array, in the order of axes of Keras, and the name of the
            variable, such as "kernel", to the array of the variable; None for none.
        names: Names of arrays in the file, by the name of the variable, where they
            are not those of the layout; the whole name, not what follows `module`.
        defaults: Value of all elements of variables that the file does not have, by
            the name of the variable.
    """

    module: str | Sequence[str] = ""
    change: Callable[[np.ndarray, str], np.ndarray] | None = None
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """The network whose weights a file has.

    Attributes:
        family: Name of the family that recognized it; see `families`.
        model: Name of the architecture; of an encoder, of the backbone.
        source: Function of the name of a layer of the model to its `Source`, or only
            the `module`; None if the file does not have the layer.
        kind: "model"; or "encoder", without a head for segmentation.
        num_classes: Number of classes; of an encoder 0.
        options: Options of `build_model` with which the network computes the same, such
            as `normalization`; of an encoder those of the backbone and
            `normalization`.
        layout: How the file names and orders arrays; see `layouts`.
        epsilon: Of batch normalization; a function of the layer's name where layers
            differ.
        unused: Regular expressions of the names of arrays that the model does not need.
            `fullmatch` is used.
        class_names: Names of the classes; empty if they are not known.
        palette: RGB colors of the classes, from 0 to 255; empty if not known.
    """

    family: str
    model: str
    source: Callable[[str], Source | str | None]
    kind: str = "model"
    num_classes: int = 0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    layout: layouts.Layout = layouts.TORCH
    epsilon: float | Callable[[str], float] = 1e-5
    unused: Sequence[str] = ()
    class_names: Sequence[str] = ()
    palette: Sequence[Sequence[int]] = ()
