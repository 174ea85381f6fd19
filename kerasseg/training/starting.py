"""The weights that a run starts from."""

from kerasseg import errors
from kerasseg.workdir import best_model


def start_from(path, model) -> None:
    """Copies what a model has in common with another, and says what it has not.

    Args:
        path: See `best_model.load_initial`, also for what is raised.
        model: The network that is trained.

    Raises:
        ValueError: They have nothing in common.
    """
    source = best_model.load_initial(path)
    left = best_model.copy_weights(source, model)
    if len(left) == len(model.weights):
        raise errors.UserError(
            f"`initial_checkpoint={path}` has no variable in common with {model.name}."
        )
    if left:
        print(f"Not in the initial checkpoint, or of another shape: {left}")
