"""How the minutes are divided: what training cannot use, and the steps that remain."""

import dataclasses
import math

from kerasseg import errors
from kerasseg.training.planning.design import Design
from kerasseg.training.planning.facts import Facts, Machine

SECONDS_BETWEEN_CHECKPOINTS = 60
MIN_STEPS = 50  # Fewer do not even end the warm-up.
_USED = 0.97  # Of the minutes: the rest is for what varies.
_MAX_VALIDATION = 0.1  # Share of the training time.
_MAX_TRACING = 0.03  # Share of the minutes.
_MIN_VALIDATED = 4  # Images of a validation.
# Guesses: pixels of training steps in a second, and seconds of all else.
_PIXELS_OF_CORE, _PIXELS_ON_GPU, _OVERHEAD = 250_000, 10_000_000, 90
_STEPS_OF_SHORT, _STEPS_OF_LONG = 400, 1000  # Enough in 5 and in 30 minutes.


@dataclasses.dataclass(frozen=True)
class Costs:
    """Measured seconds.

    Attributes:
        elapsed: From the start of the command to the plan.
        start: Import of TensorFlow and its devices.
        build: Building the network with its optimizer.
        first_step: First step, with its tracing.
        step: A later step, with waiting for its batch.
        first_image: First prediction, with its tracing.
        image: A later prediction of a validation image, and its pixel counts.
        scored_image: The same with all measures of an evaluation.
        save: Saving the model.
    """

    elapsed: float
    start: float
    build: float
    first_step: float
    step: float
    first_image: float
    image: float
    scored_image: float
    save: float

    @property
    def saved_step(self) -> float:
        """Seconds of a step with its share of the checkpoints."""
        return self.step * (1 + self.save / SECONDS_BETWEEN_CHECKPOINTS)


@dataclasses.dataclass(frozen=True)
class Budget:
    """How the time is used.

    Attributes:
        steps: Training steps.
        num_validations: Validations during the training.
        eval_limit: Images of a validation; None for all.
        seconds: Seconds of each part by its name, in their order.
    """

    steps: int
    num_validations: int
    eval_limit: int | None
    seconds: dict[str, float]


def enough_steps(minutes: float) -> int:
    """Returns the steps from which on larger crops are better than more steps.

    They are those of the short recipes in experiments: 500 steps in 3 minutes on
    shapes, 1100 in 30 on CamVid.
    """
    share = min(1.0, max(0.0, (minutes - 5) / 25))
    return round(_STEPS_OF_SHORT + share * (_STEPS_OF_LONG - _STEPS_OF_SHORT))


def select(
    designs: list[Design], measured: Design, costs: Costs, facts: Facts, minutes: float
) -> Design:
    """Returns the most expensive design with which there is time for enough steps.

    The time of a step is taken as proportional to `Design.work`.

    Args:
        designs: From the most expensive one on.
        measured: That of which the costs were measured.
        costs: Its costs.
        facts: The data set.
        minutes: Minutes of the whole command.
    """
    for design in designs:
        changed = rescale(costs, measured, design)
        if _steps(changed, facts, minutes)[0] >= enough_steps(minutes):
            return design
    return designs[-1]


def rescale(costs: Costs, measured: Design, design: Design) -> Costs:
    """Returns the costs of a design, estimated from those of the measured one."""
    step = costs.step * design.work / measured.work
    first = costs.first_step - costs.step + step
    return dataclasses.replace(costs, step=step, first_step=first)


def suffices(costs: Costs, facts: Facts, minutes: float) -> bool:
    """Returns whether the measured design is used, although another one is selected.

    Another one would have to be traced and measured, too, which short runs have no time
    for; at least half of `enough_steps` are possible.
    """
    is_expensive = costs.first_step > _MAX_TRACING * 60 * minutes
    return is_expensive and 2 * _steps(costs, facts, minutes)[0] >= enough_steps(
        minutes
    )


def guess(designs: list[Design], machine: Machine, minutes: float) -> Design:
    """Returns the design to measure first.

    Args:
        designs: From the most expensive one on.
        machine: The machine.
        minutes: Minutes of the whole command.
    """
    rate = _PIXELS_ON_GPU if machine.has_gpu else machine.num_cores * _PIXELS_OF_CORE
    pixels = rate * max(0, 60 * minutes - _OVERHEAD)
    enough = enough_steps(minutes)
    fitting = (design for design in designs if pixels >= enough * design.work)
    return next(fitting, designs[-1])


def budget(costs: Costs, facts: Facts, minutes: float) -> Budget:
    """Divides the minutes.

    Raises:
        errors.UserError: They are too few.
    """
    steps, num_validations, limit, seconds = _steps(costs, facts, minutes)
    if steps < MIN_STEPS:
        least = sum(seconds.values()) + MIN_STEPS * costs.saved_step
        enough = math.ceil(least / _USED / 60 + 0.2)
        raise errors.UserError(
            f"`minutes={minutes:g}` is too few: without the training, the command "
            f"takes {sum(seconds.values()):.0f} seconds here, and a training step "
            f"{costs.step:.2f}. Give `minutes={enough}` or more."
        )
    seconds["training steps"] = steps * costs.saved_step
    return Budget(steps, num_validations, limit, seconds)


def _steps(costs, facts, minutes):
    """Returns the steps, which may be below 0, and what `Budget` has besides."""
    total = _USED * 60 * minutes
    seconds = {
        "data and plan": costs.elapsed,
        "start of the training": 2 * costs.build + costs.first_step,
        "evaluation and report": _evaluation(costs, facts.num_val),
        "export": _export(costs),
    }
    left = total - sum(seconds.values())
    num_validations = 1 if left < 180 else 2 if left < 600 else 4
    fixed = costs.first_image + num_validations * 2 * costs.save
    affordable = (_MAX_VALIDATION * left - fixed) / (num_validations * costs.image)
    limit = max(_MIN_VALIDATED, math.floor(affordable))
    validated = min(limit, facts.num_val)
    seconds["validations"] = fixed + num_validations * validated * costs.image
    steps = math.floor((left - seconds["validations"]) / costs.saved_step)
    return steps, num_validations, None if limit >= facts.num_val else limit, seconds


_REPORTED = 24  # Images that the report predicts again.


def _evaluation(costs, num_val):
    """Loading the model twice, tracing, all images, and those of the report."""
    return (
        2 * costs.build
        + 2 * costs.first_image
        + num_val * costs.scored_image
        + min(num_val, _REPORTED) * 1.5 * costs.image
    )


def _export(costs):
    """Two signatures, saving, and a process that loads and compares the export."""
    return 3 * costs.build + 4 * costs.first_image + 2 * costs.save + 1.5 * costs.start
