"""Selection of rows by index."""

import numpy as np
import tensorflow as tf

from kerasseg.instances import gathering


def test_rows_are_those_of_the_same_image():
    values = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    found = gathering.rows(values, np.array([[1, 1, 0], [0, 1, 0]]))
    expected = [[[3, 4], [3, 4], [1, 2]], [[5, 6], [7, 8], [5, 6]]]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        gathering.rows(values[..., 0], [[1], [0]]), [[3], [5]]
    )


def test_the_numbers_of_images_and_rows_may_be_unknown():
    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, 2)),
            tf.TensorSpec((None, 3), "int32"),
        ]
    )
    def rows(values, indices):
        found = gathering.rows(values, indices)
        assert found.shape[1:] == (3, 2)
        return found

    values = np.arange(8, dtype="float32").reshape(2, 2, 2)
    np.testing.assert_array_equal(rows(values, [[0, 1, 1], [1, 0, 0]])[1, 0], [6, 7])
