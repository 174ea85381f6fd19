"""The rule from logits to probabilities and masks, by hand."""

import numpy as np
import pytest
from keras import ops

from kerasseg import errors
from kerasseg.images import class_rules
from kerasseg.images.class_rules import DEFAULT_RULE, ClassRule

Z = np.log(3.0)  # sigmoid(log 3) = 3 / (3 + 1) = 0.75.


@pytest.mark.parametrize("xp", [np, ops])
def test_a_single_logit_is_that_of_class_1_against_class_0(xp):
    logits = np.array([[Z], [-Z], [0]], "float32")
    both = class_rules.class_logits(xp.array(logits), xp)
    np.testing.assert_allclose(np.asarray(both), [[0, Z], [0, -Z], [0, 0]], rtol=1e-6)
    probabilities = np.asarray(DEFAULT_RULE.probabilities(both, ops))
    np.testing.assert_allclose(
        probabilities, [[0.25, 0.75], [0.75, 0.25], [0.5, 0.5]], rtol=1e-6
    )
    # Equal probabilities are class 0, with and without a threshold.
    for rule in (DEFAULT_RULE, ClassRule(thresholds=(0.5,))):
        assert np.asarray(rule.mask(xp.array(probabilities), xp)).tolist() == [1, 0, 0]


@pytest.mark.parametrize("xp", [np, ops])
def test_a_threshold_decides_between_two_classes(xp):
    probabilities = np.array([[[0.3, 0.7], [0.2, 0.8]]], "float32")
    rule = ClassRule(thresholds=(0.75,))
    assert np.asarray(rule.mask(xp.array(probabilities), xp)).tolist() == [[0, 1]]
    confidence = np.asarray(rule.confidence(xp.array(probabilities), xp))
    np.testing.assert_allclose(confidence, [[0.3, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("xp", [np, ops])
def test_multi_label_masks_have_the_bits_of_the_classes(xp):
    rule = ClassRule(multi_label=True)
    logits = np.array([[-1, -1, -1], [1, -1, 1], [0, 1, 0]], "float32")
    probabilities = np.array(rule.probabilities(xp.array(logits), ops))
    # sigmoid(1) = 0.731; classes 0, 1, 2 are 2, 4, 8.
    assert probabilities[1, 0] == pytest.approx(0.731, abs=1e-3)
    assert np.asarray(rule.mask(xp.array(probabilities), xp)).tolist() == [0, 10, 4]
    strict = ClassRule(True, (0.5, 0.8, 0.2))
    assert np.asarray(strict.mask(xp.array(probabilities), xp)).tolist() == [8, 10, 8]


def test_masks_of_images_are_computed_row_by_row():
    rng = np.random.default_rng(1)
    probabilities = rng.random((300, 2, 3)).astype("float32")
    for rule in (DEFAULT_RULE, ClassRule(multi_label=True)):
        mask = rule.mask_of_rows(probabilities)
        assert mask.dtype == rule.mask_dtype
        np.testing.assert_array_equal(mask, rule.mask(probabilities))


def test_the_number_of_logits_follows_from_the_activation():
    assert class_rules.num_logits(3, "softmax") == 3
    assert class_rules.num_logits(2, "sigmoid") == 1
    assert class_rules.num_logits(3, "sigmoid", multi_label=True) == 3
    assert [class_rules.num_classes(n) for n in (1, 2, 3)] == [2, 2, 3]
    with pytest.raises(errors.UserError, match="have 3 classes that exclude each"):
        class_rules.num_logits(3, "sigmoid")
    with pytest.raises(errors.UserError, match="Give `activation=sigmoid`"):
        class_rules.num_logits(3, "softmax", multi_label=True)


def test_wrong_thresholds_are_refused():
    with pytest.raises(errors.UserError, match="must be at least 0 and below 1"):
        ClassRule(thresholds=(1.5,))
    ClassRule(thresholds=(0.5,)).check(2)
    with pytest.raises(errors.UserError, match="expected 0 numbers for a network of 3"):
        ClassRule(thresholds=(0.5,)).check(3)
    with pytest.raises(errors.UserError, match="expected 3 numbers"):
        ClassRule(True, (0.5,)).check(3)


@pytest.mark.parametrize(
    "rule", [DEFAULT_RULE, ClassRule(thresholds=(0.25,)), ClassRule(True, (0.5, 0.75))]
)
def test_rules_are_stored_as_json(rule):
    assert ClassRule.from_json({"other": 1, **rule.to_json()}) == rule
