"""Training of models that detect objects: losses, resuming, scores."""

import functools
import json
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import errors, evaluate, evaluation, models, pipeline, predict, training
from kerasseg.pipeline import augment
from kerasseg.training import instance_objective, tasks
from kerasseg.training.instance_objective import InstanceObjective
from kerasseg.workdir import metadata
from tests.support import commands
from tfrecords_tools import build, extract

NAMES = models.list_models("instance")
PARTS = {"objectness", "proposals", "classes", "boxes", "masks"}
RECIPE = {
    "train_batch_size": 2,
    "train_proposals": 60,
    "rois_per_image": 16,
    "optimizer": "adam",
    "base_learning_rate": 1e-3,
    "eval_limit": 2,
}
CROPS = augment.Augmentation(crop_size=(96, 96), min_scale_factor=0.5)


@pytest.fixture(scope="module")
def records_dir(tmp_path_factory):
    """Drawn shapes, with instances."""
    folder = tmp_path_factory.mktemp("shapes")
    given = ["--dataset=shapes", f"--records_dir={folder}", "--num_drawn=4"]
    assert commands.run(build.main, *given) == 0
    return folder


@functools.cache
def small(name):
    keras.utils.set_random_seed(0)
    return models.build_model(name, 3, **models.metadata(name).test_options)


def objective(name, **changes):
    return InstanceObjective(small(name), training.Recipe(**{**RECIPE, **changes}))


def batch(size=64, *, classes=((2, 1), (3, 0)), is_crowd=((0, 0), (0, 0))):
    """A batch of two images, with two and with one object, some of them crowds."""
    boxes = np.zeros((2, 3, 4), np.float32)
    boxes[:, 0], boxes[:, 1] = (4, 4, 40, 36), (20, 30, 60, 60)
    maps = np.zeros((2, 2, size, size), np.int32)
    maps[:, 0, 4:40, 4:36], maps[:, 1, 20:60, 30:60] = 1, 2
    padded = np.zeros((2, 3), np.int32)
    values = {"classes": padded.copy(), "layers": padded.copy(), "ids": padded.copy()}
    values["classes"][:, :2] = classes
    values["layers"][:, 1] = 1
    values["ids"][:, :2] = 1, 2
    crowd = np.zeros((2, 3), bool)
    crowd[:, :2] = is_crowd
    image = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3))
    arrays = {"image": image.astype("float32"), "boxes": boxes, "maps": maps}
    arrays |= {**values, "is_crowd": crowd}
    return {key: tf.constant(array) for key, array in arrays.items()}


def sums(name, inputs, seed=0):
    return objective(name).sums(inputs, tf.constant([seed, 0], tf.int64))


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_sum_of_named_terms(name):
    found = sums(name, batch())
    assert set(found.parts) == PARTS and float(found.count) == 2
    assert all(float(part) > 0 for part in found.parts.values())
    np.testing.assert_allclose(
        float(found.loss), sum(map(float, found.parts.values())), rtol=1e-6
    )


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_trainable_variable(name):
    model, inputs = small(name), batch()
    with tf.GradientTape() as tape:
        loss = sums(name, inputs).loss
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all() and np.any(gradient), variable.path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["no object", "crowds only"])
def test_a_batch_without_an_object_has_a_finite_loss(name, kind):
    nothing = ((0, 0), (0, 0))
    inputs = batch(classes=nothing)
    if kind == "crowds only":
        inputs = batch(is_crowd=((1, 1), (1, 0)))
    with tf.GradientTape() as tape:
        found = sums(name, inputs)
    variables = small(name).trainable_variables
    gradients = tape.gradient(found.loss, [v.value for v in variables])
    for gradient in gradients:
        assert gradient is None or np.isfinite(gradient).all()
    parts = {key: float(part) for key, part in found.parts.items()}
    assert parts["proposals"] == parts["boxes"] == parts["masks"] == 0
    assert np.isfinite(parts["objectness"]) and parts["objectness"] > 0


def test_the_seed_alone_decides_what_is_sampled():
    inputs = batch()
    first, again, other = (
        float(sums("mask_rcnn", inputs, seed).loss) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_micro_batches_add_up_to_the_batch_where_nothing_is_sampled(monkeypatch):
    # A micro-batch has other random numbers. Here they decide nothing: all anchors are
    # chosen, 3 * (16**2 + 8**2 + 4**2 + 2**2 + 1) = 1023, and all 60 + 3 regions, and
    # positives are not limited. Batch normalization is frozen.
    monkeypatch.setattr(instance_objective, "_ANCHORS", 1023)
    monkeypatch.setattr(instance_objective, "_ROI_FRACTION", 1.0)
    options = models.metadata("mask_rcnn").test_options
    model = models.build_model("mask_rcnn", 3, **{**options, "batch_norm": "frozen"})
    recipe = training.Recipe(**{**RECIPE, "rois_per_image": 63})
    computed = InstanceObjective(model, recipe)
    variables = [v.value for v in model.trainable_variables]

    def loss_and_gradients(inputs, seed):
        with tf.GradientTape() as tape:
            found = computed.sums(inputs, tf.constant([seed, 0], tf.int64))
        gradients = tape.gradient(found.loss, variables)
        return [found.loss, found.count, *found.parts.values(), *gradients]

    inputs = batch()
    whole = loss_and_gradients(inputs, 0)
    parts = [
        loss_and_gradients({k: v[i : i + 1] for k, v in inputs.items()}, seed=1 + i)
        for i in (0, 1)
    ]
    for value, *of_parts in zip(whole, *parts, strict=True):
        scale = np.abs(value).max()
        np.testing.assert_allclose(sum(of_parts), value, atol=1e-5 * scale)


def run(records_dir, workdir, steps, **changes):
    recipe = {**RECIPE, "training_number_of_steps": steps, **changes}
    options = {**models.metadata("mask_rcnn").test_options, "num_detections": 5}
    return training.train(
        training.Builder("mask_rcnn", options),
        training.Data(records_dir=str(records_dir)),
        training.Recipe(**{"save_interval_steps": 2, **recipe}),
        CROPS,
        workdir=workdir,
    )


@pytest.mark.slow
def test_a_run_is_scored_and_resumes_to_the_same_bits(records_dir, tmp_path, capsys):
    best = run(records_dir, tmp_path / "whole", 4, ema_decay=0.9)
    text = capsys.readouterr().out
    assert "mask AP" in text and "Terms of the loss of step 4: objectness" in text
    assert {"mask_ap", "mask_ap50", "box_ap", "mean_iou"} <= set(best["scores"])
    rows = (tmp_path / "whole/scores.csv").read_text().splitlines()
    assert rows[0] == "step,loss,learning_rate,mask_ap,mask_ap50,box_ap,mean_iou"
    assert metadata.read_metadata(tmp_path / "whole")["num_classes"] == 5

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            del logs
            if batch == 1:
                raise KeyboardInterrupt

    options = {**models.metadata("mask_rcnn").test_options, "num_detections": 5}
    builder = training.Builder("mask_rcnn", options)
    recipe = training.Recipe(
        **RECIPE, training_number_of_steps=4, save_interval_steps=2, ema_decay=0.9
    )
    data = training.Data(records_dir=str(records_dir))
    arguments = builder, data, recipe, CROPS
    with pytest.raises(KeyboardInterrupt):
        training.train(*arguments, workdir=tmp_path / "part", callbacks=[Stop()])
    training.train(*arguments, workdir=tmp_path / "part")
    whole, part = (
        keras.models.load_model(tmp_path / name / "best/model.keras", compile=False)
        for name in ("whole", "part")
    )
    for one, other in zip(whole.weights, part.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    check_commands(tmp_path / "whole", records_dir, tmp_path)


def check_commands(workdir, records_dir, folder):
    """Evaluates the run and predicts with it; the scores are those of validation."""
    given = [f"--workdir={workdir}", f"--records_dir={records_dir}"]
    assert commands.run(evaluate.main, *given, f"--output_dir={folder}/scores") == 0
    scores = json.loads((folder / "scores/metrics.json").read_text())
    assert scores["pictures"] == 4 and "mask_ap" in scores
    assert (folder / "scores/report.html").exists()
    assert commands.run(evaluate.main, *given, "--crf") == 2
    images_dir, out = folder / "images", folder / "out"
    more = ["--split=val", "--count=2", f"--output_dir={images_dir}"]
    assert commands.run(extract.main, f"--records_dir={records_dir}", *more) == 0
    given = [f"--workdir={workdir}", f"--input={images_dir}", f"--output_dir={out}"]
    assert commands.run(predict.main, *given, "--output=instances,overlay") == 0
    assert len(list((out / "instances").iterdir())) == 2
    assert commands.run(predict.main, *given, "--tile_size=512") == 2


def test_a_missing_package_stops_before_the_first_step(
    records_dir, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setattr("kerasseg.training.run.train_loop", None)
    with pytest.raises(errors.MissingPackageError, match=r"kerasseg\[datasets\]"):
        run(records_dir, tmp_path / "run", 1)


def test_undefined_scores_are_not_numbers(monkeypatch):
    # Without an object in any image COCO's scores are undefined, and none is of pixels.
    scores = {"mask_ap": None, "mask_ap50": None, "box_ap": 0.5}
    evaluated = types.SimpleNamespace(scores=scores)
    monkeypatch.setattr(evaluation, "evaluate_instances", lambda *_, **__: evaluated)
    found = tasks.Instances().scorer(small("mask_rcnn"), CROPS)(None)
    assert found["box_ap"] == 0.5
    for name in ("mask_ap", "mask_ap50", "mean_iou"):
        assert np.isnan(found[name])


def test_records_without_instances_are_an_error(tmp_path):
    from tests.support import tiny

    folder = tiny.write_records(tmp_path / "records", train=2, val=2)
    with pytest.raises(ValueError, match="instances"):
        run(folder, tmp_path / "run", 2)


def test_a_batch_of_the_pipeline_is_trained(records_dir):
    reader = training.Data(records_dir=str(records_dir)).open("train_split")
    dataset = pipeline.instance_training_dataset(reader, CROPS, batch_size=2, seed=0)
    inputs = dict(next(iter(dataset)))
    del inputs["name"]
    model = models.build_model(
        "mask_rcnn", 5, **models.metadata("mask_rcnn").test_options
    )
    found = InstanceObjective(model, training.Recipe(**RECIPE)).sums(
        inputs, tf.constant([0, 0], tf.int64)
    )
    assert np.isfinite(float(found.loss))
