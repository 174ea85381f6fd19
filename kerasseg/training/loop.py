"""The training loop: steps, validations and checkpoints until the last step."""

import collections
import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from kerasseg import errors
from kerasseg.distribution import WorkerGroup
from kerasseg.system import progress, runtime
from kerasseg.training import asynchronous
from kerasseg.training.callback_state import Callbacks
from kerasseg.training.logs import RunLog
from kerasseg.training.recipe import Recipe
from kerasseg.training.signals import Interrupted, Signals
from kerasseg.training.state import LossScale, TrainState
from kerasseg.training.validation import Validation
from kerasseg.workdir.checkpoints import Checkpoints

_SCALARS_INTERVAL = 10  # Steps between the points of TensorBoard's training curves.
# Steps that a GPU may run ahead of the host, which checks their losses later.
_GPU_STEPS_AHEAD = 10


def train_loop(
    state: TrainState,
    take_step: Callable,
    batches: Iterator[dict],
    *,
    recipe: Recipe,
    steps_per_epoch: float,
    validation: Validation,
    checkpoints: Checkpoints,
    log: RunLog,
    group: WorkerGroup,
    num_ahead: Callable[[], int],
    callbacks: Callbacks,
    num_unlabeled: int = 0,
    samples: Callable[[], np.ndarray | None] | None = None,
) -> None:
    """Trains, validates and saves until the last step.

    Args:
        state: The training state, restored.
        take_step: Function of a batch, the number of updates so far and the learning
            rate to a `StepResult`, which may be computed later.
        batches: Batches of the run, from the state's step on.
        recipe: The hyperparameters.
        steps_per_epoch: Number of steps of an epoch, for the progress bar.
        validation: Evaluates the state and keeps the best model.
        checkpoints: Saves the state.
        log: Log of the run.
        group: The workers of the run.
        num_ahead: Returns how many results may be unchecked before the next step.
        callbacks: Keras callbacks of the user.
        num_unlabeled: Images without labels per step.
        samples: Returns generated images for the log, or None; None for no images.

    Raises:
        errors.UserError: The loss is not finite. No checkpoint has weights of such a
            loss.
        Interrupted: A signal came, to any worker; the state was saved.
    """
    rate_at = recipe.schedule()
    last_step = recipe.training_number_of_steps
    step_time = StepTime()
    pending: collections.deque = collections.deque()
    signals = Signals(group)
    loss = math.nan  # Of the last step.
    parts: dict[str, float] = {}  # Its terms.
    epoch, in_epoch = state.step // recipe.eval_interval_steps, False  # Of callbacks.

    def save():
        callbacks.store()
        checkpoints.save(state.step)
        step_time.restart()

    def is_due(interval):
        return state.step == last_step or state.step % interval == 0

    def is_finished():
        if state.step >= last_step or signals.stop or callbacks.model.stop_training:
            return True
        return _stops_early(state, recipe)

    def end_epoch(scores):
        """Reports a validation as the end of an epoch."""
        nonlocal epoch, in_epoch
        values = {f"val_{name}": score for name, score in scores.items()}
        rate = rate_at(state.step - 1)
        callbacks.on_epoch_end(epoch, {"loss": loss, "learning_rate": rate, **values})
        epoch += 1
        in_epoch = False

    def validate():
        callbacks.on_test_begin()
        scores = validation.run(rate_at(state.step - 1), stopped=lambda: signals.stop)
        if scores is not None:
            if parts:
                terms = ", ".join(f"{name} {part:.4f}" for name, part in parts.items())
                progress.log(f"Terms of the loss of step {state.step}: {terms}")
            scalars = {k: v for k, v in scores.items() if isinstance(v, float)}
            callbacks.on_test_end(scalars)
            end_epoch(scalars)
            generated = samples() if samples else None
            if generated is not None:
                log.add_samples(state.step, generated)
            save()

    def check_results(count):
        """Checks results until only `count` are pending."""
        nonlocal loss, parts
        while len(pending) > count:
            step, result, names, total = pending.popleft()
            signals.agree(total)
            values = asynchronous.fetch(result)
            if values is None:  # The worker that had it was lost.
                continue
            if not values.updated and not _may_recover(state, values.loss):
                local = [part for n in names for part in group.local_values(n)]
                raise _not_finite(step, values.loss, local)
            loss, parts = values.loss, values.parts
            state.history.add_loss(loss, labeled=values.num_labeled > 0)
            if step % _SCALARS_INTERVAL == 0:
                rate = rate_at(step - 1)
                terms = {f"train/loss_{k}": value for k, value in values.parts.items()}
                speed = step_time.steps_per_second()
                if speed is not None:
                    speed *= recipe.train_batch_size + num_unlabeled
                    terms["train/images_per_second"] = speed
                log.scalars(
                    step, **{"train/loss": loss, "train/learning_rate": rate, **terms}
                )

    def update_bar():
        epochs = state.step / steps_per_epoch
        text = f"loss {loss:.3f}, epoch {epochs:.1f}, {step_time.end_step()}"
        if num_unlabeled:
            labeled = state.step * recipe.train_batch_size
            text += f", labeled {labeled:,}, unlabeled {state.step * num_unlabeled:,}"
        bar.set_postfix_str(text, refresh=False)
        bar.update()

    bar = progress.track(last_step, unit="step", text="training", initial=state.step)
    profile = Profile(log.events, enabled=recipe.profile)
    with bar, profile, signals:
        if is_due(recipe.eval_interval_steps) and state.history.validated < state.step:
            validate()  # A signal had interrupted it.
        while not is_finished():
            if not in_epoch:
                callbacks.on_epoch_begin(epoch)
                in_epoch = True
            callbacks.on_train_batch_begin(state.step)
            with profile.step(state.step):
                with step_time.measure():
                    batch = next(batches)
                names = [batch.pop(k) for k in ("name", "unlabeled_name") if k in batch]
                result = take_step(batch, state.step, rate_at(state.step))
            state.step += 1
            pending.append((state.step, result, names, signals.exchange()))
            validates = is_due(recipe.eval_interval_steps)
            saves = validates or is_due(recipe.save_interval_steps)
            settle = saves or signals.stop
            check_results(0 if settle else num_ahead())
            callbacks.on_train_batch_end(state.step - 1, {"loss": loss})
            update_bar()
            if validates or callbacks.model.stop_training:
                check_results(0)
                validate()
            elif saves:
                save()
        check_results(0)
        if signals.stop and state.step not in checkpoints.steps():
            save()
        # No worker ends before the others: what started them may then end the rest.
        group.check_agreed(state.step, "last step")
        if signals.stop:
            raise Interrupted(signals.number, state.step)


def steps_ahead() -> int:
    """Returns how many results of a device need not be checked yet."""
    return _GPU_STEPS_AHEAD if runtime.has_gpu() else 0


def _stops_early(state, recipe):
    patience = recipe.early_stopping_validations
    if not patience or state.history.waited < patience:
        return False
    progress.log(f"No better mean IoU in {patience} validations: training stops early.")
    return True


def _not_finite(step, loss, names):
    images = [name.decode() for part in names for name in part.numpy()]
    return errors.UserError(
        f"The loss of step {step} is {loss}, or its gradients are not finite. "
        f"Images: {', '.join(images)}. The weights were not updated and the last "
        f"checkpoint is whole. Lower `base_learning_rate`, clip gradients with "
        f"`gradient_clip_norm=1`, or look at these images."
    )


def _may_recover(state, loss):
    """Returns whether float16 gradients overflowed and the scale can still fall."""
    scale = state.loss_scale.value.numpy()
    return math.isfinite(loss) and scale > LossScale.SMALLEST


class StepTime:
    """Measures steps, and which share of their time the loop waits for batches."""

    _DECAY = 0.9  # Of the moving average.

    def __init__(self):
        self._waited = 0.0
        self._average: float | None = None
        self._seconds, self._steps = 0.0, -1  # The first step is traced.
        self.restart()

    def restart(self) -> None:
        """Starts a step, after what is no part of one: a validation or a checkpoint."""
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Measures a block that waits for a batch."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - start

    def end_step(self) -> str:
        """Ends a step and returns the average share of about the last ten steps."""
        now = time.perf_counter()
        seconds = now - self._start
        if self._steps >= 0:
            self._seconds += seconds
        self._steps += 1
        share = self._waited / max(seconds, 1e-9)
        before = share if self._average is None else self._average
        self._average = self._DECAY * before + (1 - self._DECAY) * share
        self._start, self._waited = now, 0.0
        return f"input {self._average:.0%}"

    def steps_per_second(self) -> float | None:
        """Returns the speed since the last call; None if no step has ended."""
        if self._steps <= 0:
            return None
        speed = self._steps / max(self._seconds, 1e-9)
        self._seconds, self._steps = 0.0, 0
        return speed


class Profile:
    """Context manager that profiles some steps for TensorBoard.

    Args:
        folder: Folder that TensorBoard reads; the profile goes to `plugins/profile`.
        enabled: Whether to profile at all.
    """

    _SKIPPED = 5  # First steps: tracing, and filling of buffers.
    _PROFILED = 10

    def __init__(self, folder: str, *, enabled: bool):
        self._folder = folder
        self._steps = 0 if enabled else self._SKIPPED + self._PROFILED
        self._running = False

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Surrounds a step; the profile ends with the last step that it holds."""
        if self._steps == self._SKIPPED:
            self._switch(tf.profiler.experimental.start, self._folder)
        if self._running:
            with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
                yield
        else:
            yield
        self._steps += 1
        if self._steps == self._SKIPPED + self._PROFILED:
            self.close()

    def close(self) -> None:
        """Writes a running profile; one that cannot be written causes a warning."""
        if self._running:
            self._switch(tf.profiler.experimental.stop)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _switch(self, function, *arguments):
        self._running = not self._running
        try:
            function(*arguments)
        except (OSError, tf.errors.OpError) as error:
            self._running = False
            logging.warning(
                "No profile was written to %s, training continues: %s",
                self._folder,
                error,
            )
