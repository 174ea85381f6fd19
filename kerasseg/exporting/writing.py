"""Export of a model: each format is written, loaded again, and compared."""

import dataclasses
import errno
import gc
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasseg import errors
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.exporting import (
    checking,
    folding,
    formats,
    instance_checking,
    instances,
    metadata,
    versions,
)
from kerasseg.exporting.options import (
    DetectionOptions,
    TestTimeOptions,
    check_formats,
)
from kerasseg.exporting.samples import Sample, synthetic_sample
from kerasseg.images.class_rules import ClassRule
from kerasseg.inference import refining, segmenter
from kerasseg.models import outputs
from kerasseg.workdir import class_names as keras_files


def export_model(
    model: keras.Model,
    export_dir: str | os.PathLike,
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
    format_names: Iterable[str] = ("saved_model",),
    samples: Sequence[Sample] = (),
    calibration_images: Sequence[np.ndarray] = (),
    test_time_options: TestTimeOptions | None = None,
    version: int | str | None = None,
    description: Mapping | None = None,
    detection: DetectionOptions | None = None,
    rule: ClassRule | None = None,
    fresh_process: bool = True,
) -> str:
    """Writes a version, loads it again and compares it with the model.

    The version is written to a temporary folder and renamed last, so that a server
    that watches `export_dir` never sees an incomplete one.

    Args:
        model: A functional model of `models.build_model`; among several outputs,
            "logits" is exported, or the detections of one that detects objects. It is
            not changed.
        export_dir: Folder of the versions.
        class_names: Name of each class, the background included.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        format_names: Names or groups of formats, see `formats.all_formats`.
        samples: Images to compare on; without labels only the logits are compared. A
            synthetic image with odd sides is always added, except for int8, which is
            accurate only on images like `calibration_images`.
        calibration_images: Images for int8 quantization: RGB, uint8
            `[height, width, 3]`, or of the kind that the model takes.
        test_time_options: Scales, flip and CRF of the SavedModel's graph; None: the
            logits of the network. Other formats do not support them.
        version: Number of the version, at least 1; None: the next free number.
        description: Further entries of metadata.json, see `metadata.describe`.
        detection: How the graph of a network that detects objects does it; None: with
            the defaults.
        rule: How the logits become masks; None: as the model of a run or a file of
            kerasseg says, see `workdir.class_names`.
        fresh_process: Whether each format is loaded in a new process; False is faster.

    Returns:
        Path of the version.

    Raises:
        errors.MissingPackageError: A package that a format needs is not installed.
        errors.UserError: The model cannot be exported, the version is not a number, or
            an exported format differs from the model; then nothing is left behind.
        FileExistsError: The version exists.
        PermissionError: `export_dir` is not writable.
        OSError: The disk is full; then nothing is left behind.
    """
    names = formats.expand_formats(format_names)
    check_formats(test_time_options, names)
    instances.check(model, names, test_time_options, detection)
    if segmenter.detects_objects(model):
        detection = detection or DetectionOptions()
    if test_time_options is not None and test_time_options.is_default:
        test_time_options = None
    formats.check_installed(names)
    kind, rule = _checked(model, rule, test_time_options)
    compared = {name: _compared_samples(name, samples, kind) for name in names}
    versions.check_version(export_dir, version, with_saved_model="saved_model" in names)
    model = _with_exported_outputs(model)
    _check_classes(model, class_names, palette)
    classes: dict[str, Any] = {"class_names": class_names, "palette": palette}
    source = formats.Source(
        model=model,
        folded=_folded(model, detection),
        **classes,
        samples=samples,
        calibration_images=calibration_images,
        options=test_time_options,
        rule=rule,
        detection=detection,
        image_kind=kind,
    )
    reference, entries = _reference(source), {}
    with versions.temporary_folder(export_dir) as folder:
        for name in names:
            entries[name] = _write_format(name, source, folder)
            entries[name] |= checking.compare(
                folder, name, reference, compared[name], fresh_process=fresh_process
            )
        metadata.write(
            folder,
            model.name,
            **classes,
            metadata={**(description or {}), **_describe(source)},
            formats=entries,
        )
        return versions.publish(folder, export_dir, version)


def export_saved_model(
    model: keras.Model, export_dir: str | os.PathLike, **options
) -> str:
    """Exports a SavedModel and compares it in this process.

    Args:
        model: As in `export_model`.
        export_dir: As in `export_model`.
        **options: Other keyword arguments of `export_model`.
    """
    return export_model(model, export_dir, fresh_process=False, **options)


def _write_format(name, source, folder):
    """Writes a format; returns the name and size of its file."""
    before, path = _size(folder), formats.file_of(folder, name)
    form = formats.all_formats()[name]
    try:
        form.write(source, path)
    except (tf.errors.OpError, OSError) as error:
        raise _not_written(error, folder) from error
    gc.collect()  # Graphs are reference cycles: together they may fill the memory.
    return {"file": form.file or "saved_model.pb", "bytes": _size(folder) - before}


def _checked(model, rule, options):
    """Returns the kind of a model's images and its rule, which allow all options."""
    rule = rule or keras_files.rule_of(model)
    refining.check_rule(rule, options.crf if options else None)
    kind = keras_files.image_kind_of(model)
    if options is not None and options.crf is not None and not kind.is_rgb:
        raise errors.UserError(
            f"`crf` compares colors of 8-bit RGB in the graph, and the images are "
            f"{kind}. Leave it out."
        )
    return kind, rule


def _compared_samples(name, samples, kind):
    """Adds a synthetic image, if the format is accurate on any image."""
    if not formats.all_formats()[name].needs_samples:
        return [*samples, synthetic_sample(kind=kind)]
    if not samples:
        raise errors.UserError(
            f"{name} is accurate only on images like its calibration images, and there "
            f"is none to compare it on. Set `check_images` to 1 or more, or leave "
            f"{name} out of `format`."
        )
    return list(samples)


def _size(folder):
    walk = os.walk(folder)
    return sum(os.path.getsize(os.path.join(at, f)) for at, _, fs in walk for f in fs)


def _not_written(error, folder):
    free = shutil.disk_usage(folder).free
    reason = str(error).splitlines()[0]
    return OSError(
        getattr(error, "errno", None) or errno.EIO,
        f"The export cannot be written ({reason}); {free:,} bytes are free on the "
        f"disk. Nothing was exported; free some space, or give another `export_dir`.",
    )


def _folded(model, detection):
    """Returns the model of `formats.Source.folded`."""
    folded = folding.fold_batch_norm(model)
    return instances.ResizingNetwork(folded, detection) if detection else folded


def _describe(source):
    """Returns the entries of metadata.json about the options of the graph."""
    views = source.options and dataclasses.asdict(source.options)
    if source.detection is None:
        kind, num_logits = source.image_kind, source.model.output.shape[-1]
        of_images = {} if kind.is_rgb else {"images": kind.to_json()}
        is_sigmoid = num_logits == 1 or source.rule.multi_label
        more = {"activation": "sigmoid"} if is_sigmoid else {}
        return {"views": views, **more, **source.rule.to_json(), **of_images}
    return {"views": views, **instances.describe(source.model, source.detection)}


def _reference(source):
    """Returns the trained model that the formats are compared with."""
    if source.detection is None:
        return checking.Reference(source.model, source.options, source.rule)
    return instance_checking.Reference(source.model, source.detection)


def _with_exported_outputs(model):
    """Removes auxiliary outputs; raises `errors.UserError` for other inputs."""
    image = model.inputs[0]
    channels = keras_files.image_kind_of(model).channels
    if len(model.inputs) != 1 or tuple(image.shape) != (None, None, None, channels):
        shapes = [tuple(each.shape) for each in model.inputs]
        raise errors.UserError(
            f"{model.name} has inputs of the shapes {shapes}, expected one image of "
            f"any size, (None, None, None, {channels}). Build it with "
            f"image_size=(None, None)."
        )
    if segmenter.detects_objects(model):
        return model
    return keras.Model(image, outputs.logits(model.output), name=model.name)


def _check_classes(model, class_names, palette):
    num_classes = segmenter.num_classes(model)
    if not num_classes == len(class_names) == len(palette):
        raise errors.UserError(
            f"{model.name} has {num_classes} classes; got {len(class_names)} names and "
            f"{len(palette)} colors. Give one of each per class."
        )
    if num_classes > IGNORE_LABEL:
        raise errors.UserError(
            f"{model.name} has {num_classes} classes, but an 8-bit mask holds at most "
            f"{IGNORE_LABEL}. Models with more classes cannot be exported."
        )
