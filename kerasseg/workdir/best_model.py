"""The best model of a run, and other models that a run or a command starts from."""

import json
import os
import pathlib
import zipfile

import keras

from kerasseg import datasets, errors, models
from kerasseg.system import files

BEST_MODEL = os.path.join("best", "model.keras")
BEST_FACTS = os.path.join("best", "model.json")
DATASET_FACTS = "dataset.json"

_MOST_GROWTH = 20  # Keras packs nothing; another zip of weights gains little.


def save_best(workdir, model, facts) -> None:
    """Replaces the best model of a run by a whole one, its facts last.

    Model and facts say the same step where the process ends between the two, since the
    validation is then run again.

    Args:
        workdir: Folder of the run.
        model: The Keras model, with the weights that were scored.
        facts: What `read_metadata` returns.
    """
    path = os.path.join(workdir, BEST_MODEL)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = os.path.join(os.path.dirname(path), "model.tmp.keras")
    try:
        model.save(aside)
        files.sync(aside)
        os.replace(aside, path)
    finally:
        pathlib.Path(aside).unlink(missing_ok=True)
    text = json.dumps(facts, indent=2) + "\n"
    files.write_bytes(os.path.join(workdir, BEST_FACTS), text.encode())


def read_metadata(workdir) -> dict:
    """Reads what is known of the best model of a run.

    Returns:
        Dict of "model" (the architecture), "num_classes", "options" (of its builder),
        "step" and "scores" (see `metrics.scores`).

    Raises:
        FileNotFoundError: The run holds no best model yet.
        ValueError: The file is damaged.
    """
    path = os.path.join(workdir, BEST_FACTS)
    if not os.path.exists(path):
        raise errors.MissingFileError(
            f"{path} is missing: {workdir} holds no trained model yet. Train one with "
            "python -m kerasseg.train, at least to its first "
            f"validation."
        )
    try:
        with open(path, encoding="utf-8") as file:
            facts = json.load(file)
        if not {"model", "num_classes", "options", "step"} <= facts.keys():
            raise errors.UserError("it lacks what a validation writes")
    except (ValueError, AttributeError) as error:
        raise errors.UserError(
            f"{path} is damaged ({error!r}). Copy it again, or train on: the next "
            f"validation writes it."
        ) from error
    return facts


def read_spec(workdir) -> datasets.DatasetSpec:
    """Reads the facts of the data set that a run was trained on.

    Raises:
        FileNotFoundError: The run never started, or its dataset.json was removed.
        ValueError: The file is damaged.
    """
    path = os.path.join(workdir, DATASET_FACTS)
    try:
        with open(path, encoding="utf-8") as file:
            return datasets.DatasetSpec.from_json(json.load(file))
    except FileNotFoundError:
        raise errors.MissingFileError(
            f"{path} is missing: {workdir} is no workdir of python -m kerasseg.train, "
            f"or was not copied as a whole."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise errors.UserError(
            f"{path} is damaged ({error!r}). Start the training again with the same "
            f"flags: it writes the file and goes on."
        ) from error


def load_best(workdir, *, output_stride=None) -> keras.Model:
    """Loads the best model of a run.

    Args:
        workdir: Folder of the run.
        output_stride: None as it was trained, else 8, 16 or 32: the weights are the
            same at each.

    Raises:
        FileNotFoundError: The run holds no best model yet.
        ValueError: The architecture has no such output stride, or the file is damaged.
    """
    facts = read_metadata(workdir)
    trained = load_file(os.path.join(workdir, BEST_MODEL))
    if output_stride in (None, facts["options"].get("output_stride")):
        return trained
    options = {**facts["options"], "output_stride": output_stride}
    options["backbone_weights"] = None
    model = models.build_model(facts["model"], facts["num_classes"], **options)
    left = copy_weights(trained, model)
    if left:
        raise errors.UserError(
            f"{facts['model']} does not share its weights over output strides: {left}."
        )
    return model


def copy_weights(source, target) -> list[str]:
    """Copies the variables that two models have in common, by path and shape.

    Returns:
        Paths of the target's variables that were left as they are.
    """
    values = {v.path: v for v in source.weights}
    left = []
    for variable in target.weights:
        value = values.get(variable.path)
        if value is None or value.shape != variable.shape:
            left.append(variable.path)
        else:
            variable.assign(value)
    return left


def load_initial(path) -> keras.Model:
    """Loads what a run starts from: a workdir with a best model, or a `.keras` file.

    Raises:
        FileNotFoundError: Neither is there.
        ValueError: The file is damaged or no Keras model.
    """
    if os.path.isdir(path):
        return load_best(path)
    if not os.path.exists(path):
        raise errors.MissingFileError(
            f"`initial_checkpoint={path}` does not exist: a workdir with a best model "
            f"or a .keras file is wanted."
        )
    return load_file(path)


def load_file(path, *, trust=False) -> keras.Model:
    """Loads a `.keras` file.

    Args:
        path: The file.
        trust: Whether Python code in it may run: give True for files of your own only.

    Raises:
        ValueError: The file is damaged, missing or no Keras model; holds Python code;
            or would unpack to far more than its size.
    """
    _check_archive(path)
    models.list_models()  # Registers the layers that a file may hold.
    try:
        return keras.models.load_model(path, compile=False, safe_mode=not trust)
    except Exception as error:  # Keras raises what its zip and HDF5 readers raise.
        reason = str(error).strip().partition("\n")[0]
        if "safe_mode" in str(error):
            raise errors.UserError(
                f"{path} holds Python code of its own, which would run here: {reason} "
                f"Ask for a file without, or, if you trust who made it, load it with "
                f"kerasseg.load(path, trust=True)."
            ) from error
        raise errors.UserError(
            f"{path} is damaged or no .keras file: {reason} Copy it again, or train "
            f"the model again."
        ) from error


def _check_archive(path):
    """Refuses what is no zip, such as HDF5 and pickles, and zips that blow up."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise errors.UserError(
            f"{path} is damaged or no .keras file: {error} Copy it again, or train the "
            f"model again. Other files, such as .h5 and pickles, are not read."
        ) from error
    size = os.path.getsize(path)
    if unpacked > _MOST_GROWTH * size + 2**20:
        raise errors.UserError(
            f"{path} of {size:,} bytes would unpack to {unpacked:,}, as no model does; "
            f"it was left alone. Get the file from who made it."
        )
