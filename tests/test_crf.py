"""The dense CRF against an exact mean field and against its authors' results."""

import sys

import cv2
import numpy as np
import pytest

from kerasseg import crf
from tests import trees

# One row of three pixels, two classes.
ROW = np.array([[[10] * 3, [12] * 3, [200] * 3]], np.uint8)
CHANCES = np.array([[[0.6, 0.4], [0.45, 0.55], [0.1, 0.9]]], np.float32)
SETTINGS = {"bilateral_sxy": 50.0, "bilateral_srgb": 5.0, "bilateral_compat": 4.0}


def mean_field(
    image,
    probabilities,
    *,
    iterations=10,
    gaussian_sxy=3,
    gaussian_compat=3,
    bilateral_sxy=60,
    bilateral_srgb=20,
    bilateral_compat=10,
):
    """The same CRF with every pair of pixels summed up, pixels x pixels in memory."""
    shape = probabilities.shape
    places = np.indices(shape[:2]).reshape(2, -1).T.astype(float)
    colors = image.reshape(-1, 3).astype(float)
    unary = np.log(np.clip(probabilities, 1e-5, 1)).reshape(-1, shape[-1])
    messages = gaussian_compat * kernel(places / gaussian_sxy)
    like = np.concatenate([places / bilateral_sxy, colors / bilateral_srgb], axis=1)
    messages += bilateral_compat * kernel(like)
    chances = softmax(unary)
    for _ in range(iterations):
        chances = softmax(unary + messages @ chances)
    return chances.reshape(shape)


def kernel(features):
    """exp(-d^2 / 2) of each pair, a pixel with itself too, normalised symmetrically."""
    squares = np.square(features[:, None] - features[None]).sum(axis=-1)
    values = np.exp(-squares / 2)
    norm = 1 / np.sqrt(values.sum(axis=1))
    return norm[:, None] * values * norm


def softmax(logits):
    values = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return values / values.sum(axis=-1, keepdims=True)


def smooth(seed, height, width, num_classes, scale=6.0):
    """A picture with soft borders and probabilities that follow it, roughly."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(height, width, num_classes))
    noise = cv2.GaussianBlur(noise, (0, 0), 3).reshape(noise.shape)
    logits = scale * noise / noise.std()
    colors = rng.integers(0, 256, (num_classes, 3))
    image = softmax(logits) @ colors
    return image.astype(np.uint8), softmax(logits + rng.normal(size=noise.shape))


@pytest.mark.parametrize(
    ("iterations", "wanted"),
    [(1, [0.523799, 0.314260, 0.002032]), (10, [0.001421, 0.000717, 0.000105])],
)
def test_three_pixels_come_out_as_worked_by_hand(iterations, wanted):
    # Kernel entries: like colours 0.786471 between the first two and 0 to the third,
    # near 0.945959 and 0.800737; each is divided by the roots of both rows' sums.
    exact = mean_field(ROW, CHANCES, iterations=iterations, **SETTINGS)
    np.testing.assert_allclose(exact[0, :, 0], wanted, atol=1e-6)
    refined = crf.dense_crf(ROW, CHANCES, iterations=iterations, **SETTINGS)
    # pydensecrf's lattice approximates the kernels.
    np.testing.assert_allclose(refined[0, :, 0], wanted, atol=0.02)


@pytest.mark.parametrize(("height", "width"), [(9, 31), (31, 9), (24, 24)])
def test_small_pictures_come_out_as_of_the_exact_mean_field(height, width):
    image, probabilities = smooth(height, height, width, num_classes=3)
    settings = {"gaussian_compat": 1.0, "bilateral_sxy": 10.0, "bilateral_compat": 2.0}
    exact = mean_field(image, probabilities, **settings)
    refined = crf.dense_crf(image, probabilities, **settings)
    assert np.abs(exact - probabilities).mean() > 0.02  # There is something to find.
    assert np.abs(refined - exact).mean() < 0.01
    sure = np.abs(np.diff(np.sort(exact), axis=-1)[..., -1]) > 0.2
    assert np.array_equal(refined.argmax(-1)[sure], exact.argmax(-1)[sure])


@pytest.mark.parametrize("number", [1, 2, 3])
def test_real_pictures_come_out_as_of_the_authors_code(number):
    folder = trees.real("crf")
    image, strokes, wanted = (
        cv2.cvtColor(cv2.imread(str(folder / f"{name}{number}.png")), cv2.COLOR_BGR2RGB)
        for name in ("im", "anno", "out")
    )
    colors = np.unique(wanted.reshape(-1, 3), axis=0)
    # As pydensecrf's example does: strokes are sure to 0.7, black is not known.
    hits = (strokes[:, :, None] == colors).all(axis=-1)
    probabilities = np.where(hits, 0.7, 0.3 / (len(colors) - 1))
    probabilities[~hits.any(axis=-1)] = 1 / len(colors)
    refined = crf.dense_crf(
        image, probabilities, iterations=5, bilateral_sxy=80.0, bilateral_srgb=13.0
    )
    agreed = (colors[refined.argmax(-1)] == wanted).all(axis=-1).mean()
    assert agreed > 0.998


def test_result_is_float32_and_sums_to_one():
    image, probabilities = smooth(0, 20, 30, num_classes=4)
    refined = crf.dense_crf(image, probabilities.astype(np.float16))
    assert refined.dtype == np.float32
    assert refined.shape == (20, 30, 4)
    assert refined.flags.c_contiguous
    np.testing.assert_allclose(refined.sum(axis=-1), 1, atol=1e-5)


def test_without_weights_the_probabilities_stay():
    image, probabilities = smooth(0, 20, 30, num_classes=4)
    same = crf.dense_crf(image, probabilities, gaussian_compat=0, bilateral_compat=0)
    np.testing.assert_allclose(same, probabilities, atol=1e-4)  # 1e-5 for a 0.


def test_order_of_the_classes_does_not_matter():
    image, probabilities = smooth(0, 20, 30, num_classes=4)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(
        crf.dense_crf(image, probabilities[..., order]),
        crf.dense_crf(image, probabilities)[..., order],
        atol=1e-4,
    )


def test_a_class_of_chance_0_can_still_be_found():
    # The middle pixel of a plain picture is sure of class 1, all around of class 0:
    # its chance of 0 counts as 1e-5: -log is 11.5, less than what the others weigh,
    # nearly 3 + 23.
    probabilities = np.zeros((9, 9, 2), np.float32)
    probabilities[..., 0] = 1
    probabilities[4, 4] = [0, 1]
    refined = crf.dense_crf(
        np.zeros((9, 9, 3), np.uint8), probabilities, bilateral_compat=23.0
    )
    assert (refined.argmax(-1) == 0).all()
    assert np.isfinite(refined).all()


def test_leaving_out_unlikely_classes_changes_no_pixel():
    image, few = smooth(3, 24, 30, num_classes=3)
    # Ten classes; each of the last seven has 0.009 < 0.1 / 10 in a patch of its own.
    patches = np.arange(24 * 30).reshape(24, 30) * 7 // (24 * 30)
    probabilities = np.zeros((24, 30, 10))
    probabilities[..., 3:] = 0.009 * (patches[..., None] == np.arange(7))
    probabilities[..., :3] = 0.991 * few
    refined = crf.dense_crf(image, probabilities)
    assert not refined[..., 3:].any()
    np.testing.assert_allclose(refined.sum(axis=-1), 1, atol=1e-5)
    whole = unpruned(image, probabilities)
    assert np.array_equal(refined.argmax(-1), whole.argmax(-1))
    np.testing.assert_allclose(refined, whole, atol=0.01)
    assert len(np.unique(whole.argmax(-1))) == 3  # There were borders to move.


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


def test_many_classes_with_little_chance_each_are_kept():
    probabilities = np.full((4, 5, 150), 1 / 150, np.float32)
    refined = crf.dense_crf(np.zeros((4, 5, 3), np.uint8), probabilities)
    np.testing.assert_allclose(refined, 1 / 150, atol=1e-4)


def test_arrays_may_lie_in_memory_in_any_way():
    image, probabilities = smooth(0, 20, 30, num_classes=4)
    wanted = crf.dense_crf(image, probabilities)
    backwards = image[::-1].copy()[::-1]
    backwards.flags.writeable = False
    planes = np.ascontiguousarray(probabilities.transpose(2, 0, 1)).transpose(1, 2, 0)
    planes.flags.writeable = False
    assert not backwards.flags.c_contiguous
    assert not planes.flags.c_contiguous
    assert np.array_equal(crf.dense_crf(backwards, planes), wanted)


def test_arguments_are_left_as_they_were():
    image, probabilities = smooth(0, 20, 30, num_classes=4)
    before = image.copy(), probabilities.copy()
    crf.dense_crf(image, probabilities)
    assert np.array_equal(image, before[0])
    assert np.array_equal(probabilities, before[1])


def test_one_pixel_is_refined_as_of_the_exact_mean_field():
    # Alone, a pixel tells only itself: 13 times its own chances are added.
    refined = crf.dense_crf(ROW[:, :1], CHANCES[:, :1])
    exact = mean_field(ROW[:, :1], CHANCES[:, :1])
    np.testing.assert_allclose(refined, exact, atol=1e-3)
    assert refined.shape == (1, 1, 2)


def test_one_class_has_every_pixel():
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
        (changed([-0.5, 1.5]), "the least is -0.5"),
        (changed([0.5, 0.4]), "a pixel has the sum 0.9.*not the logits"),
        (changed([0.0, 0.0]), "a pixel has the sum 0[.]"),
        (CHANCES[0], r"shape \(3, 2\), wanted is \[height, width, num_classes\]"),
        (CHANCES[None], r"shape \(1, 1, 3, 2\).*one by one"),
        (CHANCES[..., :0], r"shape \(1, 3, 0\)"),
        (CHANCES.round().astype(np.uint8), "are uint8, wanted is float16 to float64"),
        (CHANCES[:, :2], r"image is 1 x 3 .*probabilities are 1 x 2. Resize"),
        (CHANCES.transpose(1, 0, 2), r"image is 1 x 3 .*probabilities are 3 x 1"),
    ],
)
def test_probabilities_that_do_not_fit_are_refused(probabilities, message):
    with pytest.raises(ValueError, match=message):
        crf.dense_crf(ROW, probabilities)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (ROW[..., 0], r"shape \(1, 3\), wanted is RGB .*Repeat a grey picture's"),
        (ROW[..., :1], r"shape \(1, 3, 1\), wanted is RGB"),
        (ROW[None], r"shape \(1, 1, 3, 3\).*one by one"),
        (ROW[:0], r"shape \(0, 3, 3\).*at least one pixel"),
        (ROW.astype(np.float32), "image is float32, wanted is uint8"),
    ],
)
def test_images_that_do_not_fit_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        crf.dense_crf(image, CHANCES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "iterations=0: give a whole number, at least 1"),
        ({"iterations": 2.5}, "iterations=2.5: give a whole number"),
        ({"gaussian_sxy": 0}, "gaussian_sxy=0: a standard deviation"),
        ({"bilateral_sxy": -1.0}, "bilateral_sxy=-1.0: .* its weight as 0"),
        ({"bilateral_srgb": np.nan}, "bilateral_srgb=nan: a standard deviation"),
        ({"gaussian_compat": -3}, "gaussian_compat=-3: a weight is"),
        ({"bilateral_compat": np.inf}, "bilateral_compat=inf: a weight is"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
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
def test_deviations_that_would_kill_the_process_are_refused(settings):
    with pytest.raises(ValueError, match="too small for this picture: it is"):
        crf.dense_crf(ROW, CHANCES, **settings)


def test_deviations_that_are_just_allowed_are_exact():
    # 765 / 0.11 = 6955 deviations of colour; equal colours still speak to each other.
    rng = np.random.default_rng(5)
    image = 255 * rng.integers(0, 2, (12, 14, 3), np.uint8)
    chances = rng.dirichlet([1, 1, 1], (12, 14))
    settings = {"bilateral_srgb": 0.11, "gaussian_compat": 0, "bilateral_compat": 2}
    refined = crf.dense_crf(image, chances, **settings)
    exact = mean_field(image, chances, **settings)
    assert np.abs(exact - chances).mean() > 0.04
    assert np.abs(refined - exact).mean() < 0.01


def test_extreme_settings_give_probabilities():
    for settings in (
        {"bilateral_sxy": 1e9, "bilateral_srgb": 1e9},
        {"gaussian_sxy": 1e300},
        {"gaussian_compat": 1e9, "bilateral_compat": 1e9},
    ):
        refined = crf.dense_crf(ROW, CHANCES, **settings)
        np.testing.assert_allclose(refined.sum(axis=-1), 1, atol=1e-5)


def test_without_pydensecrf_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.delitem(sys.modules, "kerasseg.crf.pydensecrf_engine", raising=False)
    with pytest.raises(ImportError, match=r"pip install kerasseg\[crf\]"):
        crf.dense_crf(ROW, CHANCES, engine="pydensecrf")


def test_an_unknown_engine_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"'lattice' is not known.*pydensecrf, keras"):
        crf.dense_crf(ROW, CHANCES, engine="lattice")
