"""Keras optimizers with groups of weights and with weight decay of kernels only."""

from collections.abc import Collection, Sequence

import keras
import tensorflow as tf

from kerasseg.training.recipe import Recipe


class GroupedOptimizer:
    """Optimizers of the encoder and of all other layers, with their own learning rates.

    Args:
        model: The network.
        recipe: The hyperparameters.
        encoder: Names of the encoder's layers, see `models.encoder_layers`.

    Attributes:
        trainable_variables: Trainable variables of the model, in the order of their
            gradients.
        decayed: For each of them, the L2 coefficient: the gradient is increased by this
            times the variable. 0 for biases and batch norm, and with adamw, which
            decays by itself.
        num_clipped: How many of them, from the first, have gradients that are clipped.
    """

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        encoder: Collection[str] = frozenset(),
    ):
        groups: dict[float, list] = {}
        for variable in model.trainable_variables:
            in_encoder = variable.path.split("/")[0] in encoder
            factor = 1.0 if in_encoder else recipe.head_learning_rate_factor
            groups.setdefault(factor, []).append(variable)
        self._groups = [
            (factor, variables, _optimizer(recipe, variables, f"group{i}"))
            for i, (factor, variables) in enumerate(groups.items())
        ]
        self.trainable_variables = [v for _, group, _ in self._groups for v in group]
        decay = 0.0 if recipe.optimizer == "adamw" else recipe.weight_decay
        self.decayed = [
            decay if _is_kernel(v) else 0.0 for v in self.trainable_variables
        ]
        self.num_clipped = len(self.trainable_variables)
        self.set_learning_rate(recipe.base_learning_rate)

    @property
    def variables(self) -> list[keras.Variable]:
        """State of the optimizers of all groups."""
        return [v for _, _, optimizer in self._groups for v in optimizer.variables]

    def set_learning_rate(self, rate: float | tf.Tensor) -> None:
        """Sets the learning rate of each group; `rate` is the encoder's."""
        for factor, _, optimizer in self._groups:
            optimizer.learning_rate.assign(rate * factor)

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Updates the weights; Keras sums the gradients over the replicas.

        Args:
            gradients: Gradients in the order of `trainable_variables`.
        """
        start = 0
        for _, variables, optimizer in self._groups:
            end = start + len(variables)
            optimizer.apply(gradients[start:end], variables)
            start = end


class JoinedOptimizer:
    """The optimizer of the segmenter and those of the networks beside it, as one.

    Args:
        main: The segmenter's.
        beside: Networks and their optimizers, not yet built. The schedule multiplies
            their learning rates as it multiplies the segmenter's.
        base_rate: The segmenter's learning rate before any decay.

    Attributes:
        trainable_variables: See `GroupedOptimizer`.
        decayed: See `GroupedOptimizer`; 0 for the networks beside.
        num_clipped: See `GroupedOptimizer`: those of the segmenter.
    """

    def __init__(
        self,
        main: GroupedOptimizer,
        beside: Sequence[tuple[keras.Model, keras.optimizers.Optimizer]],
        base_rate: float,
    ):
        self._main, self._base_rate = main, base_rate
        self._beside = []
        self.trainable_variables = [*main.trainable_variables]
        for network, optimizer in beside:
            optimizer.build(network.trainable_variables)
            rate = float(optimizer.learning_rate)
            self._beside.append((network.trainable_variables, optimizer, rate))
            self.trainable_variables += network.trainable_variables
        self.num_clipped = main.num_clipped
        extra = len(self.trainable_variables) - len(main.trainable_variables)
        self.decayed = [*main.decayed, *[0.0] * extra]

    @property
    def variables(self) -> list[keras.Variable]:
        """State of all optimizers."""
        beside = [v for _, optimizer, _ in self._beside for v in optimizer.variables]
        return [*self._main.variables, *beside]

    def set_learning_rate(self, rate: float | tf.Tensor) -> None:
        """Sets the learning rates; see `GroupedOptimizer`."""
        self._main.set_learning_rate(rate)
        for _, optimizer, start in self._beside:
            optimizer.learning_rate.assign(start * (rate / self._base_rate))

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Updates all weights, see `GroupedOptimizer`."""
        start = len(self._main.trainable_variables)
        self._main.apply(gradients[:start])
        for variables, optimizer, _ in self._beside:
            end = start + len(variables)
            optimizer.apply(gradients[start:end], variables)
            start = end


def _optimizer(recipe, variables, name):
    rate = recipe.base_learning_rate
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=recipe.momentum, name=name)
    elif recipe.optimizer == "rmsprop":
        optimizer = keras.optimizers.RMSprop(rate, rho=recipe.rmsprop_decay, name=name)
    elif recipe.optimizer == "adam":
        optimizer = keras.optimizers.Adam(rate, name=name)
    else:
        optimizer = keras.optimizers.AdamW(
            rate, weight_decay=recipe.weight_decay, name=name
        )
        optimizer.exclude_from_weight_decay(
            var_list=[v for v in variables if not _is_kernel(v)]
        )
    optimizer.build(variables)
    return optimizer


def _is_kernel(variable):
    """Kernels have two axes or more; biases and batch norm have one."""
    return len(variable.shape) > 1
