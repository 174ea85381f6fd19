"""Building records: checked pairs, reproducible bytes, no incomplete files."""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from kerasseg import datasets, images, records
from tests.images import test_images
from tests.support import faults, trees
from tfrecords_tools.converters import pairs, registry
from tfrecords_tools.writing import (
    encoding,
    journal,
    label_options,
    planning,
    quarantine,
    scaling,
    tasks,
    workers,
    writer,
)

NUM_FILES = 3 + 2  # Of 1, 2, 2 and of 1, 2 images.


@pytest.fixture
def source(tmp_path):
    return pairs.Source(trees.camvid(tmp_path / "CamVid"))


@pytest.fixture(autouse=True)
def two_images_per_file(monkeypatch):
    monkeypatch.setattr(planning, "SHARD_IMAGES", 2)


def build(source, folder, *, splits=("train", "val"), **options):
    return writer.build_records("camvid", source, folder, splits=splits, **options)


def command(source, folder, *more):
    return [
        "-m",
        "tests.support.build_tiny",
        "--dataset=camvid",
        f"--source_dir={source.source_dir}",
        f"--records_dir={folder}",
        "--splits=train,val",
        *more,
    ]


def contents(folder):
    """Returns the bytes of every file but the journal, whose order varies."""
    names = sorted(set(os.listdir(folder)) - {journal.JOURNAL_FILE})
    return {name: (folder / name).read_bytes() for name in names}


def image_file(source, name="train_01"):
    return source.source_dir / "train" / f"{name}.png"


def label_file(source, name="train_01"):
    return source.source_dir / "trainannot" / f"{name}.png"


def only_rejected(source, folder, **options):
    """Builds, skipping bad pairs; returns the reason of the only one."""
    result = build(source, folder, skip_bad=True, **options)
    assert len(result.rejected) == 1
    assert result.num_records == {"train": 4, "val": 3}
    return result.rejected[0]["reason"]


def test_records_hold_the_sources_own_files(source, tmp_path):
    result = build(source, tmp_path / "records")
    assert result == writer.Result({"train": 5, "val": 3}, 0, ())
    split = records.open_split(tmp_path / "records", "train", deep=True)
    assert split.spec == datasets.get("camvid")
    example = records.parse_example(split.read(1))
    assert example["name"] == "train_01"
    assert example["image"] == image_file(source).read_bytes()
    assert split.sizes.tolist() == [[12, 16]] * 5


def test_labels_become_our_class_numbers(source, tmp_path):
    numbers = np.zeros((12, 16), np.uint8)
    numbers[0, :3] = [10, 11, 255]
    trees.save(label_file(source), numbers)
    plain = np.full((12, 16), 4, np.uint8)
    trees.save(label_file(source, "train_02"), plain)
    build(source, tmp_path / "records")
    split = records.open_split(tmp_path / "records", "train")
    changed, kept = (records.parse_example(split.read(i))["label"] for i in (1, 2))
    assert records.decode_label(changed)[0, :4].tolist() == [10, 255, 255, 0]
    assert kept == label_file(source, "train_02").read_bytes()


def test_present_classes_are_noted_without_the_ignored(source, tmp_path):
    import tensorflow as tf

    numbers = np.full((12, 16), 11, np.uint8)
    numbers[0, :2] = [7, 3]
    trees.save(label_file(source), numbers)
    build(source, tmp_path / "records")
    split = records.open_split(tmp_path / "records", "train")
    feature = tf.train.Example.FromString(split.read(1)).features.feature
    assert feature["image/class/label"].int64_list.value == [3, 7]


def test_palette_and_few_bit_labels_are_rewritten(source, tmp_path):
    numbers = trees.label(3, 11)
    trees.save_palette(label_file(source), numbers)
    few = test_images.png(16, 12, 2, 0, (b"\x00" + b"\x1b" * 4) * 12)  # 0 1 2 3 ...
    label_file(source, "train_02").write_bytes(few)
    build(source, tmp_path / "records")
    split = records.open_split(tmp_path / "records", "train")
    first, second = (
        records.decode_label(records.parse_example(split.read(i))["label"])
        for i in (1, 2)
    )
    np.testing.assert_array_equal(first, numbers)
    assert second[0].tolist() == [0, 1, 2, 3] * 4


def test_transparent_gray_labels_are_rewritten(source, tmp_path):
    # Gray with a transparent value: OpenCV reads four channels, Pillow the values.
    numbers = trees.label(3, 11)
    Image.fromarray(numbers).save(label_file(source), transparency=3)
    build(source, tmp_path / "records")
    split = records.open_split(tmp_path / "records", "train")
    label = records.decode_label(records.parse_example(split.read(1))["label"])
    np.testing.assert_array_equal(label, numbers)


# Rows 1 and 2 of docs/datasets.md: kills.


@pytest.fixture
def undisturbed(source, tmp_path):
    build(source, tmp_path / "undisturbed")
    return contents(tmp_path / "undisturbed")


def check_nothing_looks_finished(folder, expected):
    """Checks that files with final names are complete, dataset.json last."""
    if not folder.exists():
        return
    found = contents(folder)
    final = {name: data for name, data in found.items() if name in expected}
    assert all(expected[name] == data for name, data in final.items())
    assert all(name.startswith(".") for name in found.keys() - final.keys())
    if records.INFO_FILE in found:
        assert final == expected
    else:
        with pytest.raises((FileNotFoundError, ValueError)):
            records.open_split(folder, "train")


def test_a_build_killed_at_every_rename_resumes_to_the_same_bytes(
    source, tmp_path, undisturbed
):
    folder = tmp_path / "records"

    def check(_):
        check_nothing_looks_finished(folder, undisturbed)

    # A run that is killed at its first rename writes no file, one that is killed at
    # its second rename writes one.
    kills = faults.crashpoints(command(source, folder, "--workers=1"), check)
    assert kills >= 2
    assert contents(folder) == undisturbed


def test_a_fresh_build_killed_at_any_rename_leaves_nothing_incomplete(
    source, tmp_path, undisturbed
):
    folders = []

    def fresh():
        folders.append(tmp_path / f"records{len(folders)}")
        return command(source, folders[-1], "--workers=1")

    def check(number):
        check_nothing_looks_finished(folders[-1], undisturbed)
        assert len(list(folders[-1].glob("*.tfrecord"))) == number - 1
        build(source, folders[-1])
        assert contents(folders[-1]) == undisturbed

    assert faults.crashpoints(fresh, check) == NUM_FILES + 1  # And dataset.json.


@pytest.mark.parametrize("number", [1, 4, 7, 10, 13])
def test_a_build_killed_at_any_write_resumes_to_the_same_bytes(
    source, tmp_path, undisturbed, number
):
    folder = tmp_path / "records"
    faults.kill_at(command(source, folder, "--workers=1"), "write", number)
    check_nothing_looks_finished(folder, undisturbed)
    build(source, folder)
    assert contents(folder) == undisturbed


def test_killed_workers_leave_nothing_incomplete(source, tmp_path, undisturbed):
    # strace counts for each process: every worker dies at its second rename. Whether
    # that ends the build depends on whether another worker was reading a pair.
    folder = tmp_path / "records"
    arguments = [sys.executable, *command(source, folder, "--workers=2")]
    strace = shutil.which("strace") or pytest.skip("strace is not installed")
    inject = f"inject={faults.RENAMES}:signal=SIGKILL:when=2"
    done = subprocess.run(
        [strace, "-f", "-qq", "-o", "/dev/null", "-e", inject, *arguments],
        cwd=faults.ROOT,
        env=faults.ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 or "Error: A worker process died" in done.stderr
    check_nothing_looks_finished(folder, undisturbed)
    build(source, folder)
    assert contents(folder) == undisturbed


def test_finished_files_are_not_built_again(source, tmp_path, undisturbed):
    folder = tmp_path / "records"
    arguments = command(source, folder, "--workers=1")
    assert faults.kill_at(arguments, faults.RENAMES, NUM_FILES // 2 + 1)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}
    assert len(before) == NUM_FILES // 2
    result = build(source, folder)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert result.num_kept == 1 + 2
    assert contents(folder) == undisturbed


def test_a_finished_build_is_not_built_again(source, tmp_path):
    folder = tmp_path / "records"
    build(source, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}
    assert build(source, folder).num_kept == 8
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_finished_file_that_was_damaged_is_built_again(source, tmp_path, undisturbed):
    folder = tmp_path / "records"
    build(source, folder)
    faults.flip_bit(folder / "train-00001-of-00003.tfrecord", 40)
    faults.cut(folder / "val-00000-of-00002.tfrecord", 1)
    assert build(source, folder).num_kept == 5
    assert contents(folder) == undisturbed


def test_a_changed_source_is_built_again(source, tmp_path):
    folder = tmp_path / "records"
    build(source, folder)
    trees.save(image_file(source), trees.image(99))
    assert build(source, folder).num_kept == 3  # Those of val.
    split = records.open_split(folder, "train")
    example = records.parse_example(split.read(1))
    np.testing.assert_array_equal(
        records.decode_image(example["image"]), trees.image(99)[..., ::-1]
    )


def test_a_rebuild_with_fewer_files_leaves_no_old_ones(source, tmp_path):
    folder = tmp_path / "records"
    build(source, folder)
    lines = (source.source_dir / "train.txt").read_text().splitlines()
    (source.source_dir / "train.txt").write_text("\n".join(lines[:2]))
    build(source, folder)
    assert len(records.open_split(folder, "train", deep=True)) == 2
    assert len(records.open_split(folder, "val", deep=True)) == 3


def test_a_split_that_is_built_again_is_not_listed_meanwhile(source, tmp_path):
    folder = tmp_path / "records"
    build(source, folder)
    image_file(source).write_bytes(b"broken")
    with pytest.raises(planning.BuildError):
        build(source, folder)
    assert list(records.read_info(folder).splits) == ["val"]
    assert len(records.open_split(folder, "val")) == 3


def test_splits_can_be_built_one_after_the_other(source, tmp_path, undisturbed):
    folder = tmp_path / "records"
    build(source, folder, splits=["val"])
    build(source, folder, splits=["train"])
    assert contents(folder) == undisturbed


def test_a_journal_cut_by_a_kill_is_fixed(source, tmp_path, undisturbed):
    folder = tmp_path / "records"
    build(source, folder)
    (folder / records.INFO_FILE).unlink()
    faults.cut(folder / journal.JOURNAL_FILE, 7)
    assert build(source, folder).num_kept == 6  # The last file is not noted.
    assert contents(folder) == undisturbed
    assert build(source, folder).num_kept == 8  # Nothing was written after the cut.


def test_a_damaged_journal_is_an_error(source, tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / journal.JOURNAL_FILE).write_text("garbage\n")
    with pytest.raises(planning.BuildError, match=r"shards\.jsonl is damaged"):
        build(source, tmp_path / "records")


# Row 3: the same bytes for any number of workers, in any folder, at any time.


@pytest.mark.parametrize("num_workers", [2, 4])
def test_the_number_of_workers_changes_no_byte(
    source, tmp_path, undisturbed, num_workers
):
    engine = functools.partial(quarantine.run, num_workers=num_workers)
    build(source, tmp_path / "records", engine=engine)
    assert contents(tmp_path / "records") == undisturbed


def test_place_and_time_of_the_source_change_no_byte(source, tmp_path, undisturbed):
    moved = tmp_path / "moved"
    shutil.copytree(source.source_dir, moved, copy_function=shutil.copyfile)
    build(pairs.Source(moved), tmp_path / "records")
    assert contents(tmp_path / "records") == undisturbed


def test_the_order_of_the_list_changes_no_byte(source, tmp_path, undisturbed):
    path = source.source_dir / "train.txt"
    path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n\n")
    build(source, tmp_path / "records")
    assert contents(tmp_path / "records") == undisturbed


# Row 4: a full disk.


def test_a_full_disk_is_one_line_and_the_build_resumes_elsewhere(tmp_path):
    source = pairs.Source(trees.camvid(tmp_path / "CamVid", splits=[("train", 6)]))
    for i in range(6):  # 480 kB each, two in a file: the third file does not fit.
        trees.save(image_file(source, f"train_{i:02d}"), trees.image(i, 400, 400))
        trees.save(label_file(source, f"train_{i:02d}"), trees.label(i, 11, 400, 400))
    arguments = command(source, tmp_path / "disk", "--splits=train", "--workers=1")
    with faults.small_disk(tmp_path / "disk", "2300k") as disk:
        done = faults.run(arguments)
        assert done.returncode == 1
        error = done.stderr.splitlines()[-1]
        assert "train-00002-of-00003.tfrecord could not be written (No space" in error
        assert "it needs about 1,0" in error and "are free there" in error
        assert "Traceback" not in done.stderr
        names = ["shards.jsonl", "train-00000-of-00003.tfrecord"]
        assert sorted(os.listdir(disk)) == [*names, "train-00001-of-00003.tfrecord"]
        shutil.copytree(disk, tmp_path / "larger")
    result = build(source, tmp_path / "larger", splits=["train"])
    assert (result.num_records, result.num_kept) == ({"train": 6}, 4)


def test_a_folder_that_cannot_be_created_is_an_error(source, tmp_path):
    (tmp_path / "file").write_text("")
    done = faults.run(command(source, tmp_path / "file" / "records"))
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    assert "could not be written (Not a directory)" in done.stderr


def test_write_errors_report_the_needed_and_the_free_space(tmp_path):
    error = tasks.write_error(tmp_path / "x", OSError(28, "No space left"), 1234)
    assert error.errno == 28
    assert "it needs about 1,234 bytes" in str(error) and "Free some space" in str(
        error
    )
    error = tasks.write_error(tmp_path / "x", OSError(17, "File exists"))
    assert "Give a writable folder" in str(error)
    assert "space" not in str(error) and "bytes" not in str(error)


# Rows 5 to 8: bad pairs.


def truncated_jpeg():
    data = cv2.imencode(".jpg", trees.image(0))[1].tobytes()
    return data[: len(data) // 2]


def wrong_checksum():
    data = bytearray(cv2.imencode(".png", trees.image(0))[1].tobytes())
    data[-20] ^= 1
    return bytes(data)


BAD_IMAGES = {
    "truncated": (truncated_jpeg(), "jpeg .* damaged"),
    "checksum": (wrong_checksum(), "the png file is damaged or truncated"),
    "html": (b"<html>Not found</html>", "not a JPEG or PNG file but text"),
    "empty": (b"", "not a JPEG or PNG file but empty"),
    "gif": (test_images.saved(test_images.RGB, "GIF"), "but gif"),
    "bomb": (test_images.bomb(), "20000 x 20000 = 400,000,000 pixels"),
    "size": (
        cv2.imencode(".png", trees.image(0, 8, 16))[1].tobytes(),
        r"train_01.png is 16 x 8 pixels, its label .*train_01.png is 16 x 12.* never",
    ),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_stops_the_build_with_name_and_reason(source, tmp_path, kind):
    data, reason = BAD_IMAGES[kind]
    image_file(source).write_bytes(data)
    pattern = f"Split 'train', pair 'train_01' is bad: .*{reason}.*`on_error=skip`"
    with pytest.raises(planning.BuildError, match=pattern):
        build(source, tmp_path / "records")
    assert not (tmp_path / "records" / records.INFO_FILE).exists()


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_can_be_skipped(source, tmp_path, kind):
    image_file(source).write_bytes(BAD_IMAGES[kind][0])
    folder = tmp_path / "records"
    result = build(source, folder, skip_bad=True)
    lines = (folder / writer.REJECTED_FILE).read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(result.rejected)
    (rejected,) = result.rejected
    assert rejected["split"] == "train" and rejected["name"] == "train_01"
    assert rejected["image"] == str(image_file(source))
    assert rejected["label"] == str(label_file(source))
    split = records.open_split(folder, "train", deep=True)
    names = [records.parse_example(split.read(i))["name"] for i in range(len(split))]
    assert names == ["train_00", "train_02", "train_03", "train_04"]
    trees.save(image_file(source), trees.image(1))  # Fixed: nothing is left out.
    build(source, folder, skip_bad=True)
    assert not (folder / writer.REJECTED_FILE).exists()


def test_rejected_pairs_of_other_splits_stay_listed(source, tmp_path):
    image_file(source).write_bytes(b"")
    build(source, tmp_path / "records", splits=["train"], skip_bad=True)
    build(source, tmp_path / "records", splits=["val"], skip_bad=True)
    assert (tmp_path / "records" / writer.REJECTED_FILE).exists()


def test_a_split_whose_pairs_are_all_bad_is_refused(source, tmp_path):
    folder = tmp_path / "records"
    image_paths = sorted((source.source_dir / "val").iterdir())
    for path in image_paths:
        path.write_bytes(b"")
    for _ in range(2):  # The second time, no file is left to write.
        with pytest.raises(planning.BuildError, match=r"^All pairs of val are bad, as"):
            build(source, folder, skip_bad=True)
        assert len(records.open_split(folder, "train", deep=True)) == 5
        with pytest.raises(FileNotFoundError, match="has no split 'val', only train"):
            records.open_split(folder, "val")
        lines = (folder / writer.REJECTED_FILE).read_text().splitlines()
        assert len(lines) == len(image_paths)
    for i, path in enumerate(image_paths):  # Fixed.
        trees.save(path, trees.image(i))
    assert build(source, folder).num_records == {"train": 5, "val": len(image_paths)}


def test_a_file_whose_pairs_are_all_bad_is_an_empty_one(source, tmp_path):
    for name in ("train_01", "train_02"):  # The second of three files.
        image_file(source, name).write_bytes(b"")
    result = build(source, tmp_path / "records", skip_bad=True)
    assert result.num_records == {"train": 3, "val": 3}
    assert (tmp_path / "records/train-00001-of-00003.tfrecord").stat().st_size == 0
    assert len(records.open_split(tmp_path / "records", "train", deep=True)) == 3


def test_unknown_class_numbers_are_listed_with_their_pixels(source, tmp_path):
    numbers = np.zeros((12, 16), np.uint8)
    numbers[0, :3] = [12, 200, 200]
    trees.save(label_file(source), numbers)
    reason = only_rejected(source, tmp_path / "records")
    assert "trainannot/train_01.png: 12 (1 pixel), 200 (2 pixels) are not" in reason
    assert "camvid, which has 0 to 10 and ignores [11, 255]" in reason


def test_long_lists_of_class_numbers_are_shortened(source, tmp_path):
    numbers = np.arange(192, dtype=np.uint8).reshape(12, 16)
    trees.save(label_file(source), numbers)
    assert "21 (1 pixel) and 170 more are not" in only_rejected(source, tmp_path / "r")


@pytest.mark.parametrize("channels", [3, 4])
def test_color_labels_are_refused_with_a_hint_at_the_palette(
    source, tmp_path, channels
):
    trees.save(label_file(source), np.zeros((12, 16, channels), np.uint8))
    reason = only_rejected(source, tmp_path / "records")
    assert f"8-bit {'RGBA'[:channels]}, expected one channel" in reason
    assert "palette" in reason


def test_rotated_images_are_refused_unless_an_option_handles_them(source, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(trees.image(5, height=16, width=12))
    stored.save(image_file(source), exif=exif)  # Upright, it has the size of its label.
    reason = only_rejected(source, tmp_path / "stopped")
    assert "the image is rotated (orientation 6)" in reason and "`apply_exif`" in reason
    build(source, tmp_path / "records", rules=encoding.Rules(apply_exif=True))
    split = records.open_split(tmp_path / "records", "train")
    image = records.decode_image(records.parse_example(split.read(1))["image"])
    np.testing.assert_array_equal(image, images.read_image(image_file(source)))
    assert image.shape == (12, 16, 3)


def test_larger_images_can_be_refused(source, tmp_path):
    with pytest.raises(planning.BuildError, match=r"16 x 12 = 192 pixels.*is 191"):
        build(source, tmp_path / "records", rules=encoding.Rules(max_pixels=191))


# Row 9: what is missing or duplicated.


def test_all_missing_files_are_listed(source, tmp_path):
    image_file(source).unlink()
    label_file(source, "train_03").unlink()
    with pytest.raises(planning.BuildError) as caught:
        build(source, tmp_path / "records")
    assert "2 listed files do not exist" in str(caught.value)
    assert str(image_file(source)) in str(caught.value)
    assert str(label_file(source, "train_03")) in str(caught.value)
    result = build(source, tmp_path / "records", skip_bad=True)
    reasons = {pair["name"]: pair["reason"] for pair in result.rejected}
    assert sorted(reasons) == ["train_01", "train_03"]
    assert all("No such file" in reason for reason in reasons.values())


def test_long_lists_of_missing_files_are_shortened(source, tmp_path):
    for split in ("train", "val"):
        shutil.rmtree(source.source_dir / split)
        shutil.rmtree(source.source_dir / f"{split}annot")
    with pytest.raises(planning.BuildError, match=r"16 listed files .* and 6 more"):
        build(source, tmp_path / "records")


def test_duplicate_names_are_an_error_that_lists_them(source, tmp_path):
    path = source.source_dir / "train.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1], lines[3]]))
    pattern = "lists 2 names more than once: train_01, train_03"
    with pytest.raises(planning.BuildError, match=pattern):
        build(source, tmp_path / "records", skip_bad=True)


def test_an_empty_list_is_an_error(source, tmp_path):
    (source.source_dir / "train.txt").write_text("\n")
    with pytest.raises(planning.BuildError, match="'train' lists no image"):
        build(source, tmp_path / "records")


# Folders with other files.


def test_records_of_another_data_set_are_left_alone(source, tmp_path):
    folder = tmp_path / "records"
    build(source, folder)
    text = (folder / records.INFO_FILE).read_text()
    (folder / records.INFO_FILE).write_text(text.replace('"camvid"', '"other"'))
    with pytest.raises(planning.BuildError, match="records of 'other' with 11 classes"):
        build(source, folder)
    (folder / records.INFO_FILE).write_text("{}")
    with pytest.raises(
        planning.BuildError, match=r"schema version None.*another folder"
    ):
        build(source, folder)


def test_records_of_another_tool_are_left_alone(source, tmp_path):
    theirs = tmp_path / "records" / "train-00000-of-00003.tfrecord"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    with pytest.raises(
        planning.BuildError, match="that this tool did not write: train"
    ):
        build(source, theirs.parent)
    assert theirs.read_bytes() == b"theirs"


def test_copied_records_without_their_journal_are_recognized(
    source, tmp_path, undisturbed
):
    folder = tmp_path / "records"
    build(source, folder)
    (folder / journal.JOURNAL_FILE).unlink()
    assert build(source, folder).num_kept == 0
    assert contents(folder) == undisturbed


# Commands and workers.


def test_unknown_data_sets_and_those_without_converter_are_errors(monkeypatch):
    with pytest.raises(ValueError, match="Unknown data set 'camvit'"):
        registry.converter("camvit")
    monkeypatch.setattr(datasets, "get", lambda _: None)
    with pytest.raises(
        ValueError, match=r"Write tfrecords_tools/converters/nothing\.py"
    ):
        registry.converter("nothing")


def test_the_command_builds_available_splits_and_lists_the_others(source, tmp_path):
    arguments = command(source, tmp_path / "records")
    arguments.remove("--splits=train,val")
    done = faults.run(arguments)
    assert done.returncode == 0
    assert "test is skipped: " in done.stdout and "test.txt does not" in done.stdout
    assert "train: 5 records\nval: 3 records\n" in done.stdout
    again = faults.run(arguments)
    assert "8 of them were built before." in again.stdout


def test_the_command_counts_skipped_pairs(source, tmp_path):
    image_file(source).write_bytes(b"")
    stopped = faults.run(command(source, tmp_path / "records"))
    assert stopped.returncode == 2
    assert stopped.stderr.splitlines()[-1].startswith("Error: Split 'train', pair 'tr")
    done = faults.run(command(source, tmp_path / "records", "--on_error=skip"))
    assert done.returncode == 0
    assert "1 bad pair was skipped, see" in done.stdout


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--dataset=camvid"], "Required flags are missing: --records_dir"),
        (["--dataset=nothing", "--records_dir=x"], "Unknown data set 'nothing'"),
        (
            ["--dataset=camvid", "--records_dir=x"],
            "CamVid's folder is needed, but it was",
        ),
        (
            ["--dataset=camvid", "--records_dir=x", "--source_dir=/nowhere"],
            "/nowhere is not a folder. Give it with --source_dir",
        ),
    ],
)
def test_wrong_flags_are_one_line(flags, reason):
    done = faults.run(["-m", "tfrecords_tools.build", *flags])
    assert done.returncode == 2
    assert reason in done.stderr and "Traceback" not in done.stderr


def test_building_starts_no_tensorflow():
    code = "import tfrecords_tools.build, sys; sys.exit('tensorflow' in sys.modules)"
    assert faults.run(["-c", code]).returncode == 0


def die(_, advance):
    advance()
    os._exit(9)


def test_a_worker_that_dies_is_an_error_not_a_hang():
    with pytest.raises(planning.BuildError, match="A worker process died"):
        list(workers.run(die, [1, 2], num_workers=2, advance=lambda _: None))


def square(task, advance):
    advance()
    return task**2


@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_count_what_is_done(num_workers):
    counted = []
    tasks = [1, 2, 3, 4]
    found = workers.run(square, tasks, num_workers=num_workers, advance=counted.append)
    assert sorted(found) == [1, 4, 9, 16]
    assert sum(counted) == 4


def test_workers_end_with_their_parent(tmp_path):
    # The parent is killed. Its workers must end, too.
    many = trees.camvid(tmp_path / "Many", splits=[("train", 60)])
    trees.camvid(tmp_path / "Many", splits=[("val", 2)])
    arguments = command(pairs.Source(many), tmp_path / "records", "--workers=2")
    parent = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=faults.ROOT,
        env={**faults.ENVIRONMENT, "KERASSEG_TEST_MARK": str(tmp_path)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = 60
    while deadline and len(marked(tmp_path)) < 3:
        time.sleep(0.05)
        deadline -= 0.05
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not marked(tmp_path):
            return
        time.sleep(0.1)
    raise AssertionError(f"still there: {marked(tmp_path)}")


def marked(folder):
    """Returns the processes that have this folder in their environment."""
    mark = f"KERASSEG_TEST_MARK={folder}".encode()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if mark in file.read():
                    found.append(int(name))
        except OSError:
            continue
    return found


def test_hashes_of_plans_follow_what_they_depend_on(source):
    spec = datasets.get("camvid")

    def key(rules=encoding.Rules()):  # noqa: B008 - it is frozen.
        return planning.make_plan(spec, "train", source, rules).key

    first = key()
    assert first == key() and len(bytes.fromhex(first)) == hashlib.sha256().digest_size
    assert key(encoding.Rules(apply_exif=True)) != first
    trees.save(label_file(source), trees.label(77, 11))
    assert key() != first


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.1])
def test_images_and_labels_are_reduced_together(source, tmp_path, scale):
    build(source, tmp_path / "records", rules=encoding.Rules(scale=scale))
    split = records.open_split(tmp_path / "records", "train")
    example = records.parse_example(split.read(0))
    image = records.decode_image(example["image"])
    label = records.decode_label(example["label"])
    # Of 12 x 16 pixels; a tenth is 1.2 x 1.6.
    size = {1.0: (12, 16), 0.5: (6, 8), 0.1: (1, 2)}[scale]
    assert image.shape[:2] == label.shape == (example["height"], example["width"])
    assert label.shape == size
    whole = trees.label(0, 12)
    whole[whole == 11] = 255
    if scale == 0.5:  # Blocks of 4 pixels become blocks of 2; colors are means of 4.
        np.testing.assert_array_equal(label, whole[::2, ::2])
        means = trees.image(0)[..., ::-1].reshape(6, 2, 8, 2, 3).mean(axis=(1, 3))
        assert np.abs(image - means).max() <= 0.5
    assert {*example["present_classes"]} == {*np.unique(label).tolist()} - {255}


def test_builds_of_other_scales_do_not_share_records(source):
    spec = datasets.get("camvid")

    def key(scale):
        rules = encoding.Rules(scale=scale)
        return planning.make_plan(spec, "train", source, rules).key

    assert len({key(1.0), key(0.5), key(0.25)}) == 3


@pytest.mark.parametrize("scale", [0, -1, 1.5])
def test_a_scale_is_from_0_to_1(scale):
    with pytest.raises(ValueError, match=f"`image_scale={scale:g}` is out of range"):
        label_options.LabelOptions(image_scale=scale).read()


def test_masks_of_instances_are_not_reduced():
    png = images.encode_label(np.ones((2, 2), np.uint8))
    instances = {"image": png, "label": png, "instance": png}
    example = records.encode_example(
        **instances, name="a", image_format="png", height=2, width=2
    )
    with pytest.raises(ValueError, match="does not reduce the masks of instances"):
        scaling.reduce(example, 0.5, pairs.Pair("a"), images.RGB)


def test_images_of_other_kinds_are_reduced_as_they_are():
    kind = images.ImageKind(2, "uint16")
    pixels = np.arange(16, dtype=np.uint16).reshape(2, 4, 2)
    example = records.encode_example(
        image=images.encode_npy(pixels),
        label=images.encode_label(np.array([[0, 0, 1, 1]] * 2, np.uint8)),
        name="a",
        image_format="npy",
        height=2,
        width=4,
        kind=kind,
    )
    reduced = scaling.reduce(example, 0.5, pairs.Pair("a"), kind)
    parsed = records.parse_example(reduced)
    image = records.decode_image(parsed["image"])
    # Channel 0 of the left block: 0, 2, 8, 10; the others are larger by a constant.
    np.testing.assert_array_equal(image, np.array([[[5, 6], [9, 10]]], np.uint16))
    assert records.decode_label(parsed["label"]).tolist() == [[0, 1]]
