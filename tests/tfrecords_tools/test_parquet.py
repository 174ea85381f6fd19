"""Parquet files of images and masks become records."""

import numpy as np
import pytest

from kerasseg import errors, images, records
from tests.support import trees
from tfrecords_tools.converters import class_lists, own_data, pairs, parquet
from tfrecords_tools.writing import writer

pyarrow = pytest.importorskip("pyarrow")
tables = pytest.importorskip("pyarrow.parquet")

OWN = own_data.OwnData(classes=class_lists.read_classes("background,road,car"))
IMAGES = [images.encode_image(trees.image(i)) for i in range(5)]
MASKS = [images.encode_label(trees.label(i, 3)) for i in range(5)]


def write(path, columns, rows_per_group=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    tables.write_table(pyarrow.table(columns), path, row_group_size=rows_per_group)
    return path


def source(root):
    return pairs.Source(source_dir=root, own=OWN)


def as_struct(files):
    return [{"bytes": data, "path": None} for data in files]


@pytest.mark.parametrize("store", [list, as_struct])
def test_rows_of_all_groups_are_read(tmp_path, store):
    columns = {"image": store(IMAGES), "id": [*range(5)], "label": store(MASKS)}
    write(tmp_path / "data/train-00000-of-00001.parquet", columns)
    writer.build_records("parquet", source(tmp_path), tmp_path / "r")
    reader = records.open_split(tmp_path / "r", "train")
    assert len(reader) == 5
    for i in range(5):
        example = records.parse_example(reader.read(i))
        number = int(example["name"].removeprefix("train-00000-of-00001/"))
        assert example["image"] == IMAGES[number]
        label = records.decode_label(example["label"])
        assert np.array_equal(label, trees.label(number, 3))


def test_rows_without_bytes_are_bad_pairs(tmp_path):
    masks = [*MASKS[:3], None, b"?"]
    write(tmp_path / "train.parquet", {"image": IMAGES, "mask": masks})
    own = source(tmp_path)
    result = writer.build_records("parquet", own, tmp_path / "r", skip_bad=True)
    assert result.num_records == {"train": 3}
    reasons = {pair["name"]: pair["reason"] for pair in result.rejected}
    assert "no bytes in the column mask" in reasons["train/000003"]
    assert "but unknown" in reasons["train/000004"]


@pytest.mark.parametrize(
    "columns",
    [
        {"image": IMAGES},
        {"image": IMAGES, "mask": MASKS, "label": MASKS},
        {"photo": IMAGES, "mask": MASKS},
    ],
)
def test_other_columns_are_errors(tmp_path, columns):
    write(tmp_path / "train.parquet", columns)
    with pytest.raises(errors.UserError, match=r"has the columns .*expected one of im"):
        parquet.list_pairs("train", source(tmp_path))


@pytest.mark.parametrize("size", [0, 3, 100])
def test_files_that_are_cut_off_are_errors(tmp_path, size):
    path = write(tmp_path / "train.parquet", {"image": IMAGES, "mask": MASKS})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(errors.UserError, match=r"train\.parquet is damaged, or no"):
        parquet.list_pairs("train", source(tmp_path))


def test_a_folder_without_files_is_an_error(tmp_path):
    with pytest.raises(errors.MissingFileError, match=r"ends with \.parquet"):
        parquet.list_splits(source(tmp_path))
