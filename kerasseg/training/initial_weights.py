"""Weights of a new run that are taken from another one."""

from kerasseg import backbones, blocks, errors
from kerasseg.system import progress
from kerasseg.training import frozen_statistics
from kerasseg.training.state import TrainState
from kerasseg.workdir import best_model


def initialize(path: str | None, state: TrainState) -> None:
    """Copies the weights of an initial checkpoint, if there is one; see `load`."""
    if path:
        load(path, state)
    else:
        frozen_statistics.warn(state.model, None, None)


def load(path: str, state: TrainState) -> None:
    """Copies the weights that an initial checkpoint has in common with the model.

    Prints how many they are, and the variables that it does not have.

    Args:
        path: See `best_model.load_initial`, also for errors.
        state: The state of a new run.

    Raises:
        errors.UserError: It has no variable in common with the model, or was trained
            with another normalization of the images.
    """
    source = best_model.load_initial(path)
    missing = backbones.copy_weights(source, state.model)
    if len(missing) == len(state.model.weights):
        raise errors.UserError(
            f"`initial_checkpoint={path}` has no variable in common with "
            f"{state.model.name}. Give a checkpoint of the same architecture."
        )
    _check_normalization(path, source, state.model)
    total = len(state.model.weights)
    progress.log(
        f"Initial weights: {total - len(missing)} of {total} variables from {path}"
    )
    if missing:
        progress.log(f"Not in the initial checkpoint, or of another shape: {missing}")
    if state.ema is not None:
        backbones.copy_weights(state.model, state.ema)
    frozen_statistics.warn(state.model, path, source)


def _check_normalization(path, source, model):
    """Refuses weights whose features would be computed from other values."""
    kinds = [_normalization(network) for network in (source, model)]
    if None not in kinds and kinds[0] != kinds[1]:
        raise errors.UserError(
            f"`initial_checkpoint={path}` was trained with the normalization "
            f"'{kinds[0]}', and {model.name} has '{kinds[1]}'. Give "
            f"`model_option=normalization={kinds[0]}`."
        )


def _normalization(network):
    """Returns how the first layer normalizes images, or None for a foreign model."""
    kinds = [
        layer.kind for layer in network.layers if isinstance(layer, blocks.Normalize)
    ]
    return kinds[0] if len(kinds) == 1 else None
