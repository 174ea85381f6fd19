"""Image-level classes: of labels, of a CSV file, of PASCAL VOC's lists."""

import numpy as np
import pytest

from kerasseg import datasets, errors, pipeline, records
from tests.support import commands, trees
from tfrecords_tools import build
from tfrecords_tools.converters import class_lists, image_classes, own_data, pairs
from tfrecords_tools.writing import writer

SPEC = datasets.DatasetSpec(
    source="",
    num_images={},
    classes={n: (0, 0, 0) for n in ("background", "cat", "dog")},
)
NAMES = "a", "b", "sub/c"


def read(tmp_path, data):
    path = tmp_path / "classes.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return image_classes.read(str(path), SPEC, NAMES)


def test_a_csv_file_names_the_classes_of_each_image(tmp_path):
    text = (
        "\ufeffName,Classes\r\na,dog;cat\r\nphotos/b.jpg,\r\n\r\nsub/c,background; dog"
    )
    assert read(tmp_path, text) == {"a": (1, 2), "b": (), "sub/c": (2,)}


def test_names_may_be_quoted(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text('"x, y.png","cat"\n')
    assert image_classes.read(str(path), SPEC, ["x, y"]) == {"x, y": (1,)}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("a,cat\nd,cat\n", r"line 2: no image is called 'd'.*look like a, b, sub/c\."),
        ("a,cow\n", r"line 1: 'cow' is not a class.* background, cat, dog\."),
        ("a,cat dog\n", r"'cat dog' is not a class"),
        ("a,cat\nb,\na.png,dog\n", r"line 3: an earlier line has the classes of 'a\.p"),
        ("a\n", r"line 1: 1 columns, expected"),
        ("a,cat,dog\n", r"line 1: 3 columns, expected"),
        ('a,"cat\n', r"line 1, is not CSV"),
        ("", r"classes\.csv has no line"),
        ("name,classes\n", r"classes\.csv has no line"),
        ("a,größe\n".encode("latin-1"), "not a UTF-8 text file"),
    ],
)
def test_other_files_are_refused(tmp_path, data, reason):
    with pytest.raises(errors.UserError, match=reason):
        read(tmp_path, data)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(errors.MissingFileError, match="does not exist"):
        image_classes.read(str(tmp_path / "no.csv"), SPEC, NAMES)


# In records.


def tags(folder, split="train"):
    """Returns the classes of the tags of each image by name; None if unknown."""
    opened = records.open_split(folder, split)
    reader = pipeline.ImageReader(opened)
    found = {}
    for i in range(len(opened)):
        name, values = reader.read_image(i)[1], reader.read_tags(i)
        found[name] = None if values is None else np.flatnonzero(values).tolist()
    return found


def own(tmp_path, **more):
    """Two images with masks of classes 0 and 2, and two without one."""
    for i, name in enumerate("abuv"):
        trees.save(tmp_path / "i" / f"{name}.png", trees.image(i))
    mask = np.zeros((12, 16), np.uint8)
    mask[0, 0], mask[1] = 2, 255
    for name in "ab":
        trees.save(tmp_path / "m" / f"{name}.png", mask)
    data = own_data.OwnData(
        images=str(tmp_path / "i"),
        masks=str(tmp_path / "m"),
        classes=class_lists.read_classes("background,cat,dog"),
        unlabeled=True,
        val_fraction=0.0,
    )
    return pairs.Source(own=data, **more)


def test_labels_give_the_classes_without_void(tmp_path):
    writer.build_records("folder", own(tmp_path), tmp_path / "r")
    assert tags(tmp_path / "r") == {"a": [2], "b": [2], "u": None, "v": None}


def test_a_file_gives_the_classes_of_the_images_that_it_names(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("a,cat;dog\nu,cat\n")
    source = own(tmp_path, image_classes=str(path))
    result = writer.build_records("folder", source, tmp_path / "r")
    assert tags(tmp_path / "r") == {"a": [1, 2], "b": [2], "u": [1], "v": None}
    assert result.num_classified == {"train": 2}
    path.write_text("a,cat;dog\nu,\n")  # u shows none of them.
    result = writer.build_records("folder", source, tmp_path / "r")
    assert result.num_kept == 0
    assert tags(tmp_path / "r")["u"] == []
    assert writer.build_records("folder", source, tmp_path / "r").num_kept == 4


def test_the_file_may_name_images_of_splits_that_are_not_built(tmp_path):
    source = pairs.Source(
        trees.camvid(tmp_path / "CamVid"), image_classes=str(tmp_path / "c.csv")
    )
    (tmp_path / "c.csv").write_text("train_01,sky\nval_02,\n")
    result = writer.build_records(
        "camvid", source, tmp_path / "r", splits=["val"], skip_bad=True
    )
    assert result.num_classified == {"val": 1}
    assert tags(tmp_path / "r", "val")["val_02"] == []


def voc_lists(folder, values, difficult=()):
    """Writes ImageSets/Main: values of class 1 for each image, -1 for other classes."""
    for number, name in enumerate(datasets.get("pascal_voc").class_names[1:], 1):
        lines = [
            f"{image} {value if number == 1 else 0 if image in difficult else -1:2d}\n"
            for image, value in values.items()
        ]
        path = folder / "ImageSets" / "Main" / f"{name}_trainval.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines))
    return folder


def test_vocs_lists_give_classes_also_of_difficult_objects(tmp_path):
    voc = trees.voc(tmp_path / "VOC2012", ["2007_a", "2007_b", "2007_c"], ["2008_d"])
    voc_lists(voc, {"2007_a": 1, "2007_b": 0, "2007_x": 1, "2008_d": -1})
    source = pairs.Source(voc, image_classes=str(voc))
    result = writer.build_records(
        "pascal_voc", source, tmp_path / "r", splits=["train", "val"]
    )
    found = tags(tmp_path / "r")
    assert (found["2007_a"], found["2007_b"]) == ([1], [1])
    assert (
        found["2007_c"]
        == [  # Not listed: of its label.
            i for i in np.unique(trees.label(6, 21)[1:]).tolist() if i
        ]
    )
    assert tags(tmp_path / "r", "val") == {"2008_d": []}
    assert result.num_classified == {"train": 2, "val": 1}


def test_vocs_lists_are_checked(tmp_path):
    spec = datasets.get("pascal_voc")
    voc = voc_lists(tmp_path, {"a": 1, "b": -1})
    path = tmp_path / "ImageSets/Main/cat_trainval.txt"
    path.write_text("a 1\n")
    with pytest.raises(errors.UserError, match=r"cat_.* and .* list different images"):
        image_classes.read(str(voc), spec, [])
    path.write_text("a 1\nb 2\n")
    with pytest.raises(errors.UserError, match=r"the line 'b 2', expected the name"):
        image_classes.read(str(voc), spec, [])
    path.unlink()
    with pytest.raises(errors.MissingFileError, match=r"cat_trainval\.txt does not ex"):
        image_classes.read(str(voc), spec, [])


def test_the_command_counts_them(tmp_path, capsys):
    own(tmp_path)
    (tmp_path / "c.csv").write_text("a,cat\nu,dog\n")
    flags = [
        *("--dataset=folder", f"--images={tmp_path}/i", f"--masks={tmp_path}/m"),
        *("--classes=background,cat,dog", "--unlabeled", "--val_fraction=0"),
        *(f"--image_classes={tmp_path}/c.csv", f"--records_dir={tmp_path}/r"),
    ]
    assert commands.run(build.main, *flags) == 0
    assert f"image-level classes from {tmp_path}/c.csv: 2\n" in capsys.readouterr().out
    assert tags(tmp_path / "r") == {"a": [1], "b": [2], "u": [2], "v": None}
