"""The best model of a run, and other models that a run or a command starts from."""

import json
import os
import pathlib
import zipfile
from typing import Any

import keras

from kerasseg import backbones, errors, models
from kerasseg.images.class_rules import ClassRule
from kerasseg.system import files, names
from kerasseg.workdir import (
    class_names,
    class_rule,
    fingerprint,
    flag_file,
    imported,
    layout,
    metadata,
)

_KERAS_METADATA = "metadata.json"  # In a .keras file: the version of Keras.
_MAX_VERSION = 40  # Characters.
_MAX_EXPANSION = 20  # Keras stores arrays uncompressed: weights expand little.


def save_best(
    workdir: str | os.PathLike, model: keras.Model, model_metadata: dict
) -> None:
    """Replaces the best model of a run; each file is whole at any time.

    The model's file also has the class names of the run. The metadata are written last:
    if the process ends between the two files, the resumed run repeats the validation.

    Args:
        workdir: Folder of the run.
        model: The model, with the weights that were evaluated.
        model_metadata: Metadata that `metadata.read_metadata` returns; the list of
            labeled images of the run is added, see `fingerprint.labeled_list`.
    """
    path = os.path.join(workdir, layout.BEST_MODEL)
    _attach_classes(model, workdir, with_thresholds=False)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = os.path.join(os.path.dirname(path), "model.tmp.keras")
    try:
        model.save(temporary)
        files.sync(temporary)
        os.replace(temporary, path)
    finally:
        pathlib.Path(temporary).unlink(missing_ok=True)
    saved = {**model_metadata, **fingerprint.labeled_list(workdir)}
    text = json.dumps(saved, indent=2) + "\n"
    files.write_bytes(os.path.join(workdir, layout.BEST_METADATA), text.encode())


def _attach_classes(model, workdir, *, with_thresholds=True):
    """Adds the class names of a run to its model, for files that it is saved to."""
    if os.path.exists(os.path.join(workdir, layout.DATASET)):
        spec = metadata.read_spec(workdir)
        rule = ClassRule(multi_label=spec.multi_label)
        if with_thresholds:  # They are tuned after the model was saved.
            rule = class_rule.read(workdir)
        classes = spec.class_names, spec.palette
        class_names.attach(model, *classes, spec.image_kind, rule=rule)


def load_best(
    workdir: str | os.PathLike, *, output_stride: int | None = None
) -> keras.Model:
    """Loads the best model of a run.

    Args:
        workdir: Folder of the run.
        output_stride: 8, 16 or 32, at which the architecture is built again with the
            same weights; None for the model as it was trained.

    Raises:
        errors.MissingFileError: The run has no best model yet.
        errors.UserError: The architecture does not support the output stride, or the
            file is damaged.
    """
    trained = metadata.read_metadata(workdir)
    name, options = trained["model"], trained["options"]
    best = load_file(os.path.join(workdir, layout.BEST_MODEL))
    if output_stride in (None, options.get("output_stride")):
        _attach_classes(best, workdir)
        return best
    changes: dict[str, Any] = {"output_stride": output_stride, "backbone_weights": None}
    if os.path.exists(os.path.join(workdir, layout.DATASET)):
        changes["image_kind"] = metadata.read_spec(workdir).image_kind
    with backbones.of_workdir_format(flag_file.check_format(workdir)):
        model = models.build_model(
            name, trained["num_classes"], **{**options, **changes}
        )
    _attach_classes(model, workdir)
    missing = backbones.copy_weights(best, model)
    if missing:
        raise errors.UserError(
            f"The weights of {name} depend on the `output_stride`, such as "
            f"{missing[0]}. Leave it out."
        )
    return model


def load_initial(path: str | os.PathLike) -> keras.Model:
    """Loads an initial checkpoint.

    Args:
        path: A workdir with a best model, a `.keras` file, or the name of published
            weights, see `imported.path_of`.

    Raises:
        errors.MissingFileError: There is none of them.
        errors.UserError: The file is damaged or not a Keras model.
    """
    path = imported.path_of(path)
    if os.path.isdir(path):
        return load_best(path)
    if not os.path.exists(path):
        raise errors.MissingFileError(
            f"`initial_checkpoint={path}` does not exist. Give a workdir with a best "
            f"model, a .keras file, or the name of published weights."
        )
    return load_file(path)


def load_file(path: str | os.PathLike, *, trust: bool = False) -> keras.Model:
    """Loads a `.keras` file.

    Args:
        path: The file.
        trust: Whether Python code in the file may run. Pass True for your own files
            only.

    Raises:
        errors.UserError: The file is missing, damaged or not a Keras model; it holds
            Python code; or it would expand to far more than its size.
    """
    version = _check_archive(path)
    models.list_models()  # Registers the layers that a file may hold.
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=not trust)
        class_names.restore(model, path)
    except Exception as error:  # Of whatever kind Keras' zip and HDF5 readers raise.
        reason = names.one_line(str(error).strip().partition("\n")[0])
        if "safe_mode" in str(error):
            raise errors.UserError(
                f"{path} contains Python code, which would run here: {reason} Ask for "
                f"a file without code, or, if you trust its author, load it with "
                f"kerasseg.load(path, trust=True)."
            ) from error
        if version != keras.__version__ and not _is_damaged(path):
            raise errors.UserError(
                f"{path} was saved by Keras {version}, and Keras {keras.__version__} "
                f"of this environment cannot load it: {reason} Load it with Keras "
                f"{version}, or train the model again."
            ) from error
        raise errors.UserError(
            f"{path} is damaged or not a .keras file: {reason} Copy it again, or train "
            f"the model again."
        ) from error
    return model


def _check_archive(path) -> str:
    """Refuses files that are not archives of Keras (HDF5, pickles), and zip bombs.

    Returns:
        Version of Keras that saved the file.
    """
    try:
        files.check_regular(os.stat(path), path)
        with zipfile.ZipFile(path) as archive:
            # A stored member is allocated by its compressed size before it is read.
            expanded = sum(
                max(member.file_size, member.compress_size)
                for member in archive.infolist()
            )
            present = set(archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise errors.UserError(
            f"{path} is damaged or not a .keras file: {error} Copy it again, or train "
            f"the model again. Other formats, such as .h5 and pickles, are not read."
        ) from error
    size = os.path.getsize(path)
    if expanded > _MAX_EXPANSION * size + 2**20:
        raise errors.UserError(
            f"{path} of {size:,} bytes would expand to {expanded:,} bytes, far more "
            f"than any model, and was not loaded. Get the file from its author."
        )
    if missing := sorted({_KERAS_METADATA, "config.json"} - present):
        raise errors.UserError(
            f"{path} is not a .keras file: it lacks {' and '.join(missing)}. Save the "
            f"model with model.save('NAME.keras'), or give the workdir of a run."
        )
    return _saved_version(path)


def _saved_version(path):
    """Returns the version of Keras that saved a file, or "of unknown version"."""
    try:
        with zipfile.ZipFile(path) as archive:
            saved = json.loads(archive.read(_KERAS_METADATA))
        return names.one_line(str(saved["keras_version"])[:_MAX_VERSION])
    except Exception:  # A damaged file, which loading will report.
        return "of unknown version"


def _is_damaged(path):
    """Returns whether the checksum of a part is wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is not None
    except Exception:
        return True
