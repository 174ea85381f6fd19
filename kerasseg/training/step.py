"""One training step, the same under every strategy."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

from kerasseg import errors
from kerasseg.system import progress
from kerasseg.training import batch_norm
from kerasseg.training.objective import LossSums
from kerasseg.training.recipe import Recipe
from kerasseg.training.state import TrainState


class StepResult(NamedTuple):
    """Scalars of one step.

    Attributes:
        loss: Loss of the global batch before the update, float32.
        updated: Whether loss and gradients were finite and the weights were updated.
            A finite loss without an update is an overflow of float16 gradients.
        num_labeled: What the loss is the mean over, see `objective.Sums`, float32.
        parts: Terms of the loss by name, float32; empty if it has one term.
    """

    loss: tf.Tensor
    updated: tf.Tensor
    num_labeled: tf.Tensor
    parts: dict[str, tf.Tensor]


def train_step(
    state: TrainState,
    batch: dict,
    step: tf.Tensor,
    *,
    objective: LossSums,
    recipe: Recipe,
    norms: batch_norm.TracedLayers,
    micro_batches: int,
    strategy: tf.distribute.Strategy,
) -> StepResult:
    """Updates the state by one global batch.

    The loss is the sum over the labeled pixels of the global batch divided by their
    number, so that a replica with many ignored pixels does not weigh more. That of
    instances is the mean over the images.

    Args:
        state: The training state; its variables change.
        batch: Dict of "image" and what the objective takes, such as "label"; per
            replica.
        step: Number of updates before this one, int64 scalar.
        objective: The loss.
        recipe: The hyperparameters.
        norms: The batch norm layers of the model.
        micro_batches: Number of parts of a replica's batch that are computed one
            after the other. Each is normalized by its own statistics; the moving
            averages of batch norm are those of the whole batch.
        strategy: The strategy in whose scope the state was created.
    """

    def compute_gradients(batch):
        replica = tf.distribute.get_replica_context()
        batch = objective.prepare(batch, replica)
        weights = [v.value for v in state.optimizer.trainable_variables]
        sums: list = []
        gradients = [0.0] * len(weights)
        for i, micro_batch in enumerate(_split(batch, micro_batches)):
            number = tf.cast(replica.replica_id_in_sync_group, tf.int64)
            seed = tf.stack([step, number * micro_batches + i])
            with tf.GradientTape() as tape:
                sums.append(objective.sums(micro_batch, seed))
                scaled = sums[-1].loss * state.loss_scale.value
            parts = tape.gradient(scaled, weights, unconnected_gradients="zero")
            gradients = [a + b for a, b in zip(gradients, parts, strict=True)]
        norms.move_averages()
        flat = [sum(values) for values in zip(*map(tf.nest.flatten, sums), strict=True)]
        total = tf.nest.pack_sequence_as(sums[0], replica.all_reduce("sum", flat))
        count = tf.maximum(total.count, 1.0)
        gradients = [g / (count * state.loss_scale.value) for g in gradients]
        gradients = _decay(gradients, weights, state.optimizer.decayed, strategy)
        if recipe.gradient_clip_norm:
            end = state.optimizer.num_clipped
            clipped = _clip(
                gradients[:end], recipe.gradient_clip_norm, replica, strategy
            )
            gradients = [*clipped, *gradients[end:]]
        not_finite = replica.all_reduce("sum", _count_not_finite(gradients))
        loss = total.loss / count
        finite = tf.math.is_finite(loss) & (not_finite == 0)
        terms = {name: term / count for name, term in total.parts.items()}
        return StepResult(loss, finite, total.count, terms), gradients

    def update(gradients):
        # Keras sums the gradients of the replicas.
        state.optimizer.apply(gradients)
        if state.ema is not None:
            _update_average(state.ema, state.model, recipe.ema_decay, step)

    with norms:
        results, gradients = strategy.run(compute_gradients, (batch,))
    result = StepResult(
        *tf.nest.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], tuple(results)
        )
    )
    tf.cond(result.updated, lambda: strategy.run(update, (gradients,)), lambda: None)
    state.loss_scale.update(result.updated)
    return result


def _split(batch, micro_batches):
    parts = {key: tf.split(value, micro_batches) for key, value in batch.items()}
    return [{key: part[i] for key, part in parts.items()} for i in range(micro_batches)]


def _decay(gradients, weights, decayed, strategy):
    """Adds the gradient of the L2 weight decay, once over all replicas."""
    replicas = strategy.num_replicas_in_sync
    return [
        g + (decay / replicas) * w if decay else g
        for g, w, decay in zip(gradients, weights, decayed, strict=True)
    ]


def _clip(gradients, norm, replica, strategy):
    """Bounds the global norm of the gradients' sum over the replicas."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return tf.clip_by_global_norm(gradients, norm)[0]
    gradients = replica.all_reduce("sum", gradients)
    gradients, _ = tf.clip_by_global_norm(gradients, norm)
    return [g / replicas for g in gradients]  # Keras sums them again.


def _count_not_finite(gradients):
    return tf.add_n(
        [tf.cast(~tf.reduce_all(tf.math.is_finite(g)), tf.int32) for g in gradients]
    )


def _update_average(ema, model, ema_decay, step):
    """Moves the average towards the weights, faster in the first steps."""
    step = tf.cast(step, tf.float32)
    decay = tf.minimum(ema_decay, (1.0 + step) / (10.0 + step))
    # The average of constant weights is these, without rounding.
    frozen = {
        id(weight)
        for layer in model._flatten_layers(include_self=False)
        if not layer.trainable
        for weight in layer.weights
    }
    for average, weight in zip(ema.weights, model.weights, strict=True):
        if average.dtype.startswith("float") and id(weight) not in frozen:
            average.assign(decay * average.value + (1.0 - decay) * weight.value)
        else:
            average.assign(weight)


class StepFunction:
    """`train_step` of a run as a `tf.function`, called with a batch and the step.

    Args:
        state: The training state.
        objective: The loss.
        recipe: The hyperparameters.
        strategy: The strategy in whose scope the state was created.

    Attributes:
        micro_batches: Number of parts of a batch, see `train_step`.
        compiled: Whether XLA compiles the step.
        function: The `tf.function`.
    """

    def __init__(
        self,
        state: TrainState,
        objective: LossSums,
        recipe: Recipe,
        strategy: tf.distribute.Strategy,
    ):
        self._state, self._objective = state, objective
        self._recipe, self._strategy = recipe, strategy
        self._norms: batch_norm.TracedLayers | None = None
        self.micro_batches = recipe.gradient_accumulation_steps
        self.compiled = recipe.jit_compile == "on"
        self.rebuild(micro_batches=self.micro_batches)

    def rebuild(
        self, *, micro_batches: int | None = None, compiled: bool | None = None
    ) -> None:
        """Changes the number of micro-batches or the compilation; None keeps it."""
        if micro_batches is not None:
            self.micro_batches = micro_batches
            self._log_batch_norm()
        self.compiled = self.compiled if compiled is None else compiled
        self.function = tf.function(
            self._run, reduce_retracing=True, jit_compile=self.compiled
        )

    def __call__(self, batch: dict, step: tf.Tensor) -> StepResult:
        """Runs one step, see `train_step`.

        Raises:
            errors.UserError: A batch norm layer gets one value per channel.
        """
        with self.plain_refusals():
            return self.function(batch, step)

    @contextlib.contextmanager
    def plain_refusals(self) -> Iterator[None]:
        """Raises the error of a layer that refuses its input as it is.

        While it is traced, `tf.function` extends the message by a traceback.
        """
        try:
            yield
        except Exception:
            if self._norms is None or self._norms.refusal is None:
                raise
            raise errors.UserError(
                f"{self._norms.refusal} {batch_norm.advice(self._recipe)}"
            ) from None

    def _log_batch_norm(self):
        if self.micro_batches == 1 or not batch_norm.is_trained(self._objective.model):
            return
        whole = int(self._recipe.train_batch_size)
        progress.log(
            f"Batch norm normalizes each micro-batch by its own statistics (images: "
            f"{whole // self.micro_batches}). Its moving averages, for inference, are "
            f"those of the whole batch (images: {whole})."
        )

    def _run(self, batch, step):
        self._norms = batch_norm.TracedLayers(
            self._objective.model,
            self.micro_batches,
            self._strategy.num_replicas_in_sync,
        )
        return train_step(
            self._state,
            batch,
            step,
            objective=self._objective,
            recipe=self._recipe,
            norms=self._norms,
            micro_batches=self.micro_batches,
            strategy=self._strategy,
        )
