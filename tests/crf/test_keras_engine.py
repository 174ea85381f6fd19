"""The Keras engine of the dense CRF against an exact mean field and pydensecrf."""

import os
import pathlib

import cv2
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import crf
from kerasseg.crf import keras_engine
from kerasseg.system import memory
from tests.support import exact_crf, faults
from tests.support.exact_crf import CHANCES, ROW

PLAIN = """
import sys

sys.modules["keras"] = sys.modules["kerasseg"] = None  # Importing them fails.
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
loaded = tf.saved_model.load(folder + "/model").signatures["serving_default"]
given = list(map(tf.constant, np.load(folder + "/given.npz").values()))
pairs = zip(given[::2], given[1::2])
actual = [loaded(x3=image, x4=p)["refined"] for image, p in pairs]
np.savez(folder + "/found.npz", *actual)
"""
SETTINGS = {"bilateral_sxy": 50.0, "bilateral_srgb": 5.0, "bilateral_compat": 4.0}


def refine(image, probabilities, **settings):
    return crf.dense_crf(image, probabilities, engine="keras", **settings)


@pytest.mark.parametrize(
    ("iterations", "expected"),
    [(1, [0.523799, 0.314260, 0.002032]), (10, [0.001421, 0.000717, 0.000105])],
)
def test_three_pixels_by_hand(iterations, expected):
    # Bilateral kernel: 0.786471 between the first two pixels and 0 to the third;
    # Gaussian kernel: 0.945959 and 0.800737. Each entry is divided by the square roots
    # of both rows' sums.
    exact = exact_crf.mean_field(ROW, CHANCES, iterations=iterations, **SETTINGS)
    np.testing.assert_allclose(exact[0, :, 0], expected, atol=1e-6)
    refined = refine(ROW, CHANCES, iterations=iterations, **SETTINGS)
    # The lattice of colors gives 0.5259 instead of 0.523799.
    np.testing.assert_allclose(refined[0, :, 0], expected, atol=0.01)


def test_without_the_bilateral_kernel_the_mean_field_is_exact():
    image, probabilities = exact_crf.drawn(1, 12, 17, num_classes=2)
    settings = {"bilateral_compat": 0, "gaussian_compat": 2.0, "gaussian_sxy": 2.0}
    exact = exact_crf.mean_field(image, probabilities, **settings)
    np.testing.assert_allclose(
        refine(image, probabilities, **settings), exact, atol=1e-3
    )


def test_small_images_match_the_exact_mean_field():
    image, probabilities = exact_crf.drawn(9, 9, 31, num_classes=3)
    settings = {"gaussian_compat": 1.0, "bilateral_sxy": 10.0, "bilateral_compat": 2.0}
    exact = exact_crf.mean_field(image, probabilities, **settings)
    refined = refine(image, probabilities, **settings)
    assert np.abs(exact - probabilities).mean() > 0.02  # It changes something.
    assert np.abs(refined - exact).mean() < 0.01
    sure = np.abs(np.diff(np.sort(exact), axis=-1)[..., -1]) > 0.2
    assert np.array_equal(refined.argmax(-1)[sure], exact.argmax(-1)[sure])


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (90, 120)], ids=str)
def test_synthetic_images_match_pydensecrf(size):
    pytest.importorskip("pydensecrf")
    image, probabilities = exact_crf.drawn(2, *size, num_classes=5)
    expected = crf.dense_crf(image, probabilities, engine="pydensecrf")
    refined = refine(image, probabilities)
    assert (refined.argmax(-1) == expected.argmax(-1)).mean() >= 0.995
    assert (refined.argmax(-1) == plain(image, probabilities)).mean() >= 0.995
    assert np.abs(refined - expected).mean() < 0.005


@pytest.mark.parametrize("number", [1, 2, 3])
def test_photographs_match_the_authors_results(number):
    image, probabilities, expected = exact_crf.published(number)
    settings = {"iterations": 5, "bilateral_sxy": 80.0, "bilateral_srgb": 13.0}
    mask = refine(image, probabilities, **settings).argmax(-1)
    assert (mask == expected).mean() > 0.998
    pytest.importorskip("pydensecrf")
    assert (mask == plain(image, probabilities, **settings)).mean() > 0.9995


def plain(image, probabilities, *, iterations=10, bilateral_sxy=60, bilateral_srgb=20):
    """Returns the mask of pydensecrf alone."""
    from pydensecrf import densecrf

    height, width, num_classes = probabilities.shape
    field = densecrf.DenseCRF2D(width, height, num_classes)
    energy = -np.log(np.maximum(probabilities, 1e-5)).reshape(-1, num_classes).T
    field.setUnaryEnergy(np.ascontiguousarray(energy, np.float32))
    field.addPairwiseGaussian(sxy=3, compat=3)
    field.addPairwiseBilateral(
        sxy=bilateral_sxy, srgb=bilateral_srgb, rgbim=image, compat=10
    )
    refined = np.asarray(field.inference(iterations))
    return refined.argmax(0).reshape(height, width)


def test_camvid_matches_pydensecrf():
    pytest.importorskip("pydensecrf")
    folder = os.environ.get("KERASSEG_CAMVID")
    if not folder:
        pytest.skip("needs $KERASSEG_CAMVID, a folder with SegNet's copy of CamVid")
    path = min((pathlib.Path(folder) / "train").glob("*.png"))
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    label_path = path.parent.parent / "trainannot" / path.name
    label = cv2.imread(str(label_path), cv2.IMREAD_UNCHANGED)
    # Soft boundaries and 80 % confidence, like a network; class 11 is unlabeled.
    hits = (label[..., None] == np.arange(12)).astype(np.float32)
    hits = 0.8 * cv2.GaussianBlur(hits, (0, 0), 4) + 0.2 / 12
    probabilities = hits / hits.sum(axis=-1, keepdims=True)
    mask = refine(image, probabilities).argmax(-1)
    assert (mask == plain(image, probabilities)).mean() >= 0.995


def test_an_image_of_one_color_is_smoothed_by_position_alone():
    image = np.full((12, 14, 3), 99, np.uint8)
    _, probabilities = exact_crf.drawn(4, 12, 14, num_classes=3)
    settings = {"bilateral_sxy": 5.0, "bilateral_compat": 2.0, "gaussian_compat": 1.0}
    exact = exact_crf.mean_field(image, probabilities, **settings)
    refined = refine(image, probabilities, **settings)
    assert np.abs(refined - exact).mean() < 0.01


def test_uniform_probabilities_stay_uniform():
    image, _ = exact_crf.drawn(5, 20, 30, num_classes=3)
    even = np.full((20, 30, 4), 0.25, np.float32)
    np.testing.assert_allclose(refine(image, even), even, atol=1e-6)
    np.testing.assert_array_equal(refine(image, np.ones((20, 30, 1), np.float32)), 1)


def test_result_is_float32_and_sums_to_one():
    image, probabilities = exact_crf.drawn(0, 20, 30, num_classes=4)
    refined = refine(image, probabilities.astype(np.float64))
    assert refined.dtype == np.float32
    np.testing.assert_allclose(refined.sum(axis=-1), 1, atol=1e-5)


def test_zero_weights_leave_the_probabilities_unchanged():
    image, probabilities = exact_crf.drawn(0, 20, 30, num_classes=4)
    same = refine(image, probabilities, gaussian_compat=0, bilateral_compat=0)
    np.testing.assert_allclose(same, probabilities, atol=1e-4)  # Zeros become 1e-5.


@pytest.mark.parametrize(
    "settings",
    [
        {"gaussian_sxy": 1e-9},
        {"bilateral_sxy": 1e-7},
        {"bilateral_srgb": 1e-6},
        {"bilateral_srgb": 1e-320},
    ],
)
def test_deviations_beyond_float32_are_errors(settings):
    with pytest.raises(ValueError, match="too small for this image: it extends"):
        refine(ROW, CHANCES, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"bilateral_sxy": 1e9, "bilateral_srgb": 1e9, "gaussian_sxy": 1e300},
        {"bilateral_srgb": 0.11, "gaussian_compat": 1e9, "bilateral_compat": 1e9},
    ],
)
def test_extreme_settings_give_probabilities(settings):
    refined = refine(ROW, CHANCES, **settings)
    np.testing.assert_allclose(refined.sum(axis=-1), 1, atol=1e-5)


def test_an_image_that_needs_more_than_the_free_memory_is_an_error(monkeypatch):
    # 100 x 100 pixels of 2 classes: 1000 + 2 * 110 bytes each are 12.2 MB.
    image, probabilities = exact_crf.drawn(0, 100, 100, num_classes=2)
    monkeypatch.setattr(memory, "available", lambda: 12_000_000)
    with pytest.raises(ValueError, match=r"need 0.0122 GB .*0.012 GB are free"):
        refine(image, probabilities, iterations=1)


@pytest.mark.slow
def test_a_saved_model_runs_it_without_keras(tmp_path):
    settings = {"gaussian_sxy": 3.0, "gaussian_compat": 3.0, "bilateral_sxy": 60.0}
    settings |= {"bilateral_srgb": 20.0, "bilateral_compat": 10.0}

    def run(x3, x4):
        refined = keras_engine.refine(x3, x4, iterations=10, **settings)
        return {"refined": refined}

    unknown = [tf.TensorSpec([None] * 3 + [n], name=f"x{n}") for n in (3, 4)]
    function = tf.function(run, autograph=False).get_concrete_function(*unknown)
    graph = function.graph.as_graph_def()
    used = {n.op for f in [graph, *graph.library.function] for n in nodes(f)}
    assert not any("PyFunc" in name for name in used)
    tf.saved_model.save(tf.Module(), tmp_path / "model", signatures=function)
    drawn = [exact_crf.drawn(0, *size, num_classes=4) for size in ((1, 1), (20, 31))]
    given = [array[None].astype("float32") for pair in drawn for array in pair]
    np.savez(tmp_path / "given.npz", *given)
    done = faults.run(["-W", "ignore", "-c", PLAIN, tmp_path])
    assert done.returncode == 0, done.stderr
    actual = np.load(tmp_path / "found.npz")
    for name, pair in zip(actual, drawn, strict=True):
        np.testing.assert_allclose(actual[name][0], refine(*pair), atol=1e-4)


def nodes(graph):
    return graph.node if hasattr(graph, "node") else graph.node_def
