"""Training of a user's own network, built by a function or given as a Keras model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import errors, training
from kerasseg.training.network import Network
from kerasseg.workdir import best_model
from tests.support import tiny
from tests.training import test_training


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("records"))


def build(num_classes, **options):
    return tiny.build_model("mine", num_classes, **options)


def train(model_or_builder, folder, workdir, *, strategy=None, callbacks=(), **changes):
    return training.train(
        model_or_builder,
        training.Data(records_dir=str(folder)),
        test_training.recipe(**changes),
        test_training.CROP,
        workdir=workdir,
        strategy=strategy,
        callbacks=callbacks,
    )


def test_a_function_is_trained_and_resumed(folder, tmp_path):
    found = train(build, folder, tmp_path, training_number_of_steps=1)
    assert (found["model"], found["num_classes"], found["options"]) == ("mine", 3, {})
    assert found["step"] == 1
    train(build, folder, tmp_path, training_number_of_steps=2)
    assert test_training.newest(tmp_path).name == "ckpt-2"
    best = best_model.load_best(tmp_path)
    assert best.name == "mine" and best.output.shape[-1] == 3


def test_a_keras_model_is_trained_itself(folder, tmp_path):
    model = build(3)
    before = np.array(model.get_layer("classify").kernel)
    changes = {"training_number_of_steps": 1, "ema_decay": 0.5}
    train(model, folder, tmp_path, **changes)
    after = np.array(model.get_layer("classify").kernel)
    assert np.abs(after - before).max() > 0
    # Validated is the average: (1 + 0) / (10 + 0) of the start, which is less than 0.5.
    best = np.array(best_model.load_best(tmp_path).get_layer("classify").kernel)
    np.testing.assert_allclose(best, 0.1 * before + 0.9 * after, atol=1e-6)
    other = build(3)
    train(other, folder, tmp_path, **changes)  # Restores the last step.
    np.testing.assert_array_equal(other.get_layer("classify").kernel, after)


def test_a_keras_model_with_several_outputs_is_trained(folder, tmp_path):
    found = train(build(3, aux=True), folder, tmp_path, training_number_of_steps=1)
    assert found["step"] == 1
    assert set(best_model.load_best(tmp_path).output) == {"logits", "aux_half"}


def test_a_model_of_another_scope_is_refused(folder, tmp_path):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    message = "mine was not built in the scope of the strategy. Pass the function"
    with pytest.raises(errors.UserError, match=message):
        train(build(3), folder, tmp_path, strategy=strategy)
    with strategy.scope():
        model = build(3)
        assert Network(model, 3).build() is model
    with pytest.raises(errors.UserError, match=message):
        train(model, folder, tmp_path)


@pytest.mark.parametrize("given", [build(4), lambda _: build(4)])
def test_a_wrong_number_of_classes_is_refused(folder, tmp_path, given):
    message = (
        r"mine has logits of shape \(None, .*, 4\), expected \(batch, .*, 3\): the"
    )
    with pytest.raises(errors.UserError, match=message):
        train(given, folder, tmp_path)


def test_logits_without_pixels_are_refused():
    pooled = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D()],
        name="pooled",
    )
    with pytest.raises(errors.UserError, match=r"pooled has logits of shape \(None, 3"):
        Network(pooled, 3).build()


def test_a_sequential_model_is_trained_itself(folder, tmp_path):
    classify = keras.layers.Conv2D(3, 1, name="classify", dtype="float32")
    model = keras.Sequential([keras.Input((None, None, 3)), classify], name="short")
    before = np.array(classify.kernel)
    changes = {"training_number_of_steps": 1, "ema_decay": 0.5}
    found = train(model, folder, tmp_path, **changes)
    assert found["model"] == "short"
    assert np.abs(np.array(classify.kernel) - before).max() > 0


@pytest.mark.parametrize("given", [keras.Sequential(), keras.Model(), "enet"])
def test_models_that_are_not_functional_are_refused(given):
    with pytest.raises(errors.UserError, match="is not a functional Keras model"):
        Network(lambda _: given, 3).build()


def test_outputs_without_logits_are_refused(folder, tmp_path):
    model = build(3, aux=True)
    outputs = {"mask": model.output["logits"], "aux": model.output["aux_half"]}
    model = keras.Model(model.input, outputs, name="mine")
    message = "mine has the outputs aux, mask. One of them must be called logits"
    with pytest.raises(errors.UserError, match=message):
        train(model, folder, tmp_path)


def test_a_head_rate_needs_the_layers_of_the_encoder(folder, tmp_path):
    message = "`head_learning_rate_factor` needs a network that names .* encoder_layers"
    with pytest.raises(errors.UserError, match=message):
        train(build, folder, tmp_path, head_learning_rate_factor=10.0)
    assert Network(tiny.Builder(), 3).encoder_layers == {"encoder"}


class Calls(keras.callbacks.Callback):
    """Notes its calls, and may stop the training after a step."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.calls, self._stop_after = [], stop_after

    def on_train_begin(self, logs=None):
        self.calls.append(("train begin", logs))

    def on_train_end(self, logs=None):
        self.calls.append(("train end", logs))

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append((f"batch {batch} begins", logs))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append((f"batch {batch} ends", logs))
        if batch + 1 == self._stop_after:
            self.model.stop_training = True

    def on_test_begin(self, logs=None):
        self.calls.append(("test begin", logs))

    def on_test_end(self, logs=None):
        self.calls.append(("test end", logs))

    def names(self):
        return [name for name, _ in self.calls]


def test_callbacks_are_called_with_losses_and_scores(folder, tmp_path):
    notes = Calls()
    changes = {"training_number_of_steps": 3, "eval_interval_steps": 2}
    found = train(build, folder, tmp_path, callbacks=[notes], **changes)
    assert notes.names() == [
        "train begin",
        *("batch 0 begins", "batch 0 ends", "batch 1 begins", "batch 1 ends"),
        *("test begin", "test end", "batch 2 begins", "batch 2 ends"),
        *("test begin", "test end", "train end"),
    ]
    losses = [logs["loss"] for name, logs in notes.calls if name[-4:] == "ends"]
    assert len(losses) == 3 and all(0 < loss < 100 for loss in losses)
    scores = [logs for name, logs in notes.calls if name == "test end"]
    assert found["scores"]["mean_iou"] == max(each["mean_iou"] for each in scores)
    assert all(0 < each["pixel_accuracy"] <= 1 for each in scores)


def test_a_callback_stops_the_training(folder, tmp_path):
    notes, model = Calls(stop_after=2), build(3)
    changes = {"training_number_of_steps": 9}
    found = train(model, folder, tmp_path, callbacks=[notes], **changes)
    assert notes.names()[-3:] == ["test begin", "test end", "train end"]
    assert notes.names()[-4] == "batch 1 ends"
    assert found["step"] == 2  # The last step is validated and saved.
    assert test_training.newest(tmp_path).name == "ckpt-2"
    # `model.stop_training` of the first run does not stop the next one.
    train(model, folder, tmp_path, training_number_of_steps=3)
    assert test_training.newest(tmp_path).name == "ckpt-3"
