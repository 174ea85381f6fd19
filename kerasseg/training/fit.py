"""`kerasseg.fit`: trains a network on a data set, with a recipe, into a workdir."""

import dataclasses
import os
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

import kerasseg
from kerasseg import errors, inference, models
from kerasseg.pipeline import augment, transforms
from kerasseg.pipeline.dataset import Dataset
from kerasseg.system import lock, option_values, path_checks, progress, registry
from kerasseg.training import callback_state, encoder, recipe_files, run
from kerasseg.training.data import Data
from kerasseg.training.few_labels import NO_METHOD, FewLabels
from kerasseg.training.few_labels.options import NO_STAGE
from kerasseg.training.network import Builder
from kerasseg.training.recipe import Recipe
from kerasseg.workdir import flag_file

# A run may always be resumed with other values of these, as with kerasseg.train.
_MAY_CHANGE = ("records_dir", "workdir", "jit_compile", "profile")

Model: typing.TypeAlias = str | keras.Model | Callable[[int], keras.Model]


def fit(
    model: Model | None,
    data: Dataset | str | os.PathLike,
    recipe: str | os.PathLike | Recipe | None = None,
    *,
    workdir: str | os.PathLike,
    model_options: Mapping[str, Any] | None = None,
    loss: str | Callable | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    transform: Callable | None = None,
    freeze_encoder: bool | Collection[str] = False,
    eval_split: str = "val",
    initial_checkpoint: str | os.PathLike | None = None,
    seed: int = 1,
    strategy: tf.distribute.Strategy | None = None,
    change_flags: Sequence[str] = (),
    **settings: Any,
) -> inference.Segmenter | inference.InstanceSegmenter:
    """Trains a network, or resumes the run of a workdir; as kerasseg.train does.

    Called again with the same arguments, an interrupted run continues, and a finished
    one is loaded. The workdir is that of kerasseg.train: kerasseg.evaluate, predict and
    export read it, those of a network of the user's own as well.

    Args:
        model: Name of an architecture, see `kerasseg.list_models`; a Keras model of
            float32 logits, which is trained itself, see `training.train`; a function of
            the number of classes to one; or None for the architecture of the recipe.
        data: The split to train on, of `kerasseg.data`; or a folder of records, for its
            split train.
        recipe: Name of a recipe, such as "camvid/enet" (kerasseg recipes lists them); a
            flag file; a `training.Recipe`; or None for the defaults.
        workdir: Folder of the run.
        model_options: Options of the architecture, such as backbone. None for those of
            the recipe, if it is for this architecture.
        loss: Name of a loss, or a weighted sum as in "crossentropy:1,dice:0.5"; a Keras
            class of `kerasseg.losses`; or a function, see `own_loss.as_sums`. Functions
            and classes are refused together with `class_weights`, `border_weights`,
            `semi` and `stage`, and for networks that detect objects. None for the
            recipe's.
        callbacks: Keras callbacks. A validation ends an epoch for them: its logs have
            "loss", "learning_rate", "val_loss", "val_mean_iou" and so on. For what is
            kept of their state in checkpoints, see docs/python_training.md.
        transform: The user's own augmentation, see `Dataset.batches`. It cannot be used
            with `semi` and `stage`.
        freeze_encoder: Whether the encoder's weights and batch norm stay as they are;
            or the names of the layers to freeze, for a network of the user's own.
        eval_split: Split of the validations.
        initial_checkpoint: Workdir or `.keras` file whose weights a new run starts
            from; it takes precedence over pretrained weights.
        seed: Seed of weights, order and augmentation.
        strategy: Strategy of the devices; None for one device.
        change_flags: Names of settings that may differ from those that the run in the
            workdir was started with.
        **settings: Flags of kerasseg.train by name, which override the recipe:
            `training_number_of_steps=500`, `train_batch_size=8`, `train_crop_size=160`,
            `base_learning_rate=0.003`, `optimizer="adamw"` and so on.

    Returns:
        What `kerasseg.load(workdir)` returns: the best model.

    Raises:
        errors.UserError: An argument is wrong, the arguments differ from those of the
            run in the workdir, the records are damaged, or the loss is not finite.
        training.Interrupted: SIGINT, SIGTERM or SIGHUP came; the run can be resumed.
    """
    job = prepare(
        model,
        data,
        recipe,
        model_options=model_options,
        loss=loss,
        transform=transform,
        freeze_encoder=freeze_encoder,
        settings=settings,
        eval_split=eval_split,
    )
    allow_others = "records_dir" in change_flags
    path_checks.check_model(workdir, "workdir")
    workdir = os.fspath(workdir)
    initial = None if initial_checkpoint is None else os.fspath(initial_checkpoint)
    of_the_run = {"workdir": workdir, "initial_checkpoint": initial, "seed": seed}
    own = {"transform": transform, "freeze_encoder": freeze_encoder}
    os.makedirs(workdir, exist_ok=True)
    with lock.hold(workdir):
        _keep_flags(job, of_the_run, own, change_flags)
        _log_not_resumable(callbacks, transform)
        run.train(
            job.builder,
            dataclasses.replace(job.data, allow_others=allow_others),
            job.settings.recipe,
            job.augmentation,
            workdir=workdir,
            seed=seed,
            strategy=strategy,
            initial_checkpoint=initial,
            callbacks=callbacks,
            few_labels=job.settings.few_labels,
            loss=job.loss,
        )
    return kerasseg.load(workdir)


@dataclasses.dataclass(frozen=True)
class Job:
    """What is trained, on what, and how.

    Attributes:
        builder: See `run.train`.
        settings: Recipe, augmentation and few labels.
        data: The records.
        augmentation: Augmentation, with the user's own.
        loss: The user's own loss; None for that of the recipe.
    """

    builder: Builder | keras.Model | Callable
    settings: recipe_files.Settings
    data: Data
    augmentation: augment.Augmentation
    loss: Callable | None


def prepare(
    model: Model | None,
    data: Dataset | str | os.PathLike,
    recipe: str | os.PathLike | Recipe | None,
    *,
    model_options: Mapping[str, Any] | None,
    loss: str | Callable | None,
    transform: Callable | None,
    freeze_encoder: bool | Collection[str],
    settings: Mapping[str, Any],
    eval_split: str | None = None,
) -> Job:
    """Checks arguments of `fit`, and converts them to those of `run.train`.

    Args:
        model: See `fit`, as the other arguments.
        data: See `fit`.
        recipe: See `fit`.
        model_options: See `fit`.
        loss: See `fit`.
        transform: See `fit`.
        freeze_encoder: See `fit`.
        settings: See `fit`.
        eval_split: See `fit`; None for no validation.

    Raises:
        errors.UserError: See `fit`.
    """
    chosen = _settings(recipe, loss, settings)
    builder, chosen = _builder(model, chosen, model_options)
    if callable(loss) or transform is not None:
        check_labeled(chosen.few_labels, "`loss` as a function or a `transform`")
    if freeze_encoder:
        builder = encoder.with_frozen(builder, freeze_encoder)
    augmentation = chosen.images.augmentation()
    if transform is not None:
        augmentation = dataclasses.replace(augmentation, transform=transform)
    return Job(
        builder,
        chosen,
        _data(data, eval_split),
        augmentation,
        loss if callable(loss) else None,
    )


def _settings(recipe, loss, changes):
    """Returns the settings of a recipe with changes."""
    if isinstance(recipe, Recipe):
        chosen = recipe_files.Settings(recipe=recipe)
    elif recipe is None:
        chosen = recipe_files.Settings()
    else:
        chosen = recipe_files.read(recipe)
    if loss is not None and not callable(loss):
        changes = {**changes, "loss": loss}
    return chosen.replace(changes)


def _builder(model, chosen, options):
    """Returns what `run.train` trains, and the settings with its name and options."""
    if model is None and chosen.model is None:
        raise errors.UserError(
            "`model` was not given, and the recipe names none. Give the name of an "
            f"architecture: {', '.join(models.list_models())}."
        )
    if model is not None and not isinstance(model, str):
        if options:
            raise errors.UserError(
                "`model_options` are options of an architecture, but `model` is a "
                "network of your own. Leave them out."
            )
        return model, dataclasses.replace(chosen, model=None, model_options=())
    name = model or chosen.model
    known = registry.names_in("kerasseg.models")
    if name not in known:
        raise errors.UserError(
            f"`model={name}` is not a known architecture. Choose one of: "
            f"{', '.join(sorted(known))}."
        )
    if options is None and name == chosen.model:
        builder = models.metadata(name).builder
        options = option_values.parse(builder, chosen.model_options)
    options = dict(options or {})
    if options.get("normalization", "") is None:
        del options["normalization"]  # The text "none" is a normalization.
    texts = tuple(f"{key}={_text(value)}" for key, value in options.items())
    chosen = dataclasses.replace(chosen, model=name, model_options=texts)
    return Builder(name, options), chosen


def _text(value):
    """Returns an option as `option_values.parse` reads it."""
    if isinstance(value, tuple | list):
        return ",".join(map(_text, value))
    is_word = value is None or isinstance(value, bool)
    return str(value).lower() if is_word else str(value)


def _data(data, eval_split):
    if isinstance(data, str | os.PathLike):
        data = Dataset(data)
    if not isinstance(data, Dataset):
        raise errors.UserError(
            f"`data` is {type(data).__name__}, expected a data set of kerasseg.data or "
            "a folder of records. kerasseg.data.from_arrays and from_folder make one."
        )
    if eval_split is not None and eval_split not in data.splits and data.has_info:
        raise errors.UserError(
            f"`eval_split={eval_split}` is no split of {data.records_dir}, which has "
            f"{', '.join(data.splits)}. Choose one of these, or create the data with a "
            "`val_fraction` above 0."
        )
    return Data(
        records_dir=data.records_dir,
        train_split=data.name,
        eval_split=eval_split or data.name,
        dataset=data.dataset,
    )


def check_labeled(few: FewLabels, what: str) -> None:
    """Checks that only labeled images are learned from.

    Args:
        few: How few labels are learned from.
        what: What is possible with labels only.

    Raises:
        errors.UserError: A method or a stage is chosen.
    """
    for name, without in (("semi", NO_METHOD), ("stage", NO_STAGE)):
        if getattr(few, name) != without:
            raise errors.UserError(
                f"`{name}={getattr(few, name)}` cannot be combined with {what}. Leave "
                "one of the two out."
            )


def _keep_flags(job, of_the_run, own, change_flags):
    """Writes flags.txt, from which kerasseg.train can resume a run of a known model."""
    data, chosen = job.data, job.settings
    names = ("records_dir", "train_split", "eval_split", "dataset")
    given = {name: getattr(data, name) for name in names} | of_the_run
    lines = [recipe_files.line(name, value) for name, value in given.items()]
    own = {**own, "loss": job.loss, "model": None if chosen.model else job.builder}
    texts = {name: _name(value) for name, value in own.items()}
    lines += [f"# kerasseg.fit: {name} {text}" for name, text in texts.items() if text]
    flag_file.keep(
        given["workdir"],
        sorted(line for line in [*lines, *chosen.lines()] if line),
        defaults=chosen.default_lines(),
        may_change=[*_MAY_CHANGE, *change_flags],
    )


def _name(value):
    """Returns what flags.txt says of an argument that no flag can give."""
    if not value or isinstance(value, bool):
        return "True" if value else None
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(sorted(value))
    return getattr(value, "__name__", None) or getattr(
        value, "name", type(value).__name__
    )


def _unsaved(callbacks):
    names = callback_state.unsaved(callbacks)
    if not names:
        return ""
    return (
        f" State of {', '.join(names)}, if any, is not saved: a run that depends on it "
        "is not exactly resumable. The methods get_state and set_state would keep it."
    )


def _log_not_resumable(callbacks, transform):
    if callbacks:
        names = ", ".join(type(callback).__name__ for callback in callbacks)
        progress.log(f"Callbacks: {names}.{_unsaved(callbacks)}")
    if transform is not None:
        seeded = transforms.Transform(transform).is_seeded
        note = " It takes no seed: if it draws random numbers, the run is not exactly "
        note = "" if seeded else f"{note}resumable."
        progress.log(f"Transform: {transforms.Transform(transform).name}.{note}")
