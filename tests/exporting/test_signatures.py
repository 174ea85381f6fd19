"""Decoding in the graph: the same pixels as in evaluation, or an error."""

import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasseg import images
from kerasseg.exporting import signatures


def noise(*shape, dtype=np.uint8):
    top = np.iinfo(dtype).max
    return np.random.default_rng(5).integers(0, top, shape, dtype, endpoint=True)


def cv2_file(kind, image, *options):
    return cv2.imencode(kind, image, options)[1].tobytes()


def pillow_file(mode, kind, channels, **options):
    pixels = noise(31, 45, channels)
    file = io.BytesIO()
    Image.frombytes(mode, (45, 31), pixels.tobytes()).save(file, kind, **options)
    return file.getvalue()


def rotated_jpeg():
    exif = Image.Exif()
    exif[0x0112] = 6
    return pillow_file("RGB", "JPEG", 3, exif=exif)


FILES = {
    "jpeg": cv2_file(".jpg", noise(31, 45, 3)),
    "smooth jpeg": cv2_file(".jpg", cv2.resize(noise(4, 5, 3), (45, 31))),
    "gray jpeg": cv2_file(".jpg", noise(31, 45)),
    "progressive jpeg": pillow_file("RGB", "JPEG", 3, progressive=True),
    "jpeg 4:2:0": pillow_file("RGB", "JPEG", 3, subsampling=2),
    "rotated jpeg": rotated_jpeg(),
    "png": cv2_file(".png", noise(31, 45, 3)),
    "gray png": cv2_file(".png", noise(31, 45)),
    "16-bit png": cv2_file(".png", noise(31, 45, 3, dtype=np.uint16)),
    "16-bit gray png": cv2_file(".png", noise(31, 45, dtype=np.uint16)),
    "RGBA png": cv2_file(".png", noise(31, 45, 4)),
    "16-bit RGBA png": cv2_file(".png", noise(31, 45, 4, dtype=np.uint16)),
    "gray and alpha png": pillow_file("LA", "PNG", 2),
    "palette png": pillow_file("P", "PNG", 1),
    "one pixel": cv2_file(".png", noise(1, 1, 3)),
}


@pytest.mark.parametrize("kind", FILES)
def test_images_are_decoded_like_in_evaluation(kind):
    decoded = signatures.decode(tf.constant(FILES[kind]))
    # EXIF is left to the caller.
    expected = images.read_image(FILES[kind], apply_exif=False)
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.dtype == tf.uint8


def test_cmyk_differs_by_rounding_only():
    data = pillow_file("CMYK", "JPEG", 4)
    actual = signatures.decode(tf.constant(data)).numpy().astype(int)
    assert np.abs(actual - images.read_image(data)).max() <= 2
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(actual - shown).max() <= 1


@pytest.mark.parametrize("data", [b"", b"<html>", b"GIF89a" + bytes(40), b"\x89PNG"])
def test_other_files_are_errors(data):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a JPEG or PNG"):
        signatures.decode(tf.constant(data))


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("kept", [20, 200, -20])
def test_truncated_files_are_errors(kind, kept):
    with pytest.raises(tf.errors.InvalidArgumentError):
        signatures.decode(tf.constant(FILES[kind][:kept]))


def test_an_image_of_too_many_pixels_is_not_decoded():
    png = bytearray(FILES["png"])
    png[16:24] = (20_000).to_bytes(4) * 2
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 64000000 pix"):
        signatures.decode(tf.constant(bytes(png)))
    jpeg = bytearray(FILES["jpeg"])
    start = jpeg.index(b"\xff\xc0") + 5  # Marker, length, bits; then the sides.
    jpeg[start : start + 4] = (20_000).to_bytes(2) * 2
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 64000000 pix"):
        signatures.decode(tf.constant(bytes(jpeg)))
