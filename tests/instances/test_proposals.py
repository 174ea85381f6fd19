"""Selection of proposals."""

import numpy as np
import tensorflow as tf

from kerasseg.instances import proposals

SIZE = (100, 100)


def proposed(levels, **options):
    """Selects among levels of `(score, box)`, for one image; box codes are 0."""
    options = {"num_before": 10, "num_after": 10, **options}
    scores = [np.array([[score for score, _ in level]], "float32") for level in levels]
    anchors = [np.array([box for _, box in level], "float32") for level in levels]
    codes = [np.zeros((1, len(level), 4), "float32") for level in levels]
    return proposals.propose(scores, codes, anchors, SIZE, **options)


def scores_of(found):
    return np.array(found.scores)[np.array(found.valid)].tolist()


def test_duplicates_of_a_level_are_dropped_and_those_of_others_stay():
    box, near, far = [0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]
    # The IoU of the first two is 0.8. The other level has the same box.
    found = proposed([[(1, near), (2, box), (0, far)], [(1.5, box)]])
    assert scores_of(found) == [2, 1.5, 0]
    np.testing.assert_array_equal(found.boxes[0, :3], [box, box, far])
    assert np.array(found.valid).tolist() == [[True, True, True, False]]
    assert not np.any(found.boxes[0, 3])


def apart(*scores):
    return [(score, [20 * i, 0, 20 * i + 10, 10]) for i, score in enumerate(scores)]


def test_the_best_of_each_level_then_of_all_are_taken():
    levels = [apart(5, 4, 3), apart(2, 1)]
    # Two of each level: 5, 4, 2, 1; three of all: 5, 4, 2.
    found = proposed(levels, num_before=2, num_after=3)
    assert scores_of(found) == [5, 4, 2]
    assert found.boxes.shape == (1, 3, 4)


def test_boxes_are_clipped_and_those_with_too_short_sides_dropped():
    found = proposed(
        [[(3, [-10, -10, 20, 20]), (2, [100, 0, 120, 20]), (1, [50, 99.5, 90, 140])]],
        min_size=1,
    )
    # The second lies below the image, the third has 0.5 columns in it.
    assert scores_of(found) == [3]
    np.testing.assert_array_equal(found.boxes[0, 0], [0, 0, 20, 20])


def test_values_that_are_not_finite_are_dropped():
    boxes = np.array([[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]], "float32")
    scores = np.array([[np.nan, 1, 0]], "float32")
    codes = np.zeros((1, 3, 4), "float32")
    codes[0, 1, 2] = np.nan
    found = proposals.propose(
        [scores], [codes], [boxes], SIZE, num_before=3, num_after=3
    )
    assert scores_of(found) == [0]
    assert np.isfinite(found.boxes).all()
    np.testing.assert_array_equal(found.boxes[0, 0], boxes[2])


def test_box_codes_are_decoded_with_weights_of_1():
    # Half a height down, twice as wide.
    codes = np.array([[[0.5, 0, 0, np.log(2)]]], "float32")
    found = proposals.propose(
        [np.zeros((1, 1))],
        [codes],
        [np.array([[10, 10, 20, 20]])],
        SIZE,
        num_before=1,
        num_after=1,
    )
    np.testing.assert_allclose(found.boxes[0, 0], [15, 5, 25, 25], rtol=1e-6)


def test_the_number_of_anchors_may_be_unknown():
    spec = tf.TensorSpec
    signature = [spec((None, None)), spec((None, None, 4)), spec((None, 4))]

    @tf.function(input_signature=signature)
    def propose(scores, codes, anchors):
        found = proposals.propose(
            [scores], [codes], [anchors], SIZE, num_before=4, num_after=3
        )
        assert found.boxes.shape[1:] == (3, 4)
        return found

    for number in (2, 4, 9):
        level = apart(*range(number))
        boxes = np.array([box for _, box in level], "float32")
        scores = np.arange(number, dtype="float32")[None]
        found = propose(scores, np.zeros((1, number, 4), "float32"), boxes)
        known = proposed([level], num_before=4, num_after=3)
        assert scores_of(found) == scores_of(known)
        count = min(number, 3)
        np.testing.assert_array_equal(found.boxes[:, :count], known.boxes[:, :count])


def test_proposals_get_no_gradient():
    scores, codes = tf.constant([[1.0, 2.0]]), tf.zeros((1, 2, 4))
    boxes = tf.constant([[0.0, 0, 9, 9], [20, 0, 29, 9]])
    with tf.GradientTape() as tape:
        tape.watch([scores, codes])
        found = proposals.propose(
            [scores], [codes], [boxes], SIZE, num_before=2, num_after=2
        )
        total = tf.reduce_sum(found.boxes) + tf.reduce_sum(found.scores)
    assert tape.gradient(total, [scores, codes]) == [None, None]
