"""Targets of the mask head."""

import numpy as np
import tensorflow as tf

from kerasseg.instances import mask_targets, roi_align


def targets(rois, layers, ids, maps, *arguments, **options):
    found = mask_targets.mask_targets(
        np.array([rois], "float32"),
        np.array([layers]),
        np.array([ids]),
        np.array([maps], "int32"),
        *arguments,
        **options,
    )
    return np.array(found)[0]


def test_the_target_is_the_mask_within_the_proposal():
    layer = np.zeros((8, 8), int)
    layer[2:6, 2:6] = 5
    layer[0, 0] = 9
    # The proposal is twice the size of one cell per bin: rows 0 to 4, columns 4 to 8.
    # The object fills rows 2, 3 and columns 4, 5 of it: the bin at the lower left.
    found = targets([[0, 4, 4, 8]], [0], [5], [layer], 4, sampling_ratio=1)
    expected = np.zeros((4, 4))
    expected[2:, :2] = 1
    np.testing.assert_array_equal(found[0], expected)


def test_the_target_comes_from_the_proposal_and_not_from_the_object():
    layer = np.zeros((4, 8), int)
    layer[:, :4] = 1
    # The object is the left half of the proposal, and fills its own box.
    half, whole = targets([[0, 0, 4, 8], [0, 0, 4, 4]], [0, 0], [1, 1], [layer], 2)
    np.testing.assert_array_equal(half, [[1, 0], [1, 0]])
    np.testing.assert_array_equal(whole, np.ones((2, 2)))


def test_objects_that_overlap_are_in_different_layers():
    lower, upper = np.zeros((2, 4, 4), int)
    lower[:, :3], upper[:, 1:] = 1, 1
    rois, size = [[0, 0, 4, 4]] * 2, 4
    found = targets(rois, [0, 1], [1, 1], [lower, upper], size, sampling_ratio=1)
    np.testing.assert_array_equal(found[0], lower)
    np.testing.assert_array_equal(found[1], upper)


def test_without_an_object_the_target_is_0():
    layer = np.zeros((4, 4), int)  # The background has the number 0 too.
    assert not targets([[0, 0, 4, 4]], [0], [0], [layer], 2).any()


def test_edges_are_shares():
    layer = np.zeros((4, 4), int)
    layer[:, 1:] = 1
    # One bin for all; of its 2x2 samples, at 0.5 and 2.5 cells (unaligned 1 and 3), the
    # left ones are halfway between a cell of 0 and one of 1: (0.5 + 1) / 2.
    found = targets([[0, 0, 4, 4]], [0], [1], [layer], 1)
    np.testing.assert_allclose(found, [[[0.75]]])
    found = targets([[0, 0, 4, 4]], [0], [1], [layer], 1, aligned=False)
    np.testing.assert_allclose(found, [[[1]]])


def test_it_equals_roi_align_of_the_binary_masks_at_unknown_sizes():
    random = np.random.default_rng(0)
    maps = random.integers(0, 4, (2, 2, 13, 17)).astype("int32")
    layers, ids = random.integers(0, 2, (2, 9)), random.integers(1, 4, (2, 9))
    corner = random.uniform(-4, 12, (2, 9, 2))
    rois = np.concatenate([corner, corner + random.uniform(0, 12, (2, 9, 2))], axis=-1)

    @tf.function(input_signature=[tf.TensorSpec((None, 2, None, None), tf.int32)])
    def at_unknown_sizes(maps):
        return mask_targets.mask_targets(rois, layers, ids, maps, 5)

    found = np.array(at_unknown_sizes(maps))
    for i in range(2):
        for j in range(9):
            mask = (maps[i, layers[i, j]] == ids[i, j]).astype("float32")
            expected = roi_align.roi_align(
                mask[None, :, :, None], rois[None, i, j : j + 1], 5, stride=1
            )
            np.testing.assert_allclose(found[i, j], expected[0, 0, ..., 0], atol=1e-6)
