import json

import numpy as np
import pytest

from kerasseg import errors, metrics

NAMES = ["road", "sky", "tram"]


def random_counts(seed, images=12, num_classes=3):
    random = np.random.default_rng(seed)
    confusions = random.integers(0, 50, (images, num_classes, num_classes))
    confusions += 100 * np.eye(num_classes, dtype=int)
    return np.stack([metrics.iou_counts(confusion) for confusion in confusions])


def naive_resamples(tables):
    """Yields the IoUs by class of each table of counts, for each resample."""
    generator, size = np.random.default_rng(0), len(tables[0])
    for _ in range(1000):
        times = generator.multinomial(size, [1 / size] * size)
        resample = [i for i in range(size) for _ in range(times[i])]
        found = []
        for table in tables:
            hits, labeled, predicted = sum(table[i] for i in resample)
            union = labeled + predicted - hits
            found.append(
                [h / u if u else np.nan for h, u in zip(hits, union, strict=True)]
            )
        yield found


def test_the_interval_equals_that_of_a_naive_loop():
    counts = random_counts(1)
    counts[1:, :, 2] = 0  # The third class occurs in one image only.
    found = metrics.interval(counts, NAMES)
    resamples = np.array([iou for (iou,) in naive_resamples([counts])])
    low, high = np.percentile(np.nanmean(resamples, axis=1), [2.5, 97.5])
    total = metrics.mean_iou(counts.sum(axis=0))
    expected = {"value": float(total), "low": low, "high": high}
    assert found["mean_iou"] == pytest.approx(expected)
    for number, name in enumerate(NAMES):
        values = resamples[~np.isnan(resamples[:, number]), number]
        assert found["iou"][name]["low"] == pytest.approx(np.percentile(values, 2.5))
        assert found["iou"][name]["high"] == pytest.approx(np.percentile(values, 97.5))
    assert (found["level"], found["resamples"], found["pictures"]) == (0.95, 1000, 12)


def test_the_paired_interval_equals_that_of_a_naive_loop():
    counts, other = random_counts(1), random_counts(2)
    other[:, 1] = counts[:, 1]
    other[:, 0] = counts[:, 0] - 5
    found = metrics.paired_interval(counts, other, NAMES)
    resamples = np.array(list(naive_resamples([counts, other])))
    for number, name in enumerate([None, *NAMES]):
        one, two = (
            d.mean(-1) if name is None else d[:, number - 1]
            for d in resamples.swapaxes(0, 1)
        )
        low, high = np.percentile(one - two, [2.5, 97.5])
        part = found["iou"][name] if name else found["mean_iou"]
        assert part["low"] == pytest.approx(low)
        assert part["high"] == pytest.approx(high)
        assert part["above_zero"] == np.mean(one > two)
    totals = metrics.mean_iou(counts.sum(0)), metrics.mean_iou(other.sum(0))
    assert found["mean_iou"]["value"] == pytest.approx(totals[0] - totals[1])


def test_the_pooled_interval_is_that_of_the_mean_difference():
    runs = [random_counts(seed) for seed in range(4)]
    for run in runs[1:]:
        run[:, 1] = runs[0][:, 1]
        run[:, 0] = np.minimum(run[:, 0], runs[0][:, 1])
    pairs = [(runs[0], runs[1]), (runs[2], runs[3])]
    found = metrics.pooled_interval(pairs, NAMES)["mean_iou"]
    means = np.array(list(naive_resamples(runs))).mean(axis=2).T
    samples = (means[0] - means[1] + means[2] - means[3]) / 2
    low, high = np.percentile(samples, [2.5, 97.5])
    values = [metrics.paired_interval(*pair, NAMES)["mean_iou"] for pair in pairs]
    expected = {
        "value": np.mean([each["value"] for each in values]),
        "low": low,
        "high": high,
        "above_zero": np.mean(samples > 0),
    }
    assert found == pytest.approx(expected)
    with pytest.raises(errors.UserError, match="at least one pair"):
        metrics.pooled_interval([], NAMES)
    with pytest.raises(errors.UserError, match="12 and 11"):
        metrics.pooled_interval([pairs[0], (runs[2][1:], runs[3][1:])], NAMES)


def test_the_interval_of_two_images_equals_that_worked_by_hand():
    # One pixel of "road" each, correct in the first and missed in the second. A quarter
    # of the resamples have only the first, IoU 1, a quarter only the second, IoU 0.
    counts = np.array([[[1], [1], [1]], [[0], [1], [0]]])
    found = metrics.interval(counts, ["road"])
    assert found["mean_iou"] == {"value": 0.5, "low": 0.0, "high": 1.0}
    assert found["iou"] == {"road": found["mean_iou"]}


def test_equal_images_have_an_interval_of_width_0():
    counts = np.repeat(random_counts(0, images=1), 7, axis=0)
    for name, found in metrics.interval(counts, NAMES)["iou"].items():
        assert found["low"] == found["high"] == found["value"], name
    same = metrics.paired_interval(counts, counts, NAMES)["mean_iou"]
    assert same == {"value": 0.0, "low": 0.0, "high": 0.0, "above_zero": 0.0}


def test_a_run_that_is_better_on_every_image_is_always_above():
    counts, worse = random_counts(3), random_counts(3)
    worse[:, 0] -= 20
    found = metrics.paired_interval(counts, worse, NAMES)["mean_iou"]
    assert found["above_zero"] == 1
    assert 0 < found["low"] < found["value"] < found["high"]
    # The difference varies less than either run: the resamples are the same.
    alone = metrics.interval(counts, NAMES)["mean_iou"]
    assert found["high"] - found["low"] < alone["high"] - alone["low"]


def test_classes_that_never_occur_have_no_interval():
    counts = random_counts(4)
    counts[:, :, 1] = 0
    found = metrics.interval(counts, NAMES)
    assert found["iou"]["sky"] is None
    assert json.loads(json.dumps(found)) == found
    # Only the other run predicts "sky", which is never labeled.
    other = counts.copy()
    other[0, 2, 1] = 3
    found = metrics.paired_interval(counts, other, NAMES)
    assert found["iou"]["sky"] is None
    assert found["mean_iou"]["above_zero"] < 1
    assert json.loads(json.dumps(found)) == found


def test_images_without_a_label_have_no_interval():
    nothing = np.zeros((3, 3, 3), int)
    assert metrics.interval(nothing, NAMES)["mean_iou"] is None
    assert metrics.paired_interval(nothing, nothing, NAMES)["mean_iou"] is None


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.zeros((0, 3, 3), int), "of at least one image"),
        (np.zeros((5, 3, 2), int), r"\[images, 3, 3\].*got int64 \(5, 3, 2\)"),
        (np.zeros((3, 3), int), r"\[images, 3, 3\]"),
        (np.zeros((5, 3, 3)), "integers.*got float64"),
        (np.full((5, 3, 3), -1), "at least 0"),
    ],
)
def test_wrong_counts_are_errors(counts, message):
    with pytest.raises(ValueError, match=message):
        metrics.interval(counts, NAMES)
    with pytest.raises(ValueError, match=message):
        metrics.paired_interval(random_counts(0), counts, NAMES)


def test_runs_on_different_images_cannot_be_compared():
    counts = random_counts(0)
    with pytest.raises(ValueError, match="same images, got 12 and 11"):
        metrics.paired_interval(counts, counts[1:], NAMES)
    swapped = counts[[0, 2, 1, *range(3, 12)]]
    with pytest.raises(ValueError, match="2 of 12 differ, the first at index 1"):
        metrics.paired_interval(counts, swapped, NAMES)
