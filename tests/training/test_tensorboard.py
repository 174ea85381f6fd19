"""What TensorBoard shows of a run, read from its event files."""

import collections
import math

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import training
from kerasseg.metrics import confusion
from kerasseg.pipeline import augment
from kerasseg.training import logs, loop, validation_loss
from kerasseg.workdir import layout
from tests.support import tiny


def read(folder):
    """Returns what the event files of a folder hold: arrays by step, by tag."""
    found = collections.defaultdict(dict)
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found[value.tag][event.step] = tf.make_ndarray(value.tensor)
    return found


@pytest.fixture(scope="module")
def run_events(tmp_path_factory):
    """The events of a run of 20 steps with two validations, and its workdir."""
    folder = tmp_path_factory.mktemp("tensorboard")
    workdir = folder / "run"
    workdir.mkdir()
    (workdir / layout.FLAGS).write_text("--train_batch_size=2\n--seed=1\n")
    training.train(
        tiny.Builder(),
        training.Data(records_dir=str(tiny.write_records(folder / "records", val=2))),
        training.Recipe(
            training_number_of_steps=20, train_batch_size=2, eval_interval_steps=10
        ),
        augment.Augmentation(crop_size=(16, 16)),
        workdir=str(workdir),
    )
    return read(workdir / "events"), workdir


def test_a_run_writes_what_tensorboard_shows(run_events):
    events, _ = run_events
    for tag in ("train/loss", "train/learning_rate", "val/loss", "val/mean_iou"):
        assert list(events[tag]) == [10, 20]
        assert np.isfinite([*events[tag].values()]).all()
    classes = [f"val_iou/{name}" for name in tiny.SPEC.class_names]
    assert {tag for tag in events if tag.startswith("val_iou/")} <= {*classes}
    for step, mean in events["val/mean_iou"].items():
        ious = [events[tag][step] for tag in classes if step in events[tag]]
        assert np.mean(ious) == pytest.approx(mean, abs=1e-6)
    assert events["train/images_per_second"][20] > 0


def test_tensorboard_shows_flags_and_sample_predictions(run_events):
    events, workdir = run_events
    lines = (workdir / layout.FLAGS).read_text().splitlines()
    text = "".join(f"    {line}\n" for line in lines)
    assert {k: v.item().decode() for k, v in events["flags"].items()} == {0: text}
    assert list(events["val/pictures"]) == [10, 20]
    assert "val/loss" not in (workdir / layout.SCORES).read_text()


def test_classes_without_a_pixel_have_no_point():
    # Class a: 2 of 3 pixels, b: 1 of 2; c occurs neither in labels nor predictions.
    scores = confusion.scores(np.array([[2, 1, 0], [0, 1, 0], [0, 0, 0]]), "abc")
    tags = logs._tags({**scores, "loss": math.nan}, ("mean_iou",))
    assert tags == {
        "val/mean_iou": pytest.approx((2 / 3 + 1 / 2) / 2),
        "val_iou/a": pytest.approx(2 / 3),
        "val_iou/b": pytest.approx(1 / 2),
    }


class Reader:
    """Two images of which the loss below is known; the second has an ignored pixel."""

    images = (np.full((1, 5, 3), 2, np.uint8), np.full((1, 1, 3), 4, np.uint8))
    labels = (np.array([[255, 0, 1, 2, 255]], np.uint8), np.array([[1]], np.uint8))

    split = labels

    def read(self, i):
        return self.images[i], self.labels[i], str(i)


def total(outputs, label):
    """Sums outputs times labels, over pixels that are not ignored."""
    labeled = tf.cast(label != 255, tf.float32)
    products = outputs[..., 0] * tf.cast(label, tf.float32) * labeled
    return tf.reduce_sum(products), tf.reduce_sum(labeled)


def test_the_loss_of_a_validation_is_that_of_the_centers():
    def identity(image, training):
        assert not training
        return image

    def loss(**options):
        return validation_loss.ValidationLoss(identity, total, Reader(), **options)()

    # All pixels: (2 * (0 + 1 + 2) + 4 * 1) / (3 + 1).
    assert loss(crop_size=(8, 8)) == pytest.approx(10 / 4)
    # The pixel in the middle of the first, 2 * 1, and the second: (2 + 4) / 2.
    assert loss(crop_size=(1, 1)) == pytest.approx(3)
    assert loss(crop_size=(1, 1), limit=1) == pytest.approx(2)


def test_the_speed_counts_neither_the_first_step_nor_validations(monkeypatch):
    clock = iter([0, 100, 102, 103, 110, 112])
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock))
    steps = loop.StepTime()  # At 0.
    steps.end_step()  # Traced until 100.
    assert steps.steps_per_second() is None
    steps.end_step()  # 2 s.
    steps.end_step()  # 1 s.
    steps.restart()  # A validation until 110.
    steps.end_step()  # 2 s.
    assert steps.steps_per_second() == pytest.approx(3 / 5)
    assert steps.steps_per_second() is None
