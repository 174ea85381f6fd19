"""The numbers that a recipe may hold."""

import math

from kerasseg import errors

_FROM_1 = (
    *("num_steps", "batch_size", "accumulation_steps"),
    *("save_interval_steps", "eval_interval_steps", "eval_limit"),
)
_FROM_0 = (
    *("early_stopping_validations", "startup_delay_steps", "skip_bad_records"),
    *("weight_decay", "gradient_clip_norm", "aux_loss_weight"),
    "head_learning_rate_factor",
)
_SHARES = ("momentum", "rmsprop_decay", "ema_decay")


def check(recipe) -> None:
    """Refuses numbers that no run can have.

    Args:
        recipe: See `recipe.Recipe`.

    Raises:
        ValueError: A number is out of its range, or is none.
    """
    for name in _FROM_1:
        value = getattr(recipe, name)
        if value is not None and value < 1:
            raise errors.UserError(f"{name} must be at least 1, got {value}.")
    for name in _FROM_0:
        value = getattr(recipe, name)
        if not 0 <= value < math.inf:
            raise errors.UserError(f"{name} is a finite number from 0, got {value}.")
    for name in _SHARES:
        value = getattr(recipe, name)
        if not 0 <= value < 1:
            raise errors.UserError(
                f"{name} is a number from 0 to below 1, got {value}."
            )
    decay = recipe.batch_norm_decay
    if decay is not None and not 0 <= decay <= 1:
        raise errors.UserError(
            f"batch_norm_decay is a number from 0 to 1, got {decay}."
        )
