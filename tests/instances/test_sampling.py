"""Random choice of anchors and RoIs."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kerasseg.instances import sampling


def sampled(labels, random, *arguments):
    """Samples from one image; returns indices, which are positive, which are valid."""
    found = sampling.sample(
        np.array([labels]), np.array([random], "float32"), *arguments
    )
    return [np.array(part)[0].tolist() for part in found]


def test_the_largest_numbers_win_and_positives_come_first():
    labels = [0, 1, -1, 1, 0, 1, 0]
    random = [0.1, 0.2, 0.9, 0.8, 0.7, 0.5, 0.3]
    # Half of 4 is 2 positives: numbers 3 and 5 (0.8, 0.5). Two negatives: 4, 6.
    assert sampled(labels, random, 4, 0.5) == [
        [3, 5, 4, 6],
        [True, True, False, False],
        [True, True, True, True],
    ]


def test_negatives_fill_up_and_too_few_are_padded():
    indices, positive, valid = sampled([0, 1, 0, -1, 0], [0.5] * 5, 4, 0.5)
    assert indices[0] == 1 and sorted(indices[1:]) == [0, 2, 4]
    assert positive == [True, False, False, False] and all(valid)
    # Positives do not replace negatives: 2 positives and 1 negative.
    indices, positive, valid = sampled([1, 1, 1, 1, 0], [0.5] * 5, 4, 0.5)
    assert indices[2] == 4
    assert positive == [True, True, False, False]
    assert valid == [True, True, True, False]


def test_a_sample_without_positives_or_with_a_share_below_one_is_negative():
    assert sampled([0, 0, -1], [0.1, 0.2, 0.3], 2, 0.5)[:2] == [[1, 0], [False, False]]
    assert sampled([1, 0, 0], [0.1, 0.2, 0.3], 2, 0.25)[:2] == [[2, 1], [False, False]]
    assert sampled([-1, -1], [0.1, 0.2], 2, 0.5)[1:] == [[False] * 2, [False] * 2]


@hypothesis.given(
    st.lists(st.sampled_from([-1, 0, 1]), min_size=4, max_size=12),
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.sampled_from([0.25, 0.5, 1.0]),
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_counts_are_as_stated(labels, seed, count, fraction):
    # Numbers that are often equal.
    random = np.random.default_rng(seed).integers(0, 3, len(labels)) / 3
    indices, positive, valid = sampled(labels, random, count, fraction)
    labels = np.array(labels)
    num_positives = min((labels > 0).sum(), int(count * fraction))
    assert sum(positive) == num_positives
    assert sum(valid) == min(num_positives + (labels == 0).sum(), count)
    chosen = [i for i, use in zip(indices, valid, strict=True) if use]
    assert len(set(chosen)) == len(chosen)
    values = [labels[i] for i in chosen]
    assert values == [1] * num_positives + [0] * (len(chosen) - num_positives)


def test_every_candidate_is_equally_probable():
    random = np.random.default_rng(0).uniform(size=(4000, 5)).astype("float32")
    labels = np.tile([0, 0, 0, 0, -1], (4000, 1))
    found = sampling.sample(labels, random, 2, 0.5)
    counts = np.bincount(np.array(found.indices).ravel(), minlength=5)
    # 8000 draws of four: 2000 each, with a deviation below 40.
    assert counts[4] == 0
    assert counts[:4] == pytest.approx([2000] * 4, abs=160)


BOXES = np.array([[[0, 0, 10, 10], [50, 50, 70, 70], [5, 5, 5, 9], [0, 0, 0, 0]]])
CLASSES, CROWD = np.array([[3, 1, 2, 0]]), np.array([[False, True, False, False]])


def rois(proposals, valid, count=4, random=None, **options):
    size = len(proposals) + 4
    random = np.full(size, 0.5) if random is None else random
    return sampling.sample_rois(
        np.array([proposals], "float32"),
        np.array([valid]),
        BOXES.astype("float32"),
        CLASSES,
        is_crowd=CROWD,
        random=np.array([random], "float32"),
        count=count,
        **options,
    )


def test_only_objects_are_added_to_the_proposals():
    # The proposal lies far away. Of the ground truth one object is added, but neither
    # the crowd, nor the box without area, nor the padding.
    found = rois([[200, 200, 210, 210]], [True])
    np.testing.assert_array_equal(
        np.array(found.boxes)[0, :2], [[0, 0, 10, 10], [200, 200, 210, 210]]
    )
    assert np.array(found.classes).tolist() == [[3, 0, 0, 0]]
    assert int(found.matched[0, 0]) == 0
    assert np.array(found.valid).tolist() == [[True, True, False, False]]


def test_padding_of_the_proposals_and_boxes_in_crowds_are_not_sampled():
    proposals = [[0, 0, 10, 10], [55, 55, 60, 60], [90, 90, 99, 99]]
    found = rois(proposals, [False, True, True])
    # Left: the added object and the last proposal.
    assert np.array(found.valid).sum() == 2
    np.testing.assert_array_equal(np.array(found.boxes)[0, 1], [90, 90, 99, 99])


def test_positives_are_limited_to_a_share():
    proposals = [[0, 0, 10, 10 - i / 10] for i in range(5)]  # All positive.
    found = rois(proposals, [True] * 5, count=8, positive_fraction=0.25)
    assert np.array(found.classes).tolist() == [[3, 3, 0, 0, 0, 0, 0, 0]]
    assert np.array(found.valid).sum() == 2
    assert sampling.max_positives(512, 0.25) == 128
