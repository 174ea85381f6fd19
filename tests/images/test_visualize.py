"""Colors, overlays, contact sheets and curves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kerasseg.images import visualization

PALETTE = np.array([[10, 20, 30], [200, 100, 0]], "uint8")


def constant_image(height, width, value=100):
    return np.full((height, width, 3), value, "uint8")


def test_colorize_maps_classes_and_ignored_pixels():
    for dtype in ("uint8", "int32", "int64"):
        colors = visualization.colorize(np.array([[0, 1, 255]], dtype), PALETTE)
        assert colors.dtype == np.uint8
        np.testing.assert_array_equal(colors, [[*PALETTE, (224, 224, 192)]])


@given(st.integers(1, 255), st.integers(0, 2**32 - 1))
def test_colorize_equals_a_table_lookup(num_classes, seed):
    random = np.random.default_rng(seed)
    palette = random.integers(0, 256, (num_classes, 3), "uint8")
    label = random.integers(0, num_classes, (3, 5), "uint8")
    np.testing.assert_array_equal(
        visualization.colorize(label, palette), palette[label]
    )


def test_overlay_blends_image_and_color():
    result = visualization.overlay(
        constant_image(4, 4), np.ones((4, 4), "uint8"), PALETTE, 0.25
    )
    # 0.75 * 100 + 0.25 * (200, 100, 0)
    np.testing.assert_array_equal(result, np.tile([125, 100, 75], (4, 4, 1)))


def test_overlay_does_not_change_ignored_pixels():
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), "uint8")
    label = np.zeros((9, 9), "int64")
    label[3:6] = 255
    result = visualization.overlay(image, label, PALETTE)
    np.testing.assert_array_equal(result[3:6], image[3:6])
    assert np.any(result[:3] != image[:3])


def test_overlay_outlines_classes_in_white():
    label = np.zeros((8, 8), "uint8")
    label[:, 4:] = 1
    result = visualization.overlay(constant_image(8, 8), label, PALETTE)
    # Class 0 is (100 + (10, 20, 30)) / 2, class 1 (100 + (200, 100, 0)) / 2.
    np.testing.assert_array_equal(result[0, 0], [55, 60, 65])
    np.testing.assert_array_equal(result[0, 7], [150, 100, 50])
    outlined = (result[0] >= 128).all(axis=-1)
    assert outlined[3:5].any() and not outlined[:3].any() and not outlined[5:].any()


def test_overlay_with_alpha_0_is_the_image():
    label = np.array([[0, 1], [1, 255]], "uint8")
    result = visualization.overlay(constant_image(2, 2), label, PALETTE, alpha=0.0)
    np.testing.assert_array_equal(result, constant_image(2, 2))


def test_overlay_does_not_change_its_arguments():
    image, label = constant_image(4, 4), np.array([[0, 1, 0, 255]] * 4, "uint8")
    before = image.copy(), label.copy()
    visualization.overlay(image, label, PALETTE)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(label, before[1])


def test_a_contact_sheet_does_not_resize_small_images():
    sheet = visualization.contact_sheet(
        [[constant_image(10, 20, 1), constant_image(10, 20, 2)]]
    )
    # Gaps of 8 around and between: 8 + 20 + 8 + 20 + 8 wide, 8 + 10 + 8 high.
    assert sheet.shape == (26, 64, 3) and sheet.dtype == np.uint8
    np.testing.assert_array_equal(sheet[8:18, 8:28], constant_image(10, 20, 1))
    np.testing.assert_array_equal(sheet[8:18, 36:56], constant_image(10, 20, 2))
    assert np.all(sheet[:8] == 255)


@given(st.integers(1, 3), st.integers(1, 300), st.integers(1, 300))
def test_a_contact_sheet_is_at_most_max_width_wide(num_columns, height, width):
    sheet = visualization.contact_sheet(
        [[constant_image(height, width)] * num_columns], max_width=200
    )
    assert sheet.shape[1] <= 200


def test_captions_and_legend_are_drawn_in_their_places():
    rows = [[constant_image(40, 60)] * 2, [constant_image(40, 60)]]
    bare = visualization.contact_sheet(rows)
    captioned = visualization.contact_sheet(rows, captions=["image", "label"])
    assert len(captioned) > len(bare)
    assert captioned[8:25, :60].min() < 100  # Dark text above the first column.
    named = visualization.contact_sheet(rows, row_captions=["a", "b"])
    assert len(named) - len(bare) == 2 * (len(captioned) - len(bare))
    legend = visualization.contact_sheet(rows, legend=(["road", "sky"], PALETTE))
    below = legend[len(bare) :].reshape(-1, 3)
    for color in PALETTE:
        assert (below == color).all(axis=-1).sum() > 50


def test_a_long_legend_has_several_lines():
    rows = [[constant_image(40, 200)]]
    names = [f"class {i}" for i in range(30)]
    palette = np.zeros((30, 3), "uint8")
    short = visualization.contact_sheet(rows, legend=(names[:1], palette[:1]))
    long = visualization.contact_sheet(rows, legend=(names, palette))
    assert len(long) > 3 * (len(short) - 56) and long.shape[1] == short.shape[1]


def test_curves_are_written_as_png(tmp_path):
    path = tmp_path / "curves.png"
    series = {"loss": ([0, 100, 200], [1.0, float("nan"), 0.5])}
    visualization.save_curves(path, {"training": series, "validation": {}})
    first = path.read_bytes()
    with Image.open(path) as drawn:
        assert drawn.format == "PNG" and drawn.size == (800, 600)
    visualization.save_curves(path, {"training": series, "validation": {}})
    assert path.read_bytes() == first  # Equal data, equal bytes.
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_curves_of_one_or_no_point_are_drawn(tmp_path):
    charts = {"one": {"a": ([5], [0.1]), "b": ([], [])}}
    visualization.save_curves(tmp_path / "curves.png", charts)
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("label", "palette", "message"),
    [
        ([[0, 2, 9]], PALETTE, "Labels without a color: 2, 9. The palette has 2"),
        ([[-1]], PALETTE, "Labels without a color: -1"),
        ([[[0]]], PALETTE, r"\[height, width\] of an integer type, got \[1, 1, 1\]"),
        ([[0.5]], PALETTE, "integer type, got .* of float64"),
        ([[0]], [[0, 0]], r"A palette must be \[num_classes, 3\].*got \[1, 2\]"),
        ([[0]], np.zeros((256, 3)), r"at most 255 classes, got \[256, 3\]"),
    ],
)
def test_invalid_labels_and_palettes_are_refused(label, palette, message):
    with pytest.raises(ValueError, match=message):
        visualization.colorize(np.array(label), palette)


def test_invalid_arguments_of_overlay_are_refused():
    label = np.zeros((2, 2), "uint8")
    with pytest.raises(ValueError, match=r"size of its image, \[2, 3\], got \[2, 2\]"):
        visualization.overlay(constant_image(2, 3), label, PALETTE)
    with pytest.raises(ValueError, match="alpha must be from 0 to 1, got 2"):
        visualization.overlay(constant_image(2, 2), label, PALETTE, alpha=2)
    with pytest.raises(ValueError, match=r"RGB, uint8 .* got \[2, 2, 3\] of float32"):
        visualization.overlay(constant_image(2, 2).astype("float32"), label, PALETTE)


def test_invalid_arguments_of_contact_sheet_are_refused():
    with pytest.raises(ValueError, match="at least one image in each row"):
        visualization.contact_sheet([[]])
    with pytest.raises(
        ValueError, match=r"one caption per column, 1 in all, got 2: a, b\."
    ):
        visualization.contact_sheet([[constant_image(2, 2)]], captions=["a", "b"])
    with pytest.raises(
        ValueError, match=r"one caption per row, 1 in all, got 2: a, b\."
    ):
        visualization.contact_sheet([[constant_image(2, 2)]], row_captions=["a", "b"])
    with pytest.raises(ValueError, match=r"got \[2, 2\] of uint8"):
        visualization.contact_sheet([[np.zeros((2, 2), "uint8")]])


def test_curves_without_charts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="There is no chart to draw"):
        visualization.save_curves(tmp_path / "curves.png", {})
