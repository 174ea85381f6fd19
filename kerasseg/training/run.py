"""The state of one training run: built, restored, stepped, validated, saved."""

import collections
import json
import math
import os
import tempfile

import keras
import tensorflow as tf

from kerasseg import (
    checkpoints,
    distribution,
    durable,
    models,
    progress,
    statistics,
)
from kerasseg.training import (
    feature_statistics,
    feeding,
    history,
    logs,
    memory,
    objective,
    optimizers,
    provenance,
    signals,
    starting,
    validation,
)
from kerasseg.training.pace import Pace
from kerasseg.training.step import TrainingStep, prepare_batch_norm

_SCALARS_INTERVAL = 10  # Steps between the points of TensorBoard's training curves.


class Run:
    """The state of one training run."""

    def __init__(self, network, data, recipe, augmentation, workdir, seed, strategy):
        self.network, self.data, self.recipe = network, data, recipe
        self.augmentation, self.workdir, self.seed = augmentation, workdir, seed
        self.strategy = strategy or tf.distribute.get_strategy()
        replicas = self.strategy.num_replicas_in_sync
        if recipe.batch_size % (replicas * recipe.accumulation_steps):
            raise ValueError(
                f"A batch of {recipe.batch_size} cannot be dealt to {replicas} devices "
                f"in {recipe.accumulation_steps} parts: choose a multiple of "
                f"{replicas * recipe.accumulation_steps} for --train_batch_size."
            )
        self.reader = data.reader(data.train_split, recipe.skip_bad_records)
        self.spec = self.reader.split.spec
        self.scoring_reader = data.reader(data.eval_split)
        self.rate_at = recipe.schedule()
        self.team = distribution.Team(self.strategy)
        self.signals = signals.Signals(alone=self.team.size == 1)
        self.folder = workdir  # What people read; those who do not write throw it away.
        if not self.team.is_chief:
            self._spare = tempfile.TemporaryDirectory()
            self.folder = self._spare.name
        self.history = history.History()
        self.loss = math.nan

    def check_records(self):
        """See `provenance.check`."""
        readers, allowed = (self.reader, self.scoring_reader), self.data.allow_others
        if self.team.is_chief:
            provenance.check(self.workdir, readers, allow_others=allowed)

    def build(self):
        """Makes everything that has variables, and restores it."""
        keras.utils.set_random_seed(self.seed)
        recipe = self.recipe
        weights = statistics.class_weights(recipe.class_weights, self.reader)
        with self.strategy.scope():
            self.model = self._model()
            if self.network.initial_checkpoint:
                starting.start_from(self.network.initial_checkpoint, self.model)
            prepare_batch_norm(self.model, recipe, self.strategy.num_replicas_in_sync)
            self.objective = objective.Objective(self.model, recipe, weights)
            self.optimizer = optimizers.GroupedOptimizer(
                self.objective.model, recipe, self._encoder_layers()
            )
            self.scored = self._model(copy=True) if recipe.ema_decay else self.model
            if recipe.ema_decay:
                checkpoints.copy_weights(self.model, self.scored)
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
        )
        self.step = self.checkpoints.restore() or 0
        self.team.check_agreed(self.step, "step at which the run goes on")
        if not tf.config.list_physical_devices("GPU"):
            memory.check(*self._memory())
        feature_statistics.fill(self.reader, self.model, self.scored)
        self._open_logs()
        durable.write_bytes(
            os.path.join(self.folder, "dataset.json"),
            json.dumps(self.spec.to_json(), indent=2).encode(),
        )

    def _memory(self):
        """Returns what `memory.check` and `memory.too_little` are told."""
        size = self.augmentation.crop_size
        saved = max(self.checkpoints.steps(), default=None)
        return self.objective.model, self.recipe, size, self.team, saved

    def _open_logs(self):
        self.log = logs.RunLog(self.folder, self.spec, self.step)
        if damaged := self.checkpoints.num_damaged:
            self.log.scalars(self.step, **{"train/damaged_checkpoints": damaged})
        self.validation = validation.Validation(
            self.scoring_reader,
            self.network,
            self.folder,
            self.log,
            scored=self.objective.scored(self.scored),
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

    def loop(self) -> dict | None:
        """Trains, validates and saves until the last step; see `train`."""
        bar = progress.track(
            self.recipe.num_steps, unit="step", text="training", initial=self.step
        )
        try:
            with self.signals:
                self._loop(bar)
                self._leave()
        except tf.errors.ResourceExhaustedError as error:
            raise memory.too_little(*self._memory()) from error
        finally:
            bar.close()
            self.log.close()
        return checkpoints.read_best_facts(self.folder) if self.team.is_chief else None

    def _loop(self, bar):
        if self._due()[1] and self.history.validated < self.step:
            self._validate()  # A signal had cut it short.
        batches, epoch = feeding.batches(self)
        pending: collections.deque = collections.deque()
        # A GPU runs ahead of the host: its losses are looked at a few steps later.
        delay = 10 if tf.config.list_physical_devices("GPU") else 0
        pace = Pace()
        while self._goes_on():
            with self.reader.errors_named(), pace.waiting():
                batch = next(batches)
            names = batch.pop("name")
            self.optimizer.set_learning_rate(self.rate_at(self.step))
            step = tf.constant(self.step, tf.int64)
            result = self.step_function(batch, step, self.signals.sent())
            self.step += 1
            pending.append((self.step, result, names))
            save, validate = self._due()
            settled = save or validate or self.signals.stop
            while len(pending) > (0 if settled else delay):
                self._check(*pending.popleft())
            said = f"loss {self.loss:.3f}, epoch {self.step / epoch:.1f}, {pace.step()}"
            bar.set_postfix_str(said, refresh=False)
            bar.update()
            if validate:
                self._validate()
            elif save:
                self.checkpoints.save(self.step)
        while pending:
            self._check(*pending.popleft())

    def _leave(self):
        if not self.signals.stop:
            return
        if self.step not in self.checkpoints.steps():
            self.checkpoints.save(self.step)
        raise signals.Interrupted(self.signals.number, self.step)

    def _goes_on(self):
        patience = self.recipe.early_stopping_validations
        if patience and self.history.waited >= patience:
            progress.say(
                f"No better mean IoU in {patience} validations: training ends early."
            )
            return False
        return self.step < self.recipe.num_steps and not self.signals.stop

    def _validate(self):
        done = self.validation.run(
            self.step,
            self.scored,
            self.rate_at(self.step - 1),
            stopped=lambda: self.signals.stop,
        )
        if done:
            self.checkpoints.save(self.step)

    def _due(self):
        """Tells whether this step ends with a checkpoint, and with a validation."""
        last = self.step == self.recipe.num_steps
        validate = last or self.step % self.recipe.eval_interval_steps == 0
        return validate or self.step % self.recipe.save_interval_steps == 0, validate

    def _check(self, step, result, names):
        """Looks at the loss of a step; raises where it is no number."""
        loss, good, labelled, sent = (value.numpy().item() for value in result)
        self.signals.hear(sent)
        overflow = self.recipe.mixed_precision == "float16" and math.isfinite(loss)
        if not good and not overflow:
            local = self.strategy.experimental_local_results(names)
            pictures = [n.decode() for part in local for n in part.numpy()]
            raise ValueError(
                f"The loss of step {step} is {loss}, or its gradients are no numbers. "
                f"Pictures: {', '.join(pictures)}. The weights were not changed and "
                f"the last checkpoint is good. Lower --base_learning_rate, clip with "
                f"--gradient_clip_norm=1, or look at those pictures."
            )
        self.loss = loss
        self.history.add_loss(loss, labelled > 0)
        if step % _SCALARS_INTERVAL == 0:
            rate = self.rate_at(step - 1)
            self.log.scalars(step, **{"train/loss": loss, "train/learning_rate": rate})
