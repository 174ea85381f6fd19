"""From a run, a `.keras` file or an export to a `Segmenter`."""

import json
import os
import pathlib

import numpy as np
import tensorflow as tf

from kerasseg import errors
from kerasseg.inference.segmenter import Segmenter
from kerasseg.workdir import best_model, layout, metadata

_SAVED_MODEL = "saved_model.pb"
_EXPORTED_CLASSES = os.path.join("assets", "classes.json")


def load(
    path: str | os.PathLike,
    *,
    output_stride: int | None = None,
    trust: bool = False,
    **options,
) -> Segmenter:
    """Loads a trained network.

    Args:
        path: The workdir of a run, whose best model is taken; a `.keras` file, whose
            classes have numbers for names; or an export.
        output_stride: Of a run only: see `best_model.load_best`.
        trust: Of a `.keras` file only: whether Python code in it may run.
        **options: Of `Predictor`: scales, flip, fusion, tile_size.

    Raises:
        FileNotFoundError: There is no trained network.
        ValueError: The file is damaged, `output_stride` cannot be chosen, or an option
            is out of range.
    """
    path = os.fspath(path)
    if os.path.exists(os.path.join(path, layout.BEST_METADATA)):
        return _load_workdir(path, output_stride, options)
    if output_stride is not None:
        raise errors.UserError(
            f"output_stride={output_stride} can be chosen for the workdir of a run, "
            f"and {path} is none. Leave it out, or give the workdir."
        )
    if os.path.isfile(path):
        return _load_file(path, trust, options)
    if _versions(path):
        return load_export(path, **options)
    if not os.path.isdir(path):
        raise errors.MissingFileError(
            f"{path} does not exist: a workdir with a best model, a .keras file or an "
            f"export is wanted."
        )
    raise errors.MissingFileError(
        f"{path} holds neither the best model of a run nor an export. Train with "
        f"python -m kerasseg.train, at least to its first validation."
    )


def _load_workdir(path, output_stride, options):
    spec = metadata.read_spec(path)
    model = best_model.load_best(path, output_stride=output_stride)
    return _segmenter(path, model, spec.class_names, spec.palette, options)


def _load_file(path, trust, options):
    model = best_model.load_file(path, trust=trust)
    num_classes = _num_classes(model)
    names = tuple(str(i) for i in range(num_classes))
    return _segmenter(path, model, names, voc_palette(num_classes), options)


def load_export(export_dir: str | os.PathLike, **options) -> Segmenter:
    """Loads what `exporting.export_saved_model` wrote: one version, or the newest.

    Args:
        export_dir: Folder of the versions, or of one.
        **options: Of `Predictor`: scales, flip, fusion, tile_size.

    Raises:
        FileNotFoundError: No version is there.
        ValueError: It has no signature `tensor` of ours, or no class names.
    """
    found = _versions(export_dir)
    if not found:
        raise errors.MissingFileError(
            f"{export_dir} holds no exported model: no <version>/{_SAVED_MODEL}. Write "
            "one with python -m kerasseg.export."
        )
    path = found[-1]
    facts = path / _EXPORTED_CLASSES
    if not facts.exists():
        raise errors.UserError(
            f"{facts} is missing: {path} was not written by python -m kerasseg.export, "
            f"or not copied as a whole. Export the model again."
        )
    classes = json.loads(facts.read_text("utf-8"))
    names, palette = tuple(classes["class_names"]), classes["palette"]
    model = _Exported(tf.saved_model.load(os.fspath(path)))
    return Segmenter(model, names, np.array(palette, np.uint8), **options)


def _versions(export_dir):
    """Lists the folders of an export's versions, the newest last."""
    folder = pathlib.Path(export_dir)
    if (folder / _SAVED_MODEL).exists():
        return [folder]
    found = [p.parent for p in folder.glob(f"*/{_SAVED_MODEL}")]
    return sorted((p for p in found if p.name.isdecimal()), key=lambda p: int(p.name))


class _Exported:
    def __init__(self, loaded):
        self._loaded = loaded  # Holds the variables, which signatures do not.
        self._tensor = loaded.signatures["tensor"]

    def __call__(self, images, training=False):  # noqa: ARG002 - as a Keras model.
        return self._tensor(image=images)["logits"]


def _segmenter(path, model, class_names, palette, options):
    num_classes = _num_classes(model)
    if num_classes != len(class_names):
        raise errors.UserError(
            f"{path}: the model has {num_classes} classes, dataset.json "
            f"{len(class_names)}. Both must be of one run; train again."
        )
    return Segmenter(model, tuple(class_names), palette, **options)


def _num_classes(model):
    outputs = model.output
    outputs = outputs["logits"] if isinstance(outputs, dict) else outputs
    return outputs.shape[-1]


def voc_palette(num_classes: int) -> np.ndarray:
    """Makes the colours of PASCAL VOC's tools for any number of classes.

    Returns:
        RGB, uint8 `[num_classes, 3]`: the bits of a class number, from the lowest on,
        are dealt to red, green and blue, each from the highest bit down.
    """
    numbers = np.arange(num_classes)[:, np.newaxis]
    colors = np.zeros((num_classes, 3), np.int64)
    for i in range(8):
        bits = numbers >> (3 * i + np.arange(3)) & 1
        colors |= bits << (7 - i)
    return colors.astype(np.uint8)
