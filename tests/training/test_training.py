"""One training step by hand, and short runs of a tiny network."""

import csv
import dataclasses
import inspect
import json
import math
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import blocks, losses, records, training
from kerasseg.pipeline import augment
from kerasseg.training import network, objective
from kerasseg.training import run as training_run
from kerasseg.training import step as steps
from kerasseg.workdir import best_model
from tests.support import tiny

CROP = augment.Augmentation(crop_size=(24, 24))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("records"))


def recipe(**changes):
    settings = {
        "training_number_of_steps": 4,
        "train_batch_size": 4,
        "base_learning_rate": 0.1,
        "learning_policy": "constant",
        "weight_decay": 0.0,
        "momentum": 0.0,
    }
    return training.Recipe(**{**settings, **changes})


def run(folder, workdir, options=None, *, initial_checkpoint=None, **changes):
    return training.train(
        tiny.Builder(options or {}),
        training.Data(records_dir=str(folder)),
        recipe(**changes),
        CROP,
        workdir=str(workdir),
        initial_checkpoint=initial_checkpoint,
    )


class Step:
    """The step function of a tiny network, and its state."""

    def __init__(self, *, options=None, **changes):
        keras.utils.set_random_seed(3)
        self.recipe = recipe(**changes)
        tiny_network = network.Network(tiny.Builder(options or {}), 3)
        self.state, self.objective = training_run.create_state(
            tiny_network, self.recipe, None
        )
        self.model, self.average = self.state.model, self.state.ema
        self.function = steps.StepFunction(
            self.state, self.objective, self.recipe, tf.distribute.get_strategy()
        )

    def __call__(self, batch, step=0):
        result = self.function(batch, tf.constant(step, tf.int64))
        return float(result.loss), bool(result.updated)

    def weights(self):
        return {v.path: np.array(v) for v in self.model.weights}


def batch(count=4):
    pairs = [tiny.image_and_label(i, 24, 24) for i in range(count)]
    images, labels = (np.stack(x) for x in zip(*pairs, strict=True))
    return {"image": tf.constant(images), "label": tf.constant(labels)}


def difference(before, after):
    return {k: np.abs(after[k] - before[k]).max() for k in before}


def test_an_update_follows_the_gradient_of_the_mean_over_labeled_pixels():
    step, inputs = Step(options={"norm": False}), batch()
    before = step.weights()
    kernel = step.model.get_layer("classify").bias
    with tf.GradientTape() as tape:
        logits = step.model(inputs["image"], training=True)
        labels = tf.cast(inputs["label"], tf.int32)
        valid = labels != 255
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels[valid], logits[valid])
        )
    gradient = tape.gradient(loss, kernel.value)
    found, good = step(inputs)
    assert good and found == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_allclose(
        np.array(kernel), before["classify/bias"] - 0.1 * gradient, atol=1e-6
    )


def test_micro_batches_give_the_update_of_the_whole_batch():
    inputs = batch()
    label = inputs["label"].numpy()
    label[0] = 255  # Micro-batches with very different numbers of labeled pixels.
    inputs["label"] = tf.constant(label)
    whole = Step(options={"norm": False})
    parts = Step(options={"norm": False}, gradient_accumulation_steps=4)
    assert whole(inputs)[0] == pytest.approx(parts(inputs)[0], rel=1e-5)
    for key, value in whole.weights().items():
        np.testing.assert_allclose(value, parts.weights()[key], atol=1e-6)


def test_micro_batches_of_region_losses_give_the_update_of_the_whole_batch():
    inputs, changes = batch(), {"loss": "crossentropy:1,dice:0.5,lovasz_softmax:2"}
    label = inputs["label"].numpy()
    label[0], label[1, :9] = 255, 255
    inputs["label"] = tf.constant(label)
    options = {"norm": False, "aux": True}
    whole = Step(options=options, **changes)
    parts = Step(options=options, gradient_accumulation_steps=4, **changes)
    assert whole(inputs)[0] == pytest.approx(parts(inputs)[0], rel=1e-5)
    for key, value in whole.weights().items():
        np.testing.assert_allclose(value, parts.weights()[key], atol=1e-6)


def test_a_weighted_sum_of_losses_is_minimized():
    inputs = batch()
    found = {
        loss: Step(options={"norm": False}, loss=loss)(inputs)[0]
        for loss in ("crossentropy", "dice", "crossentropy:2,dice:0.5")
    }
    expected = 2 * found["crossentropy"] + 0.5 * found["dice"]
    assert found["crossentropy:2,dice:0.5"] == pytest.approx(expected, rel=1e-5)


def test_options_of_losses_are_fields_of_the_recipe():
    options = recipe(
        loss="tversky,focal:2", tversky_beta=0.6, focal_gamma=0
    ).loss_options()
    assert options == {"beta": 0.6, "gamma": 0}
    named = inspect.signature(losses.hard_pixel_crossentropy).parameters
    for field in dataclasses.fields(training.Recipe):
        if "loss_option" in field.metadata:
            option = field.metadata["loss_option"]
            takes = [
                inspect.signature(loss).parameters[option].default
                for loss in losses.LOSSES.values()
                if option in inspect.signature(loss).parameters
            ]
            assert set(takes) == {field.default}, field.name
    assert "keep" in named


def test_a_batch_without_labels_changes_nothing():
    inputs = batch()
    inputs["label"] = tf.fill(tf.shape(inputs["label"]), tf.constant(255, tf.uint8))
    step = Step(options={"norm": False})
    before = step.weights()
    assert step(inputs) == (0.0, True)
    assert max(difference(before, step.weights()).values()) == 0


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("wrong", [3, 7])
def test_a_nan_loss_changes_no_variable(optimizer, wrong):
    # Row 22: a label that is not a class makes the loss NaN.
    inputs = batch()
    label = inputs["label"].numpy()
    label[1, 2, 3] = wrong
    inputs["label"] = tf.constant(label)
    step = Step(optimizer=optimizer, weight_decay=0.1, ema_decay=0.9, momentum=0.9)
    trained = [v.path for v in step.model.trainable_variables]
    before, average = step.weights(), [np.array(v) for v in step.average.weights]
    loss, good = step(inputs)
    assert np.isnan(loss) and not good
    changed = difference(before, step.weights())
    assert all(changed[path] == 0 for path in trained)
    for one, two in zip(average, step.average.weights, strict=True):
        np.testing.assert_array_equal(one, np.array(two))


def test_weight_decay_leaves_biases_and_batch_norm():
    for optimizer in ("sgd", "adamw"):
        inputs = batch()
        inputs["label"] = tf.fill(tf.shape(inputs["label"]), tf.constant(255, tf.uint8))
        step = Step(optimizer=optimizer, weight_decay=0.5)
        before = step.weights()
        step(inputs)  # Without labels there is no gradient, only the decay.
        after = step.weights()
        # Both subtract rate * decay = 0.1 * 0.5 of a kernel.
        np.testing.assert_allclose(
            after["encoder/kernel"], 0.95 * before["encoder/kernel"], rtol=1e-5
        )
        for path in ("encoder/bias", "norm/gamma", "classify/bias"):
            np.testing.assert_array_equal(after[path], before[path])


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_l2_goes_through_the_optimizer_with_the_gradient(optimizer):
    inputs = batch()
    inputs["label"] = tf.fill(tf.shape(inputs["label"]), tf.constant(255, tf.uint8))
    # So large that the optimizers' epsilon is negligible.
    step = Step(optimizer=optimizer, weight_decay=500.0, rmsprop_decay=0.75)
    before = step.weights()
    step(inputs)
    after = step.weights()
    # The gradient is 500 * kernel, and the first update is its sign: adam corrects the
    # bias of its moments; rmsprop divides by the root of a quarter of the square.
    size = {"adam": 0.1, "rmsprop": 0.2}[optimizer]
    moved = before["encoder/kernel"] - after["encoder/kernel"]
    np.testing.assert_allclose(
        moved, size * np.sign(before["encoder/kernel"]), rtol=0.01
    )
    for path in ("encoder/bias", "norm/gamma", "classify/bias"):
        np.testing.assert_array_equal(after[path], before[path])


def test_new_layers_learn_at_their_own_rate():
    inputs = batch()
    plain, fast = (Step(head_learning_rate_factor=factor) for factor in (1.0, 10.0))
    before = plain.weights()
    plain(inputs)
    fast(inputs)
    one = difference(before, plain.weights())
    ten = difference(before, fast.weights())
    assert ten["classify/kernel"] == pytest.approx(
        10 * one["classify/kernel"], rel=1e-3
    )
    assert ten["encoder/kernel"] == pytest.approx(one["encoder/kernel"], rel=1e-3)


def test_frozen_batch_norm_stays():
    step = Step(fine_tune_batch_norm=False)
    before = step.weights()
    step(batch())
    changed = difference(before, step.weights())
    assert all(changed[path] == 0 for path in changed if path.startswith("norm/"))
    assert changed["encoder/kernel"] > 0


def test_decay_of_batch_norm_is_set():
    step = Step(batch_norm_decay=0.5)
    assert step.model.get_layer("norm").momentum == 0.5


def test_gradients_are_clipped_to_their_norm():
    inputs = batch()
    step = Step(options={"norm": False}, gradient_clip_norm=1e-3)
    before = step.weights()
    step(inputs)
    moved = step.weights()
    norm = np.sqrt(sum(np.sum((moved[k] - before[k]) ** 2) for k in before))
    assert norm == pytest.approx(0.1 * 1e-3, rel=1e-3)  # Rate times the norm.


def test_the_average_follows_the_weights():
    step = Step(ema_decay=0.9)
    before = step.weights()["classify/kernel"]
    step(batch(), step=1)  # (1 + 1) / (10 + 1) is less than 0.9.
    after = step.weights()["classify/kernel"]
    average = np.array(step.average.get_layer("classify").kernel)
    np.testing.assert_allclose(average, 2 / 11 * before + 9 / 11 * after, rtol=1e-4)


def test_auxiliary_losses_are_weighted():
    inputs = batch()
    losses = [
        Step(options={"aux": True, "norm": False}, aux_loss_weight=weight)(inputs)[0]
        for weight in (0.0, 0.4, 0.8)
    ]
    assert losses[1] - losses[0] == pytest.approx(losses[2] - losses[1], rel=1e-4)
    assert losses[1] > losses[0]


def test_outputs_are_weighted_by_the_recipe():
    inputs, options = batch(), {"aux": True, "norm": False}
    main, aux, both = [
        Step(options=options, output_weights=text)(inputs)[0]
        for text in ("aux_half:0", "logits:0,aux_half:1", "aux_half:2")
    ]
    assert both == pytest.approx(main + 2 * aux, rel=1e-5)


def test_the_loss_of_a_smaller_output_is_the_mean_over_its_labeled_pixels():
    inputs = batch()
    step = Step(options={"aux": True, "norm": False}, output_weights="logits:0")
    logits = step.model(inputs["image"])["aux_half"]
    # Nearest neighbor at half the size: the second of each two pixels.
    labels = tf.cast(inputs["label"], tf.int32)[:, 1::2, 1::2]
    valid = labels != 255
    expected = tf.reduce_sum(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels[valid], logits[valid])
    )
    # Each represents four labeled pixels.
    count = np.sum(inputs["label"] != 255)
    assert step(inputs)[0] == pytest.approx(0.4 * 4 * float(expected) / count, rel=1e-5)


def every_8():
    """Returns an objective of logits that are the image at each 8th pixel."""
    image = keras.Input((None, None, 3))
    small = keras.layers.MaxPooling2D(1, strides=8)(image)
    small = blocks.AtStride(8, name="aux_scores")(small)
    model = keras.Model(image, {"logits": image, "aux_scores": small})
    return objective.Objective(model, recipe(output_weights="logits:0"))


def test_cells_at_multiples_of_their_stride_have_the_labels_of_those_pixels():
    loss = every_8()
    label = np.random.default_rng(0).integers(0, 3, (2, 33, 17)).astype("uint8")
    outputs = loss.model((np.eye(3)[label] * 40).astype("float32"))
    assert outputs["aux_scores"].shape == (2, 5, 3, 3)
    assert float(loss(outputs, label)[0]) == pytest.approx(0, abs=1e-6)
    wrong = (label + 1) % 3
    assert float(loss(outputs, wrong)[0]) > 1
    weights = np.ones(label.shape, "float32")
    weights[:, ::8, ::8] = 0
    assert float(loss(outputs, wrong, weights)[0]) == 0


def test_cells_beyond_the_image_have_the_labels_of_its_edge():
    label = np.arange(20)[None, None].repeat(20, axis=1).astype("uint8") // 10
    # Of 4 cells, 24 is beyond the 20 pixels: columns 0, 8, 16 and 19.
    scores = np.eye(3)[[0, 0, 1, 1]][None, None].repeat(4, axis=1) * 40.0
    outputs = {"aux_scores": tf.constant(scores, tf.float32)}
    assert float(every_8()(outputs, label)[0]) == pytest.approx(0, abs=1e-6)


def test_an_output_without_weight_is_neither_computed_nor_trained():
    step = Step(
        options={"aux": True},
        output_weights="logits:0,aux_half:1",
        weight_decay=0.1,
        ema_decay=0.9,
    )
    names = {layer.name for layer in step.objective.model.layers}
    assert "aux" in names and "classify" not in names
    before = step.weights()
    assert step(batch())[1]
    changed = difference(before, step.weights())
    assert changed["classify/kernel"] == changed["classify/bias"] == 0
    assert changed["aux/kernel"] > 0 and changed["encoder/kernel"] > 0


def test_pixel_weights_reach_every_output():
    inputs = batch()
    step = Step(options={"aux": True, "norm": False})
    outputs = step.model(inputs["image"])
    half = tf.fill(tf.shape(inputs["label"]), 0.5)
    total, count = step.objective(outputs, inputs["label"])
    weighted = step.objective(outputs, inputs["label"], half)
    np.testing.assert_allclose(weighted, (total / 2, count), rtol=1e-5)


def test_a_run_without_logits_is_evaluated_by_its_output_with_the_largest_weight(
    folder, tmp_path
):
    facts = run(
        folder,
        tmp_path,
        options={"aux": True},
        training_number_of_steps=30,
        momentum=0.9,
        output_weights="logits:0,aux_half:1",
    )
    assert facts["scores"]["mean_iou"] > 0.5  # Chance is about 1/5.
    best = best_model.load_best(tmp_path)
    assert set(best.output) == {"logits", "aux_half"}


def test_logits_that_other_outputs_train_are_evaluated():
    image = keras.Input((None, None, 3))
    small = keras.layers.Conv2D(3, 2, strides=2, name="aux_scores")(image)
    logits = keras.layers.UpSampling2D(2)(small)
    model = keras.Model(image, {"logits": logits, "aux_scores": small})
    loss = objective.Objective(model, recipe(output_weights="logits:0"))
    assert loss.weights == {"aux_scores": 0.4}
    assert loss.evaluated(model) is model


def test_float16_overflow_halves_the_scale_and_skips_the_update():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        step = Step(mixed_precision="float16")
        step.state.loss_scale.value.assign(3e38)  # Any gradient overflows.
        before = step.weights()
        loss, good = step(batch())
        assert np.isfinite(loss) and not good
        changed = difference(before, step.weights())
        assert changed["encoder/kernel"] == 0
        assert float(step.state.loss_scale.value) <= 2.0**15
        for i in range(30):
            good = step(batch(), i)[1]
            if good:
                break
        assert good
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_run_learns_and_writes_its_workdir(folder, tmp_path):
    facts = run(
        folder,
        tmp_path,
        training_number_of_steps=30,
        momentum=0.9,
        eval_interval_steps=10,
        save_interval_steps=10,
    )
    assert facts["scores"]["mean_iou"] > 0.6  # Chance is about 1/5.
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["10", "20", "30"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    best = max(float(row["mean_iou"]) for row in rows)
    assert facts["scores"]["mean_iou"] == pytest.approx(best, abs=1e-6)
    for name in (
        "curves.png",
        "dataset.json",
        "best/model.keras",
        "events",
        "pictures",
    ):
        assert (tmp_path / name).exists(), name
    model = best_model.load_best(tmp_path)
    assert model(np.zeros((1, 5, 7, 3), "float32")).shape == (1, 5, 7, 3)


def test_a_finished_run_does_nothing_more(folder, tmp_path):
    first = run(folder, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "best").iterdir()}
    assert run(folder, tmp_path) == first
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "best").iterdir()}


def test_a_run_stops_at_a_loss_that_is_not_finite(tmp_path):
    # Row 21: the learning rate makes the weights overflow after a few updates.
    with pytest.raises(ValueError, match=r"loss of step \d+ is .*train\d.png.*Lower"):
        run(
            tiny.write_records(tmp_path / "records", train=8),
            tmp_path / "run",
            options={"norm": False},
            training_number_of_steps=50,
            base_learning_rate=1e30,
            save_interval_steps=1,
        )
    reader = tf.train.load_checkpoint(str(newest(tmp_path / "run")))
    for name, _ in reader.get_variable_to_shape_map().items():
        value = reader.get_tensor(name)
        if getattr(value, "dtype", None) == np.float32:
            assert np.all(np.isfinite(value)), name


def newest(workdir):
    steps = [
        int(p.stem.split("-")[1]) for p in (workdir / "checkpoints").glob("*.index")
    ]
    return workdir / "checkpoints" / f"ckpt-{max(steps)}"


def test_gradients_that_overflow_at_any_scale_stop_a_float16_run(
    folder, tmp_path, monkeypatch
):
    # The loss is finite. Its scale is halved from 2**15 to 1: after 15 steps.
    def make_nan(gradients, *_):
        return [gradient * math.nan for gradient in gradients]

    monkeypatch.setattr(steps, "_decay", make_nan)
    with pytest.raises(ValueError, match=r"The loss of step 15 is .* not finite"):
        run(folder, tmp_path, training_number_of_steps=20, mixed_precision="float16")
    assert not (tmp_path / "checkpoints").exists()


def test_a_damaged_checkpoint_falls_back_to_the_one_before(folder, tmp_path, caplog):
    run(folder, tmp_path, training_number_of_steps=4, save_interval_steps=1)
    data = pathlib.Path(f"{newest(tmp_path)}.data-00000-of-00001")
    damaged = bytearray(data.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    data.write_bytes(damaged)
    run(folder, tmp_path, training_number_of_steps=4, save_interval_steps=1)
    assert "ckpt-4" in caplog.text
    assert newest(tmp_path).name == "ckpt-4"


def test_a_run_never_starts_from_scratch_over_its_checkpoints(folder, tmp_path):
    run(folder, tmp_path, training_number_of_steps=2)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=r"No checkpoint in .* can be read .*ckpt-2"):
        run(folder, tmp_path, training_number_of_steps=3)


def test_at_most_three_checkpoints_stay(folder, tmp_path):
    run(folder, tmp_path, training_number_of_steps=6, save_interval_steps=1)
    steps = {p.name.split(".")[0] for p in (tmp_path / "checkpoints").iterdir()}
    assert steps == {"ckpt-4", "ckpt-5", "ckpt-6"}


def test_a_run_starts_from_another_runs_weights(folder, tmp_path, capsys):
    run(folder, tmp_path / "first", training_number_of_steps=3)
    other = tiny.SPEC.to_json()
    other["classes"].append({"name": "fourth", "color": [9, 9, 9]})
    spec = type(tiny.SPEC).from_json(other)
    more = tiny.write_records(tmp_path / "records", spec=spec)
    first = str(tmp_path / "first")
    changes = {"training_number_of_steps": 1, "base_learning_rate": 1e-9}
    run(more, tmp_path / "second", initial_checkpoint=first, **changes)
    printed = capsys.readouterr().out
    assert "classify/kernel" in printed and "encoder" not in printed
    first, second = (
        best_model.load_best(tmp_path / name).get_layer("encoder").kernel
        for name in ("first", "second")
    )
    np.testing.assert_allclose(np.array(first), np.array(second), atol=1e-6)


@pytest.mark.slow
def test_a_run_resumes_without_its_initial_checkpoint(folder, tmp_path):
    run(folder, tmp_path / "first", training_number_of_steps=3)
    first = np.array(best_model.load_best(tmp_path / "first").weights[0])
    changes = {
        "initial_checkpoint": str(tmp_path / "first"),
        "base_learning_rate": 1e-9,
        "ema_decay": 0.5,
    }
    run(folder, tmp_path / "second", training_number_of_steps=1, **changes)
    shutil.rmtree(tmp_path / "first")
    run(folder, tmp_path / "second", training_number_of_steps=2, **changes)
    assert newest(tmp_path / "second").name == "ckpt-2"
    second = best_model.load_best(tmp_path / "second").weights[0]
    np.testing.assert_allclose(first, np.array(second), atol=1e-6)


def test_unusable_initial_checkpoints_are_refused(folder, tmp_path):
    def start_from(path):
        run(folder, tmp_path / "run", initial_checkpoint=str(path))

    with pytest.raises(FileNotFoundError, match=r"does not exist\. Give a workdir"):
        start_from(tmp_path / "nothing")
    (tmp_path / "bad.keras").write_bytes(b"rubbish")
    with pytest.raises(
        ValueError, match=r"bad\.keras is damaged or not a \.keras file"
    ):
        start_from(tmp_path / "bad.keras")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="has no trained model yet"):
        start_from(tmp_path / "empty")
    foreign = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    foreign.save(tmp_path / "foreign.keras")
    with pytest.raises(ValueError, match="no variable in common"):
        start_from(tmp_path / "foreign.keras")


def test_a_label_out_of_range_stops_the_run_and_names_the_image(tmp_path):
    # Row 22 in the pipeline: it never reaches the loss.
    image, label = tiny.image_and_label(0)
    label[0, 20] = 9
    shard = records.write_shard(
        tmp_path / records.shard_name("train", 0, 1),
        [tiny.example(image, label, "odd")],
    )
    info = records.DatasetInfo(tiny.SPEC, {"train": [shard], "val": [shard]})
    (tmp_path / records.shard_name("val", 0, 1)).write_bytes(
        (tmp_path / shard.name).read_bytes()
    )
    val = records.Shard(
        records.shard_name("val", 0, 1), shard.records, shard.bytes, shard.crc32c
    )
    info.splits["val"] = [val]
    records.write_info(tmp_path, info)
    with pytest.raises(records.RecordError, match=r"image odd: labels out of range: 9"):
        run(tmp_path, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training_number_of_steps": 0},
            "`training_number_of_steps` must be at least 1, got 0",
        ),
        (
            {"train_batch_size": 4, "gradient_accumulation_steps": 3},
            "`train_batch_size=4` is not divisible by `gradient_accumulation_steps=3`",
        ),
        ({"save_interval_steps": 0}, "`save_interval_steps` must be at least 1"),
        (
            {"class_weights": "1,2"},
            "or 3 numbers of at least 0 separated by commas, got '1,2'",
        ),
        (
            {"class_weights": "1,2,-1"},
            "numbers of at least 0 separated by commas, got '1,2,-1'",
        ),
        ({"class_weights": "much"}, "a file, or 3 numbers .* got 'much'"),
        ({"loss": "dise"}, "Unknown loss 'dise'. Choose one of: .*crossentropy"),
        (
            {"loss": "dice:1,dice:2"},
            "`loss=dice:1,dice:2` is not a list of names .* once",
        ),
        ({"loss": "dice:much"}, "`loss=dice:much` is not a list of names"),
        ({"loss": ""}, "`loss=` is not a list of names with weights from 0"),
        ({"loss": "dice:0"}, "factor of dice must be above 0 and finite, got 0.0"),
        ({"loss": "dice", "label_smoothing": 0.1}, "has an option `label_smoothing`"),
        ({"loss": "dice", "class_weights": "1,2,3"}, "has an option `class_weights`"),
        ({"focal_gamma": 1.0}, "None of the losses has an option `focal_gamma`"),
        ({"output_weights": "logits"}, None),
        (
            {"output_weights": "logits:-1"},
            "`output_weights=logits:-1` is not a list of n",
        ),
        ({"output_weights": "logits:0"}, "leaves nothing to minimize. Give one of log"),
        (
            {"output_weights": "aux_half:1"},
            "names aux_half; the outputs of the model are logits. .*`model_option=aux",
        ),
        ({"eval_limit": 0}, "`eval_limit` must be at least 1, got 0"),
        ({"skip_bad_records": -1}, "`skip_bad_records` must be finite and .* got -1"),
        (
            {"gradient_clip_norm": -1.0},
            "clip_norm` must be finite and at least 0, got -1.0",
        ),
        (
            {"weight_decay": math.nan},
            "`weight_decay` must be finite and at least 0, got nan",
        ),
        ({"ema_decay": 1.5}, "`ema_decay` must be at least 0 and below 1, got 1.5"),
        ({"momentum": -0.9}, "`momentum` must be at least 0 and below 1, got -0.9"),
        ({"batch_norm_decay": 2.0}, "`batch_norm_decay` must be from 0 to 1, got 2"),
        ({"repeat_classes": "left"}, "`repeat_classes=left` is not .* bicycle,chair:3"),
    ],
)
def test_invalid_recipes_are_refused(folder, tmp_path, changes, message):
    if message is None:
        assert Step(**changes).objective.weights == {"logits": 1}
        return
    with pytest.raises(ValueError, match=message):
        run(folder, tmp_path, **changes)


@pytest.mark.parametrize(
    ("split", "flag"), [("train", "train_split"), ("val", "eval_split")]
)
def test_a_split_without_records_is_refused_at_once(tmp_path, split, flag):
    folder = tiny.write_records(tmp_path / "records", **{split: 0})
    with pytest.raises(ValueError, match=f"'{split}' has no records.*`{flag}`"):
        run(folder, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_an_epoch_with_repeated_classes_is_longer(tmp_path, capsys):
    # 3 of 4 images show the class: 1 + 3 * 2 images, 1.75 batches of 4.
    image, label = tiny.image_and_label(0)
    without = np.where(label == 1, np.uint8(0), label)
    pairs = [(image, without), *[(image, label)] * 3]
    splits = {"train": pairs, "val": pairs[:1]}
    records_dir = tiny.write_images(tmp_path / "records", splits)
    changes = {
        "training_number_of_steps": 7,
        "eval_limit": 1,
        "repeat_classes": "middle:2",
    }
    run(records_dir, tmp_path / "run", **changes)
    assert "epoch 4.0" in capsys.readouterr().err


def test_class_weights_come_from_the_records(folder, tmp_path):
    run(folder, tmp_path, training_number_of_steps=1, class_weights="median_frequency")
    with open(tmp_path / "dataset.json") as file:
        assert [c["name"] for c in json.load(file)["classes"]] == [
            *("left", "middle", "right")
        ]
