"""The commands of docs/data.md for other formats, run on small data."""

import numpy as np
import pytest

from kerasseg import images, records
from tests.support import documented, trees
from tests.tfrecords_tools import (
    test_exports,
    test_panoptic,
    test_webdataset,
    test_yolo,
)

PAGE = "data.md"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def built(capsys):
    """Returns the splits and the class names of the records, and what was printed."""
    info = records.read_info("records")
    counts = {
        split: sum(s.records for s in info.splits[split]) for split in info.splits
    }
    return counts, list(info.spec.class_names), capsys.readouterr().out


def test_the_command_for_yolo_builds(folder, capsys):
    pytest.importorskip("pycocotools.mask")
    for name in "ab":
        test_yolo.add(folder / "yolo", name, test_yolo.CAR)
    test_yolo.add(folder / "yolo", "c", "", "val")
    test_yolo.source(folder / "yolo")
    assert documented.run(PAGE, "yolo/data.yaml") == 0
    counts, names, _ = built(capsys)
    assert counts == {"train": 2, "val": 1}
    assert names == ["background", "car", "road"]


def test_the_command_for_panoptic_files_builds(folder, capsys):
    test_panoptic.write(folder, test_panoptic.panoptic("a.jpg"))
    (folder / "images").rename("val2017")
    (folder / "labels").rename("annotations")
    (folder / "annotations/panoptic").rename("annotations/panoptic_val2017")
    (folder / "annotations/panoptic.json").rename("annotations/panoptic_val2017.json")
    assert documented.run(PAGE, "panoptic_{split}") == 0
    counts, names, _ = built(capsys)
    assert counts == {"val2017": 1}
    assert names == ["background", "car", "person", "sky"]


def test_the_command_for_tiff_files_builds_and_counts_what_it_converts(folder, capsys):
    for i in range(3):
        trees.save(folder / f"scans/{i}.tif", trees.image(i))
        trees.save(folder / f"scan_masks/{i}.tif", trees.label(i, 2))
    assert documented.run(PAGE, "scans/*.tif") == 0
    counts, _, printed = built(capsys)
    assert counts == {"train": 2, "val": 1}
    assert "stored as PNG, from BMP, WebP or TIFF files: 2 images" in printed
    found = {}
    for split in counts:
        reader = records.open_split("records", split)
        for i in range(len(reader)):
            example = records.parse_example(reader.read(i))
            found[example["name"]] = example
    for i in range(3):
        example = found[str(i)]
        assert images.probe(example["image"]).format == "png"
        pixels = records.decode_image(example["image"])
        assert np.array_equal(pixels[..., ::-1], trees.image(i))
        assert np.array_equal(records.decode_label(example["label"]), trees.label(i, 2))


@pytest.mark.parametrize("write", [test_exports.coco, test_exports.masks])
def test_the_command_for_roboflow_builds(folder, capsys, write):
    pytest.importorskip("pycocotools.mask")
    write(folder / "roboflow")
    assert documented.run(PAGE, "--source_dir=roboflow") == 0
    counts, names, _ = built(capsys)
    assert counts == {"train": 2, "val": 1}
    assert names == ["background", "car", "road"]


def test_the_command_for_webdataset_builds(folder, capsys):
    for i in range(2):
        members = test_webdataset.sample(f"{i:04d}")
        test_webdataset.write(folder / f"shards/train-{i:06d}.tar", *members)
    test_webdataset.write(folder / "shards/val.tar", *test_webdataset.sample("x"))
    assert documented.run(PAGE, "--dataset=webdataset") == 0
    assert built(capsys)[0] == {"train": 2, "val": 1}


def test_the_command_for_parquet_builds(folder, capsys):
    test_parquet = pytest.importorskip("tests.tfrecords_tools.test_parquet")
    columns = {"image": test_parquet.IMAGES, "mask": test_parquet.MASKS}
    for split in ("train", "val"):
        test_parquet.write(folder / f"tables/{split}-00000.parquet", columns)
    assert documented.run(PAGE, "--dataset=parquet") == 0
    assert built(capsys)[0] == {"train": 5, "val": 5}
