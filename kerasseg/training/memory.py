"""What a step of training takes, told where it is too much."""

import dataclasses
import functools
import math

import tensorflow as tf

from kerasseg import errors
from kerasseg.inference import memory_estimate
from kerasseg.system import memory

# Measured was a step of 0.6 to 0.95 of it: six networks at 192 to 256 pixels, on a CPU.
_SCRATCH = 1.25
_COPIES = 4  # Of the weights: they, gradients, momentum, moving average.
_MOST_BYTES = 30_000  # A pixel; none of those six networks took more.
_GIB = 2**30


def needed(model, pictures: int, crop_size: tuple[int, int]) -> int:
    """Estimates the bytes that a step takes on one device.

    Args:
        model: The network.
        pictures: That go through it at once.
        crop_size: Their height and width.
    """
    picture, weights = _sizes(model, crop_size)
    return pictures * picture + weights


def _sizes(model, crop_size):
    """Returns the bytes of each picture of a step, and those that any step takes."""
    call = functools.partial(model, training=True)
    weights = sum(
        math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in model.variables
    )
    return int(_SCRATCH * memory_estimate.kept(call, *crop_size)), _COPIES * weights


def fewest_parts(model, recipe, crop_size, team, saved: int | None) -> int:
    """Finds into how many equal parts a device's share of a batch has to be cut.

    Args:
        model: See `check`, as for the others.
        recipe: Likewise.
        crop_size: Likewise.
        team: Likewise.
        saved: Likewise.

    Raises:
        ValueError: Not even one picture fits, by the estimate.
    """
    share = recipe.batch_size // (team.size * team.local_replicas)
    picture, weights = _sizes(model, crop_size)
    free = memory.available()
    for parts in divisors(share):
        if team.local_replicas * (share // parts * picture + weights) <= free:
            return parts
    single = dataclasses.replace(recipe, accumulation_steps=share)
    raise too_little(model, single, crop_size, team, saved)


def divisors(number: int) -> list[int]:
    """Lists what a number can be divided by, in order."""
    return [i for i in range(1, number + 1) if number % i == 0]


def check(model, recipe, crop_size, team, saved: int | None) -> None:
    """Refuses a step that cannot fit; Linux would kill the process without a word.

    Args:
        model: The network.
        recipe: See `recipe.Recipe`.
        crop_size: Height and width.
        team: `distribution.WorkerGroup`.
        saved: Step of the last checkpoint, or None.

    Raises:
        ValueError: Half of the estimate is more than what is free.
    """
    pictures, free = _at_once(recipe, team), memory.available()
    if team.local_replicas * pictures * math.prod(crop_size) * _MOST_BYTES < free:
        return  # The network is not looked at.
    if team.local_replicas * needed(model, pictures, crop_size) > 2 * free:
        raise too_little(model, recipe, crop_size, team, saved)


def too_little(model, recipe, crop_size, team, saved: int | None) -> ValueError:
    """Describes a step that does not fit; see `check`."""
    pictures = _at_once(recipe, team)
    height, width = crop_size
    estimate = needed(model, pictures, crop_size)
    free = memory.available() / _GIB
    checkpoint = "no checkpoint is there yet"
    if saved is not None:
        checkpoint = f"the checkpoint of step {saved} is whole"
    advice = "a smaller --train_crop_size"
    if pictures > 1:
        advice = (
            f"--gradient_accumulation_steps={2 * recipe.accumulation_steps}, for the "
            f"same updates in less memory, or {advice} or --train_batch_size"
        )
    return errors.UserError(
        f"Out of memory: {pictures} crops of {height}x{width} at once need about "
        f"{estimate / _GIB:.1f} GiB, and {free:.1f} GiB of the machine's "
        f"are free; {checkpoint}. Give {advice}."
    )


def _at_once(recipe, team):
    """Returns the pictures that go through a device at once."""
    devices = team.size * team.local_replicas
    return recipe.batch_size // (recipe.accumulation_steps * devices)
