import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import metrics
from tests.support import label_maps

NAMES = ["left", "right"]
SEEDS = st.integers(0, 2**32 - 1)


def edge(column, height=360, width=480):
    """Returns class 0 left of a column, class 1 from there on."""
    return np.broadcast_to(np.arange(width) >= column, (height, width)).astype("uint8")


def scores(measure, label, prediction, class_names=None):
    class_names = class_names or "abcdefgh"[: measure.num_classes]
    return measure.scores(measure.measure(label, prediction), class_names)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(1, 30), st.integers(1, 30), st.integers(1, 7))
def test_identical_maps_score_1(seed, height, width, blob):
    label, _ = label_maps.random_pair(seed, height=height, width=width, blob=blob)
    found = {}
    for measure in (metrics.BoundaryIoU, metrics.BoundaryF1, metrics.TrimapCurve):
        found |= scores(measure(4), label, label)
    values = [found["mean_boundary_iou"], found["bf_score"]]
    assert set(values + found["trimap"]["mean_iou"]) <= {1.0, None}
    if (label != label_maps.VOID).any():
        # The image border is a boundary for any classes.
        assert found["mean_boundary_iou"] == 1


def test_boundary_iou_of_a_shifted_edge_equals_that_worked_by_hand():
    found = scores(metrics.BoundaryIoU(2), edge(240), edge(243), NAMES)
    # The diagonal is 600, so d = 12; the image border counts. Left: label
    # 240 * 360 - (240 - 24) * (360 - 24) = 13824, prediction, three wider, 13896, both
    # 240 * 360 - 219 * 336 = 12816. Right: label 13824, prediction, three narrower,
    # 237 * 360 - 213 * 336 = 13752, both 237 * 360 - 216 * 336 = 12744.
    left, right = 12816 / (13824 + 13896 - 12816), 12744 / (13824 + 13752 - 12744)
    assert found["boundary_iou"] == {"left": left, "right": right}
    assert found["mean_boundary_iou"] == pytest.approx((left + right) / 2)


def test_boundary_iou_is_that_of_summed_pixels_and_not_a_mean_of_images():
    measure = metrics.BoundaryIoU(2)
    # d = 1. All pixels are in the band; IoU 1/2 and 4/4.
    total = measure.measure(np.uint8([[0, 0]]), np.uint8([[0, 1]]))
    total += measure.measure(np.uint8([[0, 0, 0, 0]]), np.uint8([[0, 0, 0, 0]]))
    found = measure.scores(total, NAMES)
    assert found["boundary_iou"] == {"left": 5 / 6, "right": 0.0}
    assert found["mean_boundary_iou"] == pytest.approx(5 / 12)


@settings(max_examples=30, deadline=None)
@given(
    SEEDS,
    st.sampled_from([(1, 1), (9, 7), (2, 130), (12, 180)]),
    st.sampled_from([1, 9]),
)
def test_boundary_iou_equals_that_of_eroded_masks(seed, size, blob):
    height, width = size
    label, prediction = label_maps.random_pair(
        seed, height=height, width=width, blob=blob
    )
    band = max(round(0.02 * np.hypot(height, width)), 1)
    square = np.ones((2 * band + 1, 2 * band + 1), "uint8")
    expected = np.zeros((3, 4), int)
    for number in range(4):
        bands = []
        for classes in (label, prediction):
            mask = ((classes == number) & (label != label_maps.VOID)).astype("uint8")
            padded = cv2.copyMakeBorder(mask, *[band] * 4, cv2.BORDER_CONSTANT)
            inside = cv2.erode(padded, square)[band:-band, band:-band]
            bands.append((mask - inside).astype(bool))
        both = bands[0] & bands[1]
        expected[:, number] = [np.count_nonzero(b) for b in (both, *bands)]
    found = metrics.BoundaryIoU(4).measure(label, prediction)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("shift", "score"), [(3, 1.0), (4, 1.0), (5, 0.0)])
def test_bf_score_is_1_for_a_shift_below_the_tolerance(shift, score):
    # 0.75 % of the diagonal of 600 is 4.5 pixels.
    found = scores(metrics.BoundaryF1(2), edge(240), edge(240 + shift), NAMES)
    assert found["bf_score"] == score
    assert found["bf_score_by_class"] == {"left": score, "right": score}


@pytest.mark.parametrize(("shift", "score"), [(2, 1.0), (3, 0.0)])
def test_bf_score_is_0_for_a_shift_of_the_tolerance(shift, score):
    # 0.75 % of the diagonal of 400 is 3 pixels.
    found = scores(
        metrics.BoundaryF1(2), edge(160, 240, 320), edge(160 + shift, 240, 320)
    )
    assert found["bf_score"] == score


def test_bf_score_is_a_mean_over_classes_then_images():
    measure = metrics.BoundaryF1(3)
    half = edge(240)
    # The lower half of class 0 is missed; class 2 does not occur. The true boundary of
    # class 0 is one column of 360 pixels, the predicted one 180 of these and a row of
    # 239 more. The common 180 match, and those less than 4.5 away: 4 below, 4 beside.
    missed = half.copy()
    missed[180:] = 1
    one = measure.measure(half, missed)
    precision, recall = 184 / (180 + 239), 184 / 360
    left = 2 * precision * recall / (precision + recall)
    total = one + measure.measure(half, half)
    found = measure.scores(total, "abc")
    assert found["bf_score_by_class"]["a"] == pytest.approx((left + 1) / 2)
    assert found["bf_score_by_class"]["c"] is None
    # The mean over the two classes of the image, then over the two images.
    right = measure.scores(one, "abc")["bf_score_by_class"]["b"]
    assert found["bf_score"] == pytest.approx(((left + right) / 2 + 1) / 2)


def test_a_class_only_predicted_has_bf_score_0_and_one_without_boundary_none():
    measure = metrics.BoundaryF1(3)
    label, prediction = np.zeros((5, 5), "uint8"), np.zeros((5, 5), "uint8")
    prediction[2, 2] = 1
    found = scores(measure, label, prediction)
    assert found["bf_score_by_class"] == {"a": 0.0, "b": 0.0, "c": None}
    assert found["bf_score"] == 0
    assert scores(measure, label, label)["bf_score"] is None


def naive_boundary(regions, number):
    """Returns the pixels of a class next to a pixel of the image that is not."""
    mask = np.asarray(regions) == number
    padded = np.pad(mask, 1, mode="edge")
    beside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~beside)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from([(1, 1), (11, 13), (3, 420), (560, 4)]))
def test_bf_score_equals_the_distances_of_all_pairs(seed, size):
    height, width = size
    label, prediction = label_maps.random_pair(seed, height=height, width=width, blob=5)
    predicted = np.where(label == label_maps.VOID, label_maps.VOID, prediction)
    tolerance, expected = 0.0075 * np.hypot(height, width), {}
    for number in range(4):
        boundaries = naive_boundary(label, number), naive_boundary(predicted, number)
        if not any(map(len, boundaries)):
            continue
        expected[number] = 0.0
        if all(map(len, boundaries)):
            distances = ((boundaries[0][:, None] - boundaries[1][None]) ** 2).sum(-1)
            close = distances < tolerance**2
            recall, precision = close.any(1).mean(), close.any(0).mean()
            if recall:
                expected[number] = 2 * precision * recall / (precision + recall)
    found = scores(metrics.BoundaryF1(4), label, prediction, [0, 1, 2, 3])
    for number in range(4):
        value = found["bf_score_by_class"][number]
        assert value == pytest.approx(expected.get(number), abs=1e-11)
    mean = np.mean(list(expected.values())) if expected else None
    assert found["bf_score"] == pytest.approx(mean, abs=1e-11)


def test_trimap_curve_of_a_shifted_edge_equals_that_worked_by_hand():
    found = scores(metrics.TrimapCurve(2), edge(240), edge(243), NAMES)["trimap"]
    assert found["width"] == list(range(1, 41))
    # Up to 3 pixels from the edge, all is predicted as left: IoU w / 2w and 0.
    assert found["mean_iou"][:3] == [0.25, 0.25, 0.25]
    # Beyond, w pixels of a row are left, w right, and 3 of these are predicted as left.
    expected = [(w / (w + 3) + (w - 3) / w) / 2 for w in range(4, 41)]
    assert found["mean_iou"][3:] == pytest.approx(expected)
    assert found["pixels"] == [360 * 2 * w for w in range(1, 41)]


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from([(1, 1), (1, 60), (20, 30)]), st.sampled_from([1, 8]))
def test_trimap_curve_counts_pixels_with_another_label_in_their_square(
    seed, size, blob
):
    height, width = size
    label, prediction = label_maps.random_pair(
        seed, height=height, width=width, blob=blob
    )
    found = metrics.TrimapCurve(4).measure(label, prediction).cumsum(axis=0)
    for reach in (1, 2, 3, 10, 40):
        # Pixels outside the image do not count as another label.
        around = label_maps.windows(label, reach, outside=-1)
        other = (around != label[..., None, None]) & (around >= 0)
        near = other.any(axis=(2, 3)) & (label != label_maps.VOID)
        correct = near & (label == prediction)
        expected = [
            np.bincount(kind, minlength=4)
            for kind in (label[correct], label[near], prediction[near])
        ]
        np.testing.assert_array_equal(found[reach - 1], expected)


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_trimap_curve_of_ringed_objects_dilates_the_rings(seed):
    random = np.random.default_rng(seed)
    label = np.zeros((60, 80), "uint8")
    for number in (1, 2):
        center = tuple(map(int, random.integers(10, 50, 2)))
        cv2.circle(label, center, 8, number, -1)
        cv2.circle(label, center, 8, label_maps.VOID, 3)
    prediction = np.roll(label, 2, axis=1)
    prediction[prediction == label_maps.VOID] = 0
    found = metrics.TrimapCurve(3).measure(label, prediction).cumsum(axis=0)
    ring = (label == label_maps.VOID).astype("uint8")
    for width in (1, 2, 5, 17, 40):
        square = np.ones((2 * width + 1, 2 * width + 1), "uint8")
        near = (cv2.dilate(ring, square) > 0) & (ring == 0)
        confusion = np.zeros((3, 3), int)
        np.add.at(confusion, (label[near], prediction[near]), 1)
        np.testing.assert_array_equal(
            found[width - 1], metrics.iou_counts(confusion), err_msg=str(width)
        )


def test_the_curve_is_over_the_classes_near_a_boundary():
    label = edge(50, height=2, width=100)
    label[:, 99] = 2
    found = scores(metrics.TrimapCurve(3), label, label)["trimap"]["mean_iou"]
    assert found == [1.0] * 40
    # Without any boundary, there is no pixel at any width.
    found = scores(metrics.TrimapCurve(3), label * 0, label * 0)["trimap"]
    assert found["mean_iou"] == [None] * 40
    assert found["pixels"] == [0] * 40
