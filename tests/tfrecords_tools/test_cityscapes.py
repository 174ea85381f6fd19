"""Cityscapes, in a miniature of its zip files."""

import numpy as np
import pytest

from kerasseg import datasets, images, records
from tests.support import published, trees
from tfrecords_tools.converters import cityscapes, pairs, registry, source_files
from tfrecords_tools.writing import planning, writer

# The devkit's id -> train id; every other id up to 33 is not evaluated.
TRAIN_IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9}
TRAIN_IDS |= {23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
NAMES = [
    "train/aachen/aachen_000000_000019",
    "train/bochum/bochum_000000_000313",
    "val/munster/munster_000000_000019",
    "train_extra/troisdorf/troisdorf_000000_000073",
]


@pytest.fixture
def source(tmp_path):
    ids = np.arange(12 * 16).reshape(12, 16) % 34
    folder = tmp_path / "cityscapes"
    return pairs.Source(published.cityscapes(folder, dict.fromkeys(NAMES, ids)))


def names(split, source):
    return sorted(pair.name for pair in cityscapes.list_pairs(split, source))


def test_split_sizes_are_the_published_ones():
    # 2,975 fine; 2,975 and 19,998 extra have coarse labels.
    sizes = datasets.get("cityscapes").num_images
    assert (sizes["train"], sizes["val"]) == (2975, 500)
    assert sizes["trainval"] == 2975 + 500
    assert sizes["train_coarse"] == 2975 + 19998


def test_splits_are_the_folders(source):
    aachen, bochum, munster, troisdorf = (name.split("/")[-1] for name in NAMES)
    assert names("train", source) == [aachen, bochum]
    assert names("val", source) == [munster]
    assert names("trainval", source) == [aachen, bochum, munster]
    assert names("train_coarse", source) == [aachen, bochum, troisdorf]


def test_fine_and_coarse_labels_are_distinguished(source):
    (fine, coarse) = (
        {pair.name: pair.label for pair in cityscapes.list_pairs(split, source)}
        for split in ("train", "train_coarse")
    )
    folder, name = source.source_dir, "aachen_000000_000019"
    assert fine[name] == str(
        folder / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    )
    assert coarse[name] == str(
        folder / "gtCoarse/train/aachen/aachen_000000_000019_gtCoarse_labelIds.png"
    )


def test_ids_become_train_ids(source, tmp_path):
    writer.build_records("cityscapes", source, tmp_path / "r", splits=["val"])
    split = records.open_split(tmp_path / "r", "val", deep=True)
    found = records.decode_label(records.parse_example(split.read(0))["label"])
    expected = [TRAIN_IDS.get(i % 34, 255) for i in range(12 * 16)]
    assert found.ravel().tolist() == expected


def test_train_ids_in_place_of_ids_are_refused(source):
    (pair,) = cityscapes.list_pairs("val", source)
    label = np.zeros((12, 16), np.uint8)
    label[0, :3] = 255
    trees.save(source.source_dir / pair.label, label)
    with pytest.raises(
        images.ImageError, match=r"labelIds\.png: 255 \(3 pixels\) are not values .* 33"
    ):
        cityscapes.read_pair(pair)


def test_what_is_missing_is_named(source, tmp_path):
    (source.source_dir / f"gtFine/{NAMES[0]}_gtFine_labelIds.png").unlink()
    (source.source_dir / f"leftImg8bit/{NAMES[1]}_leftImg8bit.png").unlink()
    with pytest.raises(planning.BuildError, match="2 listed files do not") as caught:
        writer.build_records("cityscapes", source, tmp_path / "r", splits=["train"])
    assert "aachen_000000_000019_gtFine_labelIds.png" in str(caught.value)
    assert "bochum_000000_000313_leftImg8bit.png" in str(caught.value)


def test_splits_whose_folders_are_missing_are_left_out(source):
    for path in (source.source_dir / "leftImg8bit" / "train_extra").rglob("*.png"):
        path.unlink()
    (source.source_dir / "leftImg8bit" / "train_extra" / "troisdorf").rmdir()
    (source.source_dir / "leftImg8bit" / "train_extra").rmdir()
    found = registry.find_splits("cityscapes", source)
    assert found["train"] == found["val"] == found["trainval"] == ""
    assert "Cityscapes' leftImg8bit is needed, but" in found["train_coarse"]
    with pytest.raises(FileNotFoundError, match="Cityscapes' folder is needed"):
        cityscapes.list_pairs("train", pairs.Source())


def test_unknown_splits_are_named_with_the_known_ones(source):
    with pytest.raises(ValueError, match="cityscapes has no split 'test', only train"):
        cityscapes.list_pairs("test", source)
    assert source_files.part_of("x", "train", {"train": 1}) == 1
