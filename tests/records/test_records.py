"""Records are read as they were written, and all damage is found and named."""

import json
import os
import pathlib
import re
import shutil
import struct
import zlib
from concurrent import futures

import cv2
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from kerasseg import datasets, errors, images, records
from tests.fuzz.values import places
from tests.support import faults, tiny

FIRST, SECOND = (records.shard_name("train", i, 2) for i in range(2))


@pytest.fixture
def folder(tmp_path):
    return tiny.write_records(tmp_path / "records")  # 12 + 5 records in 2 + 2 files.


def foreign(folder):
    """Removes dataset.json, as if scripts of TF DeepLab had written the records."""
    (folder / records.INFO_FILE).unlink()
    return folder


def refused(folder, reason, **options):
    with pytest.raises(records.RecordError, match=reason):
        records.open_split(folder, "train", **options)


def test_records_are_read_as_they_were_written(folder):
    split = records.open_split(folder, "train", deep=True)
    assert len(split) == 12
    assert split.spec == tiny.SPEC
    image, label = tiny.image_and_label(
        6
    )  # Shards take every second: 0 2 4 6 8 10, 1 3 ...
    example = records.parse_example(split.read(3))
    assert (example["name"], example["height"], example["width"]) == (
        "train6.png",
        40,
        48,
    )
    np.testing.assert_array_equal(records.decode_image(example["image"]), image)
    np.testing.assert_array_equal(records.decode_label(example["label"]), label)
    assert example["instance"] is None


def test_bytes_and_keys_equal_those_of_tensorflow(folder):
    import tensorflow as tf

    split = records.open_split(folder, "train")
    expected = list(tf.data.TFRecordDataset(str(folder / FIRST)).as_numpy_iterator())
    assert expected == [split.read(i) for i in range(6)]
    example = tf.train.Example.FromString(expected[0])
    assert example.SerializeToString(deterministic=True) == expected[0]
    feature = example.features.feature
    assert sorted(feature) == [
        "image/channels",
        "image/encoded",
        "image/filename",
        "image/format",
        "image/height",
        "image/segmentation/class/encoded",
        "image/segmentation/class/format",
        "image/width",
    ]
    assert feature["image/format"].bytes_list.value == [b"png"]
    assert feature["image/channels"].int64_list.value == [3]


def test_optional_features_are_read():
    image, label = tiny.image_and_label(0)
    instances = images.encode_label(label.astype(np.uint16))
    serialized = records.encode_example(
        image=tiny.png(image),
        label=None,
        name="straße",
        image_format="png",
        height=40,
        width=48,
        instance=instances,
        present_classes=[0, 2],
    )
    example = records.parse_example(serialized)
    assert example["name"] == "straße"
    assert example["label"] is None
    assert example["instance"] == instances


def test_sizes_are_those_of_the_images(tmp_path):
    tiny.write_records(tmp_path, train=4, size=(16, 40))
    sizes = records.open_split(tmp_path, "train").sizes
    assert sizes.tolist() == [[16, 40]] * 4


def test_many_threads_read_the_same_as_one(folder):
    split = records.open_split(folder, "train")
    indices = list(range(12)) * 20
    with futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(split.read, indices)) == [split.read(i) for i in indices]


@pytest.mark.parametrize("index", [-1, 12])
def test_indices_out_of_range_are_index_errors(folder, index):
    split = records.open_split(folder, "train")
    with pytest.raises(IndexError, match=rf"'train' of 12 .* has no record {index}\."):
        split.read(index)


def test_a_closed_split_leaves_no_file_open(folder):
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    split = records.open_split(folder, "train")
    assert count() == before + 2
    del split
    assert count() == before


# Flipped bits (docs/reliability.md).


@pytest.mark.parametrize("deep", [False, True])
def test_a_flipped_bit_of_the_data_names_shard_and_record(folder, deep):
    positions = records.scan_shard(folder / SECOND)
    faults.flip_bit(folder / SECOND, int(positions[2, 0]) + 5)
    if deep:
        refused(folder, f"{SECOND}: its checksum differs from dataset", deep=True)
        return
    split = records.open_split(folder, "train")
    split.read(7)
    with pytest.raises(
        records.RecordError, match=f"{SECOND}, record 2: the checksum of"
    ):
        split.read(8)
    with pytest.raises(records.RecordError, match=f"{SECOND}, record 2"):
        _ = split.sizes


@pytest.mark.parametrize("offset", [-4, -1])
def test_a_flipped_bit_of_a_checksum_names_the_record(folder, offset):
    faults.flip_bit(folder / FIRST, offset)
    with pytest.raises(
        records.RecordError, match=f"{FIRST}, record 5: the checksum of"
    ):
        records.open_split(folder, "train").read(5)


@pytest.mark.parametrize("offset", [0, 7, 8, 11])
def test_a_flipped_bit_of_a_length_or_its_checksum_is_found_at_once(folder, offset):
    start = int(records.scan_shard(folder / FIRST)[1, 0]) - 12
    faults.flip_bit(folder / FIRST, start + offset)
    refused(folder, f"{FIRST}: expected 6 records in .* found 1 in")
    foreign(folder)
    with pytest.raises(
        records.RecordError, match=f"{FIRST}, record 1: the checksum of"
    ):
        records.open_split(folder, "train", dataset="camvid")


def test_foreign_records_are_read_completely_when_deep(folder):
    faults.flip_bit(foreign(folder) / FIRST, -1)
    records.open_split(folder, "train", dataset="camvid")
    refused(folder, f"{FIRST}, record 5: the check", dataset="camvid", deep=True)


# Truncated files.


def test_a_shard_truncated_between_records_is_found_by_its_manifest(folder):
    starts = records.scan_shard(folder / FIRST)[:, 0]
    os.truncate(folder / FIRST, int(starts[4]) - 12)
    refused(folder, rf"{FIRST}: expected 6 records in \d+ bytes, found 4 in")


@pytest.mark.parametrize("num_left", [5, 20])
def test_a_shard_truncated_within_a_record_is_found_with_and_without_manifest(
    folder, num_left
):
    start = int(records.scan_shard(folder / FIRST)[4, 0]) - 12
    os.truncate(folder / FIRST, start + num_left)
    refused(folder, f"{FIRST}: expected 6 records in .* found 4 in")
    foreign(folder)
    refused(
        folder, f"{FIRST}, record 4: the file ends after {num_left}", dataset="camvid"
    )


def test_a_shard_truncated_while_it_is_open_is_found(folder):
    split = records.open_split(folder, "train")
    faults.cut(folder / FIRST, 10)
    with pytest.raises(records.RecordError, match="record 5: the file ends after"):
        split.read(5)


# Missing, empty and unexpected files.


def test_all_faults_of_a_split_are_listed_at_once(folder):
    (folder / FIRST).unlink()
    (folder / SECOND).write_bytes(b"")
    shutil.copy(
        folder / records.shard_name("val", 0, 2), folder / "train-extra.tfrecord"
    )
    with pytest.raises(records.RecordError) as caught:
        records.open_split(folder, "train")
    text = str(caught.value)
    assert f"{FIRST} is missing; {SECOND}: expected 6 records" in text
    assert "found 0 in 0 bytes; train-extra.tfrecord is not in dataset.json" in text
    assert len(records.open_split(folder, "val")) == 5  # Not affected.


def test_long_lists_of_faults_are_shortened(tmp_path):
    tiny.write_records(tmp_path, train=13, shards=13)
    for path in tmp_path.glob("train-*"):
        path.unlink()
    refused(tmp_path, "is missing; and 3 more. Copy")


def test_files_of_another_number_of_shards_are_found(folder):
    (folder / SECOND).rename(folder / records.shard_name("train", 1, 3))
    refused(folder, f"{SECOND} is missing; train-00001-of-00003.tfrecord is not in")
    foreign(folder)
    refused(folder, "files of 2 and 3 shards are mixed", dataset="camvid")


def test_missing_foreign_files_are_found_by_their_names(folder):
    (foreign(folder) / FIRST).unlink()
    refused(folder, "of 2 files, 0 are missing", dataset="camvid")


@pytest.mark.parametrize("num_zeros", [3, 12, 4096])
def test_zeros_at_the_end_are_found(folder, num_zeros):
    with open(folder / FIRST, "ab") as file:
        file.write(bytes(num_zeros))
    refused(folder, f"{FIRST}: expected 6 records in .* found 6 in")
    foreign(folder)
    refused(folder, f"{FIRST}, record 6: the ", dataset="camvid")


def test_damage_that_keeps_size_and_number_is_named(folder):
    # Size and number of records in dataset.json are those of the damaged file.
    faults.flip_bit(folder / FIRST, 0)
    path = folder / records.INFO_FILE
    content = json.loads(path.read_text())
    content["splits"]["train"][0]["records"] = 0
    path.write_text(json.dumps(content))
    refused(folder, f"{FIRST}, record 0: the checksum of the length is wrong")


def test_a_foreign_split_without_records_is_refused(tmp_path):
    (tmp_path / "train-00000-of-00001.tfrecord").write_bytes(b"")
    refused(tmp_path, "the files have no records", dataset="camvid")


def test_unfinished_files_are_ignored(folder):
    (folder / f".{FIRST}.tmp-1234").write_bytes(b"half")
    assert len(records.open_split(folder, "train")) == 12


# Records with invalid content.


def test_bytes_that_are_not_an_example_are_refused():
    with pytest.raises(ValueError, match=r"3 bytes are not a tf\.train\.Example"):
        records.parse_example(b"\xff\xff\xff")


@pytest.mark.parametrize("key", ["image/encoded", "image/height", "image/filename"])
def test_a_missing_feature_is_named(folder, key):
    import tensorflow as tf

    split = records.open_split(folder, "train")
    example = tf.train.Example.FromString(split.read(0))
    del example.features.feature[key]
    with pytest.raises(ValueError, match=f"has 0 values for '{key}', expected one"):
        records.parse_example(example.SerializeToString())


def test_a_missing_feature_names_the_record_when_sizes_are_read(folder):
    records.write_shard(folder / FIRST, [b""])
    split = records.open_split(foreign_single(folder), "train", dataset="camvid")
    with pytest.raises(records.RecordError, match=r"record 0: The record has 0 values"):
        _ = split.sizes


def foreign_single(folder):
    (foreign(folder) / SECOND).unlink()
    (folder / FIRST).rename(folder / "train-00000-of-00001.tfrecord")
    return folder


@pytest.mark.parametrize("decode", [records.decode_image, records.decode_label])
@pytest.mark.parametrize("data", [b"", b"no image"])
def test_damaged_images_are_value_errors(decode, data):
    with pytest.raises(ValueError, match=f"{len(data)} bytes are not a readable JPEG"):
        decode(data)


def test_a_label_with_colors_is_refused():
    label = np.array([[0, 1]], np.uint8)
    data = images.encode_palette_png(label, datasets.get("camvid").palette)
    with pytest.raises(ValueError, match=r"A label is uint8 \[1, 2, 3\], expected an"):
        records.decode_label(data)


def gray_png(width, height):
    """A PNG file whose header gives a size; it has the data of one pixel."""
    header = struct.pack(">II5B", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b""))
    chunks = [
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    "decode", [records.decode_image, records.decode_label, records.decode_instances]
)
def test_the_size_of_foreign_images_is_checked_before_they_are_decoded(
    decode, monkeypatch
):
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(errors.UserError, match="20000x20000, with more than 268,435,"):
        decode(gray_png(20_000, 20_000))
    if decode is not records.decode_image:
        with pytest.raises(errors.UserError, match=r"is 9000x9000, the image 3x2\."):
            decode(gray_png(9000, 9000), (2, 3))


def test_names_that_are_not_utf_8_are_kept_byte_by_byte():
    image = images.encode_image(np.zeros((1, 1, 3), np.uint8))
    serialized = records.encode_example(
        image=image,
        label=None,
        name=os.fsdecode(b"caf\xe9"),
        image_format="png",
        height=1,
        width=1,
    )
    assert b"caf\xe9" in serialized
    assert records.parse_example(serialized)["name"] == r"caf\xe9"


# Another version, another data set.


def rewrite(folder, change):
    path = folder / records.INFO_FILE
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_another_schema_version_is_refused_with_both(folder):
    rewrite(folder, lambda content: content.update(schema_version=7))
    with pytest.raises(
        ValueError, match=r"has schema version 7, this .* reads versions 1 and 2"
    ):
        records.open_split(folder, "train")


def test_another_number_of_classes_is_refused_with_both(folder):
    with pytest.raises(
        ValueError, match=r"of 'stripes' with 3 classes.*=camvid` has 11"
    ):
        records.open_split(folder, "train", dataset="camvid")


def test_the_named_data_set_may_be_that_of_the_records(tmp_path):
    tiny.write_records(tmp_path, spec=datasets.get("camvid"))
    assert records.open_split(tmp_path, "train", dataset="camvid").spec.name == "camvid"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 1}'])
def test_a_damaged_manifest_is_refused(folder, text):
    (folder / records.INFO_FILE).write_text(text)
    with pytest.raises(
        ValueError, match=r"dataset.json (is not a JSON|has schema|is inc)"
    ):
        records.open_split(folder, "train")


ODD = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats()
    | strategies.text(max_size=5)
    | strategies.sampled_from(["../up", "/etc/passwd", "a/b", "", ".", "a\n", 2**70]),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("shared") / "records")


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(strategies.data())
def test_any_changed_value_of_a_manifest_is_valid_or_an_error_of_it(
    shared_folder, data
):
    path = shared_folder / records.INFO_FILE
    text = path.read_text()
    content = json.loads(text)
    *way, last = data.draw(strategies.sampled_from([*places(content)][1:]))
    inner = content
    for key in way:
        inner = inner[key]
    inner[last] = data.draw(ODD)
    path.write_text(json.dumps(content))
    try:
        info = records.read_info(shared_folder)
        names = [shard.name for each in info.splits.values() for shard in each]
        assert all(os.path.basename(name) == name for name in names)
        assert info.spec.palette.shape == (info.spec.num_classes, 3)
        records.write_info(shared_folder, info)
        assert records.read_info(shared_folder) == info
    except errors.UserError as error:
        assert "dataset.json" in str(error) and len(str(error)) < 600
    finally:
        path.write_text(text)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("name", "../other.tfrecord", "expected a plain file name"),
        ("name", "/etc/passwd", "expected a plain file name"),
        ("name", "é" * 128, "expected a plain file name"),  # 256 bytes.
        ("name", None, "is None, expected text"),
        ("records", -1, "is -1, expected 0 to"),
        ("bytes", 1.5, "is 1.5, expected a whole number"),
        ("crc32c", 2**32, "expected 0 to 4294967295"),
        ("records", True, "is True, expected a whole number"),
    ],
)
def test_odd_files_of_a_manifest_are_refused(folder, key, value, reason):
    rewrite(folder, lambda x: x["splits"]["train"][0].update({key: value}))
    with pytest.raises(errors.UserError, match=reason):
        records.open_split(folder, "train")


# Missing splits and folders.


def test_unknown_splits_are_named_with_the_known_ones(folder):
    for function in (records.open_split, records.check_split):
        with pytest.raises(FileNotFoundError, match="no split 'trian', only train, v"):
            function(folder, "trian")
    records.check_split(folder, "val")


def test_the_error_for_an_empty_folder_names_the_build_command(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="Build the records first, with python -m"
    ):
        records.open_split(tmp_path, "train", dataset="camvid")
    with pytest.raises(FileNotFoundError, match=r"dataset.json does not exist"):
        records.read_info(tmp_path)


def test_records_without_manifest_need_the_name_of_their_data_set(folder):
    foreign(folder)
    with pytest.raises(
        ValueError, match=r"has no dataset.json, which names the classes"
    ):
        records.open_split(folder, "train")
    split = records.open_split(folder, "train", dataset="camvid")
    assert (len(split), split.spec.num_classes) == (12, 11)


def test_a_shard_appears_only_when_it_is_complete(tmp_path):
    def broken():
        yield b"first"
        raise RuntimeError("stopped")

    path = tmp_path / "train-00000-of-00001.tfrecord"
    with pytest.raises(RuntimeError, match="stopped"):
        records.write_shard(path, broken())
    assert os.listdir(tmp_path) == []
    shard = records.write_shard(path, [b"first", b""])
    # 12 bytes of header and 4 of checksum for each.
    assert (shard.records, shard.bytes) == (2, 5 + 2 * 16)
    assert shard.crc32c == records.file_checksum(path)


def test_equal_contents_give_equal_manifests(tmp_path):
    info = records.DatasetInfo(tiny.SPEC, {"val": [], "train": []})
    written = []
    for splits in (info.splits, dict(reversed(info.splits.items()))):
        records.write_info(tmp_path, records.DatasetInfo(tiny.SPEC, splits))
        written.append(pathlib.Path(tmp_path, records.INFO_FILE).read_bytes())
    assert written[0] == written[1]
    assert records.read_info(tmp_path) == info


def test_shard_names_equal_those_of_tf_deeplab():
    assert re.fullmatch(
        r"train-00003-of-00010\.tfrecord", records.shard_name("train", 3, 10)
    )
