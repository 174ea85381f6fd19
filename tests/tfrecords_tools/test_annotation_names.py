"""Names of classes and keys in annotation files, and encodings of these files."""

import json
import pathlib
from xml.sax import saxutils

import pytest

from tests.support import commands, trees
from tfrecords_tools import annotations, build

BAD_NAMES = ["", "  ", "a\nb", "a\0", "\x1b[31m", "\ud800", "\u2028"]
POINTS = [[1, 1], [9, 1], [9, 9]]


def labelme(label):
    shape = {"label": label, "points": POINTS, "shape_type": "polygon"}
    size = {"imageHeight": 12, "imageWidth": 16}
    return json.dumps({"imagePath": "x.png", **size, "shapes": [shape]})


def coco(label):
    image = {"id": 1, "file_name": "x.png", "height": 12, "width": 16}
    shape = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "segmentation": [[1, 1, 9, 1, 9]],
    }
    categories = [{"id": 1, "name": label}]
    content = {"images": [image], "annotations": [shape], "categories": categories}
    return json.dumps(content)


def cvat(label, encoding="utf-8"):
    return (
        f'<?xml version="1.0" encoding="{encoding}"?><annotations>'
        f'<image id="0" name="x.png" width="16" height="12"><polygon label='
        f'{saxutils.quoteattr(label)} points="1,1;9,1;9,9"/></image></annotations>'
    )


@pytest.mark.parametrize("label", BAD_NAMES)
@pytest.mark.parametrize("kind", [labelme, coco])
def test_names_that_no_class_can_have_are_refused(tmp_path, kind, label):
    path = tmp_path / "a.json"
    path.write_text(kind(label))
    check_refused(path)


@pytest.mark.parametrize("label", ["", "  ", "a\u2028b"])
def test_such_names_are_refused_in_xml_too(tmp_path, label):
    path = tmp_path / "a.xml"
    path.write_text(cvat(label))
    check_refused(path)


def test_shapes_without_a_label_are_faults(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(cvat("cat").replace('label="cat" ', ""))
    (found,) = annotations.read(str(path))
    assert found.fault == 'shape 1 has no attribute "label"'


def check_refused(path):
    try:
        (found,) = annotations.read(str(path))
    except annotations.AnnotationError as error:
        fault = str(error)
        assert str(path) in fault
    else:
        fault = found.fault
    assert "expected the name of a class in one line" in fault


@pytest.mark.parametrize("kind", [labelme, coco])
def test_keys_that_occur_twice_are_refused(tmp_path, kind):
    # Python keeps the last one, so that objects would vanish.
    path = tmp_path / "a.json"
    key = "shapes" if kind is labelme else "annotations"
    path.write_text(f'{kind("cat")[:-1]}, "{key}": []}}')
    with pytest.raises(annotations.AnnotationError, match=f"key '{key}' twice"):
        annotations.read(str(path))


@pytest.mark.parametrize(
    "encoding", ["foo", "utf-7", "gb2312", "shift_jis", "idna", "hex", "zlib", "cp037"]
)
def test_xml_in_encodings_that_are_not_read_is_refused(tmp_path, encoding):
    path = tmp_path / "a.xml"
    path.write_text(cvat("cat", encoding))
    with pytest.raises(annotations.AnnotationError, match=r"a\.xml is not an XML file"):
        annotations.read(str(path))


def test_files_that_are_passed_over_are_named_beside_those_without_an_image(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        trees.save(pathlib.Path(f"i/{i}.png"), trees.image(i))
        trees.save(pathlib.Path(f"m/{i}.png"), trees.label(i, 2))
    pathlib.Path("m/2.png").rename("m/2.npy")
    flags = ["--images=i", "--masks=m", "--classes=a,b", "--records_dir=r"]
    assert commands.run(build.main, "--dataset=folder", *flags) == 2
    error = capsys.readouterr().err
    assert "Files without a counterpart: 1" in error and "i/2.png" in error
    assert "Passed over" in error and "1 .npy (m/2.npy)" in error
