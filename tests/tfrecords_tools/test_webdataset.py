"""WebDataset's tar files become records, without being unpacked."""

import io
import json
import tarfile

import hypothesis
import numpy as np
import pytest

from kerasseg import errors, images, records
from tests.fuzz import values
from tests.support import commands, trees
from tfrecords_tools import build, inspect
from tfrecords_tools.converters import class_lists, own_data, pairs, webdataset
from tfrecords_tools.writing import writer

CLASSES = class_lists.read_classes("background,road,car")
IMAGE = images.encode_image(trees.image(1))
MASK = images.encode_label(trees.label(1, 3))


def member(name, data=b"", **more):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def write(path, *members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def sample(key, image="png", mask="mask.png"):
    return member(f"{key}.{image}", IMAGE), member(f"{key}.{mask}", MASK)


def source(root, **more):
    own = own_data.OwnData(classes=CLASSES, **more)
    return pairs.Source(source_dir=root, own=own)


def built(root, **more):
    """Returns the names of the records, and the reasons of rejected pairs."""
    own = source(root, **more)
    result = writer.build_records("webdataset", own, root / "r", skip_bad=True)
    names = []
    for split in result.num_records:
        reader = records.open_split(root / "r", split)
        parsed = [records.parse_example(reader.read(i)) for i in range(len(reader))]
        names += [each["name"] for each in parsed]
        for each in parsed:
            assert each["image"] == IMAGE
            expected = None if each["label"] is None else trees.label(1, 3)
            found = each["label"] and records.decode_label(each["label"])
            assert np.array_equal(found, expected)
    return sorted(names), {pair["name"]: pair["reason"] for pair in result.rejected}


def test_samples_share_their_name_up_to_the_first_dot(tmp_path):
    write(
        tmp_path / "train-000000.tar",
        *sample("a"),
        *sample("b", mask="seg.png"),
        member("sub", type=tarfile.DIRTYPE),
        *sample("sub/a.v2"[:5], mask="LABEL.PNG"),
    )
    write(tmp_path / "train-000001.tar", *sample("a"))
    write(tmp_path / "val/000000.tar", *sample("c"))
    assert webdataset.list_splits(source(tmp_path)) == ["train", "val"]
    expected = ["000000/c", "train-000000/a", "train-000000/b", "train-000000/sub/a"]
    assert built(tmp_path) == ([*expected, "train-000001/a"], {})


def test_splits_are_renamed(tmp_path):
    write(tmp_path / "valid-000000.tar", *sample("a"))
    write(tmp_path / "data/train-00000-of-00001.tar", *sample("a"))
    own = source(tmp_path, rename_splits="valid:val")
    assert sorted(webdataset.list_splits(own)) == ["train", "val"]


HOSTILE = {
    "two images": ([member("x.png", IMAGE), *sample("x", "jpg")], "has 2 images among"),
    "no image": ([member("x.mask.png", MASK)], "has 0 images among mask.png"),
    "no mask": ([member("x.png", IMAGE)], "has 0 masks, expected one"),
    "two masks": ([*sample("x"), member("x.seg.png", MASK)], "has 2 masks"),
    "twice": ([*sample("x"), *sample("x")], "has two members that end with"),
    "link": (
        [
            member("x.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            member("x.mask.png", MASK),
        ],
        "has a png that is a link",
    ),
    "hard link": (
        [
            member("x.png", type=tarfile.LNKTYPE, linkname="good.png"),
            member("x.mask.png", MASK),
        ],
        "has a png that is a link",
    ),
    "device": (
        [member("x.png", type=tarfile.CHRTYPE), member("x.mask.png", MASK)],
        "has a png that is a link or no regular file",
    ),
    "absolute": ([*sample("/etc/x")], "path that leads out of the tar file"),
    "above": ([*sample("../x")], "path that leads out of the tar file"),
    "no PNG": ([member("x.png", b"?"), member("x.mask.png", MASK)], "but unknown"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_samples_are_bad_pairs(tmp_path, kind):
    members, reason = HOSTILE[kind]
    write(tmp_path / "train.tar", *sample("good"), *members, *sample("last"))
    names, rejected = built(tmp_path)
    assert names == ["train/good", "train/last"]
    ((name, why),) = rejected.items()
    assert name.endswith("x") and reason in why


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def huge(path, size):
    """Changes the size in the third header, and its checksum."""
    data = bytearray(path.read_bytes())
    info = tarfile.TarInfo("x.png")
    info.size = size
    start = 512 * sum(1 + -(-len(each) // 512) for each in (IMAGE, MASK))
    data[start : start + 512] = info.tobuf(tarfile.GNU_FORMAT)[:512]
    path.write_bytes(data)


@pytest.mark.parametrize("size", [1 << 40, -512, -(1 << 20)])
def test_sizes_beyond_the_file_end_it(tmp_path, size):
    path = write(tmp_path / "train.tar", *sample("good"), *sample("x"))
    huge(path, size)
    names, rejected = built(tmp_path)
    assert names == ["train/good"]
    assert "train.tar is damaged or cut off" in rejected["train"]


def test_a_file_that_is_cut_off_keeps_what_precedes(tmp_path):
    path = write(tmp_path / "train.tar", *sample("good"), *sample("x"))
    cut(path, 512 * (3 + -(-len(IMAGE) // 512) + -(-len(MASK) // 512)))
    names, rejected = built(tmp_path)
    assert names == ["train/good"]
    assert "cut off" in rejected["train"]
    own = source(tmp_path)
    with pytest.raises(errors.UserError, match=r"train\.tar is damaged or cut off"):
        writer.build_records("webdataset", own, tmp_path / "s")


def test_compressed_and_foreign_files_are_refused(tmp_path):
    write(tmp_path / "train.tar", *sample("good"))
    with tarfile.open(tmp_path / "other.tar", "w:gz") as tar:
        tar.addfile(member("a.png")[0], io.BytesIO())
    own = source(tmp_path)
    with pytest.raises(errors.UserError, match=r"must be unpacked to \.tar"):
        writer.build_records("webdataset", own, tmp_path / "s")


def test_samples_without_a_mask_may_be_unlabeled(tmp_path):
    write(tmp_path / "train.tar", member("a.png", IMAGE), *sample("b"))
    assert built(tmp_path, unlabeled=True) == (["train/a", "train/b"], {})


def test_missing_classes_and_files_are_errors(tmp_path):
    with pytest.raises(errors.MissingFileError, match=r"holds no file that ends .*tar"):
        webdataset.list_splits(source(tmp_path))
    with pytest.raises(errors.UserError, match="does not name the classes"):
        webdataset.make_spec(pairs.Source(source_dir=tmp_path, own=own_data.OwnData()))


def test_build_counts_other_members(tmp_path, capsys):
    more = [member("a.json", b"{}"), member("b.json", b"{}"), member("c.cls", b"1")]
    write(tmp_path / "train.tar", *sample("a"), *more)
    flags = [f"--source_dir={tmp_path}", "--classes=background,road,car"]
    arguments = ["--dataset=webdataset", *flags, f"--records_dir={tmp_path}/r"]
    assert commands.run(build.main, *arguments) == 0
    printed = capsys.readouterr().out
    assert "2 .json" in printed and "1 .cls" in printed and "train: 1 record" in printed
    info = json.loads((tmp_path / "r/dataset.json").read_text())
    assert "webdataset" in json.dumps(info)


@pytest.mark.slow
def test_inspect_reads_the_source(tmp_path, capsys):
    write(tmp_path / "train.tar", *sample("a"))
    arguments = ["--dataset=webdataset", f"--source_dir={tmp_path}"]
    arguments += ["--classes=background,road,car", "--contact_sheet="]
    assert commands.run(inspect.main, *arguments) == 0
    assert "1 image" in capsys.readouterr().out


@hypothesis.settings(max_examples=25, deadline=None, database=None)
@hypothesis.given(values.damaged(bytes(2560), most=1), values.damaged(MASK, most=2))
def test_any_damage_loses_no_sample(tmp_path_factory, end, mask):
    root = tmp_path_factory.mktemp("tar")
    path = write(
        root / "train.tar",
        *sample("a"),
        member("b.png", IMAGE),
        member("b.mask.png", mask),
    )
    path.write_bytes(path.read_bytes().rstrip(b"\0") + bytes(512) + end)
    listed = webdataset.list_pairs("train", source(root))
    assert {"train/a", "train/b"} <= {pair.name for pair in listed}
    assert all(pair.fault for pair in listed if pair.name == "train")
