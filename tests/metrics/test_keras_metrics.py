"""Metrics of the confusion matrix for `model.compile`."""

import importlib.util
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import losses, metrics
from kerasseg.metrics.keras_metrics import ConfusionMetric
from tests.losses.test_keras_losses import IMAGES, LABELS, label_maps, network
from tests.losses.test_keras_losses import run_example as run
from tests.support import jax_process
from tests.support.networks import others_slow

CLASSES = [
    *("MeanIoU", "PixelAccuracy", "MeanAccuracy", "FrequencyWeightedIoU"),
    "SegmentationScores",
]
NAMES = ["road", "car", "sky"]


def one(name, num_classes=3):
    return getattr(metrics, name)(num_classes)


def values(metric):
    """Returns the scores of a metric by the names of `metrics.scores`."""
    result = metric.result()
    result = result if isinstance(result, dict) else {metric.score: result}
    return {name: float(value) for name, value in result.items()}


def logits(predictions):
    return np.eye(3, dtype="float32")[predictions]


def test_every_metric_of_the_package_is_tested():
    public = [getattr(metrics, name) for name in metrics.__all__]
    classes = [x for x in public if isinstance(x, type)]
    found = {x.__name__ for x in classes if issubclass(x, ConfusionMetric)}
    # tests/losses/test_multi_label_losses.py tests the metric of several classes.
    assert found - {"MultiLabelIoU"} == set(CLASSES)


def test_scores_equal_those_worked_by_hand():
    labels = np.array([[[0, 0, 1, 255]]])
    predictions = np.array([[[0, 1, 1, 1]]])
    # IoU 1 / (2 + 1 - 1) and 1 / (1 + 2 - 1); accuracy 1/2 and 1/1; 2 of 3 correct.
    expected = {"MeanIoU": 0.5, "PixelAccuracy": 2 / 3, "MeanAccuracy": 0.75}
    for name, value in {**expected, "FrequencyWeightedIoU": 0.5}.items():
        assert float(one(name)(labels, logits(predictions))) == pytest.approx(value)


@settings(max_examples=20, deadline=None)
@given(label_maps(2), st.sampled_from(CLASSES), st.integers(0, 2**32 - 1))
def test_scores_are_those_of_the_evaluation_for_labels_of_any_type(maps, name, seed):
    labels, given = maps
    predictions = np.random.default_rng(seed).integers(0, 3, labels.shape)
    metric = one(name)
    for i in range(2):
        metric.update_state(given[i : i + 1], logits(predictions[i : i + 1]))
    expected = metrics.scores(metrics.confusion_matrix(labels, predictions, 3), NAMES)
    for score, value in values(metric).items():
        assert value == pytest.approx(expected[score], rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("bad", [3, 254, -1, 0.5, np.nan, 2.0**32])
def test_a_label_that_is_no_class_gives_nan_until_the_reset(name, bad):
    metric = one(name)
    metric.update_state(np.array([[[0, bad]]]), logits([[[0, 0]]]))
    metric.update_state(np.array([[[0, 1]]]), logits([[[0, 1]]]))
    assert np.all(np.isnan(list(values(metric).values())))
    assert np.all(metric.counts < 0)
    metric.reset_state()
    metric.update_state(np.array([[[0, 1]]]), logits([[[0, 1]]]))
    assert set(values(metric).values()) == {1.0}


def test_sums_are_carried_without_loss():
    metric = one("PixelAccuracy", 2)
    # One pixel below 2**30 and below 2**53, where float32 and float64 end.
    metric._digits.assign([[[2**30 - 1, 2**30 - 1], [0, 0]], [[0, 2**23 - 1], [0, 0]]])
    metric.update_state(np.array([[[0, 0, 0]]]), np.array([[[0, 1, 1]]]))
    np.testing.assert_array_equal(metric.counts, [[2**30, 2**53 + 1], [0, 0]])
    low, high = np.asarray(metric._digits)
    np.testing.assert_array_equal(low, [[0, 1], [0, 0]])
    np.testing.assert_array_equal(high, [[1, 2**23], [0, 0]])


def test_weights_count_as_fractions_of_pixels():
    labels, predictions = (
        np.array([[[0, 0]], [[1, 255]]]),
        np.array([[[0, 1]], [[1, 0]]]),
    )
    metric = one("MeanIoU")
    # Twice: 0.75 of class 0 correct, 0.75 of it predicted as 1; 0.25 of 1 correct.
    for _ in range(2):
        metric.update_state(labels, logits(predictions), np.array([0.75, 0.25]))
    # IoU 0.75 / 1.5 and 0.25 / (0.25 + 1 - 0.25).
    assert float(metric.result()) == pytest.approx((1 / 2 + 1 / 4) / 2)
    np.testing.assert_array_equal(metric.counts[:2, :2], [[1, 1], [0, 0]])
    np.testing.assert_array_equal(metric._fractions[:2, :2], [[0.5, 0.5], [0, 0.5]])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_pixels_of_weight_0_count_as_ignored_ones(seed, channel):
    random = np.random.default_rng(seed)
    labels = random.choice([0, 1, 2, 255], (2, 3, 4))
    predictions = random.integers(0, 3, labels.shape)
    weights = random.integers(0, 2, labels.shape)
    weighted, ignored = one("MeanIoU"), one("MeanIoU")
    given = weights[..., np.newaxis] if channel else weights
    weighted.update_state(labels, logits(predictions), given)
    ignored.update_state(np.where(weights, labels, 255), logits(predictions))
    np.testing.assert_array_equal(weighted.counts, ignored.counts)
    assert float(weighted.result()) == pytest.approx(
        float(ignored.result()), nan_ok=True
    )


@pytest.mark.parametrize("weight", [-1.0, np.nan])
def test_a_weight_below_0_gives_nan(weight):
    metric = one("MeanIoU")
    metric.update_state(np.array([[[0]], [[1]]]), logits([[[0]], [[1]]]), [1.0, weight])
    assert np.isnan(float(metric.result()))


def test_the_iou_of_each_class_has_its_name():
    scores = metrics.SegmentationScores(3, class_names=NAMES)
    scores.update_state(np.array([[[0, 0]]]), logits([[[0, 1]]]))
    # "car" is predicted and never labeled, "sky" never occurs: the mean is over two.
    assert values(scores) == pytest.approx(
        {
            "mean_iou": 0.25,
            "pixel_accuracy": 0.5,
            "mean_accuracy": 0.5,
            "frequency_weighted_iou": 0.5,
            "iou_road": 0.5,
            "iou_car": 0.0,
            "iou_sky": np.nan,
        },
        nan_ok=True,
    )


@pytest.mark.parametrize("name", CLASSES)
def test_a_metric_is_rebuilt_from_its_config(name):
    metric = getattr(metrics, name)(3, ignore_label=0, name="own")
    config = keras.saving.serialize_keras_object(metric)
    assert config["registered_name"] == f"kerasseg>{name}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()
    assert (again.num_classes, again.ignore_label, again.name) == (3, 0, "own")


@pytest.mark.parametrize("name", others_slow(CLASSES, ("SegmentationScores",)))
def test_fit_reports_the_scores_as_in_the_docstring(name):
    model = network()
    run(getattr(metrics, name).__doc__, model)
    found = model.evaluate(IMAGES, LABELS, batch_size=3, verbose=0, return_dict=True)
    predictions = np.argmax(model.predict(IMAGES, verbose=0), axis=-1)
    expected = metrics.scores(metrics.confusion_matrix(LABELS, predictions, 3), NAMES)
    scores = {**expected, **{f"iou_{k}": v for k, v in expected["iou"].items()}}
    del found["loss"]
    assert found
    for score, value in found.items():
        assert value == pytest.approx(scores[score], rel=1e-6)


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_compiled_updates_equal_eager_ones(jit_compile):
    eager, compiled = one("SegmentationScores"), one("SegmentationScores")
    predictions = logits(np.random.default_rng(0).integers(0, 3, LABELS.shape))
    weights = np.random.default_rng(1).uniform(size=4).astype("float32")

    @tf.function(jit_compile=jit_compile, autograph=False)
    def update(labels, predictions, weights):
        compiled.update_state(labels, predictions)
        compiled.update_state(labels, predictions, weights)
        return compiled.result()

    eager.update_state(LABELS, predictions)
    eager.update_state(LABELS, predictions, weights)
    result = update(LABELS, predictions, weights)
    np.testing.assert_array_equal(compiled.counts, eager.counts)
    for score, value in values(eager).items():
        assert float(result[score]) == pytest.approx(value, rel=1e-6)


def test_a_compiled_model_is_saved_and_trained_further(tmp_path):
    model = network()
    loss = losses.CrossEntropy(class_weights=np.array([1.0, 2.0, 3.0]))
    model.compile(
        "sgd",
        loss,
        metrics=[metrics.MeanIoU(3)],
        weighted_metrics=[metrics.SegmentationScores(3, class_names=NAMES)],
        run_eagerly=True,
    )
    weights = np.array([1.0, 0.5, 0.0, 2.0])
    model.fit(IMAGES, LABELS, sample_weight=weights, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    again.run_eagerly = True
    assert again.loss.get_config() == loss.get_config()
    expected, found = [
        x.evaluate(IMAGES, LABELS, sample_weight=weights, verbose=0, return_dict=True)
        for x in (model, again)
    ]
    assert found == pytest.approx(expected) and "iou_sky" in found
    again.fit(IMAGES, LABELS, verbose=0)


def test_wrong_arguments_are_errors():
    metric = one("MeanIoU")
    with pytest.raises(ValueError, match=r"mean_iou counts 3 classes.*num_classes=2"):
        metric.update_state(LABELS, np.zeros((4, 6, 7, 2)))
    with pytest.raises(
        ValueError, match=r"in the shape of the labels, got \(4, 6, 6\)"
    ):
        metric.update_state(LABELS, np.zeros((4, 6, 6, 3)))
    with pytest.raises(ValueError, match=r"one number for each image.*got \(4, 6\)"):
        metric.update_state(LABELS, np.zeros((4, 6, 7, 3)), np.ones((4, 6)))
    with pytest.raises(ValueError, match=r"must be 3 different names, got a, b, a"):
        metrics.SegmentationScores(3, class_names=["a", "b", "a"])


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None,
    reason="JAX is not installed: pip install jax",
)
def test_saved_models_have_the_same_losses_and_scores_on_jax(tmp_path):
    data = {"x": IMAGES, "y": LABELS, "sample_weight": np.array([1, 0.5, 0, 2])}
    np.savez(tmp_path / "data.npz", **data)
    expected = {}
    for name, loss_class in losses.CLASSES.items():
        scores = metrics.SegmentationScores(3, class_names=NAMES, name="weighted")
        model = network()
        model.compile(
            "sgd",
            loss_class(),
            metrics=[one("MeanIoU"), one("PixelAccuracy")],
            weighted_metrics=[scores],
            jit_compile=False,
        )
        model.save(tmp_path / f"{name}.keras")
        expected[name] = model.evaluate(**data, verbose=0, return_dict=True)
    status, output = jax_process.run("tests.support.compiled_on_jax", tmp_path)
    assert status == 0, output
    for name, values in expected.items():
        report = json.loads((tmp_path / f"{name}.json").read_text())
        for jit_compile in (False, True):
            losses_of_epochs = report.pop(f"fit_{jit_compile}")
            assert np.all(np.isfinite(losses_of_epochs)), name
            assert losses_of_epochs[-1] < losses_of_epochs[0], name
        assert report == pytest.approx(values, rel=1e-5), name
