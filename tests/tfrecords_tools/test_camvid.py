"""CamVid: its lists, and the real images."""

import functools

import numpy as np
import pytest

from kerasseg import datasets, records
from kerasseg.pipeline import class_statistics
from tests.support import trees
from tfrecords_tools.converters import camvid, pairs
from tfrecords_tools.doctor import splits, survey
from tfrecords_tools.writing import quarantine, writer

# Pixels of sky to bicyclist and void, counted in the SegNet tutorial's labels.
TRAIN_PIXELS = [10682767, 14750079, 623349, 20076880, 2845085, 6166762, 743859]
TRAIN_PIXELS += [714595, 3719877, 405385, 184967, 2503995]
VAL_PIXELS = [1601620, 4531180, 98499, 5053176, 1521751, 2851125, 155724]
VAL_PIXELS += [537197, 304716, 113531, 387010, 297271]
TRAIN_IMAGES = [366, 365, 366, 367, 349, 319, 351, 173, 360, 317, 201]
MEDIAN_FREQUENCY = [0.2793, 0.2017, 4.7865, 0.1490, 1.0, 0.4217, 3.8467]
MEDIAN_FREQUENCY += [1.9736, 0.7889, 6.3747, 8.8587]
ENET = [5.6035, 4.2953, 33.5736, 3.3355, 15.4856, 8.7387, 31.5420]
ENET += [32.0120, 12.8288, 38.0141, 43.9074]


def test_folders_of_the_authors_machine_are_left_out(tmp_path):
    source = pairs.Source(trees.camvid(tmp_path))
    found = camvid.list_pairs("val", source)
    assert [pair.name for pair in found] == ["val_00", "val_01", "val_02"]
    assert found[0].image == str(tmp_path / "val" / "val_00.png")
    assert found[0].label == str(tmp_path / "valannot" / "val_00.png")


@pytest.mark.parametrize("prefix", ["", "/", "CamVid/", "/a/b/c/d/"])
def test_any_prefix_of_the_list_is_left_out(tmp_path, prefix):
    trees.camvid(tmp_path)
    line = f"{prefix}val/val_00.png {prefix}valannot/val_00.png"
    (tmp_path / "val.txt").write_text(f"{line}\r\n\r\n")
    (pair,) = camvid.list_pairs("val", pairs.Source(tmp_path))
    assert pair.files == (
        str(tmp_path / "val" / "val_00.png"),
        str(tmp_path / "valannot" / "val_00.png"),
    )


def test_files_that_do_not_exist_are_named_where_they_should_be(tmp_path):
    trees.camvid(tmp_path)
    (tmp_path / "valannot" / "val_01.png").unlink()
    found = camvid.list_pairs("val", pairs.Source(tmp_path))
    assert found[1].label == str(tmp_path / "valannot" / "val_01.png")


def test_lines_that_are_not_a_pair_are_errors(tmp_path):
    (tmp_path / "train.txt").write_text("x/a.png y/a.png\na.png\n")
    with pytest.raises(
        ValueError, match=r"train.txt has the line 'a.png', expected the"
    ):
        camvid.list_pairs("train", pairs.Source(tmp_path))


def test_missing_folders_and_lists_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="CamVid's folder is needed, but it"):
        camvid.list_pairs("train", pairs.Source())
    with pytest.raises(FileNotFoundError, match=r"train\.txt does not exist. It lists"):
        camvid.list_pairs("train", pairs.Source(tmp_path))


@pytest.fixture(scope="module")
def real_records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("camvid")
    source = pairs.Source(trees.real("camvid"))
    splits = ["train", "val"]
    engine = functools.partial(quarantine.run, num_workers=2)
    writer.build_records("camvid", source, folder, splits=splits, engine=engine)
    return folder


def test_the_real_splits_are_complete(real_records):
    spec = datasets.get("camvid")
    for split in ("train", "val"):
        opened = records.open_split(real_records, split, deep=True)
        assert len(opened) == spec.num_images[split]
        assert np.unique(opened.sizes, axis=0).tolist() == [[360, 480]]


def test_the_real_pixels_are_those_of_other_counts(real_records):
    train, val = splits.open_records(real_records)
    found = survey.survey(train)
    assert found.faults == () and found.num_unlabeled == 0
    counts = found.counts
    assert [*counts.pixels.tolist(), counts.ignored] == TRAIN_PIXELS
    assert counts.images.tolist() == TRAIN_IMAGES
    weights = class_statistics.median_frequency_weights(counts)
    np.testing.assert_allclose(weights, MEDIAN_FREQUENCY, atol=5e-5)
    np.testing.assert_allclose(class_statistics.enet_weights(counts), ENET, atol=5e-5)
    counts = survey.survey(val).counts
    assert [*counts.pixels.tolist(), counts.ignored] == VAL_PIXELS


def test_the_real_images_are_stored_byte_for_byte(real_records):
    split = records.open_split(real_records, "val")
    example = records.parse_example(split.read(50))
    path = trees.real("camvid") / "val" / f"{example['name']}.png"
    assert example["image"] == path.read_bytes()
