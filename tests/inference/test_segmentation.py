"""What `predict` returns: the mask as an array, and what follows from it."""

import io
import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from kerasseg import errors, images, inference
from kerasseg.images import visualization
from kerasseg.inference import contours
from tests.support import levels, tiny

# Three columns of "left", one of "right"; nothing is "middle".
MASK = np.array([[0, 0, 0, 2], [0, 0, 0, 2]], np.uint8)
IMAGE = levels.red([[0, 0, 0, 255], [0, 0, 0, 255]])


def make(mask=MASK, image=IMAGE, **options):
    return inference.Segmentation(
        mask, image, tiny.SPEC.class_names, tiny.SPEC.palette, **options
    )


def test_it_is_an_array_for_code_that_expects_the_mask(tmp_path):
    found = make()
    assert isinstance(found, np.ndarray)
    assert (found.shape, found.dtype, found.ndim, len(found)) == ((2, 4), "uint8", 2, 2)
    assert np.asarray(found).tolist() == found.tolist() == MASK.tolist()
    assert (found == 2).sum() == 2  # The last column.
    assert np.unique(found).tolist() == [0, 2]
    assert found[0].tolist() == [0, 0, 0, 2]
    assert found[:, 3:].tolist() == [[2], [2]]
    assert found[found > 0].tolist() == [2, 2]
    assert found[0, 3] == 2 and isinstance(found[0, 3], np.uint8)
    assert [row.tolist() for row in found] == MASK.tolist()
    assert Image.fromarray(found).size == (4, 2)
    assert cv2.imwrite(str(tmp_path / "mask.png"), found)  # Accepts arrays only.
    assert images.read_label(tmp_path / "mask.png").tolist() == MASK.tolist()
    np.testing.assert_array_equal(found, MASK)


def test_results_of_computations_are_plain_arrays_and_scalars():
    found = make()
    for result in (found == 2, found + 1, found[:1], np.asarray(found), found.mask):
        assert type(result) is np.ndarray
    for result in (found.max(), found.sum(), np.max(found)):
        assert isinstance(result, np.integer)
    assert found.mean() == pytest.approx(0.5)  # 2 * 2 / 8.


def test_the_array_alone_keeps_neither_image_nor_network():
    found = make()
    assert np.asarray(found).base is not found
    assert np.shares_memory(np.asarray(found), MASK)


@pytest.mark.parametrize(
    "copy",
    [lambda x: x.copy(), lambda x: x.T, lambda x: pickle.loads(pickle.dumps(x))],
)
def test_a_copy_is_the_mask_alone_and_says_so(copy, tmp_path):
    found = copy(make())
    assert sorted(found.ravel().tolist()) == [0] * 6 + [2] * 2
    assert repr(found) == repr(np.asarray(found))
    assert found._repr_png_() is None
    for use in (
        lambda: found.classes,
        lambda: found.probabilities,
        found.overlay,
        found.polygons,
        found.plot,
        lambda: found.save(tmp_path / "mask.png"),
    ):
        with pytest.raises(errors.UserError, match=r"is a copy of a segmentation.*Use"):
            use()


def test_values_are_changed_in_place():
    found = make(MASK.copy())
    found[0, 0] = 1
    found[found == 2] = 255
    found += 0
    assert isinstance(found, inference.Segmentation)
    assert found.mask.tolist() == [[1, 0, 0, 255], [0, 0, 0, 255]]
    # 5 of 8 pixels are class 0, one is class 1; ignored ones have no class.
    assert found.classes == {"left": 5 / 8, "middle": 1 / 8}


def test_classes_are_shares_of_the_pixels_the_largest_first():
    assert list(make().classes.items()) == [("left", 6 / 8), ("right", 2 / 8)]
    equal = np.array([[2, 1]], np.uint8)
    assert list(make(equal, IMAGE[:1, :2]).classes) == ["middle", "right"]


def test_its_text_names_source_size_and_classes():
    text = "<Segmentation of a.png, 2 x 4 pixels: left 75.0%, right 25.0%>"
    assert repr(make(source="a.png")) == str(make(source="a.png")) == text
    assert str(make().copy()) == str(MASK)


def test_probabilities_are_predicted_once_and_freed():
    calls = []

    def predict(image):
        calls.append(image)
        return np.full((*image.shape[:2], 3), 1 / 3, np.float32)

    found = make(predict_probabilities=predict)
    assert not calls
    assert found.probabilities is found.probabilities
    assert len(calls) == 1 and calls[0] is IMAGE
    del found.probabilities
    assert found.probabilities.shape == (2, 4, 3)
    assert len(calls) == 2


def test_objects_have_scores_instead_of_probabilities():
    with pytest.raises(errors.UserError, match=r"no probabilities.*detections\.scores"):
        _ = make().probabilities


def test_the_overlay_is_that_of_the_commands():
    expected = visualization.overlay(IMAGE, MASK, tiny.SPEC.palette, 0.3)
    np.testing.assert_array_equal(make().overlay(0.3), expected)
    with pytest.raises(errors.UserError, match="from 0 to 1, got 2"):
        make().overlay(2)


def test_the_overlay_of_objects_shows_their_boxes():
    image = np.zeros((40, 40, 3), np.uint8)
    masks = np.zeros((1, 40, 40), bool)
    masks[0, 10:20, 10:20] = True
    boxes = np.array([[5.0, 5, 30, 30]])
    objects = images.Detections(boxes, np.array([0.9]), np.array([2]), masks)
    found = make(objects.class_map((40, 40)), image, detections=objects)
    assert found.overlay()[29, 15].tolist() == [0, 0, 255]  # The box, in "right"'s.


def test_a_saved_mask_has_colors_and_class_numbers(tmp_path):
    make().save(tmp_path / "mask.PNG")
    assert images.read_label(tmp_path / "mask.PNG").tolist() == MASK.tolist()
    colors = np.asarray(Image.open(tmp_path / "mask.PNG").convert("RGB"))
    assert colors[0].tolist() == [[0, 0, 0]] * 3 + [[0, 0, 255]]


def test_other_formats_and_missing_folders_are_errors(tmp_path):
    with pytest.raises(
        errors.UserError, match=r"mask\.jpg`: expected .* ends in \.png"
    ):
        make().save(tmp_path / "mask.jpg")
    with pytest.raises(errors.MissingFileError, match=r"there is no folder .*Create"):
        make().save(tmp_path / "no" / "mask.png")
    assert not list(tmp_path.iterdir())


def test_a_notebook_shows_the_overlay_and_a_legend():
    shown = Image.open(io.BytesIO(make()._repr_png_()))
    assert shown.height > 2 and shown.mode == "RGB"
    colors = {color for _, color in shown.getcolors(1 << 20)}
    assert tuple(tiny.SPEC.palette[2]) in colors
    assert tuple(tiny.SPEC.palette[1]) not in colors  # "middle" does not occur.
    ignored = make(np.full((2, 4), 255, np.uint8))
    assert ignored._repr_png_()
    assert ignored.classes == {}


def test_a_plot_is_the_overlay_with_a_legend():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    found = make(source="a.png")
    axes = found.plot()
    np.testing.assert_array_equal(axes.images[0].get_array(), found.overlay())
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert (texts, axes.get_title()) == (["left", "right"], "a.png")
    assert found.plot(axes) is axes
    pyplot.close(axes.figure)


def test_polygons_have_their_holes_as_rings():
    # A square of 5 x 5 with a hole of one pixel at x = 3, y = 4.
    mask = np.zeros((9, 8), np.uint8)
    mask[2:7, 1:6] = 1
    mask[4, 3] = 0
    image = np.zeros((9, 8, 3), np.uint8)
    found = make(mask, image).polygons(tolerance=0)
    assert list(found) == ["left", "middle"]
    ((outline, hole),) = found["middle"]
    assert sorted(map(tuple, outline.tolist())) == [(1, 2), (1, 7), (6, 2), (6, 7)]
    assert sorted(map(tuple, hole.tolist())) == [(3, 4), (3, 5), (4, 4), (4, 5)]
    # "left" is the frame, with the square as its hole, and the pixel in the square.
    assert sorted(map(len, found["left"])) == [1, 2]
    with pytest.raises(errors.UserError, match="`tolerance=-1` is a distance"):
        make(mask, image).polygons(-1)


def inside(polygon, height, width):
    """Counts for each pixel's center the edges to its right, which is odd inside."""
    y, x = np.mgrid[:height, :width] + 0.5
    crossings = np.zeros((height, width), int)
    for ring in polygon:
        for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if x1 == x2:  # Edges of pixels are vertical or horizontal.
                crossings += (x < x1) & (y > min(y1, y2)) & (y < max(y1, y2))
    return crossings % 2 == 1


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_exact_polygons_cover_exactly_the_mask(mask):
    covered = np.zeros(mask.shape, int)
    for polygon in contours.polygons(mask, tolerance=0):
        covered += inside(polygon, *mask.shape)
    np.testing.assert_array_equal(covered, mask)


def test_a_failed_image_raises_its_error_when_it_is_used():
    failed = inference.FailedImage("a.png", errors.UserError("a.png is damaged"))
    assert failed.source == "a.png" and str(failed.error) == "a.png is damaged"
    assert repr(failed) == "<FailedImage a.png: a.png is damaged>"
    for use in (
        lambda: failed.mask,
        lambda: failed.save("b.png"),
        lambda: failed.shape,
        lambda: np.asarray(failed),
    ):
        with pytest.raises(errors.UserError, match="is damaged"):
            use()
    with pytest.raises(AttributeError, match="no attribute 'label'"):
        _ = failed.label
