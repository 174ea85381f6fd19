"""A trained model to a version: every format written, loaded again, compared."""

import dataclasses
import errno
import gc
import os
import pathlib
import shutil

import keras
import numpy as np
import tensorflow as tf

from kerasseg import errors, images
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.exporting import (
    checking,
    folding,
    formats,
    metadata,
    onnx_file,
    saved_model,
    signatures,
    tflite_file,
    versions,
    warm_up,
)


def export_model(
    model,
    export_dir,
    *,
    class_names,
    palette,
    format_names=("saved_model",),
    pictures=(),
    calibration_images=(),
    views=None,
    version=None,
    facts=None,
    fresh_process=True,
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
        format_names: Some of "saved_model", "tflite_float32", "tflite_float16",
            "tflite_int8", "tflite" for these three, "onnx" and "keras".
        pictures: `Picture`s for the comparison; without labels only the logits of the
            two are compared. A drawn picture of odd sides is compared always, but for
            int8, which only fits pictures like those of `calibration_images`.
        calibration_images: Pictures that show how large numbers get, for int8: RGB,
            uint8 `[height, width, 3]`.
        views: `Views`, how the SavedModel looks at a picture; None for once, as it is.
            It goes into no other format.
        version: A whole number from 1; None for the next free one.
        facts: Goes into metadata.json: dict of what is known of the model.
        fresh_process: Whether each format is loaded in a process of its own; False is
            quicker.

    Returns:
        Path of the version.

    Raises:
        ValueError: The model cannot be exported, the version is no number, or what
            was written does not do what the model does; then it is removed.
        ImportError: What writes or runs a format is not installed.
        FileExistsError: There is such a version.
        PermissionError: `export_dir` cannot be written to.
        OSError: The disk is full; what was written is removed.
    """
    names = formats.expand(format_names)
    views = _checked_views(views, names)
    formats.check_installed(names)
    drawn = {name: _drawn(name, pictures) for name in names}
    versions.check(export_dir, version, with_saved_model="saved_model" in names)
    model = _with_logits_only(model)
    _check_classes(model, class_names, palette)
    folded = folding.fold_batch_norm(model)
    reference, found = checking.Reference(model, views), {}
    with versions.folder_aside(export_dir) as aside:
        for name in names:
            before, path = _size(aside), formats.file_of(aside, name)
            try:
                if name == "saved_model":
                    functions = signatures.build(folded, views)
                    saved_model.write(functions, aside, class_names, palette)
                    warm_up.write(aside, _requests(pictures))
                    del functions
                elif name == "keras":
                    model.save(path)
                else:
                    data = _converted(name, folded, calibration_images)
                    pathlib.Path(path).write_bytes(data)
            except (tf.errors.OpError, OSError) as error:
                raise _not_written(error, aside) from error
            gc.collect()  # Graphs are circles: all of them together can fill a memory.
            file = formats.FORMATS[name].file or "saved_model.pb"
            found[name] = {"file": file, "bytes": _size(aside) - before}
            seen = [*pictures, *drawn[name]]
            found[name] |= checking.compare(
                aside, name, reference, seen, fresh_process=fresh_process
            )
        facts = {**(facts or {}), "views": views and dataclasses.asdict(views)}
        classes = {"class_names": class_names, "palette": palette}
        metadata.write(aside, model.name, **classes, facts=facts, formats=found)
        return versions.publish(aside, export_dir, version)


def export_saved_model(model, export_dir, **options) -> str:
    """Writes a SavedModel and compares it in this process; see `export_model`."""
    return export_model(model, export_dir, fresh_process=False, **options)


def _checked_views(views, names):
    if views is None or views.plain:
        return None
    others = [name for name in names if name != "saved_model"]
    if others:
        raise errors.UserError(
            f"Scales, flip and CRF go into the SavedModel only, and also asked for are "
            f"{', '.join(others)}. Export these without, into another folder."
        )
    return views


def _requests(pictures):
    """Lists what a server should have answered once, of real size but drawn."""
    small = checking.drawn_picture()
    sizes = [images.probe(picture.file) for picture in pictures[:1]]
    drawn = [checking.drawn_picture(size.height, size.width) for size in sizes]
    requests = [
        ("serving_default", {"image_bytes": [picture.file]})
        for picture in [*drawn, small]
    ]
    image = images.read_image(small.file)[np.newaxis].astype(np.float32)
    return [*requests, ("tensor", {"image": image})]


def _converted(name, folded, calibration_images):
    if name == "onnx":
        return onnx_file.convert(folded)
    return tflite_file.convert(folded, name.removeprefix("tflite_"), calibration_images)


def _drawn(name, pictures):
    """Draws a picture to compare on, where a format fits pictures of any kind."""
    if name != "tflite_int8":
        return [checking.drawn_picture()]
    if not pictures:
        raise errors.UserError(
            "tflite_int8 fits pictures like those that it was made with, and there is "
            "none to compare it on; give one, or leave it out of the formats."
        )
    return []


def _size(folder):
    walk = os.walk(folder)
    return sum(os.path.getsize(os.path.join(at, f)) for at, _, fs in walk for f in fs)


def _not_written(error, folder):
    free = shutil.disk_usage(folder).free
    reason = str(error).splitlines()[0]
    return OSError(
        getattr(error, "errno", None) or errno.EIO,
        f"The export cannot be written ({reason}); {free:,} bytes are free there. "
        f"Nothing was exported; free some, or give another folder.",
    )


def _with_logits_only(model):
    outputs = model.output
    if isinstance(outputs, dict):
        outputs = outputs["logits"]
    image = model.inputs[0]
    if len(model.inputs) != 1 or tuple(image.shape) != (None, None, None, 3):
        shapes = [tuple(each.shape) for each in model.inputs]
        raise errors.UserError(
            f"{model.name} takes {shapes}, wanted is one picture of any size, (None, "
            f"None, None, 3); build it with image_size=(None, None)."
        )
    return keras.Model(image, outputs, name=model.name)


def _check_classes(model, class_names, palette):
    num_classes = model.output.shape[-1]
    if not num_classes == len(class_names) == len(palette):
        raise errors.UserError(
            f"{model.name} has {num_classes} classes; {len(class_names)} names and "
            f"{len(palette)} colours were given. Give one of each for every class."
        )
    if num_classes > IGNORE_LABEL:
        raise errors.UserError(
            f"{model.name} has {num_classes} classes; a mask of 8 bits holds "
            f"{IGNORE_LABEL} at most, so it cannot be exported."
        )
