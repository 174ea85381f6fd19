"""Extracting files from records."""

import numpy as np
import pytest

from kerasseg import images, records
from tests.support import tiny
from tfrecords_tools import extract


@pytest.fixture
def split(tmp_path):
    return records.open_split(tiny.write_records(tmp_path / "records"), "val")


def test_extracted_images_have_their_original_bytes(split, tmp_path):
    assert extract.extract(split, tmp_path / "out", count=2, labels=True) == 2
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == ["labels", *sorted(f"val{i}.png" for i in (0, 2))]
    image, label = tiny.image_and_label(1000)  # val0
    np.testing.assert_array_equal(
        images.read_image(str(tmp_path / "out" / "val0.png")), image
    )
    found = images.read_label(str(tmp_path / "out" / "labels" / "val0.png"))
    np.testing.assert_array_equal(found, label)


def test_images_of_several_folders_and_with_dots_do_not_replace_each_other(tmp_path):
    image, label = tiny.image_and_label(0)
    names = ["bonn/1.png", "ulm/1.png", "scene.001", "scene.002"]
    path = tmp_path / records.shard_name("val", 0, 1)
    shard = records.write_shard(path, [tiny.example(image, label, n) for n in names])
    records.write_info(tmp_path, records.DatasetInfo(tiny.SPEC, {"val": [shard]}))
    split = records.open_split(tmp_path, "val")
    assert extract.extract(split, tmp_path / "out", labels=True) == 4
    for folder in (tmp_path / "out", tmp_path / "out" / "labels"):
        for name in ("bonn/1.png", "ulm/1.png", "scene.001.png", "scene.002.png"):
            assert (folder / name).is_file()


def test_files_stay_in_the_folder(tmp_path):
    image, label = tiny.image_and_label(0)
    serialized = tiny.example(image, label, "../../escaped.png")
    path = tmp_path / records.shard_name("val", 0, 1)
    shard = records.write_shard(path, [serialized])
    records.write_info(tmp_path, records.DatasetInfo(tiny.SPEC, {"val": [shard]}))
    extract.extract(records.open_split(tmp_path, "val"), tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "escaped.png").exists()
    assert not (tmp_path / "escaped.png").exists()
