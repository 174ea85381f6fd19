"""Learning rate schedules: functions from the step to the rate, plain numbers.

A schedule is a function `(base_learning_rate, num_steps, *, ...options)` with
`@register`, which returns the rate of each step; its options are named as the fields of
`Recipe` that hold them. Each follows a linear warm-up and counts from its end.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

from kerasseg import errors

Schedule = Callable[[int], float]
POLICIES: dict[str, Callable[..., Schedule]] = {}


def register(schedule: Callable[..., Schedule]) -> Callable[..., Schedule]:
    """Makes a schedule a choice of the recipe's `learning_policy`, under its name."""
    POLICIES[schedule.__name__] = schedule
    return schedule


@register
def poly(
    base_learning_rate: float,
    num_steps: int,
    *,
    learning_power: float = 0.9,
    end_learning_rate: float = 0.0,
) -> Schedule:
    """Decays by a power of the fraction of steps that remain.

    Args:
        base_learning_rate: Rate of step 0.
        num_steps: Number of steps until `end_learning_rate`.
        learning_power: Exponent; 1 decays linearly.
        end_learning_rate: Rate of step `num_steps` and later steps.

    Returns:
        Function from step to rate.

    Source: https://arxiv.org/abs/1606.00915, section 4.1.
    """
    _check("learning_power", learning_power, learning_power > 0, "above 0")
    _check_end(end_learning_rate)

    def rate(step):
        remaining = 1 - min(step / num_steps, 1.0)
        decayed = (base_learning_rate - end_learning_rate) * remaining**learning_power
        return end_learning_rate + decayed

    return rate


@register
def cosine(
    base_learning_rate: float, num_steps: int, *, end_learning_rate: float = 0.0
) -> Schedule:
    """Decays along half a cosine; arguments as for `poly`.

    Source: https://arxiv.org/abs/1608.03983, equation 5, without restarts.
    """
    _check_end(end_learning_rate)

    def rate(step):
        remaining = (1 + math.cos(math.pi * min(step / num_steps, 1.0))) / 2
        return end_learning_rate + (base_learning_rate - end_learning_rate) * remaining

    return rate


@register
def step(
    base_learning_rate: float,
    num_steps: int,
    *,
    learning_rate_decay_factor: float = 0.1,
    learning_rate_decay_step: int | None = None,
    boundaries: Sequence[int] | None = None,
) -> Schedule:
    """Multiplies the rate by a factor at regular steps, or at given ones.

    Args:
        base_learning_rate: Rate of step 0.
        num_steps: Number of steps of the run; each boundary is below it.
        learning_rate_decay_factor: Factor of each decay, in (0, 1].
        learning_rate_decay_step: Number of steps between two decays. Give either this
            or `boundaries`.
        boundaries: Steps of the decays, ascending: the first steps with the new rate.

    Returns:
        Function from step to rate.
    """
    factor, interval = learning_rate_decay_factor, learning_rate_decay_step
    _check_factor(factor)
    if (interval is None) == (boundaries is None):
        raise errors.UserError(
            f"The step schedule takes either `learning_rate_decay_step` or "
            f"`boundaries`, got {interval} and {boundaries}."
        )
    if interval is not None:
        _check("learning_rate_decay_step", interval, interval >= 1, "at least 1")
        boundaries = range(interval, num_steps, interval)
    limits = tuple(boundaries or ())
    ascending = list(limits) == sorted(set(limits))
    inside = all(0 < limit < num_steps for limit in limits)
    expected = f"ascending and between 0 and the {num_steps} steps after the warm-up"
    _check("boundaries", limits, ascending and inside, expected)

    def rate(step):
        return base_learning_rate * factor ** sum(step >= limit for limit in limits)

    return rate


@register
def exponential(
    base_learning_rate: float,
    num_steps: int,  # noqa: ARG001
    *,
    learning_rate_decay_factor: float = 0.1,
    learning_rate_decay_step: int | None = None,
) -> Schedule:
    """Decays a little at each step, by a factor over each interval.

    Args:
        base_learning_rate: Rate of step 0.
        num_steps: Number of steps of the run.
        learning_rate_decay_factor: Factor of an interval, in (0, 1].
        learning_rate_decay_step: Number of steps of an interval; must be given.

    Returns:
        Function from step to rate.
    """
    _check_factor(learning_rate_decay_factor)
    interval = learning_rate_decay_step or 0
    _check(
        "learning_rate_decay_step",
        learning_rate_decay_step,
        interval >= 1,
        "given and at least 1",
    )
    return lambda step: (
        base_learning_rate * learning_rate_decay_factor ** (step / interval)
    )


@register
def constant(base_learning_rate: float, num_steps: int) -> Schedule:  # noqa: ARG001
    """Keeps the rate."""
    return lambda step: base_learning_rate  # noqa: ARG005


def options(policy: str) -> list[str]:
    """Lists the options of a schedule.

    Raises:
        errors.UserError: No schedule has that name.
    """
    if policy not in POLICIES:
        known = ", ".join(sorted(POLICIES))
        raise errors.UserError(
            f"`learning_policy={policy}` is not a schedule. Choose one of: {known}."
        )
    parameters = inspect.signature(POLICIES[policy]).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def get(
    policy: str,
    *,
    base_learning_rate: float,
    num_steps: int,
    warmup_steps: int = 0,
    **given: Any,
) -> Schedule:
    """Returns the learning rate as a function of the step.

    Args:
        policy: A key of `POLICIES`.
        base_learning_rate: Rate at the end of the warm-up, above 0.
        num_steps: Number of updates of the whole run, warm-up included.
        warmup_steps: Number of updates before the policy starts. The rate rises
            linearly from `base_learning_rate / (warmup_steps + 1)`, never from 0.
        **given: Options of the policy.

    Returns:
        Function from the number of updates so far, 0 or more, to the rate of the next
        update. It depends on nothing else, so that a resumed run continues exactly.

    Raises:
        errors.UserError: An unknown policy or option, or a number out of its range.
    """
    known = options(policy)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise errors.UserError(
            f"The {policy} schedule has no option {unknown[0]!r}. "
            f"It takes: {', '.join(known) or 'none'}."
        )
    rate = base_learning_rate
    _check("base_learning_rate", rate, 0 < rate < math.inf, "above 0 and finite")
    _check("training_number_of_steps", num_steps, num_steps >= 1, "at least 1")
    inside = 0 <= warmup_steps < num_steps
    _check(
        "warmup_steps", warmup_steps, inside, f"from 0 to below the {num_steps} steps"
    )
    decayed = POLICIES[policy](base_learning_rate, num_steps - warmup_steps, **given)

    def schedule(step: int) -> float:
        _check("step", step, step >= 0, "at least 0")
        if step < warmup_steps:
            return base_learning_rate * (step + 1) / (warmup_steps + 1)
        return float(decayed(step - warmup_steps))

    return schedule


def _check_factor(factor):
    _check("learning_rate_decay_factor", factor, 0 < factor <= 1, "in (0, 1]")


def _check_end(end_learning_rate):
    finite = 0 <= end_learning_rate < math.inf
    _check("end_learning_rate", end_learning_rate, finite, "at least 0 and finite")


def _check(name, value, valid, expected):
    if not valid:
        raise errors.UserError(f"`{name}` must be {expected}, got {value}.")
