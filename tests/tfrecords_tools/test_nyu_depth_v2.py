"""NYU Depth V2, in a miniature of its HDF5 file."""

import contextlib

import numpy as np
import pytest

from kerasseg import datasets, images, records
from tests.support import faults, published
from tfrecords_tools.converters import nyu_depth_v2, pairs
from tfrecords_tools.writing import planning, writer

# Kinds whose class other tools name as well: number of the kind -> name.
KNOWN = {21: "wall", 11: "floor", 64: "picture", 3: "cabinet", 5: "chair", 19: "table"}
KNOWN |= {59: "window", 28: "door", 119: "pillow", 4: "ceiling", 15: "paper", 26: "box"}
KNOWN |= {144: "lamp", 55: "bag", 7: "counter", 157: "bed", 83: "sofa", 85: "books"}
KNOWN |= {80: "blinds", 42: "shelves", 141: "clothes", 88: "bookshelf", 36: "desk"}
KNOWN |= {24: "sink", 143: "floor mat", 2: "otherprop", 894: "otherprop"}
SPLITS = {"trainNdxs": [1, 3], "testNdxs": [2]}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "nyu"
    labels = np.zeros((3, 12, 16), np.uint16)
    labels[1, 0, 1:] = np.arange(880, 895)
    labels[1].ravel()[16 : 16 + len(KNOWN)] = list(KNOWN)
    published.nyu_depth_v2(folder, labels, SPLITS)
    return pairs.Source(folder)


def test_the_spec_is_that_of_gupta():
    spec = datasets.get("nyu_depth_v2")
    assert spec.num_images == {"train": 795, "test": 654}
    assert spec.num_classes == 40
    others = (nyu_depth_v2.OTHER_STRUCTURE, nyu_depth_v2.OTHER_FURNITURE)
    kinds = [*nyu_depth_v2.NUMBERS, *others[0], *others[1]]
    assert len(set(kinds)) == len(kinds) == 37 + 68 + 82  # Of 894; 707 are "otherprop".


def test_kinds_become_classes(source, tmp_path):
    writer.build_records("nyu_depth_v2", source, tmp_path / "r", splits=["test"])
    split = records.open_split(tmp_path / "r", "test", deep=True)
    example = records.parse_example(split.read(0))
    assert example["name"] == "0002"
    label = records.decode_label(example["label"])
    names = [*datasets.get("nyu_depth_v2").class_names]
    found = [names[i] for i in label.ravel()[16 : 16 + len(KNOWN)]]
    assert found == list(KNOWN.values())
    # 0 is unlabeled; 882 and 892 are furniture, 880, 881, ... "otherprop".
    assert label[0].tolist() == [255, 39, 39, 38, *[39] * 9, 38, 39, 39]


def test_images_are_turned_upright(tmp_path):
    folder = tmp_path / "again"
    pixels = published.nyu_depth_v2(folder, np.zeros((3, 9, 5), np.uint16), SPLITS)
    for pair in nyu_depth_v2.list_pairs("train", pairs.Source(folder)):
        image = images.read_image(nyu_depth_v2.read_pair(pair).image)
        np.testing.assert_array_equal(image, pixels[int(pair.name) - 1])


def test_splits_are_those_of_the_list(source):
    found = [pair.name for pair in nyu_depth_v2.list_pairs("train", source)]
    assert found == ["0001", "0003"]
    (source.source_dir / "splits.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"list of splits is needed.*splits"):
        nyu_depth_v2.list_pairs("train", source)


def test_a_damaged_file_is_named(source, tmp_path):
    path = source.source_dir / "nyu_depth_v2_labeled.mat"
    faults.cut(path, path.stat().st_size // 2)
    with pytest.raises(
        planning.BuildError, match=r"pair '0002' is bad: .*labeled\.mat"
    ):
        writer.build_records("nyu_depth_v2", source, tmp_path / "r", splits=["test"])


def test_flipped_bytes_are_an_error_or_other_pixels(source, tmp_path):
    whole = (source.source_dir / "nyu_depth_v2_labeled.mat").read_bytes()
    for seed in range(60):
        random = np.random.default_rng(seed)
        data = bytearray(whole)
        for position in random.integers(512, len(whole), 4):  # 512: where HDF5 begins.
            data[position] = random.integers(256)
        path = tmp_path / f"{seed}.mat"
        path.write_bytes(data)
        with contextlib.suppress(images.ImageError):
            nyu_depth_v2.read_pair(pairs.Pair("0002", str(path), str(path)))


def test_images_that_the_file_lacks_are_named(tmp_path):
    folder = tmp_path / "short"
    published.nyu_depth_v2(folder, np.zeros((1, 12, 16), np.uint16), SPLITS)
    (pair,) = nyu_depth_v2.list_pairs("test", pairs.Source(folder))
    with pytest.raises(images.ImageError, match=r"images, number 2, cannot be read"):
        nyu_depth_v2.read_pair(pair)
