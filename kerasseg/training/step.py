"""One step function for every strategy: gradients, their check, the update."""

import keras
import tensorflow as tf

SMALLEST_SCALE = 1.0  # Of a loss, against gradients that overflow.
_LARGEST_SCALE = 2.0**15  # Of a float16 loss.
_GROWTH_STEPS = 2000  # Steps without an overflow before the scale doubles.


class TrainingStep:
    """Updates a model by one global batch.

    The loss is a sum over the valid pixels of the global batch divided by their
    number, so that a replica with many ignored pixels does not weigh more. An update
    happens only where loss and gradients are finite.

    Args:
        strategy: A `tf.distribute.Strategy`.
        model: The network, made in the strategy's scope.
        objective: `objective.Objective` of the network.
        optimizer: `optimizers.GroupedOptimizer` of the objective's model, made there
            too.
        recipe: See `recipe.Recipe`.
        ema_model: Copy of the model that holds the moving average, or None.

    Attributes:
        variables: The state that a checkpoint must hold besides model and optimizer.
        function: The step as a `tf.function`.
    """

    def __init__(
        self, strategy, model, objective, optimizer, recipe, *, ema_model=None
    ):
        self._strategy = strategy
        self._model = model
        self._objective = objective
        self._optimizer = optimizer
        self._recipe = recipe
        self._ema_model = ema_model
        scaled = recipe.mixed_precision == "float16"
        with strategy.scope():
            self._scale = tf.Variable(
                _LARGEST_SCALE if scaled else SMALLEST_SCALE,
                trainable=False,
                dtype=tf.float32,
            )
            self._good_steps = tf.Variable(0, trainable=False, dtype=tf.int64)
        self._scaled = scaled
        self.variables = {"loss_scale": self._scale, "good_steps": self._good_steps}
        self._parts, self._compiled = 1, False
        self.rebuild(
            parts=recipe.accumulation_steps, compiled=recipe.jit_compile == "on"
        )

    def rebuild(self, *, parts=None, compiled=None) -> None:
        """Takes batches in other parts from now on, or is compiled by XLA or not.

        Args:
            parts: In which a batch goes through a device; None as before.
            compiled: Whether XLA compiles the step; None as before.
        """
        self._parts = self._parts if parts is None else parts
        self._compiled = self._compiled if compiled is None else compiled
        self.function = tf.function(
            self._run, reduce_retracing=True, jit_compile=self._compiled
        )

    def __call__(self, batch, step, signal=0.0):
        """Runs one step.

        Args:
            batch: Dict of "image" and "label", and "weight" where pixels weigh
                differently; per replica.
            step: int64 scalar, the number of updates before this one.
            signal: float32 scalar of this worker, that all of them get the sum of.

        Returns:
            The loss before the update, whether the update was made, the number of
            labelled pixels, and the signals. A finite loss without an update is an
            overflow of float16 gradients.
        """
        return self.function(batch, step, signal)

    def _run(self, batch, step, signal):
        found, gradients = self._strategy.run(self._gradients, (batch, signal))
        local = self._strategy.experimental_local_results
        loss, good, count, signals = (local(value)[0] for value in found)
        tf.cond(
            good,
            lambda: self._strategy.run(self._update, (gradients, step)),
            lambda: None,
        )
        if self._scaled:
            self._adapt_scale(good)
        return loss, good, count, signals

    def _gradients(self, batch, signal):
        """Returns what `__call__` does, and this replica's gradients."""
        replica = tf.distribute.get_replica_context()
        variables = [v.value for v in self._optimizer.trainable_variables]
        parts = self._parts
        total, count = 0.0, 0.0
        gradients = [0.0] * len(variables)
        split = {key: tf.split(whole, parts) for key, whole in batch.items()}
        for i in range(parts):
            part = {key: pieces[i] for key, pieces in split.items()}
            with tf.GradientTape() as tape:
                outputs = self._objective.model(part["image"], training=True)
                part_total, part_count = self._objective(
                    outputs, part["label"], part.get("weight")
                )
                scaled = part_total * self._scale
            new = tape.gradient(scaled, variables, unconnected_gradients="zero")
            gradients = [a + b for a, b in zip(gradients, new, strict=True)]
            total, count = total + part_total, count + part_count
        sums = [total, count, tf.identity(signal)]  # On the replica's device.
        total, labelled, signals = replica.all_reduce("sum", sums)
        count = tf.maximum(labelled, 1.0)
        gradients = [g / (count * self._scale) for g in gradients]
        gradients = self._decay_and_clip(gradients, variables, replica)
        wrong = tf.add_n(
            [tf.cast(~tf.reduce_all(tf.math.is_finite(g)), tf.int32) for g in gradients]
        )
        wrong = replica.all_reduce("sum", wrong)
        loss = total / count
        good = tf.math.is_finite(loss) & (wrong == 0)
        return (loss, good, labelled, signals), gradients

    def _decay_and_clip(self, gradients, variables, replica):
        """Adds the L2 weight decay and bounds the norm; gradients stay per replica."""
        replicas = self._strategy.num_replicas_in_sync
        gradients = [
            g + (decay / replicas) * v if decay else g
            for g, v, decay in zip(
                gradients, variables, self._optimizer.decayed, strict=True
            )
        ]
        if self._recipe.gradient_clip_norm:
            if replicas > 1:  # The norm is that of the sum; Keras sums once more.
                gradients = replica.all_reduce("sum", gradients)
            gradients, _ = tf.clip_by_global_norm(
                gradients, self._recipe.gradient_clip_norm
            )
            if replicas > 1:
                gradients = [g / replicas for g in gradients]
        return gradients

    def _update(self, gradients, step):
        self._optimizer.apply(gradients)
        if self._ema_model is None:
            return
        step = tf.cast(step, tf.float32)
        decay = tf.minimum(self._recipe.ema_decay, (1.0 + step) / (10.0 + step))
        for average, weight in zip(
            self._ema_model.weights, self._model.weights, strict=True
        ):
            if not average.dtype.startswith("float"):
                average.assign(weight)
                continue
            average.assign(decay * average.value + (1.0 - decay) * weight.value)

    def _adapt_scale(self, good):
        """Halves the loss scale on an overflow, doubles it after a quiet time."""
        quiet = tf.where(good, self._good_steps + 1, 0)
        grow = quiet >= _GROWTH_STEPS
        scale = tf.where(good, tf.where(grow, 2.0, 1.0), 0.5) * self._scale
        self._scale.assign(tf.clip_by_value(scale, SMALLEST_SCALE, _LARGEST_SCALE))
        self._good_steps.assign(tf.where(grow, tf.zeros_like(quiet), quiet))


def prepare_batch_norm(model, recipe, replicas) -> None:
    """Sets batch norm as the run wants it: frozen, its decay, synchronised.

    Args:
        model: The network.
        recipe: See `recipe.Recipe`.
        replicas: Devices; statistics are taken over the batches of all of them.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = recipe.fine_tune_batch_norm
            layer.synchronized = replicas > 1
            if recipe.batch_norm_decay is not None:
                layer.momentum = recipe.batch_norm_decay
