"""The state of one training run: built, and restored from its last checkpoint."""

import json
import os
import tempfile

import keras
import tensorflow as tf

from kerasseg import distribution, errors, models
from kerasseg.pipeline import class_statistics
from kerasseg.system import files
from kerasseg.training import (
    feature_statistics,
    fitting,
    history,
    logs,
    memory,
    objective,
    optimizers,
    starting,
    validation,
)
from kerasseg.training.step import TrainingStep, prepare_batch_norm
from kerasseg.workdir import best_model, checkpoints, fingerprint


class Run:
    """The state of one training run."""

    def __init__(self, network, data, recipe, augmentation, workdir, seed, strategy):
        self.network, self.data, self.recipe = network, data, recipe
        self.augmentation, self.workdir, self.seed = augmentation, workdir, seed
        self.strategy = strategy or tf.distribute.get_strategy()
        replicas = self.strategy.num_replicas_in_sync
        if recipe.batch_size % (replicas * recipe.accumulation_steps):
            raise errors.UserError(
                f"A batch of {recipe.batch_size} cannot be dealt to {replicas} devices "
                f"in {recipe.accumulation_steps} parts: choose a multiple of "
                f"{replicas * recipe.accumulation_steps} for `train_batch_size`."
            )
        self.reader = data.reader(data.train_split, recipe.skip_bad_records)
        self.spec = self.reader.split.spec
        self.scoring_reader = data.reader(data.eval_split)
        self._check_not_empty()
        self.rate_at = recipe.schedule()
        self.team = distribution.WorkerGroup(self.strategy)
        fitting.check(recipe, self.team)
        self.folder = workdir  # What people read; those who do not write throw it away.
        if not self.team.is_chief:
            self._spare = tempfile.TemporaryDirectory()
            self.folder = self._spare.name
        self.history = history.History()

    def _check_not_empty(self):
        """Now, and not at the first validation: hours may lie between."""
        readers = {"train_split": self.reader, "eval_split": self.scoring_reader}
        for flag, reader in readers.items():
            if not len(reader.split):
                raise errors.UserError(
                    f"The split '{reader.split.name}' holds no record. Choose another "
                    f"--{flag}, or build the records again."
                )

    def check_records(self):
        """See `fingerprint.check` and `fingerprint.check_apart`."""
        fingerprint.check_apart(self.workdir, self.data.records_dir)
        readers, allowed = (self.reader, self.scoring_reader), self.data.allow_others
        if self.team.is_chief:
            fingerprint.check(self.workdir, readers, allow_others=allowed)

    def build(self):
        """Makes everything that has variables, and restores it."""
        keras.utils.set_random_seed(self.seed)
        recipe = self.recipe
        weights = class_statistics.class_weights(recipe.class_weights, self.reader)
        with self.strategy.scope():
            self._build_models(weights)
        # Parameter servers hold the weights; each picture would fetch them anew.
        self._here = self._model(copy=True) if self.team.is_asynchronous else None
        self.step_function = TrainingStep(
            self.strategy,
            self.model,
            self.objective,
            self.optimizer,
            recipe,
            ema_model=self.scored if recipe.ema_decay else None,
        )
        self.checkpoints = checkpoints.Checkpoints(
            os.path.join(self.workdir, "checkpoints"),
            self._variables(),
            writes=self.team.is_chief,
            io_device=self.team.io_device,
        )
        restored = self.checkpoints.restore()
        if restored is None and self.network.initial_checkpoint:
            self._begin()
        self.step = restored or 0
        self.team.check_agreed(self.step, "step at which the run goes on")
        self.team.check_agreed(
            fingerprint.checksum(self.workdir), f"checksum of {fingerprint.FILE}"
        )
        fitting.fit(self)
        if not tf.config.list_physical_devices("GPU"):
            memory.check(*self.memory())
        feature_statistics.fill(self.reader, self.model, self.scored)
        self._open_logs()
        files.write_bytes(
            os.path.join(self.folder, "dataset.json"),
            json.dumps(self.spec.to_json(), indent=2).encode(),
        )

    def _build_models(self, weights):
        recipe = self.recipe
        self.model = self._model()
        prepare_batch_norm(self.model, recipe, self.strategy.num_replicas_in_sync)
        self.objective = objective.Objective(self.model, recipe, weights)
        self.optimizer = optimizers.GroupedOptimizer(
            self.objective.model, recipe, self._encoder_layers()
        )
        self.scored = self._model(copy=True) if recipe.ema_decay else self.model
        if recipe.ema_decay:
            best_model.copy_weights(self.model, self.scored)

    def _begin(self):
        """Takes the initial weights: a run that goes on can do without them."""
        starting.start_from(self.network.initial_checkpoint, self.model)
        if self.recipe.ema_decay:
            best_model.copy_weights(self.model, self.scored)

    def memory(self) -> tuple:
        """Returns what `memory.check` and `memory.too_little` are told."""
        size = self.augmentation.crop_size
        saved = max(self.checkpoints.steps(), default=None)
        return self.objective.model, self.recipe, size, self.team, saved

    def scored_here(self):
        """Returns the model that is scored, with its weights on this machine."""
        if self._here is None:
            return self.scored
        best_model.copy_weights(self.scored, self._here)
        return self._here

    def _open_logs(self):
        self.log = logs.RunLog(self.folder, self.spec, self.step)
        if damaged := self.checkpoints.num_damaged:
            self.log.scalars(self.step, **{"train/damaged_checkpoints": damaged})
        self.validation = validation.Validation(
            self.scoring_reader,
            self.network,
            self.folder,
            self.log,
            scored=self.objective.scored(self._here or self.scored),
            limit=self.recipe.eval_limit,
            history=self.history,
        )

    def _model(self, copy=False):
        options = dict(self.network.options)
        if copy or self.network.initial_checkpoint:
            options["backbone_weights"] = None
        return models.build_model(self.network.name, self.spec.num_classes, **options)

    def _encoder_layers(self):
        if self.recipe.head_learning_rate_factor == 1:
            return frozenset()
        return models.encoder_layers(self.network.name, **self.network.options)

    def _variables(self):
        groups = {
            "model": self.model.variables,
            "optimizer": self.optimizer.variables,
            "average": self.scored.variables if self.recipe.ema_decay else [],
        }
        named = checkpoints.named(groups)
        return {**named, **self.step_function.variables, **self.history.variables}
