"""Prediction of images and videos: every kind of result, and single failures."""

import collections
import dataclasses
import itertools
import json
import os
import pathlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from kerasseg import errors, images, inference
from kerasseg.images import visualization
from kerasseg.inference import contours, files, outputs, resuming, videos
from tests.inference.test_inference import write_rotated
from tests.support import levels, tiny

PALETTE = tiny.SPEC.palette


@pytest.fixture(scope="module")
def segmenter():
    return inference.Segmenter(levels.build_model(), tiny.SPEC.class_names, PALETTE)


def write_image(path, image=levels.IMAGE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tiny.png(image))


def test_masks_hold_class_numbers_and_overlays_their_colors(segmenter, tmp_path):
    write_image(tmp_path / "in/deep/a.png")
    write_image(tmp_path / "in/b.png", levels.red([[255]]))
    paths = inference.find_images(str(tmp_path / "in"), str(tmp_path / "out"))
    assert inference.predict_files(segmenter, paths, tmp_path / "out") == []
    assert (
        images.read_label(tmp_path / "out/index/deep/a.png").tolist() == levels.CLASSES
    )
    assert images.read_label(tmp_path / "out/index/b.png").tolist() == [[2]]
    shown = images.read_image(tmp_path / "out/index/deep/a.png")
    np.testing.assert_array_equal(shown, PALETTE[np.array(levels.CLASSES)])
    overlay = images.read_image(tmp_path / "out/overlay/deep/a.png")
    expected = visualization.overlay(levels.IMAGE, np.array(levels.CLASSES), PALETTE)
    np.testing.assert_array_equal(overlay, expected)


def test_results_have_the_size_of_the_upright_image(segmenter, tmp_path):
    write_rotated(tmp_path / "a.jpg")
    paths = {"a": tmp_path / "a.jpg"}
    assert inference.predict_files(segmenter, paths, tmp_path / "out") == []
    for folder in ("index", "overlay"):
        with Image.open(tmp_path / "out" / folder / "a.png") as image:
            assert image.size == (16, 32)


def test_the_mask_is_that_of_the_refinement(segmenter, tmp_path):
    write_image(tmp_path / "a.png")

    def other(image, probabilities):
        np.testing.assert_array_equal(image, levels.IMAGE)
        assert probabilities.argmax(-1).tolist() == levels.CLASSES
        return np.uint8(2 - probabilities.argmax(-1))

    paths = {"a": tmp_path / "a.png"}
    inference.predict_files(segmenter, paths, tmp_path / "out", refine=other)
    label = images.read_label(tmp_path / "out/index/a.png")
    assert label.tolist() == [[2, 2, 1], [1, 0, 0]]


def test_bad_images_are_reported_and_the_others_predicted(segmenter, tmp_path):
    write_image(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes(tiny.png(levels.IMAGE)[:-20])
    (tmp_path / "page.png").write_bytes(b"<html>")
    paths = {p.stem: p for p in sorted(tmp_path.glob("*.png"))}
    paths["gone"] = tmp_path / "gone.png"
    failures = inference.predict_files(segmenter, paths, tmp_path / "out")
    assert len(failures) == 3
    assert "cut.png: the png file is damaged or truncated" in failures[0]
    assert "page.png is not a JPEG or PNG file but text" in failures[1]
    assert failures[2].endswith("gone.png: No such file or directory")
    assert [p.name for p in (tmp_path / "out/index").iterdir()] == ["good.png"]


class LowMemoryPredictor:
    """A predictor for which only images of two rows fit into memory."""

    def __init__(self, error):
        self.error = error
        self.sizes = []

    def classes(self, images, names=()):
        del names
        self.sizes.append(images.shape)
        if images.shape[1] > 2:
            raise self.error
        return inference.Predictor(levels.build_model()).classes(images)


def low_memory_segmenter(error):
    segmenter = inference.Segmenter(
        levels.build_model(), tiny.SPEC.class_names, PALETTE
    )
    segmenter.predictor = LowMemoryPredictor(error)
    return segmenter


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "4 x 5 pixels need too much memory"),
        (ValueError("The logits are NaN."), "The logits are NaN."),
    ],
)
def test_an_image_that_the_network_cannot_process_is_reported(tmp_path, error, reason):
    write_image(tmp_path / "large.png", levels.red(np.zeros((5, 4))))
    write_image(tmp_path / "small.png")
    paths = {p.stem: p for p in sorted(tmp_path.glob("*.png"))}
    write_image(tmp_path / "out/index/large.png")  # From an earlier run.
    failures = inference.predict_files(
        low_memory_segmenter(error), paths, tmp_path / "out"
    )
    assert failures == [f"{tmp_path}/large.png: {reason}"]
    assert (tmp_path / "out/index/small.png").exists()
    assert not (tmp_path / "out/index/large.png").exists()


def test_consecutive_images_of_equal_size_are_one_batch(tmp_path):
    sizes = [(2, 3), (2, 3), (2, 3), (1, 3), (2, 3), (5, 4), (5, 4)]
    for i, size in enumerate(sizes):
        write_image(tmp_path / f"{i}.png", levels.red(np.full(size, 70)))
    paths = {p.stem: p for p in sorted(tmp_path.glob("*.png"))}
    segmenter = low_memory_segmenter(MemoryError())
    failures = inference.predict_files(
        segmenter, paths, tmp_path / "out", kinds=("index",), batch_size=2
    )
    sizes = [shape[:2] for shape in segmenter.predictor.sizes]
    # The last two are tried together, then each alone.
    assert sizes == [(2, 2), (1, 2), (1, 1), (1, 2), (2, 5), (1, 5), (1, 5)]
    assert len(failures) == 2
    assert len(list((tmp_path / "out/index").iterdir())) == 5


def crashing_reader(path, max_pixels):
    """Reads an image; one named "crash" ends the process."""
    if path.name == "crash.png":
        with open(pathlib.Path(path).with_suffix(".tries"), "a") as file:
            file.write("x")
        os._exit(9)
    return images.Raster(images.read_image(path, max_pixels=max_pixels))


@pytest.mark.slow
def test_an_image_that_crashes_its_reader_is_tried_twice_and_reported(
    segmenter, tmp_path, monkeypatch
):
    monkeypatch.setattr(files, "_READ", crashing_reader)
    for name in ("a", "crash", "z1", "z2", "z3"):
        write_image(tmp_path / f"{name}.png")
    paths = {p.stem: p for p in sorted(tmp_path.glob("*.png"))}
    failures = inference.predict_files(segmenter, paths, tmp_path / "out")
    assert failures == [f"{tmp_path}/crash.png: it crashes its reader; tried twice"]
    assert (tmp_path / "crash.tries").read_text() == "xx"
    assert len(list((tmp_path / "out/index").iterdir())) == 4


def test_a_full_disk_ends_the_run(segmenter, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    write_image(tmp_path / "a.png")
    monkeypatch.setattr(outputs, "write", full)
    with pytest.raises(OSError, match="No space left on device"):
        inference.predict_files(segmenter, {"a": tmp_path / "a.png"}, tmp_path / "out")


def test_a_network_without_instances_is_not_asked_for_them(segmenter, tmp_path):
    with pytest.raises(errors.UserError, match="need a network that detects instances"):
        inference.predict_files(segmenter, {}, tmp_path, kinds=["instance_ids"])


def test_every_kind_of_result_is_written(segmenter, tmp_path):
    write_image(tmp_path / "deep/a.png")
    paths = {"deep/a": tmp_path / "deep/a.png"}
    kinds = tuple(kind for kind in outputs.KINDS if "instance" not in kind)
    assert not inference.predict_files(segmenter, paths, tmp_path / "out", kinds=kinds)
    out = tmp_path / "out"
    label = np.array(levels.CLASSES)
    assert images.read_label(out / "index/deep/a.png").tolist() == levels.CLASSES
    np.testing.assert_array_equal(
        images.read_image(out / "color/deep/a.png"), PALETTE[label]
    )
    probabilities = np.load(out / "probabilities/deep/a.npy")
    expected = segmenter.probabilities(levels.IMAGE)
    assert (probabilities.dtype, probabilities.shape) == (np.float16, expected.shape)
    np.testing.assert_allclose(probabilities, expected, atol=1e-3)
    annotations = json.loads((out / "contours/deep/a.json").read_text())
    assert annotations["images"] == [
        {"id": 1, "file_name": "a.png", "width": 3, "height": 2}
    ]
    assert [c["name"] for c in annotations["categories"]] == ["left", "middle", "right"]
    # 0 0 1 over 1 2 2: the two pixels of class 1 do not touch, not even at a corner.
    areas = [(a["category_id"], a["area"]) for a in annotations["annotations"]]
    assert areas == [(0, 2), (1, 1), (1, 1), (2, 2)]
    assert {a["image_id"] for a in annotations["annotations"]} == {1}


def test_an_unknown_kind_is_an_error(segmenter, tmp_path):
    for kinds, text in [(("mask",), "`output=mask`: expected"), ((), "`output=`: exp")]:
        with pytest.raises(ValueError, match=text):
            inference.predict_files(segmenter, {}, tmp_path, kinds=kinds)


def test_the_contour_of_a_square_with_a_hole_follows_its_pixels():
    label = np.full((5, 5), 255, np.uint8)
    label[1:4, 1:4] = 2
    label[2, 2] = 255
    (region,) = contours.annotations(label, tolerance=0)
    assert region["bbox"] == [1, 1, 3, 3]
    assert (region["area"], region["category_id"], region["iscrowd"]) == (8, 2, 0)
    points = np.reshape(region["segmentation"][0], (-1, 2)).tolist()
    # Four outer corners, four inner ones, and each end of the connecting line twice.
    assert sorted(map(tuple, points)) == sorted(
        [(1, 1), (1, 1), (4, 1), (4, 4), (1, 4), (2, 2), (2, 2), (3, 2), (3, 3), (2, 3)]
    )


def inside(polygon, height, width):
    """Returns for each pixel whether its center is inside, by counting crossings."""
    actual = np.zeros((height, width), bool)
    rows, columns = np.mgrid[:height, :width] + 0.5
    points = np.reshape(polygon, (-1, 2))
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 <= rows) != (y1 <= rows)
        actual ^= crosses & (columns < x0 + (rows - y0) / (y1 - y0) * (x1 - x0))
    return actual


@settings(deadline=None)
@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.sampled_from([0, 1, 255]),
    )
)
def test_contours_enclose_exactly_the_pixels_of_their_class(label):
    actual = np.full(label.shape, 255)
    for annotation in contours.annotations(label, tolerance=0):
        (polygon,) = annotation["segmentation"]
        region = inside(polygon, *label.shape)
        assert region.sum() == annotation["area"]
        assert (actual[region] == 255).all()
        actual[region] = annotation["category_id"]
    np.testing.assert_array_equal(actual, label)


def test_a_tolerance_reduces_the_points_of_a_contour():
    rows, columns = np.mgrid[:100, :100]
    label = np.where((rows - 50) ** 2 + (columns - 50) ** 2 < 1600, 1, 255)
    label = label.astype(np.uint8)
    (exact,) = contours.annotations(label, tolerance=0)
    (near,) = contours.annotations(label)
    assert len(near["segmentation"][0]) < len(exact["segmentation"][0]) / 3
    off = inside(near["segmentation"][0], 100, 100) != (label == 1)
    # A circle of radius 40 is 251 pixels long.
    assert off.sum() < 251


def write_video(path, reds, size=(32, 48), rate=10.0):
    """Writes one frame per red value; returns the path."""
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), code, rate, size[::-1])
    for value in reds:
        writer.write(levels.red(np.full(size, value))[..., ::-1].copy())
    writer.release()
    return path


def read_video(path):
    capture = cv2.VideoCapture(str(path))
    frames = [
        frame[..., ::-1] for good, frame in iter(capture.read, (False, None)) if good
    ]
    return np.array(frames), capture.get(cv2.CAP_PROP_FPS)


def test_a_video_becomes_videos_and_one_file_per_frame(segmenter, tmp_path):
    path = write_video(tmp_path / "clip.mp4", [10, 100, 200])
    failures = inference.predict_files(
        segmenter,
        inference.find_images(str(path), str(tmp_path / "out")),
        tmp_path / "out",
        kinds=("index", "color", "overlay", "contours"),
        batch_size=2,
    )
    assert failures == []
    for i in range(3):
        label = images.read_label(tmp_path / f"out/index/clip/{i:06d}.png")
        assert np.unique(label).tolist() == [i]
        assert (tmp_path / f"out/contours/clip/{i:06d}.json").exists()
    frames, rate = read_video(tmp_path / "out/color/clip.mp4")
    assert (frames.shape, rate) == ((3, 32, 48, 3), 10)
    # Compression changes the colors a little.
    assert np.abs(frames.mean(axis=(1, 2)) - PALETTE).max() < 12
    frames, _ = read_video(tmp_path / "out/overlay/clip.mp4")
    half = [(10 / 2, 0, 0), ((100 + 255) / 2, 0, 0), (200 / 2, 0, 255 / 2)]
    assert np.abs(frames.mean(axis=(1, 2)) - half).max() < 12
    assert not [p for p in (tmp_path / "out").rglob("*") if "part" in p.name]


@pytest.mark.parametrize("text", ["no video at all", ""])
def test_a_damaged_video_is_reported_and_the_images_predicted(
    segmenter, tmp_path, text
):
    (tmp_path / "bad.mp4").write_text(text)
    write_image(tmp_path / "a.png")
    failures = inference.predict_files(
        segmenter,
        inference.find_images(str(tmp_path), str(tmp_path / "out")),
        tmp_path / "out",
    )
    assert len(failures) == 1
    assert "bad.mp4 is damaged, or not a video that OpenCV can read" in failures[0]
    assert (tmp_path / "out/index/a.png").exists()


def test_frames_beyond_max_pixels_are_errors(tmp_path):
    path = write_video(tmp_path / "clip.mp4", [10])
    with pytest.raises(
        images.ImageError, match=r"48 x 32 = 1,536 pixels, the limit is 1,000"
    ):
        videos.Frames(path, max_pixels=1000)


def test_a_failed_video_leaves_nothing(segmenter, tmp_path):
    path = write_video(tmp_path / "clip.mp4", [10, 100, 200, 200])
    numbers = itertools.count()

    def refine(image, probabilities):
        del probabilities
        if next(numbers) == 2:
            raise ValueError("cannot")
        return np.zeros(image.shape[:2], np.uint8)

    failures = inference.predict_files(
        segmenter, {"clip": path}, tmp_path / "out", refine=refine
    )
    assert failures == [f"{path}: cannot"]
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_a_video_that_cannot_be_written_is_an_error(tmp_path):
    # OpenCV silently drops frames, such as those of another size.
    path = write_video(tmp_path / "clip.mp4", [10, 100, 200])
    with videos.Frames(path, max_pixels=10**6) as frames:
        image, *_ = frames
        results = videos.Results(tmp_path / "out", "clip", ["color"], frames)
        mask = np.zeros(image.shape[:2], np.uint8)
        palette = np.zeros((2, 3), np.uint8)
        whole = outputs.Prediction("clip.mp4", image, mask, None, ("a", "b"), palette)
        small = dataclasses.replace(whole, image=image[:8, :8], mask=mask[:8, :8])
        error = pytest.raises(OSError, match="written completely: it has 1 of 2 frames")
        with error, results:
            results.add(whole)
            results.add(small)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_a_video_that_ends_early_is_reported_and_predicted(
    segmenter, tmp_path, monkeypatch
):
    path = write_video(tmp_path / "clip.mp4", [10, 100, 200, 10, 100])
    read, last, calls = videos.Frames._read, 2, collections.Counter()

    def read_until_last(self):  # Another thread reads a frame ahead of `number`.
        calls[self] += 1
        return read(self) if calls[self] <= last else (False, None)

    monkeypatch.setattr(videos.Frames, "_read", read_until_last)
    failures = inference.predict_files(segmenter, {"clip": path}, tmp_path / "out")
    assert failures == [
        f"{path}: only 2 of 5 frames could be read and were predicted; the file is "
        f"damaged or truncated"
    ]
    assert len(list((tmp_path / "out/index/clip").iterdir())) == 2
    last = 3  # Two frames less than stated are tolerated.
    assert inference.predict_files(segmenter, {"clip": path}, tmp_path / "out") == []


def test_a_video_and_a_folder_of_the_same_name_are_an_error(tmp_path):
    write_video(tmp_path / "clip.mp4", [10])
    write_image(tmp_path / "clip/000000.jpg")
    with pytest.raises(ValueError, match="the folder of a video's frames"):
        inference.find_images(str(tmp_path), str(tmp_path / "out"))


def failing_reader(path, **options):
    """Replaces the reader in worker processes."""
    if path.name == "a.png":
        raise MemoryError
    return images.Raster(images.read_image(path, **options))


def test_an_image_that_needs_too_much_memory_fails_alone(
    segmenter, tmp_path, monkeypatch
):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name)
    monkeypatch.setattr(files, "_READ", failing_reader)
    paths = {name: tmp_path / f"{name}.png" for name in "ab"}
    failures = inference.predict_files(segmenter, paths, tmp_path / "out")
    assert failures == [f"{paths['a']}: reading it needs too much memory"]
    assert (tmp_path / "out/index/b.png").exists()


def test_a_result_that_is_newer_than_its_source_is_done(tmp_path):
    source = tmp_path / "a.png"
    write_image(source)
    kinds = ("index", "overlay")
    resuming.claim(tmp_path / "out", {"scales": (1.0,)}, overwrite=False)
    assert not resuming.is_done(tmp_path / "out", "a", source, kinds)
    write_image(tmp_path / "out/index/a.png")
    assert not resuming.is_done(tmp_path / "out", "a", source, kinds)
    write_image(tmp_path / "out/overlay/a.png")
    assert resuming.is_done(tmp_path / "out", "a", source, kinds)
    later = source.stat().st_mtime + 10
    os.utime(source, (later, later))
    assert not resuming.is_done(tmp_path / "out", "a", source, kinds)


def test_a_folder_belongs_to_one_network_and_its_settings(tmp_path):
    out = tmp_path / "out"
    assert not resuming.claim(out, {"scales": (1.0,)}, overwrite=False)
    assert resuming.claim(out, {"scales": (1.0,)}, overwrite=False)
    assert not resuming.claim(out, {"scales": (1.0,)}, overwrite=True)
    with pytest.raises(ValueError, match="holds results of another network or other"):
        resuming.claim(out, {"scales": (0.5,)}, overwrite=False)
    assert not resuming.claim(out, {"scales": (0.5,)}, overwrite=True)
    assert resuming.claim(out, {"scales": (0.5,)}, overwrite=False)


def test_results_of_another_network_are_not_done(tmp_path):
    source, out = tmp_path / "a.png", tmp_path / "out"
    write_image(source)
    resuming.claim(out, {"scales": (1.0,)}, overwrite=False)
    result = out / "index/a.png"
    write_image(result)
    before = result.stat().st_mtime - 10
    for path in (source, result):
        os.utime(path, (before, before))
    # Killed before it reached this image, and started again.
    resuming.claim(out, {"scales": (0.5,)}, overwrite=True)
    assert resuming.claim(out, {"scales": (0.5,)}, overwrite=False)
    assert not resuming.is_done(out, "a", source, ("index",))


def test_fingerprints_differ_between_networks(tmp_path):
    first = levels.make_workdir(tmp_path / "a")
    other = levels.make_workdir(tmp_path / "b", levels.build_model(num_classes=4))
    assert resuming.fingerprint(first) == resuming.fingerprint(first)
    assert resuming.fingerprint(first) != resuming.fingerprint(other)
