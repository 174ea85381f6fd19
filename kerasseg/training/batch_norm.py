"""Batch norm in a training step: frozen or trained, and over micro-batches."""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kerasseg import errors
from kerasseg.training.recipe import FittedBatch, Recipe


def prepare(model: keras.Model, recipe: Recipe, replicas: int) -> None:
    """Configures batch norm for a run: frozen or trained, decay, synchronized.

    Layers that the network itself has frozen stay frozen.

    Args:
        model: The network.
        recipe: The hyperparameters.
        replicas: Number of devices; statistics are computed over the batches of all.
    """
    for layer in _layers(model):
        layer.trainable = layer.trainable and recipe.fine_tune_batch_norm
        layer.synchronized = replicas > 1
        if recipe.batch_norm_decay is not None:
            layer.momentum = recipe.batch_norm_decay


def is_trained(model: keras.Model) -> bool:
    """Returns whether a layer of the model normalizes by statistics of the batch."""
    return any(map(_is_trained, _layers(model)))


def _is_trained(layer):
    return layer.trainable and not getattr(layer, "frozen_statistics", False)


def _layers(model):
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


class _Moments(NamedTuple):
    """Mean and biased variance of each channel in one call of a layer."""

    mean: Any
    variance: Any


class _Moved(threading.local):
    """Moments of the calls so far, by layer. Each replica is traced in a thread."""

    def __init__(self):
        self.calls: dict[keras.layers.BatchNormalization, list[_Moments]] = {}


class _Kept(threading.local):
    """Whether averages are kept, in the thread of a replica."""

    value = False


_kept = _Kept()


@contextlib.contextmanager
def averages_kept() -> Iterator[None]:
    """Keeps batch norm from moving its averages; it normalizes by the batch.

    For images whose statistics are not those of inference, such as strongly augmented
    ones. Weights are read and gradients flow as usual.
    """
    _kept.value = True
    try:
        with keras.StatelessScope():  # Takes the assignments and drops them.
            yield
    finally:
        _kept.value = False


class TracedLayers:
    """The trained batch norm layers of a model, while a step is traced.

    A context in which a layer refuses one value per channel, whose variance is 0. With
    several micro-batches, it also keeps the layers from moving their averages once per
    micro-batch; `move_averages` then moves them once, by the whole batch.

    Args:
        model: The network.
        micro_batches: Number of equal micro-batches of a replica's batch.
        replicas: Number of devices.

    Attributes:
        refusal: What is wrong with the layer that refused its input; None at first.
    """

    def __init__(self, model: keras.Model, micro_batches: int, replicas: int):
        self._layers = [layer for layer in _layers(model) if _is_trained(layer)]
        self._micro_batches, self._replicas = micro_batches, replicas
        self._momentum = {layer: layer.momentum for layer in self._layers}
        self._moved = _Moved()
        self.refusal: str | None = None

    def __enter__(self):
        for layer in self._layers:
            call = layer.call
            if self._micro_batches > 1 and not layer.renorm:
                # The layers then assign the moments themselves, exactly.
                layer.momentum = 0.0
                call = self._without_assignment(layer, call)
            layer.call = self._checked(layer, call)
        return self

    def __exit__(self, *_):
        for layer in self._layers:
            del layer.call  # The method of the class again.
            layer.momentum = self._momentum[layer]

    def _checked(self, layer, call: Callable):
        def checked(inputs, *args, **kwargs):
            self._check(layer, inputs.shape)
            return call(inputs, *args, **kwargs)

        return checked

    def _check(self, layer, shape):
        sizes = [size for i, size in enumerate(shape) if i != layer.axis % len(shape)]
        if None in sizes:
            return
        replicas = self._replicas if layer.synchronized else 1
        if replicas * math.prod(sizes) == 1:
            self.refusal = (
                f"Batch norm layer '{layer.name}' gets one value per channel in "
                f"training: one image at once, reduced to one cell. Its variance "
                f"is 0, and inference would not compute what was trained."
            )
            raise errors.UserError(self.refusal)

    def _without_assignment(self, layer, call):
        def without_assignment(*args, **kwargs):
            with keras.StatelessScope() as scope:
                outputs = call(*args, **kwargs)
            if _kept.value:
                return outputs
            moments = _Moments(
                scope.get_current_value(layer.moving_mean),
                scope.get_current_value(layer.moving_variance),
            )
            self._moved.calls.setdefault(layer, []).append(moments)
            return outputs

        return without_assignment

    def move_averages(self) -> None:
        """Moves the averages by the moments of all micro-batches of this replica."""
        for layer, calls in self._moved.calls.items():
            per_batch = len(calls) // self._micro_batches  # More if it is shared.
            for i in range(per_batch):
                total = _total(calls[i::per_batch])
                _move(layer.moving_mean, total.mean, self._momentum[layer])
                _move(layer.moving_variance, total.variance, self._momentum[layer])


def _total(moments):
    """Returns the moments of the union of equal micro-batches.

    By the law of total variance: the mean of the variances plus the variance of the
    means.
    """
    means = tf.stack([each.mean for each in moments])
    mean = tf.reduce_mean(means, axis=0)
    within = tf.reduce_mean(tf.stack([each.variance for each in moments]), axis=0)
    return _Moments(mean, within + tf.reduce_mean(tf.square(means - mean), axis=0))


def _move(average, value, momentum):
    average.assign(average * momentum + value * (1.0 - momentum))


def advice(recipe: Recipe) -> str:
    """Returns what to do where a layer gets one value per channel."""
    more = "a larger `train_batch_size`"
    if isinstance(recipe.train_batch_size, FittedBatch):
        more = "a smaller `train_crop_size`, so that more images fit into memory,"
    elif recipe.gradient_accumulation_steps > 1:
        more = "a smaller `gradient_accumulation_steps`"
    return f"Give {more} or `fine_tune_batch_norm=false`, which freezes batch norm."
