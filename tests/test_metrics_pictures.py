"""What every measure of pictures keeps to."""

import json
from concurrent import futures

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import metrics
from tests import label_maps

MEASURES = [
    metrics.BoundaryF1,
    metrics.BoundaryIoU,
    metrics.Calibration,
    metrics.Confusion,
    metrics.TrimapCurve,
]
every_measure = pytest.mark.parametrize("kind", MEASURES)
SEEDS = st.integers(0, 2**32 - 1)


def picture(seed, height=17, width=23, blob=3):
    label, prediction = label_maps.random_pair(
        seed, height=height, width=width, blob=blob
    )
    confidence = np.random.default_rng(seed).uniform(0.25, 1, label.shape)
    return label, prediction, confidence.astype("float32")


@every_measure
def test_counts_are_integers_of_the_stated_shape_and_scores_fit_json(kind):
    measure = kind(4)
    found = measure.measure(*picture(0))
    assert (found.shape, found.dtype) == (measure.shape, np.int64)
    scores = measure.scores(found, "abcd")
    assert json.loads(json.dumps(scores)) == scores


@every_measure
def test_order_and_number_of_threads_change_nothing(kind):
    measure = kind(4)
    pictures = [picture(seed, height=5 + seed) for seed in range(40)]
    with futures.ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda given: measure.measure(*given), pictures))
    one_by_one = [measure.measure(*given) for given in reversed(pictures)]
    assert measure.scores(sum(threaded), "abcd") == measure.scores(
        sum(one_by_one), "abcd"
    )


@every_measure
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_what_is_predicted_where_nothing_is_labelled_never_counts(kind, seed):
    label, prediction, confidence = picture(seed)
    random, void = np.random.default_rng(seed), label == label_maps.VOID
    other = np.where(void, random.integers(-9, 300, label.shape), prediction)
    doubt = np.where(void, np.nan, confidence)
    found = kind(4).measure(label, other, doubt)
    np.testing.assert_array_equal(found, kind(4).measure(label, prediction, confidence))


@every_measure
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_a_mirrored_or_turned_picture_counts_the_same(kind, seed):
    given = picture(seed)
    wanted = kind(4).measure(*given)
    for change in (np.fliplr, np.flipud, np.transpose):
        np.testing.assert_array_equal(kind(4).measure(*map(change, given)), wanted)


@every_measure
def test_types_and_ignore_label_do_not_matter(kind):
    label, prediction, confidence = picture(3)
    wanted = kind(4).measure(label, prediction, confidence)
    label = np.where(label == label_maps.VOID, -1, label.astype("int64"))
    found = kind(4, ignore_label=-1).measure(
        label, prediction.astype("uint16"), confidence.astype("float64")
    )
    np.testing.assert_array_equal(found, wanted)


@every_measure
@pytest.mark.parametrize("num_classes", [253, 254, 255, 256, 1000])
def test_any_number_of_classes_counts_alike(kind, num_classes):
    label, prediction, confidence = picture(5)
    few = kind(4, ignore_label=7)
    label = label.astype("int64")
    label[label == label_maps.VOID] = 7
    wanted = few.scores(few.measure(label, prediction, confidence), "abcd")
    shift = num_classes - 4
    many = kind(num_classes, ignore_label=0)
    moved = np.where(label == 7, 0, label + shift)
    names = [f"no{i}" for i in range(shift)] + list("abcd")
    found = many.measure(moved, prediction + shift, confidence)
    found = many.scores(found, names)
    for name, value in wanted.items():
        if isinstance(value, dict) and "a" in value:
            assert {n: found[name][n] for n in "abcd"} == value
        else:
            single = isinstance(value, float)  # Summed in another order.
            assert found[name] == (pytest.approx(value) if single else value)


@every_measure
def test_one_pixel_is_a_picture(kind):
    measure = kind(2)
    found = measure.measure(np.uint8([[1]]), np.uint8([[1]]), np.float32([[0.5]]))
    scores = measure.scores(found, ["road", "sky"])
    if kind is metrics.BoundaryIoU:
        assert scores["boundary_iou"] == {"road": None, "sky": 1.0}
    if kind in (metrics.BoundaryF1, metrics.TrimapCurve):
        assert not found.any()  # A single pixel has no boundary.


@every_measure
def test_a_picture_without_a_label_adds_nothing(kind):
    label, prediction, confidence = picture(1)
    found = kind(4).measure(np.full_like(label, 255), prediction, confidence)
    assert not found.any()


def test_scores_of_nothing_are_none():
    nothing = {}
    for kind in set(MEASURES) - {metrics.Confusion}:
        nothing |= kind(2).scores(np.zeros(kind(2).shape, int), ["road", "sky"])
    classes = {"road": None, "sky": None}
    assert nothing["mean_boundary_iou"] is nothing["bf_score"] is None
    assert nothing["boundary_iou"] == nothing["bf_score_by_class"] == classes
    assert nothing["expected_calibration_error"] is None
    assert nothing["reliability"]["accuracy"] == [None] * 15
    assert nothing["trimap"]["mean_iou"] == [None] * 40


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_the_host_counts_the_same_pairs_as_keras(seed):
    label, prediction, _ = picture(seed)
    found = metrics.Confusion(4).measure(label, prediction)
    wanted = np.asarray(metrics.confusion_matrix(label, prediction, 4))
    np.testing.assert_array_equal(found, wanted)
    assert metrics.Confusion(4).scores(found, "abcd")["mean_iou"] == pytest.approx(
        metrics.scores(wanted, "abcd")["mean_iou"], nan_ok=True
    )


@every_measure
@pytest.mark.parametrize(
    ("label", "prediction", "message"),
    [
        (
            [[0, 2]],
            [[0, 0]],
            r"labels out of range: 2 \(1 pixels\)\. Classes are 0 to 1",
        ),
        ([[0, -1]], [[0, 0]], r"labels out of range: -1"),
        (
            [[0, 1]],
            [[0, 2]],
            r"Predicted class numbers out of range: 1 pixels, the first 2",
        ),
        (
            [[0, 1]],
            [[-1, -1]],
            r"Predicted class numbers out of range: 2 pixels, the first -1",
        ),
        ([[0, 1]], [[0, 1, 1]], r"same size.*got \(1, 2\) and \(1, 3\)"),
        ([0, 1], [0, 1], r"\[height, width\].*got \(2,\)"),
        (np.zeros((0, 3), int), np.zeros((0, 3), int), "at least one pixel"),
        ([[0.0, 1.0]], [[0, 1]], "integer type, got float64"),
        ([[0, 1]], [[0.0, 1.0]], "integer type, got float64. Take the argmax"),
    ],
)
def test_damaged_maps_are_refused(kind, label, prediction, message):
    confidence = np.ones(np.shape(label))
    with pytest.raises(ValueError, match=message):
        kind(2).measure(label, prediction, confidence)


@every_measure
def test_what_is_no_sum_of_counts_is_refused(kind):
    measure = kind(2)
    good = np.zeros(measure.shape, int)
    for bad in (good[:-1], good.astype(float), good - 1):
        with pytest.raises(ValueError, match=f"{kind.__name__} wants the sum of what"):
            measure.scores(bad, ["road", "sky"])
    for names in (["road"], ["road", "road"]):
        with pytest.raises(ValueError, match="2 classes with different names"):
            measure.scores(good, names)


def test_iou_counts_and_mean_iou_of_pictures_equal_those_worked_by_hand():
    # Hits 3, 1, 3; labelled 4, 2, 4; predicted 3, 3, 4: see test_metrics.
    one = metrics.iou_counts([[3, 1, 0], [0, 1, 1], [0, 1, 3]])
    np.testing.assert_array_equal(one, [[3, 1, 3], [4, 2, 4], [3, 3, 4]])
    # Class 2 occurs in neither; class 1 is predicted and never labelled.
    two = metrics.iou_counts([[1, 1, 0], [0, 0, 0], [0, 0, 0]])
    found = metrics.mean_iou(np.stack([one, two, 0 * two]))
    np.testing.assert_allclose(found, [(0.75 + 0.25 + 0.6) / 3, (0.5 + 0) / 2, np.nan])
    np.testing.assert_allclose(metrics.iou(two), [0.5, 0, np.nan])
