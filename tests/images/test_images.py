"""Image files: every kind that is read, every kind that is refused."""

import io
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from kerasseg import images
from tests.support import faults

_SMOOTH = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (31, 45, 3), np.uint8), (0, 0), 2
)
RGB = Image.fromarray(_SMOOTH)


def saved(image, format_, **options):
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def png(width, height, bits, color_type, rows):
    """Builds a PNG from raw rows, with any header."""

    def chunk(name, data):
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bomb(side=20_000):
    """Builds a black PNG of 400 million pixels in less than half a megabyte."""
    deflate = zlib.compressobj(9)
    row = bytes(1 + side)
    data = b"".join(deflate.compress(row) for _ in range(side)) + deflate.flush()
    small = png(side, side, 8, 0, b"")
    old = struct.pack(">I", len(zlib.compress(b""))) + b"IDAT" + zlib.compress(b"")
    crc = struct.pack(">I", zlib.crc32(b"IDAT" + data))
    start = small.index(old)
    return small[:start] + struct.pack(">I", len(data)) + b"IDAT" + data + crc


KINDS = {
    "jpeg": saved(RGB, "JPEG", quality=90),
    "progressive": saved(RGB, "JPEG", progressive=True),
    "gray jpeg": saved(RGB.convert("L"), "JPEG"),
    "png": saved(RGB, "PNG"),
    "alpha": saved(RGB.convert("RGBA"), "PNG"),
    "gray alpha": saved(RGB.convert("LA"), "PNG"),
    "palette": saved(RGB.quantize(16), "PNG"),
    "one bit": saved(RGB.convert("1"), "PNG"),
    "16-bit gray": cv2.imencode(".png", _SMOOTH[..., 0] * np.uint16(257))[1].tobytes(),
    "16-bit color": cv2.imencode(".png", _SMOOTH * np.uint16(257))[1].tobytes(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_equal_those_of_tensorflow(kind):
    import tensorflow as tf

    data = KINDS[kind]
    if data.startswith(b"\xff\xd8"):
        expected = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    else:
        expected = tf.io.decode_png(data, channels=3)
    np.testing.assert_array_equal(images.read_image(data), expected)


def test_cmyk_is_converted_to_rgb():
    data = saved(RGB.convert("CMYK"), "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(images.read_image(data) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_images_upright(format_, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(RGB, format_, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(images.read_image(data), upright)
    as_stored = images.read_image(data, apply_exif=False)
    assert as_stored.shape == (31, 45, 3)
    assert images.probe(data).orientation == orientation


@pytest.mark.parametrize("exif", [b"Exif\x00\x00broken", b"Exif\x00\x00II*\x00\x08"])
def test_damaged_exif_is_ignored(exif):
    assert images.probe(saved(RGB, "JPEG", exif=exif)).orientation == 1


def test_the_header_describes_the_file():
    data = saved(RGB.convert("CMYK"), "JPEG")
    assert images.probe(data) == images.Header("jpeg", 45, 31, "CMYK", 1, 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not a JPEG or PNG file but empty"),
        (b"<html><body>404</body></html>", "but text, such as HTML or SVG"),
        (saved(RGB, "GIF"), "but gif"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "but unknown"),
        (b"\xff\x0a" + bytes(20), "but jpeg xl"),
        (b"hello", "but unknown"),
        (KINDS["jpeg"][:60], "the jpeg header is damaged"),
        (KINDS["jpeg"][:-30], "the jpeg file is damaged or truncated"),
        (KINDS["png"][:20], "the png header is damaged"),
        (KINDS["png"][:-4], "the png file is damaged or truncated near byte"),
        (
            KINDS["png"][:1000],
            "the png file is damaged or truncated near byte 33 of 1000",
        ),
    ],
)
def test_damaged_and_other_files_are_refused_with_the_reason(data, reason):
    with pytest.raises(images.ImageError, match=f"here.jpg.*{reason}"):
        images.read_image(data, name="here.jpg")


def test_a_wrong_checksum_is_found_in_images_and_labels(tmp_path):
    path = tmp_path / "label.png"
    path.write_bytes(saved(RGB.convert("L"), "PNG"))
    faults.flip_bit(path, -20)  # In the last data chunk.
    for read in (images.read_image, images.read_label):
        with pytest.raises(images.ImageError, match=r"label\.png: the png file is dam"):
            read(path)


def test_animations_are_refused():
    frames = [RGB, RGB.rotate(90)]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(images.ImageError, match="has 2 frames instead of one"):
        images.read_image(data)


def test_the_size_is_checked_before_decoding():
    with pytest.raises(images.ImageError, match=r"45 x 31 = 1,395 pixels.*is 1,394"):
        images.read_image(KINDS["jpeg"], max_pixels=1394)
    assert images.read_image(KINDS["jpeg"], max_pixels=1395).shape == (31, 45, 3)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(images.ImageError, match="the png header is damaged"):
        images.read_image(png(0, 4, 8, 0, b""))


@pytest.mark.parametrize("read", ["read_image", "read_label"])
def test_decompression_bombs_are_refused_by_their_header(tmp_path, read):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb())
    assert path.stat().st_size < 500_000
    code = f"""
import resource, sys, time
from kerasseg import images
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, start = peak(), time.perf_counter()
try:
    images.{read}({str(path)!r})
except images.ImageError as error:
    print(error)
print((time.perf_counter() - start) * 1000, (peak() - before) / 1024)
"""
    lines = faults.run(["-c", code]).stdout.splitlines()
    assert "20000 x 20000 = 400,000,000 pixels" in lines[0]
    milliseconds, megabytes = map(float, lines[1].split())
    assert milliseconds < 50 and megabytes < 50


def test_a_gif_of_300_frames_is_refused_at_once():
    frame = Image.new("L", (500, 500))
    frames = [frame.point(lambda _, i=i: i % 256) for i in range(300)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    start = time.perf_counter()
    with pytest.raises(images.ImageError, match="but gif"):
        images.read_image(data)
    assert time.perf_counter() - start < 0.05


@pytest.mark.parametrize(("bits", "row"), [(1, [0, 1] * 4), (2, [0, 1, 2, 3] * 2)])
@pytest.mark.parametrize("color_type", [0, 3])
def test_labels_of_few_bits_keep_their_indices(bits, row, color_type):
    # Gray of 2 bits is shown as 0, 85, 170, 255; the indices are 0, 1, 2, 3.
    packed = int("".join(f"{value:0{bits}b}" for value in row), 2).to_bytes(bits, "big")
    data = png(8, 1, bits, color_type, b"\x00" + packed)
    if color_type == 3:
        data = with_palette(data)
    np.testing.assert_array_equal(images.read_label(data), [row])


def with_palette(data):
    name, colors = b"PLTE", bytes(range(12))
    crc = struct.pack(">I", zlib.crc32(name + colors))
    chunk = struct.pack(">I", len(colors)) + name + colors + crc
    return data[:33] + chunk + data[33:]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("jpeg", "is a jpeg file, whose compression changes class indices"),
        ("png", "is 8-bit RGB, expected one channel.*palette"),
        ("alpha", "is 8-bit RGBA"),
        ("gray alpha", "is 8-bit LA"),
        ("16-bit gray", "16-bit gray with values above 255"),
    ],
)
def test_labels_without_class_indices_are_refused(kind, reason):
    with pytest.raises(images.ImageError, match=reason):
        images.read_label(KINDS[kind])


def test_a_label_with_invalid_deflate_data_is_refused():
    data = png(8, 8, 8, 0, bytes(72))
    packed = zlib.compress(bytes(72))
    crc = struct.pack(">I", zlib.crc32(b"IDAT" + packed))
    broken = bytes(len(packed))
    new = struct.pack(">I", zlib.crc32(b"IDAT" + broken))
    data = data.replace(packed + crc, broken + new)
    with pytest.raises(images.ImageError, match="the png file is damaged"):
        images.read_label(data)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_are_encoded_without_loss(dtype):
    label = np.arange(12, dtype=dtype).reshape(3, 4) * 20
    decoded = cv2.imdecode(
        np.frombuffer(images.encode_label(label), np.uint8), cv2.IMREAD_UNCHANGED
    )
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, label)


@pytest.mark.parametrize("shape", [(3, 4, 1), (3,)])
def test_only_flat_integer_labels_are_encoded(shape):
    with pytest.raises(
        ValueError, match=r"A label must be uint8 or uint16 \[height, width"
    ):
        images.encode_label(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="got int64"):
        images.encode_label(np.zeros((3, 4), np.int64))


def test_palette_files_keep_indices_and_show_colors():
    label = np.array([[0, 1, 255]], np.uint8)
    data = images.encode_palette_png(label, np.array([[1, 2, 3], [9, 8, 7]], np.uint8))
    np.testing.assert_array_equal(images.read_label(data), label)
    colors = images.read_image(data)[0].tolist()
    assert colors == [[1, 2, 3], [9, 8, 7], list(images.IGNORE_COLOR)]


def test_images_are_encoded_without_loss():
    np.testing.assert_array_equal(
        images.read_image(images.encode_image(_SMOOTH)), _SMOOTH
    )


def test_only_8_bit_gray_stores_plain_numbers():
    assert images.stores_plain_numbers(saved(RGB.convert("L"), "PNG"))
    assert not images.stores_plain_numbers(KINDS["palette"])
    assert not images.stores_plain_numbers(KINDS["one bit"])


def test_labels_out_of_range_are_listed_with_their_pixels():
    images.check_label_range(np.array([[0, 2, 255]], np.uint8), 3, name="a.png")
    message = r"a\.png: labels out of range: 3 \(2 pixels\), 9 \(1 pixel\)\. .* 0 to 2"
    with pytest.raises(images.ImageError, match=message):
        label = np.array([[3, 0, 9, 3, 255]], np.uint8)
        images.check_label_range(label, 3, name="a.png")


def png_chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


@pytest.mark.parametrize("kind", [b"tEXt", b"IHDR"])
@pytest.mark.parametrize("read", [images.probe, images.read_image, images.read_label])
def test_a_png_whose_first_chunk_is_not_its_only_header_is_refused(read, kind):
    # Decoders differ in which of two headers they use.
    header = struct.pack(">II5B", 30_000, 30_000, 8, 0, 0, 0, 0)
    data = images.encode_label(np.zeros((2, 2), np.uint8))
    data = data[:8] + png_chunk(kind, header) + data[8:]
    with pytest.raises(images.ImageError, match="first chunk is not its only IHDR"):
        read(data)
