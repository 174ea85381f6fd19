"""Models without random weights, for tests that set or do not use them."""

import contextlib
from unittest import mock

import keras
import numpy as np

_RANDOM = (
    *(keras.initializers.RandomNormal, keras.initializers.RandomUniform),
    *(keras.initializers.TruncatedNormal, keras.initializers.VarianceScaling),
)


@contextlib.contextmanager
def zeros():
    """Within the context, random initializers return zeros.

    Large weights are initialized quickly, and JAX compiles nothing for their shapes.
    """

    def call(self, shape, dtype=None, **_):
        del self
        return np.zeros(shape, dtype or "float32")

    with contextlib.ExitStack() as stack:
        for cls in _RANDOM:
            stack.enter_context(mock.patch.object(cls, "__call__", call))
        yield


@contextlib.contextmanager
def no_values():
    """Within the context, models are built whose variables have shapes but no values.

    It is several times as fast, for tests that count parameters.
    """
    with keras.StatelessScope(initialize_variables=False):
        yield
    # Otherwise the next scope would initialize the variables.
    keras.utils.clear_session(free_memory=False)
