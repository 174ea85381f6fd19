"""Small networks of every architecture, built once in each test process."""

import functools
import json
from collections.abc import Iterable

import keras
import pytest

from kerasseg import models

NUM_CLASSES = 5
_QUICK = ("deeplab_v3_plus", "fcn_8s", "segformer_b0", "unet")


def others_slow(names: Iterable[str], quick: tuple[str, ...] = _QUICK) -> list:
    """Returns parameters of a test that takes seconds for each name.

    Only `quick` are tested by default, the others with -m slow.
    """
    marks = {name: [] if name in quick else [pytest.mark.slow] for name in names}
    return [pytest.param(name, marks=marks[name]) for name in marks]


@functools.cache
def small(name: str) -> keras.Model:
    """Builds a model with its test options, always with the same weights and names."""
    keras.backend.clear_session(free_memory=False)  # Numbers in names start at 0.
    keras.utils.set_random_seed(0)
    return models.build_model(name, NUM_CLASSES, **models.metadata(name).test_options)


@functools.cache
def same_as(name: str) -> str:
    """Returns the first architecture whose network with test options is the same.

    Variants of a family, such as segformer_b0 to segformer_b5, differ only in options
    which their test options make equal. Whatever depends on layers and weights only
    needs to be computed for one of them.
    """
    config = _config(name)
    return next(
        other for other in models.list_models("semantic") if _config(other) == config
    )


@functools.cache
def _config(name):
    config = small(name).get_config()
    del config["name"]
    return json.dumps(config, sort_keys=True, default=str)
