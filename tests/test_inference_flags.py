"""The CRF as flags of two commands, and as processes."""

import inspect
import sys

import numpy as np
import pytest
from absl import flags

from kerasseg import crf, inference_flags
from kerasseg.system import processes

InferenceFlags = inference_flags.InferenceFlags


def test_the_flags_have_the_defaults_of_the_function():
    parameters = inspect.signature(crf.dense_crf).parameters
    settings = InferenceFlags(crf=True).crf_settings()
    assert settings == {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.kind == parameter.KEYWORD_ONLY
    }
    for name, default in settings.items():
        assert flags.FLAGS[f"crf_{name}"].default == default


def test_without_the_crf_nothing_refines():
    assert InferenceFlags(iterations=-1).crf_settings() is None
    with InferenceFlags(iterations=-1).refiner() as refine:
        assert refine is None


def test_wrong_settings_are_errors_before_a_picture_is_refined():
    pytest.importorskip("pydensecrf.densecrf")
    with pytest.raises(ValueError, match="iterations=-1: give a whole number"):
        InferenceFlags(crf=True, iterations=-1).refiner()


def test_a_missing_extra_is_an_error_before_a_picture_is_refined(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.delitem(sys.modules, "kerasseg.crf.pydensecrf_engine", raising=False)
    with pytest.raises(ImportError, match=r"pip install kerasseg\[crf\]"):
        InferenceFlags(crf=True, engine="pydensecrf").refiner()


def test_processes_refine_as_the_function_does_and_in_order():
    pytest.importorskip("pydensecrf.densecrf")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 12, 16, 3), np.uint8)
    probabilities = rng.dirichlet(np.ones(4), (3, 12, 16)).astype(np.float32)
    settings = {"iterations": 3, "bilateral_srgb": 40.0}
    expected = [
        crf.dense_crf(image, chances, **settings).argmax(-1)
        for image, chances in zip(images, probabilities, strict=True)
    ]
    with InferenceFlags(crf=True, **settings).refiner() as refine:
        found = list(
            processes.in_order(
                lambda i: refine(images[i], probabilities[i]), range(3), num_threads=2
            )
        )
    np.testing.assert_array_equal(found, expected)
    assert found[0].dtype == np.uint8


def test_superpixels_average_what_the_network_says():
    pytest.importorskip("skimage")
    # Two halves of one colour each, two superpixels each: 0.9 in 6 of a half's 8
    # columns, 0.1 in the others, is 0.7 on average.
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, 8:] = 255
    chance = np.full((16, 16), 0.1, np.float32)
    chance[:, 2:8] = 0.9
    probabilities = np.stack([1 - chance, chance], axis=-1)
    expected = np.zeros((16, 16), np.uint8)
    expected[:, :8] = 1
    with InferenceFlags(superpixels=4).refiner() as refine:
        found = refine(image, probabilities)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8


def test_superpixels_and_the_crf_exclude_each_other():
    with pytest.raises(ValueError, match=r"`superpixels=9` and `crf` .* one of them"):
        InferenceFlags(superpixels=9, crf=True).refiner()


def test_a_wrong_number_of_superpixels_is_an_error_before_a_picture_is_averaged():
    pytest.importorskip("skimage")
    with pytest.raises(ValueError, match="count=-1"):
        InferenceFlags(superpixels=-1).refiner()
