"""What a workdir holds and how it survives.

flags.txt       a flagfile that repeats the run
dataset.json    class names, colours and sizes of the data set
checkpoints/    ckpt-<step>: every variable of the training, the newest few
best/           model.keras and model.json: the best network so far, its scores
scores.csv      one line a validation; curves.png shows them
events/         for TensorBoard
pictures/       predictions on validation pictures
metrics.json    what kerasseg.evaluate found
"""

import glob
import json
import logging
import os
import re
import shutil

import keras
import tensorflow as tf

from kerasseg import datasets, images, models

KEPT = 3  # Checkpoints of a run that stay on the disk.
BEST_MODEL = os.path.join("best", "model.keras")
BEST_FACTS = os.path.join("best", "model.json")
DATASET_FACTS = "dataset.json"


class Checkpoints:
    """Writes and restores every variable of a training run.

    The files are those of `tf.train.Checkpoint`: each is written aside and renamed,
    the index last, with a checksum for each tensor. There is no state file that could
    be lost: the newest index file is the newest checkpoint.

    Args:
        folder: Where `ckpt-<step>` files are.
        variables: Dict of names to Keras or TensorFlow variables.
    """

    def __init__(self, folder, variables):
        self.folder = folder
        self._checkpoint = tf.train.Checkpoint(
            variables={
                name: v.value if isinstance(v, keras.Variable) else v
                for name, v in variables.items()
            }
        )

    def save(self, step) -> str:
        """Writes `ckpt-<step>`, sees it to the disk and removes the oldest ones."""
        os.makedirs(self.folder, exist_ok=True)
        path = self._checkpoint.write(self._path(step))
        for name in [*glob.glob(f"{glob.escape(path)}.*"), self.folder]:
            _sync(name)
        for old in self.steps()[:-KEPT]:
            self._remove(old)
        return path

    def restore(self) -> int | None:
        """Restores the newest checkpoint that is whole.

        Returns:
            Its step; None where there is no checkpoint at all.

        Raises:
            ValueError: Checkpoints are there and none can be read: a run never
                starts from scratch over them.
        """
        reasons = []
        for step in reversed(self.steps()):
            try:
                status = self._checkpoint.read(self._path(step))
                status.assert_existing_objects_matched()
            except (tf.errors.OpError, AssertionError, ValueError) as error:
                reasons.append(f"ckpt-{step}: {str(error).strip().splitlines()[0]}")
                logging.warning("A checkpoint cannot be read, %s", reasons[-1])
                continue
            for newer in self.steps():
                if newer > step:
                    self._remove(newer)
            self._sweep()
            return step
        if reasons:
            raise ValueError(
                f"No checkpoint of {self.folder} can be read ({'; '.join(reasons)}). "
                f"Take another --workdir, or remove that folder to start again."
            )
        return None

    def steps(self) -> list[int]:
        """Lists the steps of the checkpoints in the folder, in order."""
        found = glob.glob(os.path.join(glob.escape(self.folder), "ckpt-*.index"))
        matches = (re.search(r"ckpt-(\d+)\.index$", name) for name in found)
        return sorted(int(match[1]) for match in matches if match)

    def _sweep(self):
        """Removes what a killed save left: parts without an index."""
        known = {f"ckpt-{step}" for step in self.steps()}
        for path in glob.glob(os.path.join(glob.escape(self.folder), "ckpt-*")):
            if os.path.basename(path).split(".")[0] not in known:
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def _remove(self, step):
        # The index first: data without an index is no checkpoint.
        for path in sorted(glob.glob(f"{glob.escape(self._path(step))}.*"))[::-1]:
            os.remove(path)

    def _path(self, step):
        return os.path.join(self.folder, f"ckpt-{step}")


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_best(workdir, model, facts) -> None:
    """Replaces the best model of a run by a whole one, its facts last.

    Args:
        workdir: Folder of the run.
        model: The Keras model, with the weights that were scored.
        facts: What `read_best_facts` returns.
    """
    path = os.path.join(workdir, BEST_MODEL)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = os.path.join(os.path.dirname(path), "model.tmp.keras")
    model.save(aside)
    _sync(aside)
    os.replace(aside, path)
    text = json.dumps(facts, indent=2) + "\n"
    images.write_bytes(os.path.join(workdir, BEST_FACTS), text.encode())


def read_best_facts(workdir) -> dict:
    """Reads what is known of the best model of a run.

    Returns:
        Dict of "model" (the architecture), "num_classes", "options" (of its builder),
        "step" and "scores" (see `metrics.scores`).

    Raises:
        FileNotFoundError: The run holds no best model yet.
    """
    path = os.path.join(workdir, BEST_FACTS)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"{path} is missing: {workdir} holds no trained model yet. Train one with "
            f"python -m kerasseg.train --workdir={workdir}, at least to its first "
            f"validation."
        )
    with open(path, encoding="utf-8") as file:
        return json.load(file)


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
        raise FileNotFoundError(
            f"{path} is missing: {workdir} is no workdir of python -m kerasseg.train, "
            f"or was not copied as a whole."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
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
        ValueError: The architecture has no such output stride.
    """
    facts = read_best_facts(workdir)
    trained = keras.models.load_model(os.path.join(workdir, BEST_MODEL), compile=False)
    if output_stride in (None, facts["options"].get("output_stride")):
        return trained
    options = {**facts["options"], "output_stride": output_stride}
    options["backbone_weights"] = None
    model = models.build_model(facts["model"], facts["num_classes"], **options)
    left = copy_weights(trained, model)
    if left:
        raise ValueError(
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
        raise FileNotFoundError(
            f"--initial_checkpoint={path} does not exist: a workdir with a best model "
            f"or a .keras file is wanted."
        )
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises what its zip and HDF5 readers raise.
        raise ValueError(
            f"--initial_checkpoint={path} is damaged or no .keras file: {error}"
        ) from error
