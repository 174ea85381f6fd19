"""How uncertain pixels are, and the order of images, with numbers worked by hand."""

import math

import numpy as np
import pytest

from kerasseg.inference.labeling import scores, selection

LOG2 = math.log(2)


def test_entropy_is_that_of_each_pixel():
    # Certain: 0. Two of four equally: log 2. All four: log 4.
    p = np.array([[[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4]], np.float32)
    assert scores.entropy(p).tolist() == [pytest.approx([0, LOG2, 2 * LOG2])]


def test_margin_is_one_minus_the_difference_of_the_two_largest():
    # 1 - (0.6 - 0.3) = 0.7; 1 - (1 - 0) = 0; 1 - (0.4 - 0.4) = 1.
    p = np.array([[[0.1, 0.6, 0.3], [0, 0, 1], [0.4, 0.2, 0.4]]], np.float32)
    assert scores.margin(p).tolist() == [pytest.approx([0.7, 0, 1])]


def test_disagreement_is_the_mean_divergence_from_the_mean_of_the_views():
    # First pixel: views (1, 0) and (0, 1) with the mean (1/2, 1/2); both have a
    # divergence of 1 log(1 / (1/2)) = log 2. Second pixel: both views are (1/4, 3/4).
    views = np.array([[[[1, 0], [0.25, 0.75]]], [[[0, 1], [0.25, 0.75]]]], np.float32)
    uncertainty, mean = scores.disagreement(iter(views))
    assert uncertainty.tolist() == [pytest.approx([LOG2, 0])]
    assert mean.tolist() == [[[0.5, 0.5], [0.25, 0.75]]]
    assert scores.largest("disagreement", 2, 2) == LOG2


def test_three_views_are_compared_with_their_mean():
    # Views (1, 0), (1, 0), (0, 1): mean (2/3, 1/3). (2 log(3/2) + log 3) / 3.
    views = np.array([[[[1, 0]]], [[[1, 0]]], [[[0, 1]]]], np.float32)
    uncertainty, _ = scores.disagreement(iter(views))
    expected = (2 * math.log(1.5) + math.log(3)) / 3
    assert uncertainty.item() == pytest.approx(expected)


def test_blocks_of_rows_are_joined():
    p = np.zeros((600, 1, 2), np.float32)
    p[..., 0] = 1
    p[300, 0] = 0.5
    found = scores.entropy(p)
    assert found.shape == (600, 1)
    assert np.flatnonzero(found).tolist() == [300]


def test_features_are_means_of_quarters_which_share_the_middle():
    # Rows 0..1 and 1..2, columns 0 and 1: (1 + 0) / 2, (1 + 1) / 2, (0 + 0) / 2,
    # (1 + 0) / 2 for the first class.
    first = np.array([[1, 1], [0, 1], [0, 0]], np.float32)
    found = scores.features(np.stack([first, 1 - first], -1))
    assert found.tolist() == [0.5, 0.5, 1, 0, 0, 1, 0.5, 0.5]
    assert scores.features(first[:1, :1, np.newaxis]).tolist() == [1] * 4


def test_the_most_uncertain_are_first_and_ties_are_by_name():
    order = selection.order_images(
        ["c", "b", "a"], [0.5, 0.7, 0.5], [[0.0]] * 3, count=1, diversity=False
    )
    assert order == [1, 2, 0]


def test_diversity_takes_the_farthest_of_the_most_uncertain():
    # "a" at 0 is first, then the farthest of the 10 candidates, "h" at 9.
    places = [0, 0, 4, 5, 6, 7, 8, 9, 1, 1, 99]
    names = list("abcdefghijk")
    uncertain = [1 - i / 100 for i in range(11)]
    features = [[float(x)] for x in places]

    def order(count):
        found = selection.order_images(
            names, uncertain, features, count=count, diversity=True
        )
        assert sorted(found) == list(range(11))
        return "".join(names[i] for i in found)

    assert order(2) == "ahbcdefgijk"  # "k" is not one of the 5 * 2 most uncertain.
    assert order(3) == "akhbcdefgij"  # 99 is a candidate now; then 9 is farthest.


def test_diversity_takes_equal_images_only_where_no_others_are_left():
    order = selection.order_images(
        ["a", "b", "c"], [3, 2, 1], [[0.0], [0.0], [1.0]], count=9, diversity=True
    )
    assert order == [0, 2, 1]
    assert selection.order_images([], [], [], count=1, diversity=True) == []
