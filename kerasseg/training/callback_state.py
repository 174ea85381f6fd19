"""The state of Keras callbacks in checkpoints, for runs that resume."""

import json
import logging
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

# Attributes that change during a training, by class; on_train_begin resets some.
_ATTRIBUTES: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best",),
}
# Classes that depend on their arguments and on what they are called with only.
_STATELESS = (
    keras.callbacks.CSVLogger,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.TensorBoard,
    keras.callbacks.TerminateOnNaN,
)


class Callbacks(keras.callbacks.CallbackList):
    """Callbacks whose state is kept in a variable of the checkpoints.

    Kept are the attributes of `EarlyStopping`, `ReduceLROnPlateau` and
    `ModelCheckpoint` of Keras that change during a training, without weights; the
    result of the method `get_state` of other callbacks, a JSON value, which is given to
    their `set_state` after `on_train_begin`; and whether a callback has ended training.

    Args:
        callbacks: The callbacks.
        model: The model that is trained, whose `stop_training` they set.

    Attributes:
        variables: Variables by their names in a checkpoint; none without callbacks.
    """

    def __init__(
        self, callbacks: Sequence[keras.callbacks.Callback], model: keras.Model
    ):
        super().__init__(list(callbacks), model=model)
        self._kept, self._trained = list(callbacks), model
        self.variables: dict[str, tf.Variable] = {}
        if self._kept:
            with tf.device("CPU:0"):
                text = tf.Variable("", trainable=False, dtype=tf.string)
            self.variables = {"callbacks": text}

    def store(self) -> None:
        """Writes the state into the variable, before a checkpoint is saved."""
        if not self.variables:
            return
        states = [[type(each).__name__, _get(each)] for each in self._kept]
        content = {"stop": bool(self._trained.stop_training), "states": states}
        self.variables["callbacks"].assign(json.dumps(content, default=_plain))

    def begin(self) -> None:
        """Calls `on_train_begin`, and then sets the state that was restored."""
        self._trained.stop_training = False  # A callback may set it, as in Keras' fit.
        self.on_train_begin()
        self.restore()

    def restore(self) -> None:
        """Sets the state that was restored.

        Callbacks that were not there before start afresh, with a warning.
        """
        text = self.variables["callbacks"].numpy() if self.variables else b""
        if not text:
            return
        content = json.loads(text)
        states = content["states"]
        self._trained.stop_training = content["stop"]
        for callback in self._kept:
            name = type(callback).__name__
            i = next(
                (i for i, (stored, _) in enumerate(states) if stored == name), None
            )
            if i is None:
                logging.warning("The checkpoint has no state of callback %s.", name)
                continue
            _, state = states.pop(i)
            if state is not None:
                _set(callback, state)


def unsaved(callbacks: Sequence[keras.callbacks.Callback]) -> list[str]:
    """Returns the names of the callbacks whose state, if any, cannot be kept."""
    return [
        type(each).__name__
        for each in callbacks
        if _attributes(each) is None
        and not hasattr(each, "get_state")
        and not isinstance(each, _STATELESS)
    ]


def _attributes(callback):
    for kind, names in _ATTRIBUTES.items():
        if isinstance(callback, kind):
            return names
    return None


def _get(callback):
    """Returns the state of a callback as a JSON value, None if it has none."""
    if hasattr(callback, "get_state"):
        return callback.get_state()
    names = _attributes(callback)
    return names and {name: getattr(callback, name, None) for name in names}


def _set(callback, state):
    if hasattr(callback, "set_state"):
        callback.set_state(state)
        return
    for name, value in state.items():
        setattr(callback, name, value)


def _plain(value):
    """Converts what JSON lacks: NumPy's numbers and arrays, and tensors."""
    return np.asarray(value).tolist()
