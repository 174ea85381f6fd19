"""The dense CRF against an exact mean field and its authors' results."""

import functools
import os
import signal
import sys
from concurrent import futures

import numpy as np
import pytest

from kerasseg import crf
from kerasseg.inference import InferenceOptions
from kerasseg.system import memory, processes
from tests.support.exact_crf import CHANCES, ROW, drawn, mean_field, published

# test_keras_engine.py tests the engine that needs no other package.
pydensecrf_engine = pytest.importorskip("kerasseg.crf.pydensecrf_engine")

SETTINGS = {"bilateral_sxy": 50.0, "bilateral_srgb": 5.0, "bilateral_compat": 4.0}


@pytest.mark.parametrize(
    ("iterations", "expected"),
    [(1, [0.523799, 0.314260, 0.002032]), (10, [0.001421, 0.000717, 0.000105])],
)
def test_three_pixels_by_hand(iterations, expected):
    # Bilateral kernel: 0.786471 between the first two pixels and 0 to the third;
    # Gaussian kernel: 0.945959 and 0.800737. Each entry is divided by the square roots
    # of both rows' sums.
    exact = mean_field(ROW, CHANCES, iterations=iterations, **SETTINGS)
    np.testing.assert_allclose(exact[0, :, 0], expected, atol=1e-6)
    refined = crf.dense_crf(ROW, CHANCES, iterations=iterations, **SETTINGS)
    # The lattice approximates the kernels, with errors of 0.0067 and 0.000003.
    np.testing.assert_allclose(refined[0, :, 0], expected, atol=0.008)


@pytest.mark.parametrize("size", [(9, 31), (31, 9), (16, 16), (24, 24), (50, 50)])
@pytest.mark.parametrize(
    "settings",
    [{}, {"gaussian_compat": 1.0, "bilateral_sxy": 10.0, "bilateral_compat": 2.0}],
)
def test_the_lattice_is_close_to_the_exact_mean_field(size, settings):
    image, probabilities = drawn(size[0], *size, num_classes=3)
    exact = mean_field(image, probabilities, **settings)
    refined = crf.dense_crf(image, probabilities, **settings)
    assert (exact.argmax(-1) != probabilities.argmax(-1)).mean() > 0.02
    # Measured: a mean difference of 0.0002 to 0.007, up to 0.59 at a pixel, since
    # strong smoothing can decide either way, and at least 99.28 % equal classes.
    assert np.abs(refined - exact).mean() < 0.01
    assert (refined.argmax(-1) == exact.argmax(-1)).mean() > 0.99


@pytest.mark.parametrize("number", [1, 2, 3])
def test_photographs_match_the_authors_results(number):
    image, probabilities, expected = published(number)
    refined = crf.dense_crf(
        image, probabilities, iterations=5, bilateral_sxy=80.0, bilateral_srgb=13.0
    )
    assert (refined.argmax(-1) == expected).mean() > 0.998


def test_result_is_float32_and_sums_to_one():
    image, probabilities = drawn(0, 20, 30, num_classes=4)
    refined = crf.dense_crf(image, probabilities.astype(np.float16))
    assert refined.dtype == np.float32
    assert refined.shape == (20, 30, 4)
    assert refined.flags.c_contiguous
    np.testing.assert_allclose(refined.sum(axis=-1), 1, atol=1e-5)


def test_zero_weights_leave_the_probabilities_unchanged():
    image, probabilities = drawn(0, 20, 30, num_classes=4)
    same = crf.dense_crf(image, probabilities, gaussian_compat=0, bilateral_compat=0)
    np.testing.assert_allclose(same, probabilities, atol=1e-4)  # Zeros become 1e-5.


def test_the_order_of_the_classes_does_not_matter():
    image, probabilities = drawn(0, 20, 30, num_classes=4)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(
        crf.dense_crf(image, probabilities[..., order]),
        crf.dense_crf(image, probabilities)[..., order],
        atol=1e-4,
    )


def test_a_class_of_probability_0_can_win():
    # In an image of one color, the center has class 1 with probability 1, all others
    # class 0. Its probability 0 of class 0 counts as 1e-5: -log is 11.5, less than the
    # message of the others, nearly 3 + 23.
    probabilities = np.zeros((9, 9, 2), np.float32)
    probabilities[..., 0] = 1
    probabilities[4, 4] = [0, 1]
    refined = crf.dense_crf(
        np.zeros((9, 9, 3), np.uint8), probabilities, bilateral_compat=23.0
    )
    assert (refined.argmax(-1) == 0).all()
    assert np.isfinite(refined).all()


def test_pruning_changes_no_pixel():
    image, few = drawn(3, 24, 30, num_classes=3)
    # Ten classes; each of the last seven has 0.009 < 0.1 / 10 in its own patch.
    patches = np.arange(24 * 30).reshape(24, 30) * 7 // (24 * 30)
    probabilities = np.zeros((24, 30, 10))
    probabilities[..., 3:] = 0.009 * (patches[..., None] == np.arange(7))
    probabilities[..., :3] = 0.991 * few
    refined = crf.dense_crf(image, probabilities)
    assert not refined[..., 3:].any()
    np.testing.assert_allclose(refined.sum(axis=-1), 1, atol=1e-5)
    whole = unpruned(image, probabilities)
    assert np.array_equal(refined.argmax(-1), whole.argmax(-1))
    assert np.abs(refined - whole).mean() < 1e-3
    assert len(np.unique(whole.argmax(-1))) == 3  # There are boundaries to move.


@pytest.mark.parametrize("num_classes", [2, 3, 4, 5, 9, 10])
def test_few_classes_match_pydensecrf_alone(num_classes):
    # Up to nine classes, one class less is filtered, and the Gaussian is separable.
    image, probabilities = drawn(num_classes, 60, 80, num_classes)
    refined = crf.dense_crf(image, probabilities)
    alone = unpruned(image, probabilities)
    assert (alone.argmax(-1) != probabilities.argmax(-1)).mean() > 0.02
    assert (refined.argmax(-1) != alone.argmax(-1)).mean() < 0.003
    assert np.abs(refined - alone).mean() < 2e-3
    np.testing.assert_allclose(refined.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize(("num_classes", "equal"), [(5, 1), (10, 0.99), (14, 1)])
def test_several_weights_together_match_single_ones(num_classes, equal):
    pruned = crf.prune(*drawn(1, 30, 40, num_classes))
    settings = InferenceOptions(crf=True).crf_settings()
    del settings["bilateral_compat"]
    weights = [3.0, 0.0, 10.0]
    masks = crf.refined_masks(pruned, weights, **settings)
    for weight, mask in zip(weights, masks, strict=True):
        alone = crf.refined_mask(pruned, bilateral_compat=weight, **settings)
        assert (mask == alone).mean() >= equal
    assert (masks[0] != masks[2]).any()


def unpruned(image, probabilities):
    from pydensecrf import densecrf, utils

    height, width, num_classes = probabilities.shape
    field = densecrf.DenseCRF2D(width, height, num_classes)
    energy = utils.unary_from_softmax(probabilities.transpose(2, 0, 1))
    field.setUnaryEnergy(np.ascontiguousarray(energy))
    field.addPairwiseGaussian(sxy=3, compat=3)
    field.addPairwiseBilateral(sxy=60, srgb=20, rgbim=image, compat=10)
    refined = np.array(field.inference(10))
    return refined.reshape(num_classes, height, width).transpose(1, 2, 0)


def test_many_classes_of_low_probability_are_not_pruned():
    probabilities = np.full((4, 5, 150), 1 / 150, np.float32)
    refined = crf.dense_crf(np.zeros((4, 5, 3), np.uint8), probabilities)
    np.testing.assert_allclose(refined, 1 / 150, atol=1e-4)


def test_arrays_may_have_any_memory_layout():
    image, probabilities = drawn(0, 20, 30, num_classes=4)
    expected = crf.dense_crf(image, probabilities)
    backwards = image[::-1].copy()[::-1]
    backwards.flags.writeable = False
    planes = np.ascontiguousarray(probabilities.transpose(2, 0, 1)).transpose(1, 2, 0)
    planes.flags.writeable = False
    assert not backwards.flags.c_contiguous
    assert not planes.flags.c_contiguous
    assert np.array_equal(crf.dense_crf(backwards, planes), expected)


def test_arguments_are_not_modified():
    image, probabilities = drawn(0, 20, 30, num_classes=4)
    before = image.copy(), probabilities.copy()
    crf.dense_crf(image, probabilities)
    assert np.array_equal(image, before[0])
    assert np.array_equal(probabilities, before[1])


def test_one_pixel_matches_the_exact_mean_field():
    # A single pixel receives only its own message: 13 times its own probabilities.
    refined = crf.dense_crf(ROW[:, :1], CHANCES[:, :1])
    exact = mean_field(ROW[:, :1], CHANCES[:, :1])
    np.testing.assert_allclose(refined, exact, atol=1e-3)
    assert refined.shape == (1, 1, 2)


def test_a_single_class_has_probability_1():
    refined = crf.dense_crf(ROW, np.ones((1, 3, 1), np.float32))
    np.testing.assert_allclose(refined, 1)


def changed(value, index=(0, 1)):
    probabilities = CHANCES.copy()
    probabilities[index] = value
    return probabilities


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (changed([np.nan, 1]), "of 1 pixels are NaN or infinite"),
        (changed([np.inf, 0], 0), "of 3 pixels are NaN or infinite"),
        (changed([-0.5, 1.5]), "the smallest is -0.5"),
        (changed([0.5, 0.4]), "one pixel's sum is 0.9.*not the logits"),
        (changed([0.0, 0.0]), "one pixel's sum is 0[.]"),
        (CHANCES[0], r"shape \(3, 2\), expected \[height, width, num_classes\]"),
        (CHANCES[None], r"shape \(1, 1, 3, 2\).*one by one"),
        (CHANCES[..., :0], r"shape \(1, 3, 0\)"),
        (CHANCES.round().astype(np.uint8), "are uint8, expected float16 to float64"),
        (CHANCES[:, :2], r"image is 1 x 3 .*probabilities are 1 x 2. Resize"),
        (CHANCES.transpose(1, 0, 2), r"image is 1 x 3 .*probabilities are 3 x 1"),
    ],
)
def test_invalid_probabilities_are_errors(probabilities, message):
    with pytest.raises(ValueError, match=message):
        crf.dense_crf(ROW, probabilities)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (ROW[..., 0], r"shape \(1, 3\), expected RGB .*Repeat the channel of a gray"),
        (ROW[..., :1], r"shape \(1, 3, 1\), expected RGB"),
        (ROW[None], r"shape \(1, 1, 3, 3\).*one by one"),
        (ROW[:0], r"shape \(0, 3, 3\).*at least one pixel"),
        (ROW.astype(np.float32), "image is float32, expected uint8"),
    ],
)
def test_invalid_images_are_errors(image, message):
    with pytest.raises(ValueError, match=message):
        crf.dense_crf(image, CHANCES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "`iterations=0`: expected a whole number above 0"),
        ({"iterations": 2.5}, "`iterations=2.5`: expected a whole number"),
        ({"gaussian_sxy": 0}, "`gaussian_sxy=0`: a standard deviation"),
        ({"bilateral_sxy": -1.0}, "`bilateral_sxy=-1.0`: .* its weight to 0"),
        ({"bilateral_srgb": np.nan}, "`bilateral_srgb=nan`: a standard deviation"),
        ({"gaussian_compat": -3}, "`gaussian_compat=-3`: a weight must"),
        ({"bilateral_compat": np.inf}, "`bilateral_compat=inf`: a weight must"),
        (
            {"iterations": 1001},
            "`iterations=1001` is above the limit of 1000.*`max_iter",
        ),
        (
            {"iterations": 6, "max_iterations": 5},
            "`iterations=6` is above the limit of 5",
        ),
        ({"max_gigabytes": 1e-6}, r"1 x 3 pixels and 2 classes .* 1e-06 are allowed"),
    ],
)
def test_invalid_settings_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        crf.dense_crf(ROW, CHANCES, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"gaussian_sxy": 1e-9},
        {"bilateral_sxy": 1e-7},
        {"bilateral_srgb": 1e-6},
        {"bilateral_srgb": 0.1, "gaussian_compat": 0},
        {"bilateral_srgb": 1e-320},
    ],
)
def test_deviations_that_would_crash_the_process_are_errors(settings):
    with pytest.raises(ValueError, match="too small for this image: it extends"):
        crf.dense_crf(ROW, CHANCES, **settings)


def test_the_smallest_allowed_deviations_are_exact():
    # 765 / 0.11 = 6955 deviations of color; equal colors still exchange messages.
    rng = np.random.default_rng(5)
    image = 255 * rng.integers(0, 2, (12, 14, 3), np.uint8)
    probabilities = rng.dirichlet([1, 1, 1], (12, 14))
    settings = {"bilateral_srgb": 0.11, "gaussian_compat": 0, "bilateral_compat": 2}
    refined = crf.dense_crf(image, probabilities, **settings)
    exact = mean_field(image, probabilities, **settings)
    assert np.abs(exact - probabilities).mean() > 0.04
    assert np.abs(refined - exact).mean() < 0.01


def test_extreme_settings_give_probabilities():
    for settings in (
        {"bilateral_sxy": 1e9, "bilateral_srgb": 1e9},
        {"gaussian_sxy": 1e300},
        {"gaussian_compat": 1e9, "bilateral_compat": 1e9},
    ):
        refined = crf.dense_crf(ROW, CHANCES, **settings)
        np.testing.assert_allclose(refined.sum(axis=-1), 1, atol=1e-5)


def test_an_image_that_needs_more_than_the_free_memory_is_an_error(monkeypatch):
    # 100 x 100 pixels of 2 classes: 500 + 2 * 82 bytes each are 6.6 MB.
    image, probabilities = drawn(0, 100, 100, num_classes=2)
    monkeypatch.setattr(memory, "available", lambda: 6_000_000)
    with pytest.raises(ValueError, match=r"need 0.00664 GB .*0.006 GB are free.*tiles"):
        crf.dense_crf(image, probabilities, iterations=1)
    refined = crf.dense_crf(image, probabilities, iterations=1, max_gigabytes=0.01)
    assert np.isfinite(refined).all()


def test_the_free_memory_is_that_of_the_machine_or_container(monkeypatch):
    assert 2**20 < memory.available() < 2**50
    texts = {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   5000 kB\n",
        "/sys/fs/cgroup/memory.max": "3000000\n",
        "/sys/fs/cgroup/memory.current": "1000000\n",
    }
    monkeypatch.setattr(memory, "_read", lambda path: texts.get(path, ""))
    assert memory.available() == 2_000_000
    # The page cache can be reclaimed.
    texts["/sys/fs/cgroup/memory.stat"] = "file 900000\ninactive_file 500000\n"
    assert memory.available() == 2_500_000
    texts["/sys/fs/cgroup/memory.max"] = "max\n"
    assert memory.available() == 5000 * 1024
    texts["/sys/fs/cgroup/memory.max"] = "400000\n"
    assert memory.available() == 0


def test_an_image_beyond_the_counters_of_pydensecrf_is_an_error():
    # 5 classes take two vectors of four: 2**31 / (6 * 2) = 178,956,970.7.
    with pytest.raises(ValueError, match=r"178956971 pixels .* limit is 178956970"):
        pydensecrf_engine._check_counters(178_956_971, 5)
    pydensecrf_engine._check_counters(178_956_970, 5)


def test_eight_threads_compute_the_same_bytes_as_one():
    inputs = [drawn(seed, 40, 50, num_classes=3 + seed) for seed in range(8)]
    serial = [crf.dense_crf(*arrays) for arrays in inputs]
    with futures.ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda arrays: crf.dense_crf(*arrays), inputs))
    for one, other in zip(serial, parallel, strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_killed_worker_loses_only_its_own_image():
    inputs = [drawn(seed, 30, 40, num_classes=3) for seed in range(4)]
    settings = InferenceOptions(crf=True).crf_settings()
    serial = [crf.refined_mask(crf.prune(*arrays), **settings) for arrays in inputs]
    function = functools.partial(refined_or_killed, **settings)
    with processes.Processes(function, 2) as refine:
        with futures.ThreadPoolExecutor(4) as pool:
            lost = pool.submit(refine, None)
            masks = list(pool.map(lambda arrays: refine(crf.prune(*arrays)), inputs))
        with pytest.raises(ChildProcessError, match="died with status -9"):
            lost.result()
    np.testing.assert_array_equal(masks, serial)


def refined_or_killed(pruned, **settings):
    if pruned is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return crf.refined_mask(pruned, **settings)


def test_without_pydensecrf_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.delitem(sys.modules, "kerasseg.crf.pydensecrf_engine", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'kerasseg\[crf\]"):
        crf.dense_crf(ROW, CHANCES, engine="pydensecrf")


def test_an_unknown_engine_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"`engine=lattice`: .*pydensecrf, keras"):
        crf.dense_crf(ROW, CHANCES, engine="lattice")
