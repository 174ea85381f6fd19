"""The state of one training run: built, restored, stepped, validated, saved."""

import collections
import json
import math
import os
import signal
import threading

import keras
import tensorflow as tf

from kerasseg import (
    checkpoints,
    durable,
    models,
    pipeline,
    progress,
    statistics,
)
from kerasseg.training import (
    feature_statistics,
    logs,
    objective,
    optimizers,
    validation,
)
from kerasseg.training.step import TrainingStep, prepare_batch_norm

_SCALARS_INTERVAL = 10  # Steps between the points of TensorBoard's training curves.


class Interrupted(Exception):  # noqa: N818 - not an error.
    """A signal ended the run; a checkpoint of its last step was written.

    Attributes:
        status: Exit status, 128 and the signal's number.
    """

    def __init__(self, number, step):
        super().__init__(f"Stopped by a signal after step {step}; its state is saved.")
        self.status = 128 + number


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
        self.rate_at = recipe.schedule()
        self.signal: int | None = None
        self.loss = math.nan

    def build(self):
        """Makes everything that has variables, and restores it."""
        keras.utils.set_random_seed(self.seed)
        recipe = self.recipe
        weights = statistics.class_weights(recipe.class_weights, self.reader)
        with self.strategy.scope():
            self.model = self._model()
            self._initialise()
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
            os.path.join(self.workdir, "checkpoints"), self._variables()
        )
        self.step = self.checkpoints.restore() or 0
        feature_statistics.fill(self.reader, self.model, self.scored)
        self.log = logs.RunLog(self.workdir, self.spec, self.step)
        self.validation = validation.Validation(
            self.data.reader(self.data.eval_split),
            self.network,
            self.workdir,
            self.log,
            scored=self.objective.scored(self.scored),
            limit=recipe.eval_limit,
        )
        durable.write_bytes(
            os.path.join(self.workdir, "dataset.json"),
            json.dumps(self.spec.to_json(), indent=2).encode(),
        )

    def _model(self, copy=False):
        options = dict(self.network.options)
        if copy or self.network.initial_checkpoint:
            options["backbone_weights"] = None
        return models.build_model(self.network.name, self.spec.num_classes, **options)

    def _initialise(self):
        if not self.network.initial_checkpoint:
            return
        source = checkpoints.load_initial(self.network.initial_checkpoint)
        left = checkpoints.copy_weights(source, self.model)
        if len(left) == len(self.model.weights):
            raise ValueError(
                f"--initial_checkpoint={self.network.initial_checkpoint} has no "
                f"variable in common with {self.network.name}."
            )
        if left:
            print(f"Not in the initial checkpoint, or of another shape: {left}")

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
        named = {
            f"{group}/{i:05d}/{v.path}": v
            for group, variables in groups.items()
            for i, v in enumerate(variables)
        }
        return {**named, **self.step_function.variables}

    def loop(self) -> dict:
        """Trains, validates and saves until the last step; see `train`."""
        handlers = {n: signal.signal(n, self._stop) for n in self._signals()}
        bar = progress.track(
            self.recipe.num_steps, unit="step", text="training", initial=self.step
        )
        try:
            self._loop(bar)
        finally:
            bar.close()
            self.log.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return checkpoints.read_best_facts(self.workdir)

    def _loop(self, bar):
        batches, epoch = self._batches()
        pending: collections.deque = collections.deque()
        # A GPU runs ahead of the host: its losses are looked at a few steps later.
        delay = 10 if tf.config.list_physical_devices("GPU") else 0
        while self.step < self.recipe.num_steps and self.signal is None:
            with self.reader.errors_named():
                batch = next(batches)
            names = batch.pop("name")
            self.optimizer.set_learning_rate(self.rate_at(self.step))
            result = self.step_function(batch, tf.constant(self.step, tf.int64))
            self.step += 1
            pending.append((self.step, result, names))
            save, validate = self._due()
            while len(pending) > (0 if save or validate else delay):
                self._check(*pending.popleft())
            bar.set_postfix_str(
                f"loss {self.loss:.3f}, epoch {self.step / epoch:.1f}", refresh=False
            )
            bar.update()
            if validate:
                self.validation.run(self.step, self.scored, self.rate_at(self.step - 1))
            if save:
                self.checkpoints.save(self.step)
        if self.signal is not None:
            self.checkpoints.save(self.step)
            raise Interrupted(self.signal, self.step)

    def _batches(self):
        """Returns an endless iterator of batches, and the steps of an epoch."""
        recipe, repeats = self.recipe, self.recipe.repeats()
        order = pipeline.repeated(self.reader, *repeats) if repeats else None
        pictures = len(self.reader.split) if order is None else len(order)

        def per_worker(context):
            return pipeline.training_dataset(
                self.reader,
                self.augmentation,
                batch_size=context.get_per_replica_batch_size(recipe.batch_size),
                seed=self.seed,
                start=self.step * recipe.batch_size,
                order=order,
                weigh=self.objective.weigh,
            )

        distributed = self.strategy.distribute_datasets_from_function(per_worker)
        return iter(distributed), pictures / recipe.batch_size

    def _due(self):
        """Tells whether this step ends with a checkpoint, and with a validation."""
        last = self.step == self.recipe.num_steps
        validate = last or self.step % self.recipe.eval_interval_steps == 0
        return validate or self.step % self.recipe.save_interval_steps == 0, validate

    def _check(self, step, result, names):
        """Looks at the loss of a step; raises where it is no number."""
        loss, good = float(result[0]), bool(result[1])
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
        self.validation.losses.append(loss)
        if step % _SCALARS_INTERVAL == 0:
            rate = self.rate_at(step - 1)
            self.log.scalars(step, **{"train/loss": loss, "train/learning_rate": rate})

    def _stop(self, number, _):
        if self.signal is not None:
            os._exit(128 + number)  # The second signal leaves at once.
        self.signal = number

    @staticmethod
    def _signals():
        if threading.current_thread() is not threading.main_thread():
            return ()
        return signal.SIGINT, signal.SIGTERM
