import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import metrics
from tests.support import label_maps


def scores(label, prediction, confidence, num_classes=2):
    measure = metrics.Calibration(num_classes)
    counts = measure.measure(
        np.uint8([label]), np.uint8([prediction]), np.float64([confidence])
    )
    return measure.scores(counts, "abcdefgh"[:num_classes])


def test_the_error_equals_that_worked_by_hand():
    # In the bin that ends at 14/15: confidence 0.9, 1 of 2 correct. In the bin that
    # ends at 8/15: 0.5, 2 of 2. The last pixel is ignored.
    found = scores([0, 0, 1, 1, 255], [0, 1, 1, 1, 1], [0.9, 0.9, 0.5, 0.5, 0.7])
    error = (2 * abs(0.9 - 0.5) + 2 * abs(0.5 - 1)) / 4
    assert found["expected_calibration_error"] == pytest.approx(error, abs=1e-7)
    table = found["reliability"]
    assert table["pixels"] == [0] * 7 + [2] + [0] * 5 + [2, 0]
    assert table["confidence"][13] == pytest.approx(0.9, abs=1e-7)
    assert (table["accuracy"][13], table["accuracy"][7]) == (0.5, 1.0)
    assert table["confidence"][0] is table["accuracy"][0] is None


def test_a_bin_holds_its_upper_end():
    found = scores([0] * 5, [0] * 5, [0, 1 / 15, 1.01 / 15, 14.99 / 15, 1])
    assert found["reliability"]["pixels"] == [2, 1] + [0] * 12 + [2]


def test_a_confident_and_correct_prediction_has_no_error():
    found = scores([0, 1], [0, 1], [1, 1])
    assert found["expected_calibration_error"] == 0
    # A softmax in float16 may sum to a little more.
    found = scores([0, 1], [0, 1], [1.0005, 1])
    assert found["expected_calibration_error"] == 0


def test_pixels_of_all_images_are_pooled():
    measure = metrics.Calibration(2)
    # Each image alone has an error of 0.5; together one of two pixels is correct.
    zero = np.uint8([[0]])
    total = measure.measure(zero, zero, np.float32([[0.5]]))
    total += measure.measure(zero, zero + 1, np.float32([[0.5]]))
    found = measure.scores(total, "ab")
    assert found["expected_calibration_error"] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["float16", "float32", "float64"]))
def test_the_error_equals_that_of_a_loop_over_bins(seed, kind):
    label, prediction = label_maps.random_pair(seed, height=9, width=11)
    confidence = np.random.default_rng(seed).uniform(0, 1, label.shape).astype(kind)
    kept = label != label_maps.VOID
    correct = (label == prediction)[kept]
    confidences = confidence[kept].astype("float64")
    expected = 0.0
    for number in range(15):
        inside = confidences > number / 15
        inside &= confidences <= (number + 1) / 15
        if inside.any():
            gap = abs(correct[inside].mean() - confidences[inside].mean())
            expected += inside.sum() / kept.sum() * gap
    measure = metrics.Calibration(4)
    found = measure.scores(measure.measure(label, prediction, confidence), "abcd")
    assert found["expected_calibration_error"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("confidence", "message"),
    [
        (None, r"needs the probability of each predicted class.*\(1, 2\); got None"),
        ([[0.5]], r"of the label, \(1, 2\); got \(1, 1\)"),
        (
            [[0.5, 1.5]],
            "Confidences must be from 0 to 1, got 0.5 to 1.5. Give the softmax",
        ),
        ([[0.5, -0.1]], "from 0 to 1, got -0.1 to 0.5"),
        ([[0.5, np.nan]], "from 0 to 1, got nan to nan"),
    ],
)
def test_wrong_confidences_are_errors(confidence, message):
    label = np.uint8([[0, 1]])
    with pytest.raises(ValueError, match=message):
        metrics.Calibration(2).measure(label, label, confidence)
