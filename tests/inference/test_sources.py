"""What `predict` takes: paths, bytes, PIL images, arrays, and several of them."""

import io
import logging

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kerasseg import errors, images, inference
from kerasseg.inference import sources
from tests.support import levels, tiny

IMAGE = levels.IMAGE  # Red values 0, 63, 64 and 127, 128, 255.


@pytest.fixture(scope="module")
def segmenter():
    return inference.Segmenter(
        levels.build_model(), tiny.SPEC.class_names, tiny.SPEC.palette
    )


def pil(image, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", **options)
    return Image.open(file)


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: tiny.png(x),
        lambda x: bytearray(tiny.png(x)),
        lambda x: Image.fromarray(x),
        lambda x: Image.fromarray(x).convert("RGBA"),
        lambda x: pil(x),  # Its file is read on access.
        lambda x: x,
        lambda x: x.astype(np.uint16) * 257,  # 255 becomes 65,535.
        lambda x: x.astype(np.float32),
        lambda x: x / 255,
        lambda x: (x / 255).astype(np.float16),
    ],
)
def test_an_image_is_predicted_from_all_it_can_be_read_from(segmenter, convert):
    found = segmenter.predict(convert(IMAGE))
    assert found.image.tolist() == IMAGE.tolist()
    assert found.tolist() == levels.CLASSES
    assert found.source == ""
    assert segmenter.probabilities(convert(IMAGE)).shape == (2, 3, 3)


def test_a_tensor_is_predicted(segmenter):
    tensor = pytest.importorskip("tensorflow").constant(IMAGE)
    assert segmenter.predict(tensor).tolist() == levels.CLASSES


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 1)])
@pytest.mark.parametrize("scale", [1, np.uint16(257), 1.0, 1 / 255])
def test_gray_images_get_three_equal_channels(shape, scale):
    gray = np.array([[0, 10], [100, 255]], np.uint8)
    found = sources.as_image((gray * scale).reshape(shape))
    assert found.tolist() == np.stack([gray] * 3, axis=-1).tolist()
    if scale == 1:
        assert sources.as_image(Image.fromarray(gray)).tolist() == found.tolist()


@given(st.integers(0, 255))
def test_floats_from_0_to_1_and_to_255_round_to_the_same_values(value):
    image = np.full((1, 2, 3), value, np.uint8)
    image[0, 1] = 255  # Tells the ranges apart.
    for given_ in (image / 255, image.astype(float), image + 0.25 * (image < 255)):
        assert sources.as_image(given_).tolist() == image.tolist()


def test_16_bits_are_read_from_arrays_as_from_files(tmp_path):
    values = np.array([[0, 255, 256], [511, 4096, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), values)
    # The upper 8 bits: 255 // 256 = 0, 256 // 256 = 511 // 256 = 1, 4096 // 256 = 16.
    expected = [[0, 0, 1], [1, 16, 255]]
    for given_ in (
        values,
        tmp_path / "deep.png",
        Image.open(tmp_path / "deep.png"),
        Image.fromarray(values.astype(np.int32)),  # Mode I.
    ):
        assert sources.as_image(given_)[..., 0].tolist() == expected


def test_black_images_of_any_type_are_black():
    for dtype in (np.uint8, np.uint16, np.float32):
        assert not sources.as_image(np.zeros((2, 2, 3), dtype)).any()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.uint16(4095), r"largest value of a uint16 image is 4,095.*12-bit values"),
        (np.uint16(255), r"values up to 255 to uint8"),
        (1.5, r"largest value of a float image is 1\.5, which is ambiguous"),
        (-0.5, r"from -0\.5 to 0, expected 0 to 1 or 0 to 255\. Undo its norm"),
        (256.0, r"from 0 to 256, expected"),
        (np.nan, r"from nan to nan, expected"),
        (np.inf, r"from 0 to inf, expected"),
        (True, r"got bool \[2, 2, 3\].*cast it: image\.astype"),
        (np.int64(9), r"got int64 \[2, 2, 3\]"),
    ],
)
def test_values_of_an_ambiguous_range_are_errors(value, text):
    image = np.zeros((2, 2, 3), np.asarray(value).dtype)
    image[0, 0, 0] = value
    with pytest.raises(errors.UserError, match=text):
        sources.as_image(image)


@pytest.mark.parametrize("value", [None, 7, {"a": 1}.values()])
def test_other_objects_are_errors(value):
    with pytest.raises(
        errors.UserError, match=r"a path, the bytes .*; got (None|in|di)"
    ):
        sources.as_image(value)


def test_a_pil_image_is_turned_upright_and_may_be_damaged():
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn clockwise.
    found = sources.as_image(pil(IMAGE, exif=exif))
    assert found[..., 0].tolist() == [[127, 0], [128, 63], [255, 64]]
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(np.uint8)
    damaged = Image.open(io.BytesIO(tiny.png(noise)[:2000]))
    with pytest.raises(images.ImageError, match="PIL image cannot be decoded"):
        sources.as_image(damaged)


def expect_classes(results, count):
    found = list(results)
    assert [each.tolist() for each in found] == [levels.CLASSES] * count
    assert (results.num_predicted, results.failures) == (count, [])
    return found


def test_several_images_are_predicted_one_by_one(segmenter):
    read = []

    def generate():
        for i in range(3):
            read.append(i)
            yield IMAGE

    results = segmenter.predict(generate())
    assert not read and repr(results) == (
        "<Segmentations: 0 images predicted and 0 failed so far>"
    )
    assert next(results).tolist() == levels.CLASSES
    assert read == [0]
    assert [each.source for each in results] == ["image 1", "image 2"]
    assert "3 images predicted and 0 failed done" in repr(results)
    expect_classes(segmenter.predict([IMAGE, tiny.png(IMAGE)]), 2)
    expect_classes(segmenter.predict((IMAGE, IMAGE / 255)), 2)
    assert list(segmenter.predict([])) == []


def test_a_folder_and_a_pattern_are_predicted_in_order(segmenter, tmp_path, caplog):
    # A name that a result of the predict command has, and equal names are no obstacle.
    for name in ("b.png", "index/a.png", "b.PNG"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(tiny.png(IMAGE))
    (tmp_path / "notes.txt").write_text("")
    found = expect_classes(segmenter.predict(tmp_path), 3)
    expected = [str(tmp_path / name) for name in ("b.PNG", "b.png", "index/a.png")]
    assert [each.source for each in found] == expected
    assert "Passed over, as neither images nor videos by their endings: 1 .txt" in (
        caplog.text
    )
    expect_classes(segmenter.predict(f"{tmp_path}/**/a.png"), 1)


def test_an_empty_folder_is_an_error_at_once(segmenter, tmp_path):
    with pytest.raises(errors.MissingFileError, match=r"`image=.*`: no image found"):
        segmenter.predict(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no\.png"):
        segmenter.predict(tmp_path / "no.png")
    with pytest.raises(errors.MissingFileError, match=r"no\.mp4 does not exist"):
        segmenter.predict(tmp_path / "no.mp4")


def test_no_image_of_several_is_lost(segmenter, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    for name in ("a.png", "c.png"):
        (tmp_path / name).write_bytes(tiny.png(IMAGE))
    (tmp_path / "b.png").write_bytes(tiny.png(IMAGE)[:50])
    (tmp_path / "d.tif").write_bytes(b"II*\0")
    results = segmenter.predict(tmp_path)
    found = list(results)
    # 4 images: 2 predicted and 2 failed.
    assert [type(each).__name__ for each in found] == [
        *("Segmentation", "FailedImage", "Segmentation", "FailedImage")
    ]
    assert results.num_predicted == 2
    assert [each.source for each in results.failures] == [
        str(tmp_path / "b.png"),
        str(tmp_path / "d.tif"),
    ]
    assert "2 of 4 images could not be read" in caplog.text
    assert str(tmp_path / "b.png") in caplog.text
    assert next(results, None) is None and caplog.text.count("2 of 4") == 1
    with pytest.raises(errors.UserError, match=r"b\.png"):
        found[1].save(tmp_path / "mask.png")

    mixed = segmenter.predict([IMAGE, str(tmp_path / "no.png"), 7, IMAGE + 0.5, IMAGE])
    assert [hasattr(each, "error") for each in mixed] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert "image 2: An image is a path" in str(mixed.failures[1].error)
    assert "image 3: The values" in str(mixed.failures[2].error)


def write_video(path, count=3):
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 48)
    )
    for i in range(count):
        writer.write(np.full((48, 64, 3), (0, 0, 100 * i), np.uint8))  # BGR.
    writer.release()


def test_the_frames_of_a_video_are_predicted(segmenter, tmp_path):
    write_video(tmp_path / "a.mp4")
    found = list(segmenter.predict(tmp_path / "a.mp4"))
    # Red is about 0, 100 and 200: 100 // 64 = 1, and 200 // 64 = 3, 2 at most.
    assert [int(np.median(each)) for each in found] == [0, 1, 2]
    assert found[2].source == f"{tmp_path}/a.mp4, frame 2"
    (tmp_path / "b.mp4").write_bytes(b"no video")
    results = segmenter.predict(tmp_path)
    assert [hasattr(each, "error") for each in results] == [False, False, False, True]
    assert "damaged, or not a video" in str(results.failures[0].error)


def test_what_the_network_raises_is_raised():
    def fail(_, name):
        raise errors.UserError(f"logits of {name} are NaN")

    results = sources.predict([IMAGE], fail)
    with pytest.raises(errors.UserError, match="logits of image 0 are NaN"):
        next(results)


def test_a_segmenter_has_a_short_text(segmenter):
    expected = "<Segmenter levels, 3 classes: left, middle, right>"
    assert repr(segmenter) == expected


def test_several_predictions_are_saved_under_the_names_of_their_images(tmp_path):
    segmenter = inference.Segmenter(
        levels.build_model(), tiny.SPEC.class_names, tiny.SPEC.palette
    )
    for name in ("a.png", "sub/a.png", "b.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny.png(levels.IMAGE) if name != "b.png" else b"damaged")
    results = segmenter.predict(tmp_path / "photos")
    paths = results.save(tmp_path / "masks")
    assert paths == [str(tmp_path / "masks" / n) for n in ("a.png", "a-1.png")]
    for path in paths:
        np.testing.assert_array_equal(Image.open(path), levels.CLASSES)
    # 3 images in: 2 masks and 1 failure.
    assert [each.source for each in results.failures] == [
        str(tmp_path / "photos" / "b.png")
    ]
