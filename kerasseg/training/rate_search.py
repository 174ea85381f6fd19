"""`kerasseg.find_learning_rate`: the learning rate range test.

Source: https://arxiv.org/abs/1506.01186, section 3.3, with rates that grow
exponentially.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras
import tensorflow as tf

from kerasseg import errors
from kerasseg.distribution import WorkerGroup
from kerasseg.pipeline import class_statistics
from kerasseg.pipeline.dataset import Dataset
from kerasseg.system import files, progress
from kerasseg.training import fit, run
from kerasseg.training.data import training_batches
from kerasseg.training.few_labels import stages
from kerasseg.training.network import Network
from kerasseg.training.recipe import Recipe
from kerasseg.training.step import StepFunction

_SMOOTHING = 0.9  # Decay of the moving average of the loss.
_DIVERGED = 4.0  # Times the lowest loss.
_FACTOR = 10.0  # Between the rate with the lowest loss and the suggested one.
_MIN_STEPS = 10


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """The losses of a range test.

    Attributes:
        rates: Learning rate of each step, growing.
        losses: Loss of each step, before its update.
        smoothed: Moving average of the losses, without a bias to its start.
        diverged: Whether the test ended because the loss grew to 4 times its lowest
            value, or was not finite. The losses up to there are finite.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    diverged: bool

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the smoothed loss is lowest."""
        return self.lowest / _FACTOR

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss is lowest."""
        return min(zip(self.smoothed, self.rates, strict=True))[1]

    def __repr__(self):
        end = "diverged" if self.diverged else "ended"
        return (
            f"<RangeTest: suggested learning rate {self.suggestion:.2g}; lowest loss "
            f"{min(self.smoothed):.4g} at {self.lowest:.2g}, {end} at "
            f"{self.rates[-1]:.2g}>"
        )

    def plot(self, path: str | os.PathLike | None = None):
        """Draws the losses over the rates; returns the figure of matplotlib.

        Args:
            path: PNG file to write; None for none.
        """
        from matplotlib import figure  # Takes a second to import.

        drawn = figure.Figure(figsize=(6, 4), layout="constrained")
        axes = drawn.subplots()
        axes.plot(self.rates, self.losses, color="lightgray", label="loss")
        axes.plot(self.rates, self.smoothed, label="smoothed loss")
        axes.axvline(
            self.suggestion,
            linestyle="--",
            color="tab:red",
            label=f"suggestion: {self.suggestion:.2g}",
        )
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.set_ylim(top=2 * max(self.smoothed[0], min(self.smoothed)))
        axes.legend()
        if path is not None:
            with files.open_file(path) as file:
                drawn.savefig(file, format="png")
        return drawn


def find_learning_rate(
    model: fit.Model | None,
    data: Dataset | str | os.PathLike,
    recipe: str | os.PathLike | Recipe | None = None,
    *,
    min_rate: float = 1e-6,
    max_rate: float = 1.0,
    num_steps: int = 100,
    model_options: Mapping[str, Any] | None = None,
    loss: str | Callable | None = None,
    transform: Callable | None = None,
    freeze_encoder: bool | Collection[str] = False,
    seed: int = 1,
    **settings: Any,
) -> RangeTest:
    """Trains with growing learning rates, and suggests one.

    The rate grows by the same factor in each step. The test ends at `max_rate`, or when
    the smoothed loss exceeds 4 times its lowest value or is not finite. The suggested
    rate is a tenth of that with the lowest smoothed loss. A Keras model that is given
    is copied, so its weights and its optimizer do not change. Nothing is written.

    Args:
        model: See `kerasseg.fit`, as all arguments that are not listed here.
        data: See `kerasseg.fit`.
        recipe: See `kerasseg.fit`. Its learning rate and schedule are not used.
        min_rate: Learning rate of the first step, above 0.
        max_rate: Learning rate of the last step, above `min_rate`.
        num_steps: Number of steps, at least 10.
        model_options: See `kerasseg.fit`.
        loss: See `kerasseg.fit`.
        transform: See `kerasseg.fit`.
        freeze_encoder: See `kerasseg.fit`.
        seed: See `kerasseg.fit`.
        **settings: See `kerasseg.fit`.

    Raises:
        errors.UserError: An argument is wrong, the settings learn from few labels, the
            records are damaged, or the first loss is not finite.
    """
    _check(min_rate, max_rate, num_steps)
    if isinstance(model, keras.Model):
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        model = copy
    job = fit.prepare(
        model,
        data,
        recipe,
        model_options=model_options,
        loss=loss,
        transform=transform,
        freeze_encoder=freeze_encoder,
        settings=settings,
    )
    fit.check_labeled(job.settings.few_labels, "kerasseg.find_learning_rate")
    growth = (max_rate / min_rate) ** (1 / (num_steps - 1))
    rates = [min_rate * growth**i for i in range(num_steps)]
    with run.dtype_policy(job.settings.recipe):
        return _measure(job, rates, seed)


def _check(min_rate, max_rate, num_steps):
    if not 0 < min_rate < max_rate < math.inf:
        raise errors.UserError(
            "The rates must satisfy 0 < `min_rate` < `max_rate`, got "
            f"`min_rate={min_rate}` and `max_rate={max_rate}`."
        )
    if num_steps < _MIN_STEPS:
        raise errors.UserError(
            f"`num_steps={num_steps}` is too few. Give at least {_MIN_STEPS}, such as "
            "100."
        )


def _start(job, seed):
    """Returns a function that takes a step at a rate, and returns its loss."""
    recipe, strategy = job.settings.recipe, tf.distribute.get_strategy()
    reader = job.data.open("train_split", recipe.skip_bad_records)
    keras.utils.set_random_seed(seed)
    network = Network.of_recipe(job.builder, reader.split.spec, recipe)
    state, objective = run.create_state(
        network,
        recipe,
        class_statistics.class_weights(recipe.class_weights, reader),
        loss=job.loss,
    )
    step_function = StepFunction(state, objective, recipe, strategy)
    batches, _ = training_batches(
        reader,
        job.augmentation,
        recipe,
        seed=seed,
        step=0,
        task=stages.task(network.kind, job.settings.few_labels),
        objective=objective,
        strategy=strategy,
        group=WorkerGroup(strategy),
    )

    def take_step(i, rate):
        batch = next(batches)
        batch.pop("name", None)
        state.optimizer.set_learning_rate(rate)
        return float(step_function(batch, tf.constant(i, tf.int64)).loss)

    return take_step


def _measure(job, rates, seed):
    take_step = _start(job, seed)
    losses: list[float] = []
    smoothed: list[float] = []
    average, diverged = 0.0, False
    with progress.track(len(rates), unit="step", text="range test") as bar:
        for i, rate in enumerate(rates):
            value = take_step(i, rate)
            diverged = not math.isfinite(value)
            if not diverged:
                average = _SMOOTHING * average + (1 - _SMOOTHING) * value
                losses.append(value)
                smoothed.append(average / (1 - _SMOOTHING ** (i + 1)))
                diverged = smoothed[-1] > _DIVERGED * min(smoothed)
            bar.update()
            if diverged:
                break
    if not losses:
        raise errors.UserError(
            "The first loss is not finite. Check the network and the `loss`."
        )
    return RangeTest(
        tuple(rates[: len(losses)]), tuple(losses), tuple(smoothed), diverged
    )
