"""BMP, WebP and TIFF files: their pixels, and what is refused instead of changed."""

import io
import struct

import cv2
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image

from kerasseg import images, records
from tests.fuzz import values

PIXELS = np.random.default_rng(1).integers(0, 256, (7, 9, 3), np.uint8)
RGB = Image.fromarray(PIXELS)
GRAY = Image.fromarray(PIXELS[..., 0])
RGBA = Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0] // 2 + 128]))
LABEL = np.arange(63, dtype=np.uint8).reshape(7, 9)


def saved(image, kind, **more):
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def palette(numbers):
    image = Image.fromarray(numbers)
    image.putpalette([*range(255, -1, -1)] * 3)
    return image


LOSSLESS = {
    "bmp": saved(RGB, "BMP"),
    "webp": saved(RGB, "WEBP", lossless=True),
    "tiff": saved(RGB, "TIFF"),
    "tiff, compressed": saved(RGB, "TIFF", compression="tiff_lzw"),
    "tiff, deflate": saved(RGB, "TIFF", compression="tiff_adobe_deflate"),
    "tiff, big": saved(RGB, "TIFF", big_tiff=True),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_colors_are_read_without_loss(kind):
    data = LOSSLESS[kind]
    assert np.array_equal(images.read_image(data), PIXELS)
    header = images.probe(data)
    assert header == images.Header(kind.split(",")[0], 9, 7, "RGB", 1, 1)


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_gray_becomes_three_equal_channels_and_class_indices(kind):
    data = saved(GRAY, kind)
    expected = np.dstack([PIXELS[..., 0]] * 3)
    assert np.array_equal(images.read_image(data), expected)
    assert np.array_equal(images.read_label(data), PIXELS[..., 0])
    one_bit = saved(Image.fromarray(LABEL % 2 == 1), kind)
    assert np.array_equal(images.read_label(one_bit), LABEL % 2)
    assert np.array_equal(images.read_image(one_bit)[..., 0], 255 * (LABEL % 2))


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_palettes_are_colors_of_images_and_indices_of_labels(kind):
    image = palette(LABEL)
    data = saved(image, kind)
    assert images.probe(data).mode == "P"
    assert np.array_equal(images.read_label(data), LABEL)
    assert np.array_equal(images.read_image(data), np.asarray(image.convert("RGB")))
    assert not images.stores_plain_numbers(data)


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_transparency_is_dropped_without_blending(kind):
    more = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = saved(RGBA, kind, **more)
    assert images.probe(data).mode == "RGBA"
    assert np.array_equal(images.read_image(data), PIXELS)


def test_webp_with_loss_is_read_as_opencv_reads_it():
    smooth = cv2.resize(PIXELS, (64, 48))
    data = saved(Image.fromarray(smooth), "WEBP", quality=80)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(images.read_image(data), expected[..., ::-1])
    assert images.probe(data) == images.Header("webp", 64, 48, "RGB", 1, 1)


@pytest.mark.parametrize("lossless", [True, False])
def test_exif_turns_webp_upright(lossless):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(RGB, "WEBP", exif=exif, lossless=lossless)
    assert images.probe(data).orientation == 6
    assert images.read_image(data).shape == (9, 7, 3)
    assert images.read_image(data, apply_exif=False).shape == (7, 9, 3)


def sixteen(kind="I;16"):
    return Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).convert(kind)


def tiff(pixels):
    done, data = cv2.imencode(".tiff", pixels)
    assert done
    return data.tobytes()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(RGB, "TIFF", exif=exif)


def with_tag(data, tag, value):
    """Changes the value of a tag of one number in a little-endian TIFF file."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    changed = bytearray(data)
    for i in range(count):
        place = start + 2 + 12 * i
        if struct.unpack_from("<H", data, place)[0] == tag:
            struct.pack_into("<H", changed, place + 8, value)
            return bytes(changed)
    raise ValueError(f"The file has no tag {tag}.")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (saved(sixteen(), "TIFF"), "tiff file, but it has 16 bits per channel.*lost"),
        (tiff(PIXELS.astype(np.uint16) * 257), "it has 16 bits per channel"),
        (tiff(PIXELS.astype(np.float32)), "its bits or channels are not read"),
        (saved(GRAY.convert("F"), "TIFF"), "it has 32 floating-point bits"),
        (saved(GRAY.convert("I"), "TIFF"), "it has 32 signed bits"),
        (saved(RGB.convert("CMYK"), "TIFF"), "it has 4 channels of the mode CMYK"),
        (saved(RGB.convert("LAB"), "TIFF"), "it has pixels of the mode LAB"),
        (turned(), "its tag of the orientation is 6"),
        (
            saved(RGB, "TIFF", save_all=True, append_images=[RGB, RGB]),
            "has 3 frames instead of one",
        ),
        (
            saved(RGB, "WEBP", save_all=True, append_images=[GRAY.convert("RGB")]),
            "has 2 frames instead of one",
        ),
        (LOSSLESS["tiff"][:100], "the tiff (header|file) is damaged"),
        (LOSSLESS["tiff, compressed"][:-20], "the tiff (header|file) is damaged"),
        (LOSSLESS["bmp"][:30], "the bmp header is damaged"),
        (LOSSLESS["bmp"][:-30], "the bmp file is damaged"),
        (LOSSLESS["webp"][:22], "the webp header is damaged"),
        (LOSSLESS["webp"][:-30], "the webp file is damaged"),
        (b"RIFF\x10\0\0\0WEBPVP9 ", "the webp header is damaged"),
        (b"BM" + bytes(60), "the bmp header is damaged"),
    ],
)
def test_what_would_lose_bits_channels_or_pages_is_refused(data, reason):
    with pytest.raises(images.ImageError, match=f"a.x.*{reason}"):
        images.read_image(data, name="a.x")


def test_more_channels_than_rgb_are_refused():
    # Pillow would read the first three of four channels.
    data = saved(RGBA, "TIFF")
    with pytest.raises(images.ImageError, match="it has 4 channels of the mode"):
        images.probe(with_tag(data, 338, 0))


@pytest.mark.parametrize("kind", LOSSLESS)
def test_the_size_is_checked_before_decoding(kind):
    with pytest.raises(images.ImageError, match="9 x 7 = 63 pixels, the maximum is 62"):
        images.read_image(LOSSLESS[kind], max_pixels=62)


def test_a_webp_that_states_a_huge_size_allocates_nothing():
    chunk = struct.pack("<B3x", 0) + b"\xff\xff\xff" * 2
    body = b"WEBPVP8X" + struct.pack("<I", len(chunk)) + chunk
    data = b"RIFF" + struct.pack("<I", len(body)) + body
    header = images.probe(data)
    assert (header.width, header.height) == (1 << 24, 1 << 24)
    with pytest.raises(images.ImageError, match="the maximum is 64,000,000"):
        images.read_image(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (LOSSLESS["bmp"], "it is RGB, expected one channel of class indices"),
        (LOSSLESS["tiff"], "it is RGB, expected one channel of class indices"),
        (LOSSLESS["webp"], "is a webp file, whose compression changes class indices"),
        (saved(GRAY, "TIFF", compression="jpeg"), "its compression changes class"),
    ],
)
def test_labels_with_colors_or_loss_are_refused(data, reason):
    with pytest.raises(images.ImageError, match=reason):
        images.read_label(data, name="a.x")


@pytest.mark.parametrize("kind", ["bmp", "webp", "tiff"])
def test_records_hold_no_other_formats(kind):
    with pytest.raises(ValueError, match="not a readable JPEG or PNG file"):
        records.decode_image(LOSSLESS[kind])


@pytest.mark.parametrize("kind", ["bmp", "webp", "tiff", "tiff, compressed"])
def test_any_damage_gives_pixels_or_an_error(kind):
    @hypothesis.settings(max_examples=60, deadline=None, database=None)
    @hypothesis.given(values.damaged(LOSSLESS[kind]))
    def check(data):
        for read in (images.read_image, images.read_label):
            try:
                assert read(data, max_pixels=1 << 20, name="a.x").dtype == np.uint8
            except images.ImageError as error:
                assert "a.x" in str(error)

    check()


@hypothesis.settings(max_examples=20, deadline=None, database=None)
@hypothesis.given(
    strategies.integers(1, 40), strategies.integers(1, 40), strategies.integers(0, 9)
)
def test_any_size_is_read_without_loss(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels)
    for kind, more in (("BMP", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        data = saved(image, kind, **more)
        header = images.probe(data)
        assert (header.width, header.height) == (width, height)
        assert np.array_equal(images.read_image(data), pixels)
