"""Decoding in the graph: the same pixels as in evaluation, or an error."""

import io
import zlib

import cv2
import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from PIL import Image

from kerasseg import images
from kerasseg.exporting import signatures
from tests.support import served


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


def hidden_size(side):
    """Returns a PNG file whose size seems to be 1 x 1, in a chunk before IHDR."""
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    data = file.getvalue()
    return data[:8] + chunk(b"prIv", bytes([0, 0, 0, 1] * 2)) + data[8:]


@pytest.mark.parametrize("side", [9, 8500])
def test_the_size_of_a_png_file_is_that_of_its_header(side):
    """Not that of another chunk at its place: 8500 x 8500 is 72 megapixels."""
    data = hidden_size(side)
    with pytest.raises(images.ImageError, match="IHDR"):
        images.read_image(data)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"chunk .* is not IHDR"):
        signatures.decode(tf.constant(data))


def animation(*, frames=2):
    file = io.BytesIO()
    pages = [Image.fromarray(noise(31, 45, 3) // (i + 1)) for i in range(frames)]
    pages[0].save(file, "PNG", save_all=True, append_images=pages[1:])
    return file.getvalue()


def chunk(kind, data):
    checksum = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + checksum


def with_chunks(*chunks, before=b"IDAT"):
    """Adds chunks to a PNG file, before the first one of a kind."""
    data = FILES["png"]
    at = data.index(before) - 4
    return data[:at] + b"".join(chunks) + data[at:]


def acts(frames):
    return chunk(b"acTL", frames.to_bytes(4, "big") + bytes(4))


TEXT = chunk(b"tEXt", b"Comment\0acTL" + bytes(50))


@pytest.mark.filterwarnings("ignore:Invalid APNG")  # Of Pillow.
@pytest.mark.parametrize(
    "data",
    [
        animation(),
        animation(frames=3),
        with_chunks(acts(0)),
        with_chunks(acts(1)),
        with_chunks(acts(2)),
        with_chunks(TEXT, TEXT, acts(7), TEXT),
        with_chunks(*[TEXT] * 200, acts(2)),
    ],
)
def test_animations_are_refused_like_in_prediction(data):
    with pytest.raises(images.ImageError, match=r"frames instead of|animation"):
        images.read_image(data)
    with pytest.raises(tf.errors.InvalidArgumentError, match="frames instead of one"):
        signatures.decode(tf.constant(data))


@pytest.mark.parametrize(
    "data",
    [
        with_chunks(TEXT, chunk(b"tEXt", b"IDAT\0acTL")),
        with_chunks(acts(2), before=b"IEND"),  # Decoders ignore it after the pixels.
        with_chunks(chunk(b"tRNS", bytes(6))),
    ],
)
def test_other_chunks_are_no_animation(data):
    expected = images.read_image(data)
    np.testing.assert_array_equal(signatures.decode(tf.constant(data)), expected)


def test_a_file_of_countless_chunks_is_refused():
    data = with_chunks(*[chunk(b"tEXt", b"")] * 10_000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="4096 chunks before its"):
        signatures.decode(tf.constant(data))


@hypothesis.settings(deadline=None)
@hypothesis.given(st.integers(0, 400), st.binary(max_size=12))
def test_damaged_chunks_are_an_error_or_an_image(at, damage):
    data = bytearray(with_chunks(TEXT))
    data[8 + at : 8 + at + len(damage)] = damage
    try:
        found = signatures.decode(tf.constant(bytes(data)))
    except tf.errors.InvalidArgumentError:
        return
    assert found.shape[-1] == 3


def test_an_exported_graph_refuses_an_animation(tmp_path):
    loaded = tf.saved_model.load(served.export(tmp_path))
    call = loaded.signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="frames instead of one"):
        call(image_bytes=tf.constant([FILES["png"], animation()]))
