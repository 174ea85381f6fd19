"""Training with the border weights of U-Net: from the records to the loss."""

import csv

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import errors, images, records
from kerasseg.pipeline import border_weights
from tests.support import tiny
from tests.training import test_training


def write(folder, **more):
    """Writes records whose instances are the stripes, the third one split in two."""
    serialized = []
    for seed in range(4):
        image, label = tiny.image_and_label(seed)
        instances = np.where(label == 255, 0, label + 1).astype(np.uint16)
        instances[20:][label[20:] == 2] = 1000
        more = more or {"instance": images.encode_label(instances)}
        name = f"{seed}.png"
        serialized.append(tiny.example(image, label, name, **more))
    shards = {
        split: [
            records.write_shard(folder / records.shard_name(split, 0, 1), serialized)
        ]
        for split in ("train", "val")
    }
    records.write_info(folder, records.DatasetInfo(tiny.SPEC, shards))
    return folder


def train(folder, workdir, **changes):
    test_training.run(folder, workdir, training_number_of_steps=1, **changes)
    (row,) = csv.DictReader((workdir / "scores.csv").read_text().splitlines())
    return float(row["loss"])


def test_the_loss_of_each_pixel_is_multiplied_by_its_weight():
    step, batch = test_training.Step(options={"norm": False}), test_training.batch()
    logits = step.model(batch["image"], training=True)
    labels = batch["label"].numpy().astype("int32")
    valid = labels != 255
    values = tf.nn.sparse_softmax_cross_entropy_with_logits(labels % 255, logits)
    weights = np.random.default_rng(0).uniform(0, 3, labels.shape).astype("float32")
    batch["weight"] = tf.constant(weights)
    loss, good = step(batch)
    expected = (values * weights).numpy()[valid].mean()
    assert good and loss == pytest.approx(expected, rel=1e-5)


def test_weighted_micro_batches_give_the_update_of_the_whole_batch():
    batch = test_training.batch()
    shape = tuple(batch["label"].shape)
    batch["weight"] = tf.reshape(tf.range(np.prod(shape), dtype=tf.float32), shape)
    batch["weight"] /= np.prod(shape)
    whole = test_training.Step(options={"norm": False})
    accumulated = test_training.Step(
        options={"norm": False}, gradient_accumulation_steps=4
    )
    assert whole(batch)[0] == pytest.approx(accumulated(batch)[0], rel=1e-5)
    for key, value in whole.weights().items():
        np.testing.assert_allclose(value, accumulated.weights()[key], atol=1e-6)


def test_a_run_computes_its_weights_from_the_instances_of_the_records(
    tmp_path, monkeypatch
):
    folder = write(tmp_path)
    plain = train(folder, tmp_path / "plain")
    weighted = train(
        folder, tmp_path / "weighted", border_weights=10.0, border_sigma=4.0
    )
    # Every crop has stripes that touch, whose pixels have weights up to 11.
    assert plain < weighted < 11 * plain
    # Class weights are added to border weights, not multiplied.
    calls = []
    compute = border_weights.border_weights

    def spy(instances, labels, **options):
        calls.append((instances, labels, options))
        return compute(instances, labels, **options)

    monkeypatch.setattr(border_weights, "border_weights", spy)
    train(
        folder,
        tmp_path / "classes",
        border_weights=10.0,
        class_weights="0.5,1,2",
    )
    instances, labels, options = calls[0]
    assert set(np.unique(instances)) <= {0, 1, 2, 3, 1000}
    assert labels.shape == instances.shape == (24, 24)
    assert options["class_weights"].tolist() == [0.5, 1, 2]
    assert (options["w0"], options["sigma"]) == (10.0, 5.0)


def test_without_border_weights_the_loss_does_not_change(tmp_path):
    folder = write(tmp_path)
    assert border_weights.weight_map_fn(None, w0=0.0, sigma=5.0) is None
    one = train(folder, tmp_path / "one", border_weights=1e-6)
    assert train(folder, tmp_path / "none") == pytest.approx(one, rel=1e-4)


def test_records_without_instances_stop_the_run(tmp_path):
    folder = write(tmp_path, instance=None)
    with pytest.raises(records.RecordError, match="has no instance ids"):
        train(folder, tmp_path / "run", border_weights=10.0)


@pytest.mark.parametrize("loss", ["dice", "crossentropy:1,lovasz_softmax:1"])
def test_border_weights_need_losses_that_are_sums_over_pixels(loss):
    name = loss.split(",")[-1].split(":")[0]
    message = f"`border_weights=10.0` weights pixels, and {name} is not a sum"
    with pytest.raises(errors.UserError, match=message):
        test_training.Step(loss=loss, border_weights=10.0)
    test_training.Step(loss="focal:1,crossentropy:1", border_weights=10.0)


def test_a_border_sigma_of_0_is_refused():
    with pytest.raises(
        errors.UserError, match=r"`border_sigma` must be finite and above 0, got 0\.0"
    ):
        test_training.recipe(border_weights=10.0, border_sigma=0.0)
