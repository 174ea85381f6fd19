"""The state of callbacks is kept in checkpoints: a resumed run ends like another."""

import json

import keras
import numpy as np
import pytest

import kerasseg
from kerasseg.pipeline.dataset import Dataset
from kerasseg.training import callback_state
from kerasseg.workdir import checkpoints
from tests.support import tiny

SETTINGS = {
    "training_number_of_steps": 6,
    "eval_interval_steps": 1,
    "train_batch_size": 2,
    "train_crop_size": 16,
}


class Stop(Exception):  # noqa: N818 - it stands for the end of a process.
    """Ends a run like a killed process."""


class StopAt(keras.callbacks.Callback):
    """Raises `Stop` at the start of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):  # noqa: ARG002 - of Keras.
        if epoch == self._epoch:
            raise Stop


class Counter(keras.callbacks.Callback):
    """Counts epochs, and keeps the number."""

    count = 0

    def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002 - of Keras.
        self.count += 1

    def get_state(self):
        return {"count": self.count}

    def set_state(self, state):
        self.count = state["count"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Dataset(tiny.write_records(tmp_path_factory.mktemp("records"), val=1))


def early_stopping():
    # No score improves by 1: the first one is the best, and after two more it stops.
    return keras.callbacks.EarlyStopping(
        "val_mean_iou", mode="max", patience=2, min_delta=1.0
    )


def train(data, workdir, *callbacks):
    model = tiny.build_model("mine", 3)
    kerasseg.fit(model, data, workdir=workdir, callbacks=callbacks, **SETTINGS)


def last_step(workdir):
    return checkpoints.Checkpoints(workdir / "checkpoints", {}).steps()[-1]


def test_early_stopping_ends_a_resumed_run_at_the_same_step(data, tmp_path, capsys):
    counter = Counter()
    with pytest.raises(Stop):
        train(data, tmp_path, early_stopping(), counter, StopAt(2))
    assert last_step(tmp_path) == 2 and counter.count == 2
    log = capsys.readouterr().out
    assert "State of StopAt, if any, is not saved" in log
    stopping, counter = early_stopping(), Counter()
    train(data, tmp_path, stopping, counter)
    # Validations 1, 2 and 3: the best, and two that are no better. Without its state,
    # it would stop at 2 + 3 = 5.
    assert last_step(tmp_path) == 3
    assert (stopping.wait, stopping.best_epoch, stopping.stopped_epoch) == (2, 0, 2)
    assert counter.count == 3
    # A run that a callback has ended is finished.
    train(data, tmp_path, early_stopping(), Counter())
    assert last_step(tmp_path) == 3


def test_a_checkpoint_without_callbacks_can_be_resumed_with_one(data, tmp_path, caplog):
    with pytest.raises(Stop):
        train(data, tmp_path, StopAt(1))
    stopping = early_stopping()
    train(data, tmp_path, stopping)
    assert "The checkpoint has no state of callback EarlyStopping" in caplog.text
    assert last_step(tmp_path) == 4  # Validations 2, 3 and 4.


def test_the_state_of_keras_callbacks_is_stored_and_restored():
    def callbacks():
        return [
            keras.callbacks.EarlyStopping("loss"),
            keras.callbacks.ReduceLROnPlateau("loss"),
            keras.callbacks.ModelCheckpoint("model.keras"),
            keras.callbacks.EarlyStopping("val_loss"),
        ]

    model = keras.Sequential()
    model.stop_training = True
    first = callbacks()
    first[0].wait, first[0].best = 3, np.float32(0.5)
    first[1].cooldown_counter = 2
    first[2].best = 0.25
    first[3].wait = 7
    stored = callback_state.Callbacks(first, model)
    stored.store()
    model.stop_training = False
    second = callbacks()
    restored = callback_state.Callbacks(second, model)
    restored.variables["callbacks"].assign(stored.variables["callbacks"])
    restored.restore()
    assert model.stop_training
    assert (second[0].wait, second[0].best, second[3].wait) == (3, 0.5, 7)
    assert (second[1].cooldown_counter, second[2].best) == (2, 0.25)


def test_a_run_without_callbacks_has_no_further_variable():
    state = callback_state.Callbacks([], keras.Sequential())
    state.store()
    state.restore()
    assert state.variables == {}


def test_callbacks_whose_state_is_lost_are_named():
    callbacks = [early_stopping(), Counter(), StopAt(1), keras.callbacks.CSVLogger("x")]
    assert callback_state.unsaved(callbacks) == ["StopAt"]
    assert json.dumps(callbacks[1].get_state()) == '{"count": 0}'
