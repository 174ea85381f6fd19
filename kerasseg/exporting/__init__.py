"""A trained model as a SavedModel that plain TensorFlow serves.

A version is a folder `<export_dir>/<number>/`:

saved_model.pb, variables/   two signatures; the weights are constants in the graph
assets/classes.json          class names, colours, the ignore label
metadata.json                where it comes from, and how near it is to the model
README.md                    how to call it
"""

import json
import math
import os
import pathlib
import shutil
import tempfile

import keras
import numpy as np
import tensorflow as tf

from kerasseg import images
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.exporting import card, checking, folding, signatures, versions

__all__ = ["check_version", "export_saved_model", "how_to_call", "operations"]

_CLASSES_FILE = "classes.json"
_METADATA_FILE = "metadata.json"
_CARD_FILE = "README.md"
_PYTHON_OPERATIONS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}

check_version = versions.check
how_to_call = card.how_to_call


def export_saved_model(
    model,
    export_dir,
    *,
    class_names,
    palette,
    check_images=(),
    version=None,
    facts=None,
) -> str:
    """Writes a version, loads it again and compares it with the model.

    The folder is written aside and renamed last, so that a server which watches
    `export_dir` never sees a part of it.

    Args:
        model: A functional model of `models.build_model`; of several outputs "logits"
            is taken. It stays as it is.
        export_dir: Folder of the versions.
        class_names: In the order of the class numbers.
        palette: RGB of each class, uint8 `[num_classes, 3]`.
        check_images: JPEG or PNG files, bytes, for the comparison; a drawn picture of
            odd sides is compared always.
        version: A whole number from 1; None for the next free one.
        facts: Goes into metadata.json: dict of what is known of the model.

    Returns:
        Path of the version.

    Raises:
        ValueError: The model cannot be exported, the version is no number, or what
            was written does not do what the model does; then it is removed.
        FileExistsError: There is such a version.
        PermissionError: `export_dir` cannot be written to.
        OSError: The disk is full; what was written is removed.
    """
    versions.check(export_dir, version)
    model = _with_logits_only(model)
    _check_classes(model, class_names, palette)
    functions = signatures.build(folding.fold_batch_norm(model))
    _check_operations(functions)
    pictures = [*check_images, checking.drawn_picture()]
    with versions.folder_aside(export_dir) as aside:
        _write(functions, aside, class_names, palette)
        compared = checking.compare(aside, folding.in_float32(model), pictures)
        _write_facts(aside, model.name, class_names, facts, compared)
        return versions.publish(aside, export_dir, version)


def _with_logits_only(model):
    outputs = model.output
    if isinstance(outputs, dict):
        outputs = outputs["logits"]
    image = model.inputs[0]
    if len(model.inputs) != 1 or tuple(image.shape) != (None, None, None, 3):
        shapes = [tuple(each.shape) for each in model.inputs]
        raise ValueError(
            f"{model.name} takes {shapes}, wanted is one picture of any size, (None, "
            f"None, None, 3); build it with image_size=(None, None)."
        )
    return keras.Model(image, outputs, name=model.name)


def _check_classes(model, class_names, palette):
    num_classes = model.output.shape[-1]
    if not num_classes == len(class_names) == len(palette):
        raise ValueError(
            f"{model.name} has {num_classes} classes; {len(class_names)} names and "
            f"{len(palette)} colours were given. Give one of each for every class."
        )
    if num_classes > IGNORE_LABEL:
        raise ValueError(
            f"{model.name} has {num_classes} classes; a mask of 8 bits holds "
            f"{IGNORE_LABEL} at most, so it cannot be exported."
        )


def _check_operations(functions):
    found = set().union(*map(operations, functions.values())) & _PYTHON_OPERATIONS
    if found:
        raise ValueError(
            f"The model calls Python while it runs ({sorted(found)}), which no server "
            f"can; write that layer with keras.ops."
        )


def operations(function) -> set[str]:
    """Names the operations of a concrete function and of those it calls."""
    graph = function.graph.as_graph_def()
    inner = [node for each in graph.library.function for node in each.node_def]
    return {node.op for node in [*graph.node, *inner]}


def _write(functions, folder, class_names, palette):
    classes = {
        "class_names": list(class_names),
        "palette": np.asarray(palette).tolist(),
        "ignore_label": IGNORE_LABEL,
    }
    module = tf.Module()
    with tempfile.TemporaryDirectory() as aside:
        path = pathlib.Path(aside, _CLASSES_FILE)
        path.write_text(json.dumps(classes, indent=2) + "\n", "utf-8")
        module.classes = tf.saved_model.Asset(os.fspath(path))
        try:
            tf.saved_model.save(module, folder, signatures=functions)
        except (tf.errors.OpError, OSError) as error:
            free = shutil.disk_usage(folder).free
            reason = str(error).splitlines()[0]
            raise OSError(
                f"The export cannot be written ({reason}); {free:,} bytes are free "
                f"there. Nothing was exported; free some, or give another folder."
            ) from error


def _write_facts(folder, title, class_names, facts, compared):
    metadata = {
        **_plain(facts or {}),
        "compared_with_the_model": compared,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
    text = json.dumps(metadata, indent=2, allow_nan=False) + "\n"
    pathlib.Path(folder, _METADATA_FILE).write_text(text, "utf-8")
    text = card.card(title, class_names, images.DEFAULT_MAX_PIXELS)
    pathlib.Path(folder, _CARD_FILE).write_text(text, "utf-8")


def _plain(value):
    """Turns NaN, which is the score of an absent class, into None: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
