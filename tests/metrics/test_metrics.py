import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import metrics

LABELS = np.array([[[0, 0, 1, 255]]], "uint8")
PREDICTIONS = np.array([[[0, 1, 1, 1]]], "uint8")
# Pixels in order: (0, 0), (0, 1), (1, 1), ignored.
CONFUSION = np.array([[1, 1], [0, 1]])


def logits(predictions, num_classes):
    return np.eye(num_classes, dtype="float32")[np.asarray(predictions)]


def test_confusion_matrix_has_true_rows_and_predicted_columns():
    found = metrics.confusion_matrix(LABELS, PREDICTIONS, 2)
    np.testing.assert_array_equal(found, CONFUSION)
    assert found.dtype == tf.int64


def test_scores_equal_those_worked_by_hand():
    found = metrics.scores(CONFUSION, ["road", "sky"])
    # IoU 1 / (2 + 1 - 1) and 1 / (1 + 2 - 1); accuracy 1/2 and 1/1; 2 of 3 right.
    assert found["iou"] == {"road": 0.5, "sky": 0.5}
    assert found["accuracy"] == {"road": 0.5, "sky": 1.0}
    assert found["mean_iou"] == 0.5
    assert found["mean_accuracy"] == 0.75
    assert found["pixel_accuracy"] == pytest.approx(2 / 3)
    assert found["frequency_weighted_iou"] == 0.5
    assert found["pixels"] == {"road": 2, "sky": 1}
    assert json.loads(json.dumps(found)) == found


def test_scores_of_three_classes_equal_those_worked_by_hand():
    # Labeled 4, 2, 4; predicted 3, 3, 4.
    found = metrics.scores([[3, 1, 0], [0, 1, 1], [0, 1, 3]], "abc")
    # 3 / (4 + 3 - 3), 1 / (2 + 3 - 1), 3 / (4 + 4 - 3)
    assert list(found["iou"].values()) == [0.75, 0.25, 0.6]
    assert found["mean_iou"] == pytest.approx(1.6 / 3)
    assert found["mean_accuracy"] == pytest.approx((0.75 + 0.5 + 0.75) / 3)
    assert found["pixel_accuracy"] == pytest.approx(7 / 10)
    # (4 * 0.75 + 2 * 0.25 + 4 * 0.6) / 10
    assert found["frequency_weighted_iou"] == pytest.approx(0.59)


def test_a_class_that_never_occurs_is_left_out_and_listed():
    found = metrics.scores([[1, 1, 0], [0, 1, 0], [0, 0, 0]], ["road", "sky", "tram"])
    assert found["mean_iou"] == 0.5
    assert found["iou"]["tram"] is None
    assert "Never seen, left out of the means: tram." in metrics.table(found)


def test_a_class_only_predicted_counts_as_0():
    found = metrics.scores([[1, 1], [0, 0]], ["road", "sky"])
    # IoU 1/2 and 0/1; only "road" has an accuracy.
    assert found["mean_iou"] == 0.25
    assert found["mean_accuracy"] == 0.5
    assert found["accuracy"]["sky"] is None
    assert "Predicted but never labeled, IoU 0: sky." in metrics.table(found)


def test_the_table_lines_up():
    assert metrics.table(metrics.scores(CONFUSION, ["road", "sky"])).splitlines() == [
        "class                        IoU %  accuracy %    pixels %",
        "road                         50.00       50.00       66.67",
        "sky                          50.00      100.00       33.33",
        "----------------------------------------------------------",
        "mean of classes              50.00       75.00",
        "frequency-weighted IoU       50.00",
        "pixel accuracy                           66.67",
    ]


def test_scores_without_a_labeled_pixel_are_nan():
    found = metrics.scores(np.zeros((2, 2), "int64"), ["road", "sky"])
    for name in ("mean_iou", "pixel_accuracy", "mean_accuracy"):
        assert np.isnan(found[name])
    assert np.isnan(found["frequency_weighted_iou"])
    assert "Never seen, left out of the means: road, sky." in metrics.table(found)


def test_scores_pool_pixels_over_batches():
    pooled = metrics.SegmentationScores(num_classes=2)
    pooled.update_state([[[0, 0, 0, 1]]], logits([[[0, 0, 0, 1]]], 2))
    pooled.update_state([[[1]]], logits([[[0]]], 2))
    assert float(pooled.result()["pixel_accuracy"]) == pytest.approx(4 / 5)  # Not 1/2.


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_any_batch_size_gives_the_same_scores(seed, batch_size):
    random = np.random.default_rng(seed)
    labels = random.choice([0, 1, 2, 4, 255], (6, 3, 4))  # Class 3 never occurs.
    predictions = random.choice([0, 1, 2, 4], (6, 3, 4))
    expected = np.zeros((5, 5), int)
    for true, predicted in zip(labels.flat, predictions.flat, strict=True):
        if true != 255:
            expected[true, predicted] += 1
    pooled = metrics.SegmentationScores(num_classes=5)
    for start in range(0, 6, batch_size):
        batch = slice(start, start + batch_size)
        pooled.update_state(labels[batch], predictions[batch])
    np.testing.assert_array_equal(pooled.counts, expected)
    if expected.any():
        scores = metrics.scores(expected, "abcde")
        for name, value in pooled.result().items():
            assert float(value) == pytest.approx(scores[name], rel=1e-6)


def test_counts_are_exact_beyond_float32():
    pooled = metrics.SegmentationScores(num_classes=1)
    pooled._digits.assign([[[0]], [[2**23]]])  # 2**23 * 2**30.
    pooled.update_state([[[0]]], [[[0]]])
    assert int(pooled.counts[0, 0]) == 2**53 + 1


def test_scores_are_exact_beyond_float32():
    # 2**24 + 1 of 2**25 + 2 right is exactly a half.
    half = 2**24 + 1
    found = metrics.scores([[half, half], [0, 0]], "ab")
    assert found["pixel_accuracy"] == 0.5


@pytest.mark.parametrize("bad", [2, 254, -1, 2**32])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_label_out_of_range_never_improves_a_score(bad, compiled):
    call = tf.function(metrics.confusion_matrix, jit_compile=compiled, autograph=False)
    invalid = call(tf.constant([[[0, bad]]], tf.int64), tf.constant([[[0, 0]]]), 2)
    assert np.all(invalid.numpy() < 0)
    good = metrics.confusion_matrix(
        np.zeros((1, 99, 99), int), np.zeros((1, 99, 99), int), 2
    )
    with pytest.raises(ValueError, match="out of the range 0 to 1 was counted"):
        metrics.scores(invalid + 1000 * good, ["road", "sky"])
    pooled = metrics.SegmentationScores(num_classes=2)
    pooled.update_state([[[0, bad]]], [[[0, 0]]])
    pooled.update_state([[[0, 1]]], [[[0, 1]]])
    assert all(np.isnan(float(value)) for value in pooled.result().values())


def test_a_prediction_out_of_range_never_improves_a_score():
    invalid = metrics.confusion_matrix([[[0, 0]]], [[[0, 5]]], 2)
    assert np.all(invalid.numpy() < 0)
    pooled = metrics.SegmentationScores(num_classes=2)
    pooled.update_state([[[0, 0]]], [[[[1, 0], [np.nan, 0]]]])
    assert np.isnan(float(pooled.result()["mean_iou"]))


def test_the_prediction_of_an_ignored_pixel_does_not_matter():
    found = metrics.confusion_matrix([[[0, 255]]], [[[0, 99]]], 2)
    np.testing.assert_array_equal(found, [[1, 0], [0, 0]])


def test_class_255_can_be_a_class_with_another_ignore_label():
    found = metrics.confusion_matrix([[[255, 0]]], [[[255, 1]]], 256, ignore_label=0)
    assert int(found[255, 255]) == int(np.sum(found)) == 1


def test_a_metric_resets_and_is_rebuilt_from_its_config():
    pooled = metrics.SegmentationScores(3, ignore_label=0, name="val")
    pooled.update_state([[[1]]], [[[1]]])
    pooled.reset_state()
    assert np.isnan(float(pooled.result()["mean_iou"]))
    copy = metrics.SegmentationScores.from_config(pooled.get_config())
    assert (copy.num_classes, copy.ignore_label, copy.name) == (3, 0, "val")


def test_fit_and_evaluate_report_the_scores():
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=[metrics.SegmentationScores(2)])
    images = np.random.default_rng(0).normal(size=(5, 4, 4, 3)).astype("float32")
    labels = (images[..., 0] > 0).astype("uint8")
    model.fit(images, labels, batch_size=2, verbose=0)
    found = model.evaluate(images, labels, batch_size=2, verbose=0, return_dict=True)
    predicted = np.argmax(model.predict(images, verbose=0), axis=-1)
    expected = metrics.scores(metrics.confusion_matrix(labels, predicted, 2), "ab")
    assert found["mean_iou"] == pytest.approx(expected["mean_iou"], rel=1e-6)
    assert found["pixel_accuracy"] == pytest.approx(
        expected["pixel_accuracy"], rel=1e-6
    )


def test_check_labels_reports_image_labels_and_pixels():
    labels = np.array([[0, 1, 255], [11, 11, 200]], "uint8")
    with pytest.raises(
        ValueError, match=r"a\.png: .* 11 \(2 pixels\), 200 \(1 pixels\)"
    ):
        metrics.check_labels(labels, 2, name="a.png")
    with pytest.raises(ValueError, match=r"-1 \(1 pixels\)"):
        metrics.check_labels(np.array([-1]), 2, name="a.png")
    with pytest.raises(
        ValueError, match=r"9 \(1 pixels\) and 5 more\. Classes are 0 to 1"
    ):
        metrics.check_labels(np.arange(15), 2, name="a.png")
    with pytest.raises(ValueError, match=r"a\.png: .* integer type, got float32"):
        metrics.check_labels(np.zeros((2, 2), "float32"), 2, name="a.png")


def test_check_labels_accepts_classes_and_the_ignore_label():
    metrics.check_labels(np.array([[0, 1, 255]], "uint8"), 2, name="a.png")
    metrics.check_labels(np.array([0, 1, -1]), 2, name="a.png", ignore_label=-1)
    metrics.check_labels(np.arange(256, dtype="uint8"), 256, name="a.png")
    metrics.check_labels(np.arange(256, dtype="uint8"), 300, name="a.png")


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        ([[1]], r"2 classes with different names is expected, got shape \(1, 1\)"),
        ([[1.0, 0.0], [0.0, 1.0]], "must hold integers, got float64"),
        ([[1, 0], [0, -1]], "check_labels finds the image"),
    ],
)
def test_wrong_confusion_matrices_are_errors(confusion, message):
    with pytest.raises(ValueError, match=message):
        metrics.scores(confusion, ["road", "sky"])


def test_two_classes_of_one_name_are_an_error():
    with pytest.raises(ValueError, match="different names"):
        metrics.scores(CONFUSION, ["road", "road"])


def test_wrong_arguments_of_the_counts_are_errors():
    with pytest.raises(ValueError, match=r"got \(1, 2, 2\) for labels \(1, 1, 4\)"):
        metrics.confusion_matrix(LABELS, np.zeros((1, 2, 2), int), 2)
    with pytest.raises(ValueError, match="integer type, got float32"):
        metrics.confusion_matrix(LABELS.astype("float32"), PREDICTIONS, 2)


def test_the_counts_of_two_replicas_add_up_to_those_of_one():
    labels = np.random.default_rng(4).choice([0, 1, 255], (4, 5, 5))
    predictions = np.random.default_rng(5).choice([0, 1], (4, 5, 5))
    whole = metrics.confusion_matrix(labels, predictions, 2)
    halves = [
        metrics.confusion_matrix(labels[half], predictions[half], 2)
        for half in (slice(0, 1), slice(1, 4))
    ]
    np.testing.assert_array_equal(halves[0] + halves[1], whole)
