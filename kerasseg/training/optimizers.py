"""Keras optimizers with the habits of the papers: groups, decay of kernels only."""

import keras


class GroupedOptimizer:
    """An optimizer for the encoder and one for all that is new, at their own rates.

    Args:
        model: The network.
        recipe: See `recipe.Recipe`.
        encoder: Names of the encoder's layers; see `models.encoder_layers`.

    Attributes:
        trainable_variables: The model's, in the order of their gradients.
        decayed: For each of them, what times its value the step adds to its gradient.
        variables: Every variable of the optimizers.
    """

    def __init__(self, model, recipe, encoder=frozenset()):
        self._recipe = recipe
        groups: dict[float, list] = {}
        for variable in model.trainable_variables:
            new = variable.path.split("/")[0] not in encoder
            factor = recipe.head_learning_rate_factor if new else 1.0
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

        self.set_learning_rate(recipe.base_learning_rate)

    @property
    def variables(self) -> list:
        """Lists the state of all groups."""
        return [v for _, _, optimizer in self._groups for v in optimizer.variables]

    def set_learning_rate(self, rate) -> None:
        """Sets the rate of each group, from the one of the encoder."""
        for factor, _, optimizer in self._groups:
            optimizer.learning_rate.assign(rate * factor)

    def apply(self, gradients) -> None:
        """Updates the weights; summed over the replicas by Keras.

        Args:
            gradients: In the order of `trainable_variables`.
        """
        start = 0
        for _, variables, optimizer in self._groups:
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
