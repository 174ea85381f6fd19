"""Losses and scores of independent classes, by hand."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasseg import errors, losses, metrics
from kerasseg.metrics import multi_label

# Pixels with classes 0 and 1, none, class 1, and an ignored one.
CODES = np.array([[[6, 0], [4, 255]]], "uint16")
CHANNELS = np.array([[[[1, 1], [0, 0]], [[0, 1], [255, 255]]]], "uint8")
LOGITS = np.array([[[[2, -1], [1, 1]], [[-2, 3], [9, -9]]]], "float32")


def binary(k):
    return losses.crossentropy(
        np.where(CODES == 255, 255, CODES >> (k + 1) & 1).astype("int32"),
        LOGITS[..., k : k + 1],
    )


def test_the_loss_is_the_mean_of_those_of_the_classes():
    loss = losses.multi_label(losses.crossentropy, 2)
    total, count = loss(CODES, LOGITS)
    # Class 0: 0.126928 + 1.313262 + 0.126928; class 1: 1.313262 + 1.313262 + 0.048587.
    assert float(total) == pytest.approx((1.567118 + 2.675111) / 2, rel=1e-5)
    assert float(count) == 3
    expected = (binary(0)[0] + binary(1)[0]) / 2
    assert float(total) == pytest.approx(float(expected))
    weighted = losses.multi_label(losses.crossentropy, 2, [1, 3])
    assert float(weighted(CODES, LOGITS)[0]) == pytest.approx(
        (1.567118 + 3 * 2.675111) / 2, rel=1e-5
    )


def test_a_wrong_label_gives_nan():
    loss = losses.multi_label(losses.crossentropy, 2)
    for wrong in (1, 8, 256):
        codes = np.where(CODES == 6, wrong, CODES)
        assert np.isnan(float(loss(codes, LOGITS)[0]))


@pytest.mark.parametrize("name", sorted(losses.CLASSES))
def test_keras_classes_take_bits_and_channels(name):
    loss = losses.CLASSES[name](multi_label=True)
    of_bits, of_channels = float(loss(CODES, LOGITS)), float(loss(CHANNELS, LOGITS))
    assert of_bits == pytest.approx(of_channels) and np.isfinite(of_bits)
    again = type(loss).from_config(loss.get_config())
    assert again.multi_label and float(again(CODES, LOGITS)) == of_bits


def test_weighted_sums_of_keras_are_of_each_class():
    options = {"multi_label": True}
    loss = losses.WeightedSum({"crossentropy": 1, "dice": 0.5}, **options)
    parts = losses.CrossEntropy(**options), losses.Dice(**options)
    expected = [float(each(CODES, LOGITS)) for each in parts]
    assert float(loss(CODES, LOGITS)) == pytest.approx(expected[0] + expected[1] / 2)
    with pytest.raises(errors.UserError, match="cannot be combined with `multi_label`"):
        losses.WeightedSum({"crossentropy": 1}, class_weights=[1, 2], **options)


def test_scores_are_those_of_each_class():
    counter = metrics.MultiLabelConfusion(2)
    predicted = np.array([[2, 6], [4, 2]], "uint16")
    total = counter.measure(CODES[0], predicted)
    # Class 0: labeled 1, predicted 2, hits 1. Class 1: labeled 2, predicted 2, hits 1.
    assert total.tolist() == [[[1, 1], [0, 1]], [[0, 1], [1, 1]]]
    scores = counter.scores(total, ["a", "b"])
    assert scores["iou"] == {"a": 1 / 2, "b": pytest.approx(1 / 3)}
    assert scores["mean_iou"] == pytest.approx(5 / 12)
    assert scores["accuracy"] == {"a": 1.0, "b": 0.5}
    # 2 of 3 pixels of class 0 are right, and 1 of 3 of class 1.
    assert scores["pixel_accuracy"] == 0.5
    assert scores["frequency_weighted_iou"] == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert multi_label.iou_counts(total).tolist() == [[1, 1], [1, 2], [2, 2]]
    assert "mean of classes" in metrics.table(scores)
    with pytest.raises(errors.UserError, match=r"The label: labels out of range: 1 \("):
        counter.measure(CODES[0] | 1, predicted)


def test_the_keras_metric_counts_over_batches():
    metric = metrics.MultiLabelIoU(2, class_names=["a", "b"])
    metric.update_state(CODES, LOGITS)
    metric.update_state(CHANNELS, LOGITS)
    # Predicted at logits above 0: class 0 in pixels 0 and 1, class 1 in pixels 1 and 2.
    # Class 0: 1 of 2; class 1: 1 of 3.
    found = {k: float(v) for k, v in metric.result().items()}
    expected = {"mean_iou": 5 / 12, "iou_a": 1 / 2, "iou_b": 1 / 3}
    assert found == pytest.approx(expected)
    again = metrics.MultiLabelIoU.from_config(metric.get_config())
    assert again.class_names == ["a", "b"]
    metric.update_state(CODES | 1, LOGITS)
    assert np.isnan(float(metric.result()["mean_iou"]))
    strict = metrics.MultiLabelIoU(2, thresholds=[0.9, 0.5], class_names=["a", "b"])
    strict.update_state(CODES, LOGITS)
    assert float(strict.result()["iou_a"]) == 0  # sigmoid(2) = 0.88.


def test_compile_and_fit_with_channels():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(2, 1)(image))
    model.compile(
        "sgd",
        losses.CrossEntropy(multi_label=True),
        metrics=[metrics.MultiLabelIoU(2)],
    )
    images = np.random.default_rng(1).random((1, 2, 2, 3)).astype("float32")
    history = model.fit(images, CHANNELS, verbose=0).history
    assert np.isfinite(history["loss"]).all() and "mean_iou" in history
