"""Instances in records: their masks, classes and layers, and damaged ones."""

import hashlib
import json
import pathlib
import sys

import cv2
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from kerasseg import errors, images, records
from kerasseg.records import rle
from tests.support import tiny, trees
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import writer

pytest.importorskip("pycocotools")

LABEL = np.zeros((40, 48), np.uint8)


def stack(size=(6, 8), most=6):
    """Draws bool masks `[instances, height, width]`, which may overlap or be empty."""
    shape = strategies.integers(0, most).map(lambda count: (count, *size))
    return arrays.arrays(bool, shape)


def encode(masks, classes=None, is_crowd=None):
    count = len(masks)
    return records.encode_masks(
        masks,
        [1] * count if classes is None else classes,
        [False] * count if is_crowd is None else is_crowd,
    )


def example(**more):
    return tiny.example(np.zeros((40, 48, 3), np.uint8), LABEL, "a.png", **more)


# Records without instances.


@pytest.mark.skipif(
    cv2.__version__ != "5.0.0", reason="OpenCV 5.0.0 wrote the JPEG and PNG files"
)
def test_records_without_objects_keep_their_bytes(tmp_path):
    writer.build_records("shapes", pairs.Source(num_drawn=2), tmp_path / "shapes")
    source = pairs.Source(trees.camvid(tmp_path / "source"))
    writer.build_records("camvid", source, tmp_path / "camvid", splits=["train", "val"])
    hashes = {
        f"{name}/{path.name[:5]}": hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for name in ("shapes", "camvid")
        for path in sorted(pathlib.Path(tmp_path, name).glob("[dtv]*"))
    }
    assert hashes == {  # Of the files before records had objects.
        "shapes/datas": "6419413b3d6c8a60",
        "shapes/train": "59f192828b2fd155",
        "shapes/val-0": "a194dd3e03f33ec7",
        "camvid/datas": "f4bca54961d25362",
        "camvid/train": "9882d241844026fa",
        "camvid/val-0": "e2340667253bec65",
    }


def test_a_record_without_objects_has_none():
    assert records.parse_example(example())["objects"] is None


# Strings of runs.


@hypothesis.given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2)))
def test_runs_equal_those_of_pycocotools(mask):
    coco_mask = pytest.importorskip("pycocotools.mask")
    encoded = {"size": list(mask.shape), "counts": rle.encode(mask)}
    np.testing.assert_array_equal(coco_mask.decode(encoded), mask)
    objects = records.from_rles(encode([mask]), mask.shape)
    np.testing.assert_array_equal(objects.mask(0), mask)


@hypothesis.given(strategies.lists(strategies.integers(0, 1 << 40), min_size=1))
def test_long_runs_are_expanded(counts):
    # The letters, by maskApi.c: differences from the third on, 5 bits a letter.
    text = ""
    for i, count in enumerate(counts):
        value, more = count - (counts[i - 2] if i > 2 else 0), True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr(bits + 0x20 * more + 48)
    assert rle.expand(text.encode()).tolist() == counts


@hypothesis.given(strategies.binary(max_size=40))
def test_damaged_strings_give_a_mask_or_an_error(text):
    encoded = records.EncodedObjects((text,), (1,), (False,))
    try:
        assert records.from_rles(encoded, (6, 8)).maps.shape == (1, 6, 8)
    except errors.UserError as error:
        assert "runs" in str(error) or "run lengths" in str(error)


def test_runs_of_another_size_are_refused():
    encoded = encode([np.ones((6, 7), bool)])
    with pytest.raises(
        errors.UserError, match="add up to 42 pixels, the image of 8x6 has 48"
    ):
        records.from_rles(encoded, (6, 8))


# Objects.


@hypothesis.given(stack())
def test_masks_survive_the_record_in_few_layers(masks):
    count = len(masks)
    classes = np.arange(1, count + 1)
    objects = records.from_rles(encode(masks, classes), (6, 8))
    assert len(objects) == count
    assert objects.ids.tolist() == objects.classes.tolist() == classes.tolist()
    assert 1 <= len(objects.maps) <= max(1, count)
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(objects.mask(i), mask)
    assert set(np.unique(objects.maps)) <= {0, *objects.ids.tolist()}


def test_instances_that_overlap_are_in_different_layers():
    masks = np.zeros((3, 1, 5), bool)
    masks[0, 0, :2] = masks[1, 0, 1:3] = masks[2, 0, 3:] = True
    objects = records.from_rles(encode(masks, [4, 5, 6]), (1, 5))
    # The second overlaps the first at pixel 1; the third is free in the first layer.
    assert objects.maps.tolist() == [[[1, 1, 0, 3, 3]], [[0, 2, 2, 0, 0]]]
    assert objects.layers.tolist() == [0, 1, 0]


@hypothesis.given(stack())
def test_boxes_bound_their_masks_tightly(masks):
    boxes, areas = records.from_rles(encode(masks), (6, 8)).measure()
    assert boxes.dtype == np.float32 and areas.tolist() == masks.sum((1, 2)).tolist()
    for mask, (y1, x1, y2, x2) in zip(masks, boxes.astype(int), strict=True):
        assert mask[y1:y2, x1:x2].sum() == mask.sum()  # Nothing outside.
        part = mask[y1:y2, x1:x2]
        for edge in (part[:1], part[-1:], part[:, :1], part[:, -1:]):
            assert edge.any() == mask.any()  # Each side touches the mask.


def test_the_box_of_one_pixel_is_one_pixel():
    mask = np.zeros((6, 8), bool)
    mask[3, 5] = True
    boxes, areas = records.from_rles(encode([mask, ~mask & mask]), (6, 8)).measure()
    # Pixel 3 covers [3, 4). The second mask has no pixel, so no box.
    assert boxes.tolist() == [[3, 5, 4, 6], [0, 0, 0, 0]]
    assert areas.tolist() == [1, 0]


def test_objects_are_read_from_records_as_they_were_written():
    masks = np.zeros((2, 40, 48), bool)
    masks[0, 3:9, 4:8] = masks[1, 5:20, 6:30] = True
    encoded = encode(masks, [2, 1], [False, True])
    parsed = records.parse_example(example(objects=encoded))
    assert parsed["objects"] == encoded
    objects = records.decode_objects(parsed, LABEL)
    assert objects.classes.tolist() == [2, 1]
    assert objects.is_crowd.tolist() == [False, True]
    np.testing.assert_array_equal(objects.mask(1), masks[1])


def test_objects_take_precedence_over_the_instance_map():
    instances = images.encode_label(np.full((40, 48), 7, np.uint16))
    parsed = records.parse_example(example(instance=instances, objects=encode([])))
    objects = records.decode_objects(parsed, LABEL + 1)
    assert len(objects) == 0 and objects.maps.shape == (1, 40, 48)
    parsed = records.parse_example(example(instance=instances))
    assert records.decode_objects(parsed, LABEL + 1).ids.tolist() == [7]


def test_a_record_without_instances_says_how_to_build_them():
    with pytest.raises(errors.UserError, match=r"no instances.*with `instances`"):
        records.decode_objects(records.parse_example(example()), LABEL)


def test_features_that_do_not_fit_together_are_refused():
    encoded = encode(np.zeros((2, 40, 48), bool), [1, 1])
    object.__setattr__(encoded, "classes", (1,))
    with pytest.raises(errors.UserError, match=r"2 masks of .* have 1 classes and 2"):
        records.parse_example(example(objects=encoded))
    for number in (0, 255):
        with pytest.raises(errors.UserError, match=f"has the class {number}, .* 254"):
            encode([LABEL > 0], [number])
    assert encode([LABEL > 0], [0], [True]).classes == (0,)  # A crowd of any class.


# Instance maps.


def test_the_class_of_an_instance_is_the_most_frequent_of_its_labeled_pixels():
    label = np.array([[2, 2, 1, 255, 255, 255, 255, 0]], np.uint8)
    instances = np.array([[5, 5, 5, 5, 5, 5, 900, 0]], np.uint16)
    objects = records.from_instances(instances, label)
    # Instance 5: class 2 twice, 1 once; void is never a class, nor part of its mask.
    # Instance 900 is all void: a crowd of unknown class. Ids may skip numbers.
    assert objects.ids.tolist() == [5, 900]
    assert objects.classes.tolist() == [2, 0]
    assert objects.is_crowd.tolist() == [False, True]
    assert objects.maps.tolist() == [[[5, 5, 5, 0, 0, 0, 900, 0]]]


@hypothesis.given(
    arrays.arrays(np.uint16, (5, 7), elements=strategies.integers(0, 4)),
    arrays.arrays(np.uint8, (5, 7), elements=strategies.sampled_from([1, 2, 255])),
)
def test_instance_maps_keep_their_ids(instances, label):
    objects = records.from_instances(instances, label)
    assert objects.ids.tolist() == [i for i in np.unique(instances).tolist() if i]
    for i, number in enumerate(objects.ids):
        own = instances == number
        labeled = own & (label != 255)
        assert objects.is_crowd[i] == (not labeled.any())
        np.testing.assert_array_equal(
            objects.mask(i), labeled if labeled.any() else own
        )


@pytest.mark.parametrize(
    ("instances", "label", "message"),
    [
        ([[4, 4, 4]], [[0, 0, 1]], "most pixels of instance 4 belong to class 0"),
        ([[4, 4]], [[1, 1, 1]], "the instance map is 2x1, the label 3x1"),
    ],
)
def test_instance_maps_that_do_not_fit_are_refused(instances, label, message):
    with pytest.raises(errors.UserError, match=message):
        records.from_instances(np.array(instances, np.uint16), np.array(label, "u1"))


def test_more_instances_than_ids_are_refused():
    encoded = records.EncodedObjects((b"",) * 65536, (1,) * 65536, (False,) * 65536)
    with pytest.raises(errors.UserError, match=r"has 65536 instances, .* is 65535"):
        records.from_rles(encoded, (6, 8))


# dataset.json.


def test_instance_classes_are_written_only_where_there_are_any(tmp_path):
    folder = tiny.write_records(tmp_path)
    assert "instance_classes" not in json.loads(
        (folder / records.INFO_FILE).read_text()
    )
    info = records.read_info(folder)
    assert (info.schema_version, info.instance_classes) == (1, ())
    more = records.DatasetInfo(info.spec, info.splits, 2, ("middle", "right"))
    records.write_info(folder, more)
    assert records.read_info(folder) == more
    assert len(records.open_split(folder, "train")) == 12


def test_instance_classes_must_be_classes(tmp_path):
    folder = tiny.write_records(tmp_path)
    path = folder / records.INFO_FILE
    content = json.loads(path.read_text())
    for wrong, message in ((["car"], "'car', which is not a class"), (3, "a list")):
        path.write_text(json.dumps({**content, "instance_classes": wrong}))
        with pytest.raises(errors.UserError, match=message):
            records.read_info(folder)


def test_masks_without_pycocotools_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(
        errors.MissingPackageError, match=r"pip install 'kerasseg\[datasets\]'"
    ):
        encode([LABEL > 0])
