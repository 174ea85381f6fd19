"""Folders with a binary mask of each object become objects of records."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from kerasseg import errors, images, records
from tests.support import commands, trees
from tests.tfrecords_tools.test_annotations import HEIGHT, WIDTH, add_image, rows
from tfrecords_tools import build, inspect
from tfrecords_tools.converters import (
    class_lists,
    instance_files,
    matching,
    object_folders,
    own_data,
    pairs,
)
from tfrecords_tools.writing import (
    encoding,
    instance_labels,
    label_rules,
    planning,
    writer,
)

pytest.importorskip("pycocotools.mask")

# A car of two pixels in row 1, a road of four in row 3, and a void pixel.
LABEL = np.array(rows("........ .11..... ........ ..2222x. ........ ........"), "u1")
CAR = np.array(rows("........ .11..... ........ ........ ........ ........"), bool)
# All of the road, the void pixel, and a pixel of the car, which it overlaps.
ROAD = np.array(rows("........ .1...... ........ ..11111. ........ ........"), bool)
VOID = np.array(rows("........ ........ ........ ......1. ........ ........"), bool)
CLASSES = class_lists.read_classes("background,car,road")


def save(root, name, mask):
    trees.save(root / "objects" / name, np.asarray(mask, np.uint8) * 255)


@pytest.fixture
def root(tmp_path):
    """Images a and b with labels, and two masks of objects of a."""
    for name in ("a", "b"):
        add_image(tmp_path, f"{name}.png")
        trees.save(tmp_path / "masks" / f"{name}.png", LABEL)
    save(tmp_path, "a/1.png", CAR)
    save(tmp_path, "a/2.png", ROAD)
    return tmp_path


def source(root, **more):
    options = {"val_fraction": 0, "classes": CLASSES, **more}
    own = own_data.OwnData(
        images=str(root / "images"),
        masks=str(root / "masks"),
        instance_masks=str(root / "objects"),
        **options,
    )
    return pairs.Source(own=own, instances=True)


def built(root, given=None, **options):
    """Builds; returns the result, dataset.json, and the objects of each image."""
    folder = root / "records"
    result = writer.build_records("folder", given or source(root), folder, **options)
    split = records.open_split(folder, "train", deep=True)
    examples = [records.parse_example(split.read(i)) for i in range(len(split))]
    objects = {
        each["name"]: records.decode_objects(each, records.decode_label(each["label"]))
        for each in examples
    }
    return result, records.read_info(folder), objects


def masks_of(objects):
    return [objects.mask(i) for i in range(len(objects))]


def test_each_file_is_an_object_of_the_class_of_most_of_its_pixels(root):
    save(root, "a/3.png", VOID)
    result, info, objects = built(root)
    assert info.schema_version == 2
    assert info.instance_classes == ("car", "road")
    # The road has four pixels of its class, one of the car and a void one.
    assert objects["a"].classes.tolist() == [1, 2, 0]
    assert objects["a"].is_crowd.tolist() == [False, False, True]
    np.testing.assert_array_equal(masks_of(objects["a"]), [CAR, ROAD, VOID])
    assert len(objects["b"]) == 0
    assert result.num_objects == {"train": [3, 0]}


def test_a_folder_can_name_the_class_of_its_masks(root):
    save(root, "a/road/1.png", CAR)
    save(root, "a/road/2.png", VOID)
    save(root, "b/__ignore__/1.png", CAR)
    save(root, "b/lorry/1.png", ROAD)
    given = source(root, name_map=(("lorry", 1),))
    _, _, objects = built(root, given)
    assert sorted(objects["a"].classes.tolist()) == [1, 2, 2, 2]
    assert not objects["a"].is_crowd.any()
    assert objects["b"].classes.tolist() == [0, 1]
    assert objects["b"].is_crowd.tolist() == [True, False]
    np.testing.assert_array_equal(masks_of(objects["b"]), [CAR, ROAD])


def test_patterns_and_subfolders_name_the_image():
    keys = ("train", "a"), ("train", "deep/a"), ("val", "b")
    found = {
        ("train", "a/1"): "1",
        ("train", "deep/a/1"): "2",
        ("train", "deep/a/car/1"): "3",
        ("val", "b/1"): "4",
        ("val", "a/1"): "5",
        ("train", "a/x/y/1"): "6",
        ("train", "c/1"): "7",
    }
    match = matching.Match({key: f"{key[1]}.jpg" for key in keys}, found)
    grouped = object_folders.group(match)
    assert grouped.masks == {
        ("train", "a"): [("1", "")],
        ("train", "deep/a"): [("2", ""), ("3", "car")],
        ("val", "b"): [("4", "")],
    }
    assert sorted(grouped.without_image) == ["5", "6", "7"]
    # A file with the name of an image is a map of ids.
    assert (
        object_folders.group(dataclasses.replace(match, masks={keys[0]: "1"})) is None
    )


@pytest.mark.parametrize("kind", ["1 bit", "palette", "16 bits", "value 1"])
def test_any_gray_or_palette_file_of_two_values_is_binary(tmp_path, kind):
    path = tmp_path / "a.png"
    if kind == "1 bit":
        Image.fromarray(ROAD).save(path)
        assert images.probe(path.read_bytes()).mode == "1"
    elif kind == "palette":
        trees.save_palette(path, 7 * ROAD.astype(np.uint8))
    else:
        dtype = np.uint16 if kind == "16 bits" else np.uint8
        trees.save(path, ROAD.astype(dtype) * (60_000 if kind == "16 bits" else 1))
    found = instance_files.decode_mask(path.read_bytes(), str(path))
    np.testing.assert_array_equal(found, ROAD)


def test_a_mask_may_cover_the_image():
    data = cv2.imencode(".png", np.full((2, 3), 9, np.uint8))[1].tobytes()
    assert instance_files.decode_mask(data, "a.png").all()


@st.composite
def labels_and_masks(draw):
    size = draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    values = st.sampled_from([1, 2, 255])
    label = draw(arrays.arrays(np.uint8, size, elements=values))
    masks = draw(st.lists(arrays.arrays(bool, size), max_size=4))
    return label, [mask for mask in masks if mask.any()]


@settings(max_examples=60, deadline=None)
@given(labels_and_masks())
def test_any_masks_are_encoded_as_they_are(drawn):
    label, masks = drawn
    files = tuple(
        pairs.ObjectMask(
            f"{i}.png",
            cv2.imencode(".png", mask.astype(np.uint8))[1].tobytes(),
            pairs.CLASS_OF_LABEL,
        )
        for i, mask in enumerate(masks)
    )
    rules = label_rules.DEFAULT_RULES
    encoded = instance_labels.encode_masks(files, pairs.Pair("a"), label, rules)
    objects = records.from_rles(encoded, label.shape)
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(objects.mask(i), mask)
        ones, twos = (np.count_nonzero(label[mask] == k) for k in (1, 2))
        assert objects.is_crowd[i] == (ones == twos == 0)
        assert objects.classes[i] == (0 if ones == twos == 0 else 1 + (twos > ones))


# Bad files.


def write_bad(root, fault):
    """Adds a bad mask of image a; returns its path."""
    name = {"unknown class": "a/lorry/9.png", "background": "a/background/9.png"}
    path = root / "objects" / name.get(fault, "a/9.png")
    masks = {
        "size": np.pad(CAR, ((0, 1), (0, 0))),
        "empty": 0 * CAR,
        "class 0": ~CAR & (LABEL == 0),
    }
    save(root, path.relative_to(root / "objects"), masks.get(fault, CAR))
    if fault == "smooth":
        trees.save(path, np.array([[0, 128, 255]], np.uint8).repeat(8, axis=0))
    elif fault == "two objects":
        trees.save(path, np.array([[1, 2]], np.uint8))
    elif fault == "colors":
        trees.save(path, trees.image(1, HEIGHT, WIDTH))
    elif fault == "no image":
        path.write_bytes(b"text")
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:60])
    return path


FAULTS = {
    "size": "9.png is 8 x 7 pixels, the image 8 x 6. Give masks of the size",
    "empty": "9.png has no pixel of an object: all are 0. Remove the file",
    "smooth": "9.png has the values 0, 128, 255, and the mask of an object has 0 and",
    "two objects": "9.png has the values 1, 2, and the mask of an object has 0 and one",
    "colors": "9.png is 8-bit RGB, expected one channel",
    "no image": "9.png",
    "cut": "9.png",
    "class 0": "9.png: most of its pixels belong to class 0 in",
    "unknown class": "in a folder named lorry, which is not in `classes`. Rename the",
    "background": "in a folder named background, and class 0 is no object",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_mask_stops_the_build_or_its_image_is_skipped(root, fault):
    path = write_bad(root, fault)
    with pytest.raises(planning.BuildError) as raised:
        built(root)
    assert FAULTS[fault] in str(raised.value)
    assert str(path) in str(raised.value)
    result, _, objects = built(root, skip_bad=True)
    assert list(objects) == ["b"]
    (rejected,) = result.rejected
    assert (rejected["name"], FAULTS[fault] in rejected["reason"]) == ("a", True)


def test_masks_are_resized_with_the_labels(root):
    double = CAR.repeat(2, axis=0).repeat(2, axis=1)
    label = LABEL.repeat(2, axis=0).repeat(2, axis=1)
    trees.save(root / "masks/a.png", label)
    trees.save(root / "masks/b.png", label)
    save(root, "a/1.png", double)
    save(root, "a/2.png", double)
    rules = encoding.Rules(labels=label_rules.LabelRules(resize=True))
    _, _, objects = built(root, rules=rules)
    np.testing.assert_array_equal(masks_of(objects["a"]), [CAR, CAR])
    point = np.zeros((60, 80), bool)
    point[0, 0] = True
    save(root, "a/3.png", point)
    with pytest.raises(planning.BuildError, match=r"a/3\.png has no pixel left at"):
        built(root, rules=rules)


@pytest.mark.parametrize("name", ["c/1.png", "a/car/old/1.png"])
def test_masks_of_no_image_are_named(root, name):
    save(root, name, CAR)
    with pytest.raises(
        errors.UserError, match=rf"no mask of an object.*objects/{name}"
    ):
        built(root)
    assert not (root / "records").exists()


def test_folders_that_have_the_name_of_no_image_are_named(root):
    (root / "objects/a").rename(root / "objects/c")
    with pytest.raises(
        errors.UserError, match=r"not have one file for each.*a\.png.*c/1\.png.*folders"
    ):
        built(root)


def test_a_map_of_ids_and_masks_of_objects_are_not_mixed(root):
    trees.save(root / "objects/b.png", LABEL)
    with pytest.raises(errors.UserError, match=r"does not have one file.*a/1\.png"):
        built(root)


def test_masks_of_images_that_are_left_out_are_not_read(root):
    write_bad(root, "empty")
    (root / "leave_out.txt").write_text("a\n")
    _, _, objects = built(root, source(root, leave_out=str(root / "leave_out.txt")))
    assert list(objects) == ["b"]


# Builds.


def test_a_build_resumes_unless_a_mask_has_changed(root):
    built(root)
    assert built(root)[0].num_kept == 2
    save(root, "a/2.png", CAR)
    result, _, objects = built(root)
    assert result.num_kept == 0
    np.testing.assert_array_equal(masks_of(objects["a"]), [CAR, CAR])
    (root / "objects/a/2.png").unlink()
    result, _, objects = built(root)
    assert (result.num_kept, len(objects["a"])) == (0, 1)


def test_the_key_of_a_pair_has_its_masks():
    pair = pairs.Pair("a", "i", "l", objects=(("1.png", -1),))
    assert pair.key == ("a", "i", "l", (), "", "", (("1.png", -1),))
    assert pair.files == ("i", "l", "1.png")
    assert pairs.Pair("a", "i", "l", objects=()).key == (*pair.key[:-1], ())


def test_the_commands_count_masks_and_images_without_any(root, capsys):
    (root / "objects/a/notes.txt").write_text("")
    given = [
        "--dataset=folder",
        f"--images={root}/images",
        f"--masks={root}/masks",
        f"--instance_masks={root}/objects",
        "--classes=background,car,road",
        "--val_fraction=0",
        "--instances",
    ]
    assert commands.run(build.main, *given, f"--records_dir={root}/r") == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("train: 2 records")
    assert lines[at + 1] == (
        "  2 masks of objects in the folders of 1 image; 1 image has none."
    )
    assert any(".txt" in line and "Passed over" in line for line in lines)
    content = json.loads((root / "r" / records.INFO_FILE).read_text())
    assert content["schema_version"] == 2
    assert commands.run(inspect.main, f"--records_dir={root}/r") == 0
    text = capsys.readouterr().out
    assert "instances: 2 and 0 crowds in 2 images, at most 2 in one" in text


def test_the_doctor_finds_bad_masks(root, capsys):
    write_bad(root, "empty")
    given = [
        f"--images={root}/images",
        f"--masks={root}/masks",
        f"--instance_masks={root}/objects",
        "--classes=background,car,road",
        "--instances",
        "--contact_sheet=",
    ]
    assert commands.run(inspect.main, *given) == 2
    assert "9.png has no pixel of an object" in capsys.readouterr().err
