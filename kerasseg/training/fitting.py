"""Batches in as few parts as fit into memory: --train_batch_size=auto."""

import dataclasses
import json
import logging
import os

import tensorflow as tf

from kerasseg import errors
from kerasseg.system import files, progress
from kerasseg.training import memory
from kerasseg.training.recipe_texts import FittedBatch

FILE = "batch_parts.json"


def check(recipe, team) -> None:
    """Refuses what cannot be fitted.

    Args:
        recipe: See `recipe.Recipe`.
        team: `distribution.WorkerGroup`.

    Raises:
        ValueError: The parts are given too, or there are other machines, whose memory
            is not known here.
    """
    if not isinstance(recipe.batch_size, FittedBatch):
        return
    given = f"--train_batch_size={recipe.batch_size}"
    if recipe.accumulation_steps > 1:
        raise errors.UserError(
            f"{given} finds the parts of a batch itself: leave out "
            f"`gradient_accumulation_steps={recipe.accumulation_steps}`, or give a "
            f"number for `train_batch_size`."
        )
    if team.size > 1 or team.is_asynchronous:
        raise errors.UserError(
            f"{given} looks at the memory of one machine, and there are several: give "
            f"a number, and `gradient_accumulation_steps`."
        )


def fit(run) -> None:
    """Cuts the batches of a run, as before where it goes on.

    On a CPU the parts are estimated, since Linux kills what is too large; on a GPU the
    whole batch is tried first, see `fit_smaller`.

    Args:
        run: `run.Run`, with its step function.
    """
    if not isinstance(run.recipe.batch_size, FittedBatch):
        return
    least = _read(run.workdir, run.recipe.batch_size)
    if not tf.config.list_physical_devices("GPU"):
        least = max(least, memory.fewest_parts(*run.memory()))
    _take(run, least)


def fit_smaller(run) -> bool:
    """Cuts the batches into more parts; returns whether there are smaller ones."""
    if not isinstance(run.recipe.batch_size, FittedBatch):
        return False
    share = run.recipe.batch_size // run.team.local_replicas
    if run.recipe.accumulation_steps >= share:
        return False
    _take(run, run.recipe.accumulation_steps + 1)
    return True


def _take(run, least):
    """Cuts into the fewest equal parts that are at least so many, and notes them."""
    batch = int(run.recipe.batch_size)
    share = batch // run.team.local_replicas
    parts = next(n for n in memory.divisors(share) if n >= min(least, share))
    run.recipe = dataclasses.replace(run.recipe, accumulation_steps=parts)
    run.step_function.rebuild(parts=parts)
    progress.log(f"A batch of {batch} goes through each device by {share // parts}.")
    text = json.dumps({"batch_size": batch, "parts": parts}) + "\n"
    files.write_bytes(os.path.join(run.workdir, FILE), text.encode())


def _read(workdir, batch):
    """Returns the parts of a run that goes on; 1 where none are noted."""
    path = os.path.join(workdir, FILE)
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        return int(found["parts"]) if found["batch_size"] == batch else 1
    except FileNotFoundError:
        return 1
    except (ValueError, KeyError, TypeError) as error:
        logging.warning("%s is damaged, parts are found anew: %r", path, error)
        return 1
