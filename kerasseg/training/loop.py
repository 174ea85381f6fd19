"""The steps, validations and checkpoints of a training run that is built."""

import collections
import math

import tensorflow as tf

from kerasseg import errors
from kerasseg.system import progress
from kerasseg.training import asynchronous, compiling, feeding, fitting, memory, signals
from kerasseg.training.pace import Pace
from kerasseg.training.profiling import Profile
from kerasseg.training.step import SMALLEST_SCALE
from kerasseg.workdir import best_model

_SCALARS_INTERVAL = 10  # Steps between the points of TensorBoard's training curves.


class Loop:
    """Trains, validates and saves until the last step.

    Args:
        run: `run.Run`, built; its `step` counts on.
    """

    def __init__(self, run):
        self.run = run
        self.recipe = run.recipe
        self.signals = signals.Signals(alone=run.team.size == 1)
        self.profile = Profile(run.log.events, wanted=self.recipe.profile)
        self.loss = math.nan
        self.take = compiling.trial(run)
        self.workers = None
        if run.team.is_asynchronous:
            self.workers = asynchronous.AsynchronousStep(
                run.strategy,
                run.step_function,
                run.optimizer,
                run.team.served_by,
                self.recipe.startup_delay_steps,
            )

    def __call__(self) -> dict | None:
        """Goes to the end; see `train`."""
        run = self.run
        bar = progress.track(
            self.recipe.num_steps, unit="step", text="training", initial=run.step
        )
        try:
            with self.signals:
                self._steps(bar)
                self._leave()
        except tf.errors.ResourceExhaustedError as error:
            raise memory.too_little(*run.memory()) from error
        finally:
            bar.close()
            self.profile.close()
            run.log.close()
        return best_model.read_metadata(run.folder) if run.team.is_chief else None

    def _steps(self, bar):
        run = self.run
        if self._due()[1] and run.history.validated < run.step:
            self._validate()  # A signal had cut it short.
        batches, epoch = feeding.batches(run)
        pending: collections.deque = collections.deque()
        pace = Pace()
        while self._goes_on():
            with self.profile.step(run.step):
                with run.reader.reraise_errors(), pace.waiting():
                    batch = next(batches)
                names = batch.pop("name")
                result = self._step(batch)
            run.step += 1
            pending.append((run.step, result, names))
            save, validate = self._due()
            settled = save or validate or self.signals.stop
            while len(pending) > (0 if settled else self._unfinished()):
                self._check(*pending.popleft())
            said = f"loss {self.loss:.3f}, epoch {run.step / epoch:.1f}, {pace.step()}"
            bar.set_postfix_str(said, refresh=False)
            bar.update()
            if validate:
                self._validate()
            elif save:
                run.checkpoints.save(run.step)
        while pending:
            self._check(*pending.popleft())

    def _step(self, batch):
        """Takes a step, of smaller parts where it may and a device has no room."""
        run = self.run
        arguments = batch, tf.constant(run.step, tf.int64), self.signals.sent()
        rate = run.rate_at(run.step)
        if self.workers:  # Steps that are under way have other rates.
            return self.workers(*arguments, rate)
        run.optimizer.set_learning_rate(rate)
        while True:
            try:
                return self.take(*arguments)
            except tf.errors.ResourceExhaustedError:
                if not fitting.fit_smaller(run):
                    raise

    def _unfinished(self):
        """Returns how many steps need not be looked at yet."""
        if self.workers:
            return self.workers.unfinished
        # A GPU runs ahead of the host: its losses are looked at a few steps later.
        return 10 if tf.config.list_physical_devices("GPU") else 0

    def _leave(self):
        run = self.run
        if self.signals.stop and run.step not in run.checkpoints.steps():
            run.checkpoints.save(run.step)
        # Nobody ends before the others: what starts them may then end the rest.
        run.team.check_agreed(run.step, "last step")
        if self.signals.stop:
            raise signals.Interrupted(self.signals.number, run.step)

    def _goes_on(self):
        patience = self.recipe.early_stopping_validations
        if patience and self.run.history.waited >= patience:
            progress.log(
                f"No better mean IoU in {patience} validations: training ends early."
            )
            return False
        return self.run.step < self.recipe.num_steps and not self.signals.stop

    def _validate(self):
        run = self.run
        done = run.validation.run(
            run.step,
            run.scored_here(),
            run.rate_at(run.step - 1),
            stopped=lambda: self.signals.stop,
        )
        if done:
            run.checkpoints.save(run.step)

    def _due(self):
        """Tells whether this step ends with a checkpoint, and with a validation."""
        step, recipe = self.run.step, self.recipe
        validate = step == recipe.num_steps or step % recipe.eval_interval_steps == 0
        return validate or step % recipe.save_interval_steps == 0, validate

    def _may_recover(self, loss):
        """Tells whether float16 gradients overflowed and can be scaled further down."""
        scale = self.run.step_function.variables["loss_scale"]
        return math.isfinite(loss) and scale.numpy() > SMALLEST_SCALE

    def _check(self, step, result, names):
        """Looks at the loss of a step; raises where it is no number."""
        run = self.run
        values = asynchronous.fetch(result)
        if values is None:
            return
        loss, good, labelled, sent = values
        self.signals.hear(sent)
        if not good and not self._may_recover(loss):
            local = run.strategy.experimental_local_results(names)
            pictures = [n.decode() for part in local for n in part.numpy()]
            raise errors.UserError(
                f"The loss of step {step} is {loss}, or its gradients are no numbers. "
                f"Pictures: {', '.join(pictures)}. The weights were not changed and "
                f"the last checkpoint is good. Lower `base_learning_rate`, clip with "
                f"`gradient_clip_norm=1`, or look at those pictures."
            )
        self.loss = loss
        run.history.add_loss(loss, labelled > 0)
        if step % _SCALARS_INTERVAL == 0:
            rate = run.rate_at(step - 1)
            run.log.scalars(step, **{"train/loss": loss, "train/learning_rate": rate})
