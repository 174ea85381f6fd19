"""The description of images: channels, type and statistics."""

import numpy as np
import pytest

from kerasseg import errors, images

KIND = images.ImageKind(2, "uint16", (300.0, 40.0), (10.0, 4.0), (100.0, 0), (610.0, 9))


def test_json_gives_back_the_kind():
    assert images.ImageKind.from_json(KIND.to_json()) == KIND
    assert images.RGB.to_json() == {"channels": 3, "dtype": "uint8"}


def test_a_view_stretches_the_used_range_of_gray():
    image = np.array([[[100, 1], [610, 2], [202, 3], [5000, 4]]], np.uint16)
    # (202 - 100) / 510 * 255 = 51; above the range is white.
    expected = np.repeat([[[0], [255], [51], [255]]], 3, axis=-1)
    np.testing.assert_array_equal(KIND.view(image), expected)


def test_rgb_is_its_own_view():
    image = np.zeros((2, 2, 3), np.uint8)
    assert images.RGB.view(image) is image


def test_padding_is_the_gray_of_the_range_and_the_mean_of_other_channels():
    # 100 + 116 / 255 * 510 = 332.
    assert KIND.padding == (332.0, 40.0)
    assert images.RGB.padding == (124.0, 116.0, 104.0)


@pytest.mark.parametrize(
    "content",
    [
        {"channels": 0},
        {"channels": 3, "dtype": "int8"},
        {"channels": 1, "dtype": "uint8", "mean": [1]},
        {"channels": 1, "mean": [1], "deviation": [0], "low": [0], "high": [1]},
        {"channels": 1, "mean": [1], "deviation": [1], "low": [1], "high": [1]},
        {"channels": 1, "mean": ["1"], "deviation": [1], "low": [0], "high": [1]},
        {"channel": 1},
        [],
    ],
)
def test_damaged_descriptions_are_refused(content):
    with pytest.raises(errors.UserError):
        images.ImageKind.from_json(content)


def test_images_of_another_kind_are_refused():
    with pytest.raises(errors.UserError, match=r"expected \[height, width, 2\]"):
        KIND.check(np.zeros((4, 5), np.uint16), "a.png")
    with pytest.raises(errors.UserError, match="is of uint8"):
        KIND.check(np.zeros((4, 5, 2), np.uint8), "a.png")
