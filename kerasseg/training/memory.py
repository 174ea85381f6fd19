"""The memory of a training step: estimated, and fitted by micro-batches."""

import json
import logging
import math
import os

import keras
import tensorflow as tf

from kerasseg import errors
from kerasseg.distribution import WorkerGroup
from kerasseg.inference import memory_estimate
from kerasseg.system import files, memory, progress, runtime
from kerasseg.training.recipe import FittedBatch, Recipe
from kerasseg.training.step import StepFunction
from kerasseg.workdir import layout

# Six networks at 192 to 256 pixels took 0.6 to 0.95 of the estimate, on a CPU.
_SCRATCH = 1.25
_COPIES = 4  # Of the weights: weights, gradients, momentum, moving average.
_MAX_BYTES_PER_PIXEL = 30_000  # None of those six networks took more.
_GIB = 2**30


class StepMemory:
    """Estimates the memory of a training step.

    Args:
        model: The network.
        crop_size: Height and width of the training crops, in pixels.
        batch_size: Images of one update, over all devices.
        group: The workers of the run.
    """

    def __init__(
        self,
        model: keras.Model,
        crop_size: tuple[int, int],
        batch_size: int,
        group: WorkerGroup,
    ):
        self._model, self._crop_size = model, crop_size
        self._replicas = group.local_replicas
        self.images_per_device = batch_size // (group.size * group.local_replicas)

    def needed(self, images: int) -> int:
        """Estimates the bytes of a step on one device.

        Args:
            images: Number of images that are computed at once.
        """

        def call(image):
            # A network may take more than an image, such as a class.
            others = [tf.ones([1, *x.shape[1:]]) for x in self._model.inputs[1:]]
            return self._model([image, *others] if others else image, training=True)

        weights = sum(
            math.prod(v.shape) * tf.as_dtype(v.dtype).size
            for v in self._model.variables
        )
        channels = self._model.inputs[0].shape[-1] or 3
        activations = memory_estimate.kept(call, *self._crop_size, channels)
        return images * int(_SCRATCH * activations) + _COPIES * weights

    def check(self, micro_batches: int, saved_step: int | None) -> None:
        """Refuses a step that cannot fit: Linux would kill the process silently.

        Args:
            micro_batches: Number of micro-batches of a device's batch.
            saved_step: Step of the last checkpoint, or None.

        Raises:
            errors.UserError: Half of the estimate is more than what is available.
        """
        images = self.images_per_device // micro_batches
        available = memory.available()
        pixels = self._replicas * images * math.prod(self._crop_size)
        if pixels * _MAX_BYTES_PER_PIXEL < available:
            return  # Without tracing the network.
        if self._replicas * self.needed(images) > 2 * available:
            raise self.error(micro_batches, saved_step)

    def fewest_micro_batches(self, saved_step: int | None) -> int:
        """Returns the smallest number of equal micro-batches that fit.

        Args:
            saved_step: Step of the last checkpoint, or None.

        Raises:
            errors.UserError: By the estimate not even one image fits.
        """
        available = memory.available()
        for count in divisors(self.images_per_device):
            images = self.images_per_device // count
            if self._replicas * self.needed(images) <= available:
                return count
        raise self.error(self.images_per_device, saved_step)

    def error(self, micro_batches: int, saved_step: int | None) -> errors.UserError:
        """Returns the error of a step that does not fit; see `check`."""
        images = self.images_per_device // micro_batches
        height, width = self._crop_size
        checkpoint = "There is no checkpoint yet"
        if saved_step is not None:
            checkpoint = f"The checkpoint of step {saved_step} is whole"
        advice = "a smaller `train_crop_size`"
        if images > 1:
            more = next(
                n for n in divisors(self.images_per_device) if n > micro_batches
            )
            advice = (
                f"`gradient_accumulation_steps={more}` for the same batch in less "
                f"memory, {advice} or a smaller `train_batch_size`"
            )
        return errors.UserError(
            f"Out of memory: {images} crops of {height}x{width} at once need about "
            f"{self.needed(images) / _GIB:.1f} GiB, and "
            f"{memory.available() / _GIB:.1f} GiB of the machine's memory are "
            f"available. {checkpoint}. Give {advice}."
        )


def divisors(number: int) -> list[int]:
    """Lists the divisors of a number, in order."""
    return [i for i in range(1, number + 1) if number % i == 0]


class FittedMicroBatches:
    """Chooses the number of micro-batches where `train_batch_size` is auto.

    Args:
        recipe: The hyperparameters.
        group: The workers of the run.

    Raises:
        errors.UserError: There are other machines, whose memory is not known here.
    """

    def __init__(self, recipe: Recipe, group: WorkerGroup):
        self.enabled = isinstance(recipe.train_batch_size, FittedBatch)
        self._batch_size = int(recipe.train_batch_size)
        self._images_per_device = self._batch_size // group.local_replicas
        if self.enabled and (group.size > 1 or group.is_asynchronous):
            raise errors.UserError(
                f"`train_batch_size={recipe.train_batch_size}` measures the memory of "
                f"one machine, and there are several. Give a number of images, and "
                f"`gradient_accumulation_steps`."
            )

    def fit(
        self,
        step_function: StepFunction,
        step_memory: StepMemory,
        workdir: str,
        saved_step: int | None,
    ) -> None:
        """Sets the number of micro-batches; a resumed run keeps at least its own.

        On a CPU the number is estimated, since Linux kills a process that takes too
        much. On a GPU the whole batch is tried first, see `increase`.
        """
        if not self.enabled:
            return
        least = _read(workdir, self._batch_size)
        if not runtime.has_gpu():
            least = max(least, step_memory.fewest_micro_batches(saved_step))
        self._set(step_function, workdir, least)

    def increase(self, step_function: StepFunction, workdir: str) -> bool:
        """Uses more micro-batches; returns whether that was possible."""
        if not self.enabled:
            return False
        if step_function.micro_batches >= self._images_per_device:
            return False
        self._set(step_function, workdir, step_function.micro_batches + 1)
        return True

    def _set(self, step_function, workdir, least):
        """Sets the fewest equal micro-batches that are at least `least`, and logs it.

        The number is written down, so that a resumed run rounds in the same way.
        """
        count = next(
            n
            for n in divisors(self._images_per_device)
            if n >= min(least, self._images_per_device)
        )
        step_function.rebuild(micro_batches=count)
        progress.log(
            f"A batch of {self._batch_size} is computed in {count} micro-batches of "
            f"{self._images_per_device // count} per device."
        )
        text = json.dumps({"batch_size": self._batch_size, "parts": count}) + "\n"
        files.write_bytes(os.path.join(workdir, layout.MICRO_BATCHES), text.encode())


def _read(workdir, batch_size):
    """Returns the number of micro-batches of a run that is resumed, else 1."""
    path = os.path.join(workdir, layout.MICRO_BATCHES)
    try:
        saved = files.read_json(path)
        return int(saved["parts"]) if saved["batch_size"] == batch_size else 1
    except FileNotFoundError:
        return 1
    except (ValueError, KeyError, TypeError) as error:
        logging.warning(
            "%s is damaged, the number of micro-batches is found again: %r", path, error
        )
        return 1
