"""A network as a SavedModel, which plain TensorFlow serves."""

import json
import os
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from kerasseg import errors
from kerasseg.datasets import IGNORE_LABEL

_CLASSES_FILE = "classes.json"
_PYTHON_OPERATIONS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def write(functions, folder, class_names, palette) -> None:
    """Writes signatures, and the classes as an asset.

    Args:
        functions: Concrete functions by the names of the signatures; they take the
            same variables.
        folder: Of the SavedModel.
        class_names: In the order of the class numbers.
        palette: RGB of each class, uint8 `[num_classes, 3]`.

    Raises:
        ValueError: A function calls Python.
        OSError: The disk is full, or what else TensorFlow could not do.
    """
    _check_operations(functions)
    classes = {
        "class_names": list(class_names),
        "palette": np.asarray(palette).tolist(),
        "ignore_label": IGNORE_LABEL,
    }
    module = tf.Module()
    module.huge = list(next(iter(functions.values())).variables)
    with tempfile.TemporaryDirectory() as aside:
        path = pathlib.Path(aside, _CLASSES_FILE)
        path.write_text(json.dumps(classes, indent=2) + "\n", "utf-8")
        module.classes = tf.saved_model.Asset(os.fspath(path))
        tf.saved_model.save(module, folder, signatures=functions)


def _check_operations(functions):
    found = set().union(*map(operations, functions.values())) & _PYTHON_OPERATIONS
    if found:
        raise errors.UserError(
            f"The model calls Python while it runs ({sorted(found)}), which no server "
            f"can; write that layer with keras.ops."
        )


def operations(function) -> set[str]:
    """Names the operations of a concrete function and of those it calls."""
    graph = function.graph.as_graph_def()
    inner = [node for each in graph.library.function for node in each.node_def]
    return {node.op for node in [*graph.node, *inner]}
