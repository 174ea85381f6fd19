"""COCO panoptic files become class numbers and objects, pixel by pixel."""

import json

import cv2
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from kerasseg import errors, records
from tests.fuzz import test_annotation_files as any_files
from tests.fuzz import values
from tests.support import commands, trees
from tests.tfrecords_tools.test_annotations import (
    HEIGHT,
    WIDTH,
    add_image,
    label,
    rows,
    source,
)
from tfrecords_tools import build
from tfrecords_tools.converters import class_lists, folder, pairs, registry
from tfrecords_tools.writing import writer

# Segment 1 + 2 * 256 + 3 * 65536 is (1, 2, 3): R is the lowest byte.
CAR, SKY, CROWD = 1 + 2 * 256 + 3 * 65536, 7, 256
CATEGORIES = [
    {"id": 5, "name": "sky", "isthing": 0},
    {"id": 3, "name": "car", "isthing": 1},
    {"id": 4, "name": "person", "isthing": 1},
]
IDS = np.zeros((HEIGHT, WIDTH), int)  # Row 0 is void.
IDS[1:3], IDS[3:5], IDS[5], IDS[5, 6:] = SKY, CAR, CROWD, 0
# Categories by id: car is 1, person 2, sky 3.
LABEL = rows("xxxxxxxx 33333333 33333333 11111111 11111111 222222xx")
SEGMENTS = [
    {"id": SKY, "category_id": 5, "iscrowd": 0, "area": 16, "bbox": [0, 1, 8, 2]},
    {"id": CAR, "category_id": 3, "iscrowd": 0},
    {"id": CROWD, "category_id": 4, "iscrowd": 1},
]


def save_ids(path, ids):
    """Writes a PNG file; OpenCV takes B, G, R."""
    trees.save(path, np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1).astype("u1"))


def panoptic(*names, segments=SEGMENTS, **more):
    image = {"height": HEIGHT, "width": WIDTH}
    return {
        "images": [{"id": i, "file_name": n, **image} for i, n in enumerate(names)],
        "annotations": [
            {"image_id": i, "file_name": "a.png", "segments_info": segments, **more}
            for i in range(len(names))
        ],
        "categories": CATEGORIES,
    }


def write(root, content, ids=IDS):
    add_image(root, "a.jpg")
    save_ids(root / "labels/panoptic/a.png", ids)
    (root / "labels/panoptic.json").write_text(json.dumps(content))
    return root


def read(root, content, ids=IDS):
    write(root, content, ids)
    return label(root, annotations="labels/panoptic.json", classes=None)


def test_ids_are_read_from_three_bytes_and_void_is_ignored(tmp_path):
    assert read(tmp_path, panoptic("a.jpg")) == LABEL
    names = folder.make_spec(source(tmp_path, "labels/panoptic.json", classes=None))
    assert names.class_names == ("background", "car", "person", "sky")


def test_classes_may_have_other_numbers_and_be_ignored(tmp_path):
    write(tmp_path, panoptic("a.jpg"))
    found = label(
        tmp_path,
        annotations="labels/panoptic.json",
        classes=class_lists.read_classes("sky,car"),
        name_map=(("person", 255),),
    )
    assert found == rows("xxxxxxxx 00000000 00000000 11111111 11111111 xxxxxxxx")


def test_things_are_objects_stuff_is_none_and_crowds_are_crowds(tmp_path):
    write(tmp_path, panoptic("a.jpg"))
    own = source(tmp_path, "labels/panoptic.json", classes=None)
    own = pairs.Source(own=own.own, instances=True)
    writer.build_records("folder", own, tmp_path / "r")
    info = records.read_info(tmp_path / "r")
    assert info.instance_classes == ("car", "person")
    assert registry.instance_format("folder", own) == "objects"
    (pair,) = folder.list_pairs("train", own)
    car, crowd = folder.read_pair(pair).objects
    assert (car.number, car.is_crowd) == (1, False)
    assert (crowd.number, crowd.is_crowd) == (2, True)
    mask = records.from_rles(
        records.EncodedObjects((car.rle,), (1,), (False,)), (HEIGHT, WIDTH)
    ).mask(0)
    assert np.array_equal(mask, IDS == CAR)


def test_png_files_may_lie_beside_the_json_file(tmp_path):
    write(tmp_path, panoptic("a.jpg"))
    (tmp_path / "labels/panoptic/a.png").rename(tmp_path / "labels/a.png")
    (tmp_path / "labels/panoptic").rmdir()
    assert label(tmp_path, annotations="labels/panoptic.json", classes=None) == LABEL


def test_a_record_depends_on_the_png_file(tmp_path):
    write(tmp_path, panoptic("a.jpg"))
    own = source(tmp_path, "labels/panoptic.json", classes=None)
    (pair,) = folder.list_pairs("train", own)
    assert str(tmp_path / "labels/panoptic/a.png") in pair.files


def segment(**more):
    return [{**SEGMENTS[0], **more}, *SEGMENTS[1:]]


def gray(path):
    trees.save(path, np.zeros((HEIGHT, WIDTH), np.uint8))


def sixteen_bits(path):
    trees.save(path, np.zeros((HEIGHT, WIDTH, 3), np.uint16))


def small(path):
    save_ids(path, IDS[1:])


def jpeg(path):
    path.write_bytes(cv2.imencode(".jpg", np.zeros((6, 8, 3), np.uint8))[1].tobytes())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (panoptic("a.jpg", segments=SEGMENTS[1:]), "pixels of segment 7, which is not"),
        (
            panoptic("a.jpg", segments=[*SEGMENTS, {"id": 9, "category_id": 3}]),
            "has no pixel of segment 9",
        ),
        (panoptic("a.jpg", segments=segment(id=0)), "segment 0 has an id that is void"),
        (panoptic("a.jpg", segments=segment(id=-1)), "segment -1 has an id"),
        (panoptic("a.jpg", segments=segment(id=1 << 24)), "has an id that is void"),
        (panoptic("a.jpg", segments=segment(id=CAR)), "id that is used twice"),
        (panoptic("a.jpg", segments=segment(id="7")), "segment number 1 has the"),
        (panoptic("a.jpg", segments=segment(id=float("nan"))), "segment number 1 has"),
        (
            panoptic("a.jpg", segments=segment(category_id=9)),
            "category 9, which is not",
        ),
        (panoptic("a.jpg", file_name="../a.png"), "expected the name of a PNG file"),
        (panoptic("a.jpg", file_name="/etc/passwd"), "expected the name of a PNG file"),
        (panoptic("a.jpg", file_name="b.png"), r"b\.png does not exist. Unpack"),
        (panoptic("a.jpg", file_name=3), 'its annotation has the "file_name" 3'),
    ],
)
def test_damaged_segments_are_bad_images(tmp_path, content, reason):
    with pytest.raises(errors.UserError, match=reason):
        read(tmp_path, content)
    own = source(tmp_path, "labels/panoptic.json", classes=None)
    with pytest.raises(errors.UserError, match="All pairs of train are bad"):
        writer.build_records("folder", own, tmp_path / "r", skip_bad=True)
    rejected = (tmp_path / "r/rejected.jsonl").read_text()
    assert len(rejected.splitlines()) == 1 and "a.jpg" in rejected


@pytest.mark.parametrize(
    ("save", "reason"),
    [
        (gray, "is no PNG file in 8-bit RGB"),
        (sixteen_bits, "is no PNG file in 8-bit RGB"),
        (jpeg, "is no PNG file in 8-bit RGB"),
        (small, "a.png is 8 x 5 pixels, its image in the JSON file 8 x 6"),
        (lambda path: path.write_bytes(b""), "a.png is not a JPEG or PNG file"),
    ],
)
def test_png_files_of_other_kinds_are_bad_images(tmp_path, save, reason):
    write(tmp_path, panoptic("a.jpg"))
    save(tmp_path / "labels/panoptic/a.png")
    with pytest.raises(errors.UserError, match=reason):
        label(tmp_path, annotations="labels/panoptic.json", classes=None)


def test_files_that_contradict_themselves_are_errors(tmp_path):
    twice = panoptic("a.jpg")
    twice["annotations"] *= 2
    lost = panoptic("a.jpg")
    lost["annotations"][0]["image_id"] = 8
    double = panoptic("a.jpg")
    double["categories"] = [*CATEGORIES, {"id": 6, "name": "car", "isthing": 1}]
    odd = panoptic("a.jpg")
    odd["categories"] = [{"id": 5, "name": "sky", "isthing": "no"}]
    for content, reason in (
        (twice, "the image 'a.jpg' has two annotations"),
        (lost, "annotation 0 is of the image 8, which is not listed"),
        (double, "two categories named 'car'"),
        (odd, "'sky' has an \"isthing\" that is not 0 or 1"),
    ):
        with pytest.raises(errors.UserError, match=reason):
            read(tmp_path, content)


def test_an_image_without_annotation_is_an_error(tmp_path):
    content = panoptic("a.jpg", "b.jpg")
    del content["annotations"][1]
    add_image(tmp_path, "b.jpg")
    with pytest.raises(errors.UserError, match=r"without a counterpart: 1.*b\.jpg"):
        read(tmp_path, content)


def test_the_build_counts_what_it_skips(tmp_path, capsys):
    content = panoptic("a.jpg", "b.jpg")
    content["annotations"][1]["file_name"] = "lost.png"
    write(tmp_path, content)
    add_image(tmp_path, "b.jpg")
    status = commands.run(
        build.main,
        "--dataset=folder",
        f"--images={tmp_path}/images",
        f"--annotations={tmp_path}/labels/panoptic.json",
        f"--records_dir={tmp_path}/r",
        "--val_fraction=0",
        "--on_error=skip",
    )
    printed = capsys.readouterr().out
    assert status == 0
    assert "train: 1 record" in printed and "1 bad pair was skipped" in printed


@hypothesis.settings(max_examples=40, deadline=None, database=None)
@hypothesis.given(values.changed(panoptic("a.jpg")))
def test_any_changed_file_gives_a_label_or_an_error(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("changed")
    content = json.loads(json.dumps(content, default=str))
    try:
        found = read(root, content)
    except errors.UserError as error:
        named = "panoptic", "a.jpg", "names no class"
        assert any(text in str(error) for text in named)
        assert not any(raw in str(error) for raw in any_files.RAW)
        return
    # No pixel is lost: each has a class, or is void.
    assert np.array_equal(np.equal(found, 255), IDS == 0)


@hypothesis.settings(max_examples=10, deadline=None, database=None)
@hypothesis.given(
    strategies.lists(strategies.integers(0, 3), min_size=48, max_size=48),
    strategies.lists(strategies.integers(1, (1 << 24) - 1), unique=True, min_size=3),
)
def test_any_ids_give_the_classes_of_their_segments(tmp_path_factory, places, numbers):
    # Places 1 to 3 are car, person and sky, with any ids; place 0 is void.
    places = np.reshape(places, (HEIGHT, WIDTH))
    ids = np.array([0, *numbers[:3]])[places]
    segments = [
        {"id": int(ids[places == i][0]), "category_id": category}
        for i, category in ((1, 3), (2, 4), (3, 5))
        if (places == i).any()
    ]
    root = tmp_path_factory.mktemp("ids")
    found = read(root, panoptic("a.jpg", segments=segments), ids)
    assert np.array_equal(found, np.where(places, places, 255))
