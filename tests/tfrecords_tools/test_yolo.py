"""YOLO's polygons and data.yaml become records, pixel by pixel."""

import json
import os
import pathlib
import tempfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from kerasseg import errors
from tests.support import commands, trees
from tests.tfrecords_tools.test_annotations import HEIGHT, WIDTH, rows
from tfrecords_tools import build, inspect
from tfrecords_tools.annotations import yolo as label_files
from tfrecords_tools.converters import folder, own_data, pairs, yolo
from tfrecords_tools.writing import writer

pytest.importorskip("pycocotools.mask")
pytest.importorskip("yaml")

YAML = "path: .\ntrain: images/train\nval: images/val\nnames: [car, road]\n"
# x from 2/8 to 6/8 of 8 columns are columns 2..5, y from 1/6 to 3/6 are rows 1, 2.
CAR = "0 0.25 0.1666667 0.75 0.1666667 0.75 0.5 0.25 0.5"
# x from 0 to 1, y from 0 to 4/6: rows 0..3.
ROAD = "1 0 0 1 0 1 0.6666667 0 0.6666667"
DRAWN = rows("22222222 22111122 22111122 22222222 ........ ........")
NOTHING = rows("........ " * HEIGHT)


def add(root, name, text, split="train"):
    """Writes an image, and its label unless it is None."""
    trees.save(
        root / f"images/{split}/{name}.png",
        trees.image(list(f"{split}{name}".encode()), HEIGHT, WIDTH),
    )
    if text is not None:
        path = root / f"labels/{split}/{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def source(root, text=YAML, **more):
    if text is not None:
        (root / "data.yaml").write_text(text)
    own = own_data.OwnData(annotations=str(root / "data.yaml"), **more)
    return pairs.Source(own=own)


def labels(own, split="train"):
    listed = folder.list_pairs(split, own)
    return {pair.name: folder.read_pair(pair).label.tolist() for pair in listed}


def test_polygons_are_fractions_and_smaller_ones_lie_on_top(tmp_path):
    add(tmp_path, "a", f"{CAR}\n\n{ROAD}\n")
    add(tmp_path, "b", f"{ROAD}\r\n{CAR}", "val")
    own = source(tmp_path)
    assert folder.make_spec(own).class_names == ("background", "car", "road")
    assert labels(own) == {"a": DRAWN}
    assert labels(own, "val") == {"b": DRAWN}


def test_an_empty_file_is_only_background_and_a_missing_one_is_an_error(tmp_path):
    add(tmp_path, "a", " \n\n")
    own = source(tmp_path, YAML.replace("val: images/val\n", ""))
    assert labels(own) == {"a": NOTHING}
    add(tmp_path, "b", None)
    with pytest.raises(errors.UserError, match=r"without a counterpart: 1.*b\.png"):
        labels(own)
    as_background = source(tmp_path, None, unannotated_as_background=True)
    assert labels(as_background) == {"a": NOTHING, "b": NOTHING}


def test_labels_without_an_image_are_errors_and_lists_of_classes_are_not(tmp_path):
    add(tmp_path, "a", CAR)
    add(tmp_path, "b", CAR, "val")
    (tmp_path / "labels/train/classes.txt").write_text("car\nroad\n")
    own = source(tmp_path)
    assert [*labels(own)] == ["a"]
    (tmp_path / "labels/train/lost.txt").write_text(CAR)
    with pytest.raises(errors.UserError, match=r"labels/train/lost\.txt"):
        labels(own)
    (tmp_path / "leave_out.txt").write_text("train:lost\n")
    left_out = source(tmp_path, None, leave_out=str(tmp_path / "leave_out.txt"))
    assert [*labels(left_out)] == ["a"]


def test_two_images_of_one_name_are_an_error(tmp_path):
    add(tmp_path, "a", CAR)
    add(tmp_path, "b", CAR, "val")
    trees.save(tmp_path / "images/train/a.jpg", trees.image(1, HEIGHT, WIDTH))
    with pytest.raises(errors.UserError, match="with the name of another file: 1"):
        labels(source(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "path: {root}\ntrain: images/train\nval: images/val\n",
        "train: {root}/images/train\nval: {root}/images/val\n",
        "train: ../images/train\nval: ../images/val\n",  # As Roboflow writes them.
        "train: [images/train]\nval: images/val\ntest: images/test\n",
        "path: .\ntrain: train.txt\nval: lists/val.txt\ntest:\n",
        "path: /no/such/folder\ntrain: images/train\nval: images/val\n",
    ],
)
def test_paths_are_absolute_or_relative_and_lists_name_images(tmp_path, text):
    add(tmp_path, "a", CAR)
    add(tmp_path, "b", f"{ROAD}\n{CAR}", "val")
    # Lines are relative to the folder of the list, or to that of the data set.
    (tmp_path / "train.txt").write_text("./images/train/a.png\n\n")
    (tmp_path / "lists").mkdir()
    image = tmp_path / "images/val/b.png"
    (tmp_path / "lists/val.txt").write_text(f"images/val/b.png\n{image}\n")
    names = "nc: 2\nnames:\n  0: car\n  1: road\n"
    own = source(tmp_path, text.format(root=tmp_path) + names)
    assert [*labels(own)] == ["a"]
    assert labels(own, "val") == {"b": DRAWN}


def test_a_split_without_images_is_skipped_and_named(tmp_path, capsys):
    add(tmp_path, "a", CAR)
    source(tmp_path)
    arguments = [f"--annotations={tmp_path}/data.yaml", f"--records_dir={tmp_path}/r"]
    assert commands.run(build.main, "--dataset=folder", *arguments) == 0
    printed = capsys.readouterr().out
    assert (
        f"val is skipped: {tmp_path}/data.yaml gives {tmp_path}/images/val" in printed
    )
    assert "train: 1 record" in printed


def test_folders_of_images_are_searched_and_names_are_paths_below_them(tmp_path):
    add(tmp_path, "x/a", CAR)
    add(tmp_path, "y/a", ROAD)
    own = source(tmp_path, YAML.replace("val: images/val", ""))
    assert [*labels(own)] == ["x/a", "y/a"]
    # Several folders: names start at the lowest folder that contains all.
    text = YAML.replace("images/train", "[images/train/y, images/train/x]")
    assert [*labels(source(tmp_path, text.replace("val: images/val", "")))] == [
        "x/a",
        "y/a",
    ]


def test_the_last_folder_images_becomes_labels():
    assert yolo.label_path("/images/a/images/b/x.y.jpg") == "/images/a/labels/b/x.y.txt"
    assert yolo.label_path("images/x.png") == "labels/x.txt"
    assert yolo.label_path("train/x.png") == "train/x.txt"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.2 0.2", "without an area: bbox. A box does not tell which"),
        ("2 0 0 1 0 1 1", "line 1 has class 2, but the names .* those of 0 to 1"),
        ("-1 0 0 1 0 1 1", "the class of line 1 is '-1'"),
        ("1.5 0 0 1 0 1 1", "the class of line 1 is '1.5'"),
        ("car 0 0 1 0 1 1", "the class of line 1 is 'car'"),
        ("0 0 0 1 0 1 1 0.9", "line 1 has 7 coordinates, an odd number.*confidence"),
        ("0", "cannot be drawn .a polygon has 0 corners"),
        ("0 0.1 0.2", "cannot be drawn .a polygon has 1 corner"),
        ("0 0 0 nan 0 1 1", "x of line 1 is 'nan', expected a finite number"),
        ("0 0 0 1 inf 1 1", "y of line 1 is 'inf', expected a finite number"),
        ("0 0 0 1e999 0 1 1", "x of line 1 is '1e999'"),
        ("0 0 0 1,0 0 1 1", "x of line 1 is '1,0'"),
        ("0 0 0 1.07 0 1 1", "x of line 1 is 1.07, outside of the image"),
        ("0 0 0 1 -0.09 1 1", "y of line 1 is -0.09, outside of the image"),
        ("0 0 0 7 0 7 5", "x of line 1 is 7, .* pixels must be divided by the size"),
        ("0 0 0 0.5 0.5 1 1", "corners of a polygon lie on one line"),
        (f"{CAR}\n0 x", "line 2 has 1 coordinates"),
        (b"\xff\xfe0 0 0", "is not a UTF-8 text file"),
    ],
)
def test_damaged_lines_are_bad_images(tmp_path, line, reason):
    add(tmp_path, "a", line)
    add(tmp_path, "b", CAR)
    own = source(tmp_path, YAML.replace("val: images/val", ""))
    first, second = folder.list_pairs("train", own)
    with pytest.raises(errors.UserError, match=rf"labels/train/a.txt.*{reason}"):
        folder.read_pair(first)
    assert folder.read_pair(second).label.max() == 1
    result = writer.build_records("folder", own, tmp_path / "r", skip_bad=True)
    assert result.num_records == {"train": 1}
    assert [pair["name"] for pair in result.rejected] == ["a"]


def test_corners_up_to_half_a_pixel_outside_are_rounding(tmp_path):
    # Half a pixel of 8 is 0.0625 of the width, of 6 pixels 0.083 of the height.
    add(tmp_path, "a", "0 -0.06 -0.08 1.06 -0.08 1.06 1.08 -0.06 1.08")
    own = source(tmp_path, YAML.replace("val: images/val", ""))
    assert labels(own) == {"a": rows("11111111 " * HEIGHT)}


def test_images_that_are_missing_or_damaged_are_bad_images(tmp_path):
    add(tmp_path, "a", CAR)
    add(tmp_path, "b", CAR)
    add(tmp_path, "c", CAR)
    (tmp_path / "images/train/a.png").write_bytes(b"no image")
    (tmp_path / "images/train/b.png").unlink()
    listed = "".join(f"./images/train/{name}.png\n" for name in "abc")
    (tmp_path / "train.txt").write_text(listed)
    own = source(tmp_path, "train: train.txt\nnames: [car, road]\n")
    result = writer.build_records("folder", own, tmp_path / "r", skip_bad=True)
    assert result.num_records == {"train": 1}
    reasons = {pair["name"]: pair["reason"] for pair in result.rejected}
    assert "a.png is not" in reasons["a"]
    assert "No such file" in reasons["b"]


def test_labels_fit_images_with_an_exif_rotation_upright(tmp_path):
    from PIL import Image

    upright = Image.fromarray(trees.image(1, HEIGHT, WIDTH)[..., ::-1])
    exif = Image.Exif()
    exif[0x0112] = 6  # Stored rotated by 90 degrees: 6 x 8 pixels.
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "labels/train").mkdir(parents=True)
    path = tmp_path / "images/train/a.png"
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    (tmp_path / "labels/train/a.txt").write_text(f"{CAR}\n{ROAD}")
    text = YAML.replace("val: images/val", "")
    assert labels(source(tmp_path, text)) == {"a": DRAWN}
    stored = labels(source(tmp_path, text, ignore_exif=True))
    assert np.shape(stored["a"]) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is NoneType|None, expected a JSON object|has the"),
        ("- a\n", "data"),
        ("train: images/train\n", 'it has no "names"'),
        ("names: [car]\n", 'neither "train" nor "val"'),
        ("train: images/train\nnames: [car, car]\n", "two classes have the name 'car'"),
        ("train: images/train\nnames: [no, car]\n", "class 0 is a bool.*quotes"),
        (
            "train: images/train\nnames: {0: a, 2: b}\n",
            "names are 0, 2, expected 0 to 1",
        ),
        ("train: images/train\nnames: {0: a, 0: b}\n", "it has the key '0' twice"),
        ("train: images/train\nnames: [a]\nnc: 3\n", '"nc" is 3, but it has 1 name'),
        ("train: images/train\nnames: [[a]]\n", "class 0 is a list"),
        ("train: 7\nnames: [a]\n", 'it has the "train" 7'),
        ("train: [3]\nnames: [a]\n", '"train" lists what is not a path'),
        ("path: [x]\ntrain: images/train\nnames: [a]\n", 'it has the "path" list'),
        ("train: images/train\nnames: [a]\nkpt_shape: [17, 3]\n", "keypoints"),
        ("train: [\n", "it is not YAML"),
        ("names: !!python/object:os.system [a]\n", "it is not YAML"),
        ("? [a, [b]]\n: c\n", "it is not YAML|has no"),
        ("[" * 900, "it is not YAML"),
        ("names: 2001-99-99\n", "it is not YAML"),
    ],
)
def test_damaged_yaml_files_are_errors(tmp_path, text, reason):
    add(tmp_path, "a", CAR)
    with pytest.raises(errors.UserError, match=rf"data.yaml is not a .*({reason})"):
        folder.find(source(tmp_path, text))


def test_options_that_data_yaml_gives_are_refused(tmp_path):
    with pytest.raises(errors.UserError, match=r"`images=x` was given.*Omit `images`"):
        folder.find(source(tmp_path, images="x"))
    with pytest.raises(errors.UserError, match=r"Omit `lists`"):
        folder.find(source(tmp_path, lists="x"))
    with pytest.raises(errors.UserError, match=r"images/train as images of split"):
        folder.find(source(tmp_path))


def test_each_polygon_is_an_instance(tmp_path):
    add(tmp_path, "a", f"{CAR}\n{ROAD}")
    text = YAML.replace("val: images/val", "")
    own = pairs.Source(own=source(tmp_path, text).own, instances=True)
    assert folder.instance_format(own) == "objects"
    (pair,) = folder.list_pairs("train", own)
    first, second = folder.read_pair(pair).objects
    assert (first.number, second.number) == (1, 2)


@pytest.mark.slow
def test_the_doctor_names_what_is_bad(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    add(tmp_path, "a", CAR)
    add(tmp_path, "b", "0 0.5 0.5 0.1 0.1")
    add(tmp_path, "c", ROAD, "val")
    (tmp_path / "labels/train/lost.txt").write_text("")
    source(tmp_path)
    status = commands.run(
        inspect.main, "--annotations=data.yaml", "--contact_sheet=", "--dataset=folder"
    )
    printed = capsys.readouterr().out
    assert status == 2  # The problems need the leave-out file.
    assert "labels/train/lost.txt" in printed and "A box does not tell" in printed
    assert "--annotations=data.yaml" in printed
    left_out = pathlib.Path("leave_out.txt").read_text()
    assert "train:b #" in left_out and "train:lost #" in left_out


NUMBERS = strategies.one_of(
    strategies.floats(-0.2, 1.2),
    strategies.sampled_from(["nan", "inf", "1e400", "x", "", "-0", "1_0", "\0", "٣"]),
)


@hypothesis.settings(max_examples=60, deadline=None, database=None)
@hypothesis.given(
    strategies.lists(
        strategies.tuples(
            strategies.integers(-1, 3), strategies.lists(NUMBERS, max_size=9)
        ),
        max_size=4,
    )
)
def test_any_text_gives_shapes_inside_of_the_image_or_a_reason(lines):
    text = "\n".join(" ".join(map(str, [number, *rest])) for number, rest in lines)
    found = label_files.read(text, ("car", "road"), (HEIGHT, WIDTH), "a.png", "a.txt")
    if found.fault:
        assert found.fault.startswith(("line ", "the class of line", "x of", "y of"))
        return
    assert len(found.shapes) == sum(bool(x.strip()) for x in text.splitlines())
    for shape in found.shapes:
        for flat in shape.data or ():
            corners = np.reshape(flat, (-1, 2))
            assert (corners >= 0).all() and (corners <= (WIDTH, HEIGHT)).all()


@hypothesis.settings(max_examples=10, deadline=None, database=None)
@hypothesis.given(
    strategies.lists(
        strategies.sampled_from([CAR, ROAD, "", "0 1", "7 0 0 1 0 1 1", b"\xff", None]),
        min_size=1,
        max_size=4,
    )
)
def test_every_image_becomes_a_record_or_is_named(texts):
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        for i, text in enumerate(texts):
            add(root, f"p{i}", text)
        own = source(root, YAML.replace("val: images/val", ""), unlabeled=True)
        try:
            result = writer.build_records("folder", own, root / "r", skip_bad=True)
        except errors.UserError as error:
            assert "p0" in str(error)  # All images are bad.
            return
        count = sum(result.num_records.values()) + len(result.rejected)
        assert count == len(texts)
        assert os.path.getsize(root / "r/dataset.json") and json.loads(
            (root / "r/dataset.json").read_text()
        )
