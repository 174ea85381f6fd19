"""Scores of image-level classes, worked by hand."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kerasseg.metrics import tags

# The third class is shown by no image.
TAGS = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]])
SCORES = np.array([[2.0, -1, -9], [1, 3, -9], [0.5, 3, 4], [-1, 3, -9]])


def test_average_precision_is_the_mean_precision_at_each_image_of_a_class():
    # Class 0, ranked: images 0 (shows it), 1, 2 (shows it), 3: (1/1 + 2/3) / 2 = 5/6.
    # Class 1: images 1, 2 and 3 have the same score, so that 2 of 3 are correct: 2/3.
    computed = tags.tag_scores(TAGS, SCORES)
    np.testing.assert_allclose(computed.average_precision, [5 / 6, 2 / 3, np.nan])
    assert computed.mean_ap == pytest.approx(3 / 4)
    # Above 0: class 0 images 0, 1, 2 (2 correct); class 1 images 1, 2, 3 (2 correct);
    # class 2 image 2. TP 4, FP 3, FN 0: 8 / 11.
    assert computed.f1 == pytest.approx(8 / 11)


def test_without_a_class_there_are_no_scores():
    computed = tags.tag_scores(np.zeros((2, 1)), -np.ones((2, 1)))
    assert np.isnan(computed.mean_ap) and np.isnan(computed.f1)


@hypothesis.given(
    arrays.arrays(bool, (6, 2)),
    arrays.arrays("float64", (6, 2), elements=st.integers(-3, 3)),
)
def test_scores_lie_between_0_and_1_and_are_1_for_the_tags_themselves(shown, scores):
    for each in tags.tag_scores(shown, scores)[1:]:
        assert np.isnan(each) or 0 <= each <= 1
    perfect = tags.tag_scores(shown, np.where(shown, 1.0, -1.0))
    if shown.any():
        assert perfect.mean_ap == perfect.f1 == 1
