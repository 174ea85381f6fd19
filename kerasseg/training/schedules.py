"""Learning rates as functions of the step: plain numbers, no tensors.

Every policy follows a linear warm-up, and its steps are counted from the end of it.
"""

import inspect
import math
from collections.abc import Callable, Sequence

from kerasseg import errors

Schedule = Callable[[int], float]


def poly(
    base_learning_rate: float,
    num_steps: int,
    *,
    power: float = 0.9,
    end_learning_rate: float = 0.0,
) -> Schedule:
    """Falls by a power of the share of steps that are left.

    Args:
        base_learning_rate: Rate of step 0.
        num_steps: Steps until `end_learning_rate`, which stays from then on.
        power: Exponent; 1 is a straight line.
        end_learning_rate: Rate of step `num_steps` and after.

    Returns:
        Function from step to rate.

    Source: https://arxiv.org/abs/1606.00915, section 4.1.
    """
    _check("power", power, power > 0, "above 0")
    _check_end(end_learning_rate)

    def rate(step):
        left = 1 - min(step / num_steps, 1.0)
        return (
            end_learning_rate + (base_learning_rate - end_learning_rate) * left**power
        )

    return rate


def cosine(
    base_learning_rate: float, num_steps: int, *, end_learning_rate: float = 0.0
) -> Schedule:
    """Falls along half a wave of the cosine; arguments as of `poly`.

    Source: https://arxiv.org/abs/1608.03983, equation 5, without restarts.
    """
    _check_end(end_learning_rate)

    def rate(step):
        left = (1 + math.cos(math.pi * min(step / num_steps, 1.0))) / 2
        return end_learning_rate + (base_learning_rate - end_learning_rate) * left

    return rate


def step(
    base_learning_rate: float,
    num_steps: int,
    *,
    decay_factor: float = 0.1,
    decay_steps: int | None = None,
    boundaries: Sequence[int] | None = None,
) -> Schedule:
    """Multiplies the rate by `decay_factor` again and again.

    Args:
        base_learning_rate: Rate of step 0.
        num_steps: Steps of the run; each boundary lies before its end.
        decay_factor: Factor of each decay, in (0, 1].
        decay_steps: Steps from one decay to the next. Either this or `boundaries`.
        boundaries: Steps of the decays, ascending: the first with the smaller rate.

    Returns:
        Function from step to rate.
    """
    _check("decay_factor", decay_factor, 0 < decay_factor <= 1, "in (0, 1]")
    if (decay_steps is None) == (boundaries is None):
        raise errors.UserError(
            "The step policy takes either decay_steps or boundaries, got decay_steps="
            f"{decay_steps} and boundaries={boundaries}."
        )
    if decay_steps is not None:
        _check("decay_steps", decay_steps, decay_steps >= 1, "at least 1")
        boundaries = range(decay_steps, num_steps, decay_steps)
    limits = tuple(boundaries or ())
    ascending = list(limits) == sorted(set(limits))
    inside = all(0 < limit < num_steps for limit in limits)
    wanted = f"ascending and between 0 and the {num_steps} steps after the warm-up"
    _check("boundaries", limits, ascending and inside, wanted)

    def rate(step):
        return base_learning_rate * decay_factor ** sum(
            step >= limit for limit in limits
        )

    return rate


def exponential(
    base_learning_rate: float,
    num_steps: int,  # noqa: ARG001
    *,
    decay_factor: float = 0.1,
    decay_steps: int | None = None,
) -> Schedule:
    """Falls a little at each step, by `decay_factor` in each `decay_steps`.

    `step` with the same numbers falls at once, at the end of each epoch for example.

    Args:
        base_learning_rate: Rate of step 0.
        num_steps: Steps of the run.
        decay_factor: Factor of `decay_steps` steps together, in (0, 1].
        decay_steps: Steps that it takes; must be given.

    Returns:
        Function from step to rate.
    """
    _check("decay_factor", decay_factor, 0 < decay_factor <= 1, "in (0, 1]")
    steps = decay_steps or 0
    _check("decay_steps", decay_steps, steps >= 1, "given and at least 1")
    return lambda step: base_learning_rate * decay_factor ** (step / steps)


def constant(base_learning_rate: float, num_steps: int) -> Schedule:  # noqa: ARG001
    """Stays as it is."""
    return lambda step: base_learning_rate  # noqa: ARG005


POLICIES: dict[str, Callable[..., Schedule]] = {
    "poly": poly,
    "step": step,
    "cosine": cosine,
    "exponential": exponential,
    "constant": constant,
}


def get(
    policy: str,
    *,
    base_learning_rate: float,
    num_steps: int,
    warmup_steps: int = 0,
    **options,
) -> Schedule:
    """Returns the learning rate as a function of the step.

    Args:
        policy: A key of `POLICIES`.
        base_learning_rate: Rate at the end of the warm-up, above 0.
        num_steps: Updates of the weights in the whole run, warm-up included.
        warmup_steps: Updates before the policy starts. The rate rises in a straight
            line from `base_learning_rate / (warmup_steps + 1)`, never from 0.
        **options: Those of the policy, by name.

    Returns:
        Function from the number of updates made so far, 0 and up, to the rate of the
        next one. It depends on nothing else, so a resumed run goes on exactly.

    Raises:
        ValueError: An unknown policy or option, or a number out of its range.
    """
    if policy not in POLICIES:
        known = ", ".join(sorted(POLICIES))
        raise errors.UserError(
            f"No policy is called {policy!r}. Choose one of: {known}."
        )
    signature = inspect.signature(POLICIES[policy]).parameters.values()
    known_options = [p.name for p in signature if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known_options:
            raise errors.UserError(
                f"The {policy} policy has no option {name!r}. "
                f"It takes: {', '.join(known_options) or 'none'}."
            )
    rate = base_learning_rate
    _check("base_learning_rate", rate, 0 < rate < math.inf, "above 0 and finite")
    _check("num_steps", num_steps, num_steps >= 1, "at least 1")
    inside = 0 <= warmup_steps < num_steps
    _check(
        "warmup_steps", warmup_steps, inside, f"from 0 to below num_steps={num_steps}"
    )
    decayed = POLICIES[policy](base_learning_rate, num_steps - warmup_steps, **options)

    def schedule(step: int) -> float:
        _check("step", step, step >= 0, "at least 0")
        if step < warmup_steps:
            return base_learning_rate * (step + 1) / (warmup_steps + 1)
        return float(decayed(step - warmup_steps))

    return schedule


def _check_end(end_learning_rate):
    finite = 0 <= end_learning_rate < math.inf
    _check("end_learning_rate", end_learning_rate, finite, "at least 0 and finite")


def _check(name, value, right, wanted):
    if not right:
        raise errors.UserError(f"{name} must be {wanted}, got {value}.")
