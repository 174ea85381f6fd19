"""Lists of labeled images: drawn with a seed, or read from files."""

import hashlib
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from kerasseg import errors, records
from kerasseg.records import labeled_lists
from tests.support import faults, tiny

NAMES = [f"{i:03d}" for i in range(367)]
some_names = strategies.sets(strategies.text(min_size=1), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("amount", "total", "count"),
    [
        ("1/8", 367, 46),  # 45.875
        ("0.125", 367, 46),
        ("1/8", 12, 2),  # 1.5, half up.
        ("1/8", 20, 3),  # 2.5, half up.
        ("1/16", 367, 23),  # 22.9
        ("1/100", 5, 1),  # 0.05: at least one.
        ("1", 5, 5),
        ("voc_1_16_size", 10_582, 662),
        ("voc_1_8_size", 10_582, 1_323),
        ("voc_1_4_size", 10_582, 2_646),
        ("cityscapes_1_16_size", 2_975, 186),
        ("cityscapes_1_8_size", 2_975, 372),
        ("cityscapes_1_4_size", 2_975, 744),
    ],
)
def test_fractions_are_rounded_to_the_nearest_number(amount, total, count):
    assert labeled_lists.count_labeled(amount, total) == count


@pytest.mark.parametrize("amount", ["0", "-1/8", "9/8", "1/0", "nan", "inf", "voc", ""])
def test_other_fractions_are_refused(amount):
    with pytest.raises(errors.UserError, match=r"above 0 and at most 1, such as 1/8"):
        labeled_lists.count_labeled(amount, 367)


def test_the_size_of_another_split_is_refused():
    with pytest.raises(errors.UserError, match=r"of 10,582 images, this one has 1,464"):
        labeled_lists.count_labeled("voc_1_8_size", 1_464)


def test_a_draw_is_known():
    """Lists that are published with results do not change with a later release."""
    drawn = labeled_lists.draw(NAMES, 46, 0)
    expected = np.random.default_rng(0).permutation(367)[:46]
    assert drawn.names == tuple(f"{i:03d}" for i in sorted(expected))
    assert drawn.origin == "split_seed=0"
    text = "".join(f"{name}\n" for name in drawn.names)
    assert drawn.checksum == hashlib.sha256(text.encode()).hexdigest()
    assert drawn.checksum.startswith(DRAWN)


DRAWN = "ea65306c"  # Of 46 of 367 names with seed 0.


@hypothesis.given(some_names, strategies.integers(0, 2**40), strategies.data())
def test_draws_depend_on_the_names_only_and_are_nested(names, seed, data):
    shuffled = data.draw(strategies.permutations(sorted(names)))
    counts = sorted(
        data.draw(strategies.tuples(*[strategies.integers(1, len(names))] * 2))
    )
    small, large = (labeled_lists.draw(shuffled, count, seed) for count in counts)
    assert small == labeled_lists.draw(names, counts[0], seed)
    assert [len(small), len(large)] == counts
    assert {*small.names} <= {*large.names} <= names
    assert list(small.names) == sorted(small.names)


def test_seeds_give_different_draws():
    assert len({labeled_lists.draw(NAMES, 46, seed).names for seed in range(5)}) == 5


@pytest.mark.parametrize("count", [0, -1, 4])
def test_more_images_than_there_are_cannot_be_drawn(count):
    with pytest.raises(errors.UserError, match=rf"count={count}` .* 1 to the 3 images"):
        labeled_lists.draw(["a", "b", "c"], count, 0)


# Files.


def read(tmp_path, data, names=("2007_000032", "aachen_0", "a/b"), unlabeled=()):
    path = tmp_path / "list.txt"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return labeled_lists.read_list(path, names, unlabeled)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("2007_000032", "2007_000032"),
        ("JPEGImages/2007_000032.jpg SegmentationClassAug/2007_000032.png", None),
        ("  /VOC/JPEGImages/2007_000032.jpg\t", "2007_000032"),
        ("leftImg8bit/train/aachen/aachen_0_leftImg8bit.png gtFine/x.png", "aachen_0"),
        (r"photos\a\b.png", "a/b"),
    ],
)
def test_lines_of_published_lists_are_read(tmp_path, line, name):
    found = read(tmp_path, f"\ufeff\r\n{line}\r\n")
    assert found.names == (name or "2007_000032",)
    assert found.origin == "list.txt"


def test_the_checksum_depends_on_the_names_only(tmp_path):
    first = read(tmp_path, "aachen_0\na/b\n")
    second = read(tmp_path, "x/a/b.png y.png\n\naachen_0")
    assert first.checksum == second.checksum
    assert first.checksum != read(tmp_path, "aachen_0").checksum


@hypothesis.given(some_names)
def test_a_written_list_is_read_as_it_was(tmp_path_factory, names):
    names = {name.strip() for name in names} - {""}
    hypothesis.assume(names)
    listed = labeled_lists.draw(names, len(names), 0)
    texts = labeled_lists.as_text(listed)
    # Two names may be written alike, such as a line feed and a backslash with n.
    hypothesis.assume(len({*texts.split("\n")}) == len(names) + 1)
    path = tmp_path_factory.mktemp("list") / "list.txt"
    path.write_text(texts, "utf-8")
    assert labeled_lists.read_list(path, names).names == listed.names


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("aachen_0\nzürich\n".encode("latin-1"), "not a UTF-8 text file"),
        ("", r"list\.txt is empty\. List the names"),
        (" \n\n", r"list\.txt is empty"),
        ("aachen_0\nc\nd\n", "lists 2 names that no image of the split has: c, d"),
        ("aachen_0\nx/aachen_0.png\n", "lists aachen_0 more than once"),
        ("dark\naachen_0\n", "lists 1 images without a label: dark"),
    ],
)
def test_other_lists_are_refused(tmp_path, data, reason):
    with pytest.raises(errors.UserError, match=reason):
        read(tmp_path, data, unlabeled=["dark"])


def test_a_missing_list_is_an_error(tmp_path):
    with pytest.raises(errors.MissingFileError, match="does not exist"):
        labeled_lists.read_list(tmp_path / "no.txt", ["a"])


# Of a split.


def unlabeled_example(seed, name):
    image, _ = tiny.image_and_label(seed)
    return records.encode_example(
        image=tiny.png(image),
        label=None,
        name=name,
        image_format="png",
        height=40,
        width=48,
    )


def write(folder, *, labeled=None, num_unlabeled=0, train=6):
    """Writes 6 labeled records, then unlabeled ones; returns the folder."""
    pairs = [tiny.image_and_label(i) for i in range(train)]
    serialized = [tiny.example(*pair, f"{i}") for i, pair in enumerate(pairs)]
    serialized += [unlabeled_example(i, f"u{i}") for i in range(num_unlabeled)]
    folder.mkdir(exist_ok=True)
    shard = records.write_shard(folder / records.shard_name("train", 0, 1), serialized)
    lists = {"train": labeled} if labeled else {}
    counts = {"train": num_unlabeled} if num_unlabeled else {}
    info = records.DatasetInfo(
        tiny.SPEC, {"train": [shard]}, 2, labeled=lists, num_unlabeled=counts
    )
    records.write_info(folder, info)
    return folder


LIST = records.LabeledList(("1", "4"), "split_seed=0")


def test_a_split_without_a_list_uses_all_labels(tmp_path):
    split = records.open_split(write(tmp_path), "train")
    assert (split.labeled, split.labeled_checksum, split.num_unlabeled) == (
        None,
    ) * 2 + (0,)


def test_the_list_of_a_split_is_that_of_its_dataset_json(tmp_path):
    split = records.open_split(write(tmp_path, labeled=LIST), "train")
    assert split.labeled.tolist() == [1, 4]
    assert split.labeled_checksum == LIST.checksum
    assert records.read_info(tmp_path).labeled == {"train": LIST}


def test_a_list_file_takes_precedence(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("5\n0\n")
    folder = write(tmp_path / "r", labeled=LIST, num_unlabeled=1)
    split = records.open_split(folder, "train", labeled_list=path)
    assert split.labeled.tolist() == [0, 5]
    assert split.labeled_checksum == hashlib.sha256(b"0\n5\n").hexdigest()
    path.write_text("5\nu0\n")
    with pytest.raises(errors.UserError, match="1 images without a label: u0"):
        records.open_split(folder, "train", labeled_list=path)


def test_records_without_a_label_are_not_labeled(tmp_path):
    mixed = records.open_split(write(tmp_path / "a", num_unlabeled=2), "train")
    assert mixed.labeled.tolist() == [0, 1, 2, 3, 4, 5]
    assert mixed.labeled_checksum is None
    none = records.open_split(write(tmp_path / "b", num_unlabeled=2, train=0), "train")
    assert none.labeled.tolist() == []


def test_a_list_of_all_images_is_a_list(tmp_path):
    everything = labeled_lists.draw([f"{i}" for i in range(6)], 6, 0)
    split = records.open_split(write(tmp_path, labeled=everything), "train")
    assert split.labeled.tolist() == [0, 1, 2, 3, 4, 5]
    assert split.labeled_checksum == everything.checksum


def test_a_list_of_other_records_is_refused(tmp_path):
    other = records.LabeledList(("1", "9"), "mine.txt")
    split = records.open_split(write(tmp_path, labeled=other), "train")
    with pytest.raises(
        errors.UserError, match=r"mine\.txt\) has 2 .*, and 1 .* 9\. Gi"
    ):
        _ = split.labeled


def damage(folder, *indices):
    path = folder / records.shard_name("train", 0, 1)
    for index in indices:
        faults.flip_bit(path, int(records.scan_shard(path)[index, 0]) + 5)
    return records.open_split(folder, "train")


def test_a_damaged_record_counts_as_labeled_if_it_may_be(tmp_path):
    """It is then an error, or counted as bad, when it is read: it is not left out."""
    assert damage(write(tmp_path / "a", labeled=LIST), 4).labeled.tolist() == [1, 4]
    assert damage(write(tmp_path / "b", labeled=LIST), 3).labeled.tolist() == [1, 4]
    mixed = damage(write(tmp_path / "c", num_unlabeled=2), 0, 7)
    assert mixed.labeled.tolist() == [0, 1, 2, 3, 4, 5, 7]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"names": ["4", "1"]},
            "names of .*'train' are none, not sorted, or not unique",
        ),
        ({"names": ["1", "1"]}, "not sorted, or not unique"),
        ({"names": []}, "names of .* are none"),
        ({"names": ["1", "3"]}, "checksum of the labeled images of 'train' is wrong"),
        ({"names": ["1", 3]}, "a name of .* is 3, expected text"),
        ({"names": "1"}, "expected a list"),
        ({"origin": None}, "expected text"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path, change, reason):
    path = write(tmp_path, labeled=LIST) / records.INFO_FILE
    content = json.loads(path.read_text())
    content["labeled"]["train"].update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(errors.UserError, match=reason):
        records.read_info(tmp_path)


@pytest.mark.parametrize("count", [-1, 7, True, "2"])
def test_a_damaged_number_of_unlabeled_records_is_refused(tmp_path, count):
    path = write(tmp_path) / records.INFO_FILE
    content = json.loads(path.read_text())
    content["num_unlabeled"] = {"train": count}
    path.write_text(json.dumps(content))
    with pytest.raises(errors.UserError, match="the unlabeled of 'train' is"):
        records.read_info(tmp_path)
    content["num_unlabeled"] = {"other": 1}
    path.write_text(json.dumps(content))
    with pytest.raises(errors.UserError, match="'other', which is not a split"):
        records.read_info(tmp_path)


# Images that splits share.


def test_images_of_equal_pixels_are_found_in_any_format(tmp_path):
    import cv2

    image, label = tiny.image_and_label(0)
    other, _ = tiny.image_and_label(1)
    small, _ = tiny.image_and_label(0, 16, 48)
    again = records.encode_example(  # The same pixels in another file.
        image=cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 0])[
            1
        ].tobytes(),
        label=None,
        name="again",
        image_format="png",
        height=40,
        width=48,
    )
    folder = tmp_path / "a"
    tiny.write_images(folder, {"train": [(other, label), (image, label)]})
    (tmp_path / "b").mkdir()
    path = tmp_path / "b" / records.shard_name("x", 0, 1)
    tail = tiny.example(small, label[:16], "small"), tiny.example(image, label, "i")
    shard = records.write_shard(path, [again, *tail])
    records.write_info(path.parent, records.DatasetInfo(tiny.SPEC, {"x": [shard]}))
    first = records.open_split(folder, "train")
    second = records.open_split(path.parent, "x")
    assert records.shared_images(first, second) == [(1, 0), (1, 2)]
    assert records.shared_images(second, first) == [(0, 1), (2, 1)]
    faults.flip_bit(path, int(records.scan_shard(path)[0, 0]) + 5)
    with pytest.raises(records.RecordError, match="record 0: the checksum of the data"):
        records.shared_images(first, records.open_split(path.parent, "x"))
