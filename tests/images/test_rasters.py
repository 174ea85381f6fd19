"""Images of any channels and bits: what is written is what is read."""

import contextlib
import io

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kerasseg import errors, images
from kerasseg.images import geo

DTYPES = st.sampled_from(["uint8", "uint16", "float32"])
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 32))


def drawn(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **{"photometric": "minisblack", **options})
    return file.getvalue()


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


@settings(max_examples=25, deadline=None)
@given(SHAPES, DTYPES)
def test_an_array_is_read_as_it_was_saved(shape, dtype):
    pixels = drawn(shape, dtype)
    file = io.BytesIO()
    np.save(file, pixels)
    for data in (file.getvalue(), images.encode_npy(pixels)):
        raster = images.read_raster(data)
        np.testing.assert_array_equal(raster.pixels, pixels)
        assert raster.pixels.dtype == dtype
        assert images.npy_size(data) == shape[:2]


@settings(max_examples=25, deadline=None)
@given(SHAPES, DTYPES, st.sampled_from(["contig", "separate"]), st.booleans())
def test_a_tiff_file_is_read_as_it_was_written(shape, dtype, planar, compress):
    _height, _width, channels = shape
    pixels = drawn(shape, dtype)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    if channels == 1:
        stored, planar = pixels[..., 0], None
    data = tiff(stored, planarconfig=planar, compression="zlib" if compress else None)
    raster = images.read_raster(data, channels=None if channels == 3 else channels)
    if channels != 3 or dtype != "uint8":
        np.testing.assert_array_equal(raster.pixels, pixels)
        assert raster.pixels.dtype == dtype
        assert raster.valid is None


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_png_file_is_read_with_all_bits(channels, dtype):
    pixels = drawn((5, 4, channels), dtype)
    order = [2, 1, 0, 3][:channels] if channels > 1 else [0]
    data = png(pixels[..., order])
    read = images.read_raster(data, channels=channels).pixels
    np.testing.assert_array_equal(read, pixels)
    assert read.dtype == dtype


def test_without_a_number_of_channels_8_bits_are_rgb_and_alpha_is_dropped():
    gray, colors = drawn((3, 4), "uint8"), drawn((3, 4, 4), "uint8")
    assert images.read_kind(png(gray)) == images.RGB
    assert images.read_kind(png(colors)) == images.RGB
    assert images.read_kind(png(drawn((3, 4), "uint16"))).channels == 1
    assert images.read_kind(png(drawn((3, 4, 4), "uint16"))).channels == 3


def test_a_jpeg_of_gray_can_be_read_as_one_channel():
    file = io.BytesIO()
    Image.fromarray(drawn((16, 16), "uint8")).save(file, "JPEG")
    data = file.getvalue()
    one = images.read_raster(data, channels=1).pixels
    np.testing.assert_array_equal(one, images.read_image(data)[..., :1])


def test_nan_and_the_value_of_missing_pixels_are_not_valid():
    pixels = np.array([[[1, np.nan], [2, 3]]], "float32")
    raster = images.read_raster(images.encode_npy(pixels))
    np.testing.assert_array_equal(raster.valid, [[False, True]])
    np.testing.assert_array_equal(raster.pixels, [[[0, 0], [2, 3]]])
    data = tiff(
        np.array([[7, 8], [9, 7]], "uint16"), extratags=[(42113, 2, 0, "7", True)]
    )
    raster = images.read_raster(data)
    np.testing.assert_array_equal(raster.valid, [[False, True], [True, False]])


PLACE = geo.Place(
    (
        (33550, 12, (10.0, 10.0, 0.0)),
        (33922, 12, (0.0, 0.0, 0.0, 500000.0, 4200000.0, 0.0)),
        (34735, 3, (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633)),
    ),
    (10.0, 0.0, 500000.0, 0.0, -10.0, 4200000.0),
    32633,
)


def test_a_mask_has_the_place_of_its_image():
    mask = drawn((6, 5), "uint8")
    raster = images.read_raster(geo.encode_mask(mask, PLACE), channels=1)
    assert raster.place == PLACE
    np.testing.assert_array_equal(raster.pixels[..., 0], np.where(mask == 255, 0, mask))
    # 2 columns of 10 m to the east, 3 rows to the south.
    np.testing.assert_array_equal(geo.to_map([[2, 3]], PLACE), [[500020, 4199970]])


def test_a_matrix_is_read_as_a_transform():
    values = (2.0, 0.5, 0, 100, 0.25, -2.0, 0, 50, *[0] * 7, 1)
    data = tiff(np.zeros((2, 2), "uint16"), extratags=[(34264, 12, 16, values, True)])
    place = images.read_raster(data).place
    assert place.transform == (2.0, 0.5, 100.0, 0.25, -2.0, 50.0)
    assert place.epsg is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (images.encode_npy(np.zeros((2, 2), "int32")), "holds int32"),
        (images.encode_npy(np.zeros((2, 2, 33), "uint8")), "33 channels"),
        (images.encode_npy(np.zeros(4, "uint8")), "Move the channels last"),
        (images.encode_npy(np.zeros((2, 2), "uint8"))[:-1], "its header says 4"),
        (b"\x93NUMPY\1\0\xff", "header is damaged"),
        (b"\x93NUMPY\1\0\2\0{]", "header is damaged"),
        (tiff(np.zeros((4, 4), "uint16"))[:60], "damaged"),
        (tiff(np.zeros((2, 3, 4, 4), "uint16")), "expected one image"),
    ],
)
def test_damaged_and_other_files_are_refused(data, message):
    with pytest.raises(errors.UserError, match=message):
        images.read_raster(data)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_changed_byte_is_read_or_refused(data):
    good = data.draw(
        st.sampled_from(
            [
                images.encode_npy(drawn((3, 4, 5), "uint16")),
                tiff(drawn((3, 4, 5), "uint16"), planarconfig="contig"),
                png(drawn((3, 4), "uint16")),
            ]
        )
    )
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]
    with contextlib.suppress(errors.UserError):
        images.read_raster(bad, max_pixels=10_000)


def test_large_images_are_refused_before_decoding():
    for data in (
        images.encode_npy(np.zeros((20, 20), "uint8")),
        tiff(np.zeros((20, 20), "uint16")),
        png(np.zeros((20, 20), "uint16")),
    ):
        with pytest.raises(errors.UserError, match="the maximum is 100"):
            images.read_raster(data, max_pixels=100)


def test_an_image_of_another_kind_is_refused():
    kind = images.ImageKind(2, "uint16")
    with pytest.raises(errors.UserError, match="expected 2"):
        images.read_of_kind(images.encode_npy(np.zeros((2, 2, 3), "uint16")), kind)
    with pytest.raises(errors.UserError, match="uint16"):
        images.read_of_kind(images.encode_npy(np.zeros((2, 2, 2), "uint8")), kind)


def test_arrays_beside_images_are_not_images():
    assert images.without_arrays(["a.npy", "b.NPY"]) == ["a.npy", "b.NPY"]
    assert images.without_arrays(["a.npy", "b.png"]) == ["b.png"]


def test_an_array_of_8_bit_rgb_is_an_image_of_every_network():
    pixels = drawn((3, 4, 3), "uint8")
    raster = images.read_of_kind(images.encode_npy(pixels), images.RGB)
    np.testing.assert_array_equal(raster.pixels, pixels)
    with pytest.raises(errors.UserError, match="of uint16, the other images are RGB"):
        images.read_of_kind(images.encode_npy(pixels.astype("uint16")), images.RGB)
