import typing

import numpy as np
import pytest

from kerasseg import metrics

NAMES = ["background", "cat", "dog"]
# IoU 3/4, 1/4, 3/5: see test_metrics.
SCORES = metrics.scores([[3, 1, 0], [0, 1, 1], [0, 1, 3]], NAMES)
INTERVAL = {
    "mean_iou": {"value": 0.75369, "low": 0.741, "high": 0.7652},
    "level": 0.95,
    "resamples": 1000,
    "pictures": 101,
}


def test_the_mean_without_background_leaves_class_0_out():
    assert SCORES["mean_iou"] == pytest.approx((0.75 + 0.25 + 0.6) / 3)
    assert SCORES["mean_iou_without_background"] == pytest.approx((0.25 + 0.6) / 2)


def test_the_mean_without_background_is_none_without_other_classes():
    # No class is background, background is the only class, or no other class occurs.
    for confusion, names in (
        ([[1, 1], [0, 1]], ["cat", "background"]),
        ([[5]], ["background"]),
        ([[5, 0], [0, 0]], ["background", "cat"]),
    ):
        found = metrics.scores(confusion, names)
        assert found["mean_iou_without_background"] is None
        assert "without background" not in metrics.table(found)


def test_the_table_with_every_score_lines_up():
    boundary = {"background": 0.5, "cat": 0.25, "dog": None}
    curve = {"width": list(range(1, 41)), "mean_iou": [w / 100 for w in range(1, 41)]}
    difference = {"value": 0.0123, "low": -0.00101, "high": 0.02, "above_zero": 0.987}
    scores = SCORES | {
        "boundary_iou": boundary,
        "mean_boundary_iou": 0.375,
        "interval": INTERVAL,
        "difference": INTERVAL | {"mean_iou": difference},
        "bf_score": 0.65,
        "trimap": curve,
        "expected_calibration_error": 0.03,
    }
    assert metrics.table(scores).splitlines() == [
        "class                        IoU %  boundary %  accuracy %    pixels %",
        "background                   75.00       50.00       75.00       40.00",
        "cat                          25.00       25.00       50.00       20.00",
        "dog                          60.00           -       75.00       40.00",
        "----------------------------------------------------------------------",
        "mean of classes              53.33       37.50       66.67",
        "without background           42.50",
        "frequency-weighted IoU       59.00",
        "pixel accuracy                                       70.00",
        "mean IoU            0.7537 [0.7410, 0.7652], 95% interval of 1,000 resamples "
        "of 101 images",
        "difference          0.0123 [-0.0010, 0.0200], above 0 in 98.7% of them",
        "BF score            0.6500",
        "trimap mean IoU     0.0100 (1 px), 0.0500 (5 px), 0.1000 (10 px), "
        "0.2000 (20 px), 0.4000 (40 px)",
        "calibration error   0.0300",
    ]


def test_the_table_of_a_split_without_labels_has_dashes():
    names, scores = ["road"], {}
    for kind in (metrics.Confusion, *metrics.MEASURES.values()):
        measure = kind(1)
        scores |= measure.scores(np.zeros(measure.shape, int), names)
    nothing = np.zeros((2, 3, 1), int)
    scores["interval"] = metrics.interval(nothing, names)
    scores["difference"] = metrics.paired_interval(nothing, nothing, names)
    lines = metrics.table(scores).splitlines()
    assert "mean IoU            -, 95% interval of 1,000 resamples of 2 images" in lines
    assert "difference          -" in lines
    assert "BF score            -" in lines
    assert any(
        line.startswith("trimap mean IoU     - (1 px), - (5 px)") for line in lines
    )
    assert "calibration error   -" in lines


class Labeled(metrics.ImageMeasure):
    """Measure of the tests: the fraction of labeled pixels."""

    titles: typing.ClassVar = {"labeled": "labeled pixels"}

    @property
    def shape(self):
        """Labeled pixels, pixels."""
        return (2,)

    def _count(self, label, prediction, confidence):
        del prediction, confidence
        return np.array([np.sum(label < self.num_classes), label.size])

    def _scores(self, total, class_names):
        del class_names
        return {"labeled": float(total[0] / total[1])}


def test_a_new_measure_has_a_line(monkeypatch):
    monkeypatch.setitem(metrics.MEASURES._all(), "labeled", Labeled)
    measure = Labeled(3)
    counts = measure.measure(np.array([[0, 255], [1, 1]]), np.zeros((2, 2), int))
    table = metrics.table(SCORES | measure.scores(counts, NAMES))
    assert table.endswith("\nlabeled pixels      0.7500")
