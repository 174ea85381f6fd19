"""Weights of a new run that are taken from another one."""

from kerasseg import backbones, errors
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
        errors.UserError: It has no variable in common with the model.
    """
    source = best_model.load_initial(path)
    missing = backbones.copy_weights(source, state.model)
    if len(missing) == len(state.model.weights):
        raise errors.UserError(
            f"`initial_checkpoint={path}` has no variable in common with "
            f"{state.model.name}. Give a checkpoint of the same architecture."
        )
    total = len(state.model.weights)
    progress.log(
        f"Initial weights: {total - len(missing)} of {total} variables from {path}"
    )
    if missing:
        progress.log(f"Not in the initial checkpoint, or of another shape: {missing}")
    if state.ema is not None:
        backbones.copy_weights(state.model, state.ema)
    frozen_statistics.warn(state.model, path, source)
