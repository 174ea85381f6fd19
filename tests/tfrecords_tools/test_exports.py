"""Folders that Roboflow exports are built without further options."""

import json
import re
import shutil

import numpy as np
import pytest

from kerasseg import errors, records
from tests.support import commands, trees
from tests.tfrecords_tools import test_yolo
from tests.tfrecords_tools.test_annotations import HEIGHT, WIDTH, rows, square
from tfrecords_tools import build
from tfrecords_tools.converters import exports, own_data

# Roboflow lists the group of the classes as the first category.
CATEGORIES = [
    {"id": 0, "name": "traffic", "supercategory": "none"},
    {"id": 1, "name": "car", "supercategory": "traffic"},
    {"id": 2, "name": "road", "supercategory": "traffic"},
]
NAMES = {"train": ("a_jpg.rf.0f", "b_jpg.rf.1f"), "valid": ("c_jpg.rf.2f",)}
DRAWN = rows("........ .222222. .211222. .211222. .222222. ........")


def image(path, seed):
    trees.save(path, trees.image(seed, HEIGHT, WIDTH))


def coco(root):
    """Writes an export of the format COCO Segmentation."""
    for split, names in NAMES.items():
        listed = []
        for i, name in enumerate(names):
            image(root / split / f"{name}.jpg", [i, len(split)])
            size = {"height": HEIGHT, "width": WIDTH}
            listed.append({"id": i, "file_name": f"{name}.jpg", **size})
        shapes = [square(1, 2, 2, 4, 4), square(2, 1, 1, 7, 5)]
        content = {
            "images": listed,
            "categories": CATEGORIES,
            "annotations": [
                {"id": 2 * i + j, "image_id": i, **shape}
                for i in range(len(names))
                for j, shape in enumerate(shapes)
            ],
        }
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))
    (root / "README.roboflow.txt").write_text("An export.\n")
    return root


def masks(root):
    """Writes an export of the format Semantic Segmentation Masks."""
    for split, names in NAMES.items():
        for i, name in enumerate(names):
            image(root / split / f"{name}.jpg", [i, len(split)])
            label = np.array(DRAWN, np.uint8)
            trees.save(root / split / f"{name}_mask.png", label)
        text = "Pixel Value, Class\n0, background\n1, car\n2, road\n"
        (root / split / "_classes.csv").write_text(text)
    return root


def run(*arguments):
    return commands.run(build.main, "--dataset=folder", "--records_dir=r", *arguments)


def labels(split):
    reader = records.open_split("r", split)
    parsed = [records.parse_example(reader.read(i)) for i in range(len(reader))]
    return {each["name"]: records.decode_label(each["label"]) for each in parsed}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("write", [coco, masks])
def test_an_export_is_built_from_its_folder(folder, write):
    pytest.importorskip("pycocotools.mask")
    write(folder / "export")
    assert run("--source_dir=export") == 0
    info = records.read_info("r")
    assert info.spec.class_names == ("background", "car", "road")
    assert sorted(info.splits) == ["train", "val"]
    found = {**labels("train"), **labels("val")}
    assert sorted(found) == ["a_jpg.rf.0f", "b_jpg.rf.1f", "c_jpg.rf.2f"]
    assert all(label.tolist() == DRAWN for label in found.values())


def test_a_zip_file_is_unpacked(folder):
    masks(folder / "export")
    shutil.make_archive("export", "zip", "export")
    assert run("--source_dir=export.zip") == 0
    assert sorted(records.read_info("r").splits) == ["train", "val"]


def test_a_yolo_export_is_found_by_its_folder_or_file(folder):
    pytest.importorskip("pycocotools.mask")
    pytest.importorskip("yaml")
    root = folder / "export"
    for split in ("train", "valid"):
        test_yolo.add(root, "a", test_yolo.CAR, split)
        (root / split).mkdir()
        (root / "images" / split).rename(root / split / "images")
        (root / "labels" / split).rename(root / split / "labels")
    (root / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
        "nc: 2\nnames: ['car', 'road']\n"
    )
    for source_dir in ("export", "export/data.yaml"):
        assert run(f"--source_dir={source_dir}") == 0
        assert sorted(records.read_info("r").splits) == ["train", "val"]


def test_a_group_of_categories_that_is_used_is_a_class(folder):
    pytest.importorskip("pycocotools.mask")
    coco(folder / "export")
    path = folder / "export/train/_annotations.coco.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 0
    path.write_text(json.dumps(content))
    assert run("--source_dir=export") == 0
    names = records.read_info("r").spec.class_names
    assert sorted(names) == ["background", "car", "road", "traffic"]


def test_files_without_a_counterpart_are_errors(folder, capsys):
    masks(folder / "export")
    (folder / "export/train/b_jpg.rf.1f_mask.png").unlink()
    assert run("--source_dir=export") == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "Files without a counterpart: 1" in printed and "b_jpg.rf.1f.jpg" in printed


def test_splits_with_other_classes_are_refused(folder):
    masks(folder / "export")
    path = folder / "export/valid/_classes.csv"
    path.write_text("Pixel Value, Class\n0, background\n1, road\n2, car\n")
    own = own_data.OwnData()
    with pytest.raises(errors.UserError, match="list different classes"):
        exports.expand(folder / "export", own, None)


def test_an_unknown_folder_is_an_error(folder):
    (folder / "export").mkdir()
    with pytest.raises(errors.MissingFileError, match="holds no export that is known"):
        exports.expand(folder / "export", own_data.OwnData(), None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("valid", "takes comma-separated FROM:TO.*Got 'valid'"),
        ("valid:a/b", "takes comma-separated FROM:TO"),
        ("valid:train", "would give two of the splits train, valid one name"),
    ],
)
def test_damaged_names_of_splits_are_errors(folder, capsys, text, reason):
    masks(folder / "export")
    assert run("--source_dir=export", f"--rename_splits={text}") == 2
    assert re.search(reason, " ".join(capsys.readouterr().err.split()))
