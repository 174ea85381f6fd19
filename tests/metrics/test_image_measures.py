"""Promises of every registered measure of images."""

import json
from concurrent import futures

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import metrics
from kerasseg.system import registry
from tests.support import label_maps

MEASURES = [metrics.Confusion, *metrics.MEASURES.values()]
every_measure = pytest.mark.parametrize("kind", MEASURES)
SEEDS = st.integers(0, 2**32 - 1)


def sample(seed, height=17, width=23, blob=3):
    label, prediction = label_maps.random_pair(
        seed, height=height, width=width, blob=blob
    )
    confidence = np.random.default_rng(seed).uniform(0.25, 1, label.shape)
    return label, prediction, confidence.astype("float32")


@every_measure
def test_counts_are_integers_of_the_stated_shape_and_scores_fit_json(kind):
    measure = kind(4)
    counts = measure.measure(*sample(0))
    assert (counts.shape, counts.dtype) == (measure.shape, np.int64)
    scores = measure.scores(counts, "abcd")
    assert json.loads(json.dumps(scores)) == scores


@every_measure
def test_order_and_number_of_threads_change_nothing(kind):
    measure = kind(4)
    samples = [sample(seed, height=5 + seed) for seed in range(40)]
    with futures.ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda given: measure.measure(*given), samples))
    one_by_one = [measure.measure(*given) for given in reversed(samples)]
    assert measure.scores(sum(threaded), "abcd") == measure.scores(
        sum(one_by_one), "abcd"
    )


@every_measure
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_predictions_at_ignored_pixels_never_count(kind, seed):
    label, prediction, confidence = sample(seed)
    random, ignored = np.random.default_rng(seed), label == label_maps.VOID
    other = np.where(ignored, random.integers(-9, 300, label.shape), prediction)
    other_confidence = np.where(ignored, np.nan, confidence)
    counts = kind(4).measure(label, other, other_confidence)
    expected = kind(4).measure(label, prediction, confidence)
    np.testing.assert_array_equal(counts, expected)


@every_measure
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_a_flipped_or_transposed_image_counts_the_same(kind, seed):
    given = sample(seed)
    expected = kind(4).measure(*given)
    for change in (np.fliplr, np.flipud, np.transpose):
        np.testing.assert_array_equal(kind(4).measure(*map(change, given)), expected)


@every_measure
def test_types_and_ignore_label_do_not_matter(kind):
    label, prediction, confidence = sample(3)
    expected = kind(4).measure(label, prediction, confidence)
    label = np.where(label == label_maps.VOID, -1, label.astype("int64"))
    found = kind(4, ignore_label=-1).measure(
        label, prediction.astype("uint16"), confidence.astype("float64")
    )
    np.testing.assert_array_equal(found, expected)


@every_measure
@pytest.mark.parametrize("num_classes", [253, 254, 255, 256, 1000])
def test_the_number_of_classes_does_not_matter(kind, num_classes):
    label, prediction, confidence = sample(5)
    few = kind(4, ignore_label=7)
    label = label.astype("int64")
    label[label == label_maps.VOID] = 7
    expected = few.scores(few.measure(label, prediction, confidence), "abcd")
    shift = num_classes - 4
    many = kind(num_classes, ignore_label=0)
    moved = np.where(label == 7, 0, label + shift)
    names = [f"no{i}" for i in range(shift)] + list("abcd")
    found = many.measure(moved, prediction + shift, confidence)
    found = many.scores(found, names)
    for name, value in expected.items():
        if isinstance(value, dict) and "a" in value:
            assert {n: found[name][n] for n in "abcd"} == value
        else:
            single = isinstance(value, float)  # Summed in another order.
            assert found[name] == (pytest.approx(value) if single else value)


@every_measure
def test_an_image_can_have_one_pixel(kind):
    measure = kind(2)
    found = measure.measure(np.uint8([[1]]), np.uint8([[1]]), np.float32([[0.5]]))
    scores = measure.scores(found, ["road", "sky"])
    if kind is metrics.BoundaryIoU:
        assert scores["boundary_iou"] == {"road": None, "sky": 1.0}
    if kind in (metrics.BoundaryF1, metrics.TrimapCurve):
        assert not found.any()  # A single pixel has no boundary.


@every_measure
def test_an_image_of_ignored_pixels_adds_nothing(kind):
    label, prediction, confidence = sample(1)
    found = kind(4).measure(np.full_like(label, 255), prediction, confidence)
    assert not found.any()


def test_scores_of_a_split_without_labels_are_none():
    nothing = {}
    for kind in metrics.MEASURES.values():
        nothing |= kind(2).scores(np.zeros(kind(2).shape, int), ["road", "sky"])
    classes = {"road": None, "sky": None}
    assert nothing["mean_boundary_iou"] is nothing["bf_score"] is None
    assert nothing["boundary_iou"] == nothing["bf_score_by_class"] == classes
    assert nothing["expected_calibration_error"] is None
    assert nothing["reliability"]["accuracy"] == [None] * 15
    assert nothing["trimap"]["mean_iou"] == [None] * 40


def worst_and_best(kind):
    """Returns scores of a prediction without and with only correct pixels."""
    label = sample(7)[0]
    classes = np.minimum(label, 3)
    sure = np.ones(label.shape, "float32")
    wrong = kind(4).measure(label, (classes + 1) % 4, sure)
    right = kind(4).measure(label, classes, sure)
    return [kind(4).scores(counts, "abcd") for counts in (wrong, right)]


@pytest.mark.parametrize("kind", metrics.MEASURES.values())
def test_titled_scores_are_from_0_to_1_and_tell_right_from_wrong(kind):
    worst, best = worst_and_best(kind)
    keys = [*kind.titles, *(score.mean_key for score in kind.class_scores)]
    for key in keys:
        assert 0 <= worst[key] <= 1 and 0 <= best[key] <= 1
        assert worst[key] != best[key]
    for score in kind.class_scores:
        assert list(best[score.key]) == list("abcd")
        assert score.mean_key in kind.titles


@pytest.mark.parametrize("kind", metrics.MEASURES.values())
def test_the_table_shows_the_scores(kind):
    label, prediction, _ = sample(0)
    confusion = metrics.Confusion(4)
    plain = confusion.scores(confusion.measure(label, prediction), "abcd")
    worst, best = (metrics.table(plain | scores) for scores in worst_and_best(kind))
    assert len({metrics.table(plain), worst, best}) == 3


def test_measures_are_named_without_an_import_of_keras():
    assert list(metrics.MEASURES) == registry.names_in("kerasseg.metrics")
    known = ["boundary_iou", "bf_score", "trimap", "calibration"]
    assert [name for name in metrics.MEASURES if name in known] == known


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_the_host_counts_the_same_pairs_as_keras(seed):
    label, prediction, _ = sample(seed)
    found = metrics.Confusion(4).measure(label, prediction)
    expected = np.asarray(metrics.confusion_matrix(label, prediction, 4))
    np.testing.assert_array_equal(found, expected)
    assert metrics.Confusion(4).scores(found, "abcd")["mean_iou"] == pytest.approx(
        metrics.scores(expected, "abcd")["mean_iou"], nan_ok=True
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
def test_wrong_arrays_are_errors(kind, label, prediction, message):
    confidence = np.ones(np.shape(label))
    with pytest.raises(ValueError, match=message):
        kind(2).measure(label, prediction, confidence)


@every_measure
def test_wrong_sums_and_names_are_errors(kind):
    measure = kind(2)
    good = np.zeros(measure.shape, int)
    for bad in (good[:-1], good.astype(float), good - 1):
        with pytest.raises(ValueError, match=f"{kind.__name__} expects the sum of the"):
            measure.scores(bad, ["road", "sky"])
    for names in (["road"], ["road", "road"]):
        with pytest.raises(ValueError, match="`class_names` must be 2 different names"):
            measure.scores(good, names)


def test_iou_counts_and_mean_iou_of_images_equal_those_worked_by_hand():
    # Correct 3, 1, 3; labeled 4, 2, 4; predicted 3, 3, 4: see test_metrics.
    one = metrics.iou_counts([[3, 1, 0], [0, 1, 1], [0, 1, 3]])
    np.testing.assert_array_equal(one, [[3, 1, 3], [4, 2, 4], [3, 3, 4]])
    # Class 2 occurs in neither; class 1 is predicted and never labeled.
    two = metrics.iou_counts([[1, 1, 0], [0, 0, 0], [0, 0, 0]])
    found = metrics.mean_iou(np.stack([one, two, 0 * two]))
    np.testing.assert_allclose(found, [(0.75 + 0.25 + 0.6) / 3, (0.5 + 0) / 2, np.nan])
    np.testing.assert_allclose(metrics.iou(two), [0.5, 0, np.nan])
