"""Shapes of COCO, labelme and CVAT become class numbers, pixel by pixel."""

import base64
import dataclasses
import json
import tracemalloc

import numpy as np
import pytest

from kerasseg import images, records
from tests.support import commands, corrupt, trees
from tests.tfrecords_tools import test_doctor
from tfrecords_tools import annotations, build
from tfrecords_tools.converters import class_lists, folder, own_data, pairs

HEIGHT, WIDTH = 6, 8
THREE = class_lists.read_classes("background,car,road")


def add_image(root, name="a.png"):
    pixels = trees.image(list(name.encode()), HEIGHT, WIDTH)
    trees.save(root / "images" / name, pixels)
    return root


def source(root, annotations="labels", *, classes=THREE, **more):
    own = own_data.OwnData(
        images=str(root / "images"),
        annotations=str(root / annotations),
        classes=classes,
        val_fraction=0,
        **more,
    )
    return pairs.Source(own=own)


def label(root, **more):
    """Class numbers of the only image, as a list of rows."""
    (pair,) = folder.list_pairs("train", source(root, **more))
    return folder.read_pair(pair).label.tolist()


def written(root, name, content):
    path = root / "labels" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return root


def rows(text):
    """Parses digits as rows of class numbers; "." is 0, "x" is 255."""
    table = {".": 0, "x": 255}
    return [[table.get(c) if c in table else int(c) for c in r] for r in text.split()]


# COCO.


def coco(*shapes, categories=("car", "road"), images=("a.png",)):
    return {
        "images": [
            {"id": 7 + i, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for i, name in enumerate(images)
        ],
        "categories": [{"id": 3 + i, "name": n} for i, n in enumerate(categories)],
        "annotations": [{"image_id": 7, **shape} for shape in shapes],
    }


def square(category, left, top, right, bottom):
    corners = [left, top, right, top, right, bottom, left, bottom]
    return {"category_id": category, "segmentation": [corners]}


@pytest.fixture
def pycocotools():
    return pytest.importorskip("pycocotools.mask")


@pytest.mark.usefixtures("pycocotools")
def test_coco_polygons_cover_whole_pixels_and_small_ones_lie_on_top(tmp_path):
    # x from 1 to 7, y from 1 to 5 are pixels 1..6 and 1..4; the car is smaller and
    # listed first.
    add_image(tmp_path)
    written(tmp_path, "x.json", coco(square(3, 2, 2, 4, 4), square(4, 1, 1, 7, 5)))
    assert label(tmp_path) == rows(
        "........ .222222. .211222. .211222. .222222. ........"
    )


def test_coco_run_lengths_are_read_column_by_column(tmp_path, pycocotools):
    # 6 rows: skips the first column and 1 pixel of the second, then 2 are road.
    runs = {"size": [HEIGHT, WIDTH], "counts": [7, 2, 39]}
    packed = pycocotools.frPyObjects(runs, HEIGHT, WIDTH)
    packed["counts"] = packed["counts"].decode()
    add_image(tmp_path)
    for code in (runs, packed):
        shape = {"category_id": 4, "segmentation": code}
        written(tmp_path, "x.json", coco(shape))
        assert label(tmp_path) == rows(
            "........ .2...... .2...... ........ ........ ........"
        )


@pytest.mark.usefixtures("pycocotools")
def test_coco_crowds_are_ignored_below_other_shapes(tmp_path):
    add_image(tmp_path)
    crowd = {**square(3, 0, 0, 2, 2), "iscrowd": 1}
    written(tmp_path, "x.json", coco(crowd, square(4, 1, 1, 8, 6)))
    assert label(tmp_path)[:3] == rows("xx...... x2222222 .2222222")


@pytest.mark.usefixtures("pycocotools")
def test_coco_boxes_have_no_area_and_can_be_left_out(tmp_path):
    add_image(tmp_path)
    box = {"category_id": 3, "bbox": [0, 0, 2, 2], "segmentation": []}
    written(tmp_path, "x.json", coco(box))
    with pytest.raises(ValueError, match=r"without an area: bbox.*`skip_shapes=bbox`"):
        label(tmp_path)
    assert label(tmp_path, skip_shapes="bbox") == rows("........ " * HEIGHT)


@pytest.mark.usefixtures("pycocotools")
def test_coco_names_its_own_classes_in_order_after_the_background(tmp_path):
    add_image(tmp_path)
    written(tmp_path, "x.json", coco(square(4, 0, 0, 2, 1), categories=("road", "car")))
    found = folder.make_spec(source(tmp_path, classes=None))
    assert found.class_names == ("background", "road", "car")
    assert label(tmp_path, classes=None)[0] == rows("22......")[0]


@pytest.mark.usefixtures("pycocotools")
def test_what_no_shape_covers_is_ignored_without_a_background(tmp_path):
    add_image(tmp_path)
    written(tmp_path, "x.json", coco(square(4, 0, 0, 2, 1)))
    classes = class_lists.read_classes("car,road")
    assert label(tmp_path, classes=classes)[0] == rows("11xxxxxx")[0]


@pytest.mark.usefixtures("pycocotools")
def test_names_that_are_not_a_class_are_errors_unless_they_are_mapped(tmp_path):
    add_image(tmp_path)
    written(tmp_path, "x.json", coco(square(3, 0, 0, 2, 1), categories=("van", "road")))
    with pytest.raises(ValueError, match=r"shapes named van, .*`label_map=van:255`"):
        label(tmp_path)
    assert label(tmp_path, name_map=(("van", 1),))[0] == rows("11......")[0]


@pytest.mark.usefixtures("pycocotools")
def test_images_of_one_name_are_distinguished_by_their_folder(tmp_path):
    add_image(tmp_path, "x/a.png"), add_image(tmp_path, "y/a.png")
    names = ("y/a.png", "x/a.png")
    written(tmp_path, "x.json", coco(square(3, 0, 0, 8, 6), images=names))
    found = folder.list_pairs("train", source(tmp_path))
    first = {pair.name: folder.read_pair(pair).label[0, 0] for pair in found}
    assert first == {"x/a": 0, "y/a": 1}


@pytest.mark.usefixtures("pycocotools")
def test_folders_whose_names_end_alike_are_distinguished(tmp_path):
    for name in ("1/a.png", "11/a.png"):
        add_image(tmp_path, name)
    car = square(3, 0, 0, 2, 2)
    written(tmp_path, "x.json", coco(car, images=("1/a.png", "11/a.png")))
    found = folder.list_pairs("train", source(tmp_path))
    assert [pair.name for pair in found] == ["1/a", "11/a"]
    assert [bool(folder.read_pair(pair).label.any()) for pair in found] == [True, False]


@pytest.mark.usefixtures("pycocotools")
def test_annotations_without_an_image_are_named(tmp_path):
    add_image(tmp_path)
    written(tmp_path, "x.json", coco(images=("a.png", "lost.png")))
    with pytest.raises(ValueError, match=r"x\.json \(lost\.png\)"):
        label(tmp_path)


# labelme.


def labelme(*shapes, name="a.png"):
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    return {"shapes": list(shapes), "imagePath": name, "imageData": None, **size}


def shape(name, kind, points, **more):
    return {"label": name, "shape_type": kind, "points": points, **more}


def test_labelme_shapes_are_drawn_with_their_outline_in_order(tmp_path):
    add_image(tmp_path)
    road = shape("road", "rectangle", [[6, 4], [1, 1]])
    car = shape("car", "polygon", [[2, 2], [4, 2], [4, 3], [2, 3]])
    written(tmp_path, "a.json", labelme(road, car))
    assert label(tmp_path) == rows(
        "........ .222222. .211122. .211122. .222222. ........"
    )


def test_labelme_circles_masks_and_what_is_ignored(tmp_path):
    add_image(tmp_path)
    part = images.encode_image(np.full((2, 3, 3), 255, np.uint8))
    mask = base64.b64encode(part).decode()
    written(
        tmp_path,
        "a.json",
        labelme(
            shape("car", "circle", [[1, 1], [1, 2]]),
            shape("road", "mask", [[4, 3], [6, 4]], mask=mask),
            shape("__ignore__", "rectangle", [[0, 5], [7, 5]]),
        ),
    )
    found = label(tmp_path)
    assert found[3:] == rows("....222. ....222. xxxxxxxx")
    assert [row[1] for row in found[:4]] == [1, 1, 1, 0]  # Radius 1 around (1, 1).
    assert found[1][:4] == [1, 1, 1, 0]


def test_labelme_rectangles_may_have_all_four_corners(tmp_path):
    add_image(tmp_path)
    corners = [[1, 1], [6, 1], [6, 4], [1, 4]]
    written(tmp_path, "a.json", labelme(shape("road", "rectangle", corners)))
    assert label(tmp_path) == rows(
        "........ .222222. .222222. .222222. .222222. ........"
    )


@pytest.mark.parametrize(
    "bad",
    [
        shape("car", "circle", [[1, 1]]),
        shape("car", "rectangle", [[1, 1]]),
        shape("car", "mask", [[1, 1], [5, 5]], mask="AAAA"),
        shape("car", "mask", [[1, 1], [5, 5]], mask="?"),
    ],
)
def test_shapes_that_are_damaged_are_named_with_what_to_do(tmp_path, bad):
    add_image(tmp_path)
    written(tmp_path, "a.json", labelme(bad))
    with pytest.raises(
        annotations.AnnotationError, match=r"cannot be drawn \(.*\)\. Correct it"
    ):
        label(tmp_path)


def test_labels_that_are_not_strings_are_damage(tmp_path):
    add_image(tmp_path)
    written(tmp_path, "a.json", labelme(shape(None, "rectangle", [[0, 5], [7, 5]])))
    with pytest.raises(
        annotations.AnnotationError,
        match=r'a\.json \(a\.png\): shape 1 has the "label" None\.',
    ):
        label(tmp_path)


@pytest.mark.usefixtures("pycocotools")
def test_many_shapes_on_a_large_image_take_little_memory():
    size = 1000
    square = [[1, 1, 3, 1, 3, 3, 1, 3]]
    facts = {"size": [size, size], "ground": 0, "largest_first": True}
    text = json.dumps({**facts, "shapes": [[1, "coco", square]] * 50})
    tracemalloc.start()
    annotations.draw(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * size * size  # Bytes; 50 masks at a time would take 50 times.


def test_labelme_lines_have_no_area(tmp_path):
    add_image(tmp_path)
    line = shape("car", "line", [[0, 0], [7, 5]])
    written(tmp_path, "a.json", labelme(line, shape("car", "point", [[1, 1]])))
    with pytest.raises(ValueError, match="`skip_shapes=line,point`"):
        label(tmp_path)


def test_labelme_images_may_have_been_renamed(tmp_path):
    add_image(tmp_path, "new.png")
    written(tmp_path, "new.json", labelme(name="..\\images\\old.png"))
    assert label(tmp_path) == rows("........ " * HEIGHT)


# CVAT.


def cvat(*shapes):
    names = "".join(f"<label><name>{n}</name></label>" for n in ("road", "car"))
    return (
        "<annotations><version>1.1</version><meta><task><labels>"
        f"{names}</labels></task></meta><image id='0' name='sub/a.png' width='{WIDTH}' "
        f"height='{HEIGHT}'>{''.join(shapes)}</image></annotations>"
    )


def test_cvat_shapes_lie_by_their_z_order(tmp_path):
    add_image(tmp_path)
    car = '<polygon label="car" points="2,2;4,2;4,3;2,3" z_order="2"/>'
    road = '<box label="road" xtl="1" ytl="1" xbr="6" ybr="4" z_order="1"/>'
    tag = '<tag label="car"/>'
    written(tmp_path, "x.xml", cvat(car, road, tag))
    # As in COCO: x from 1 to 6 are the pixels 1 to 5, y from 1 to 4 the rows 1 to 3.
    assert label(tmp_path) == rows(
        "........ .22222.. .21122.. .22222.. ........ ........"
    )
    found = folder.make_spec(source(tmp_path, classes=None))
    assert found.class_names == ("background", "road", "car")


def test_cvat_masks_are_read_row_by_row(tmp_path):
    # 3 x 2: two pixels of ground, then three of road over the end of the row, one.
    add_image(tmp_path)
    mask = '<mask label="road" rle="2, 3, 1" left="4" top="1" width="3" height="2"/>'
    written(tmp_path, "x.xml", cvat(mask))
    assert label(tmp_path)[:4] == rows("........ ......2. ....22.. ........")
    short = mask.replace("2, 3, 1", "2, 3")
    written(tmp_path, "x.xml", cvat(short))
    with pytest.raises(ValueError, match="3 x 2 pixels has 5 in its runs"):
        label(tmp_path)
    written(tmp_path, "x.xml", cvat(mask.replace("2, 3, 1", "2, 99999999999")))
    with pytest.raises(ValueError, match="3 x 2 pixels has 100000000001 in its runs"):
        label(tmp_path)


def test_cvat_boxes_and_ellipses_can_be_turned(tmp_path):
    # Rotated by 90 degrees around (3.5, 2.5), a box of 4 x 2 becomes 2 x 4.
    add_image(tmp_path)
    box = '<box label="car" xtl="1.5" ytl="1.5" xbr="5.5" ybr="3.5" rotation="90"/>'
    ellipse = '<ellipse label="car" cx="3.5" cy="2.5" rx="3" ry="1" rotation="90"/>'
    for turned in (box, ellipse):
        written(tmp_path, "x.xml", cvat(turned))
        found = np.array(label(tmp_path))
        height, width = np.ptp(np.argwhere(found), axis=0) + 1
        assert height > width


def test_cvat_points_and_videos_are_refused(tmp_path):
    add_image(tmp_path)
    written(tmp_path, "x.xml", cvat('<points label="car" points="1,1;2,2"/>'))
    with pytest.raises(ValueError, match="without an area: points"):
        label(tmp_path)
    written(tmp_path, "x.xml", "<annotations><track id='0' label='car'/></annotations>")
    with pytest.raises(ValueError, match=r"tracks of a video.*CVAT for images 1\.1"):
        label(tmp_path)


# All formats.


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.json", "{", "x.json is damaged"),
        ("x.json", "[]", "x.json has an unknown format. Expected COCO JSON"),
        ("x.json", '{"shapes": [{}]}', 'x.json is damaged: .* has no "imagePath"'),
        ("x.xml", "<a>", "x.xml is not an XML file"),
        ("x.xml", "<a/>", "x.xml holds no images"),
    ],
)
def test_files_of_another_kind_are_errors(tmp_path, name, content, reason):
    add_image(tmp_path)
    written(tmp_path, name, content)
    with pytest.raises(ValueError, match=reason):
        label(tmp_path)


@pytest.mark.usefixtures("pycocotools")
def test_annotations_of_splits(tmp_path):
    for split in ("train", "val"):
        trees.save(tmp_path / split / "a.png", trees.image(1, HEIGHT, WIDTH))
        written(tmp_path, f"instances_{split}.json", coco(square(3, 0, 0, 2, 2)))
    own = own_data.OwnData(
        images=str(tmp_path / "{split}/*"),
        annotations=str(tmp_path / "labels/instances_{split}.json"),
        classes=THREE,
    )
    assert folder.list_splits(pairs.Source(own=own)) == ["train", "val"]
    (pair,) = folder.list_pairs("val", pairs.Source(own=own))
    assert folder.read_pair(pair).label[0].tolist() == rows("11......")[0]
    alone = dataclasses.replace(own, annotations=str(tmp_path / "labels/*.json"))
    with pytest.raises(ValueError, match=r"\{split\} is in only one of"):
        folder.find(pairs.Source(own=alone))


@pytest.mark.usefixtures("pycocotools")
def test_one_command_builds_annotations(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        add_image(tmp_path, f"p{i}.png")
    names = ("p0.png", "p1.png", "p2.png")
    written(tmp_path, "x.json", coco(square(4, 0, 0, 2, 1), images=names))
    flags = ["--images=images/*", "--annotations=labels/x.json", "--val_fraction=0.4"]
    status, report, _ = test_doctor.examined(capsys, *flags)
    assert status == 0 and "3 pairs: train 2, val 1. Masks: 3 drawn." in report
    found = test_doctor.printed_flags(report)
    assert found == flags
    command = ["--dataset=folder", *found, "--records_dir=r", "--workers=2"]
    assert commands.run(build.main, *command) == 0
    assert records.read_info("r").spec.class_names == ("background", "car", "road")
    contents = {**corrupt.contents("r")["train"], **corrupt.contents("r")["val"]}
    assert contents["p0"][1].tolist()[0] == rows("22......")[0]
    assert not contents["p1"][1].any()


def test_the_doctor_names_what_cannot_be_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    add_image(tmp_path), add_image(tmp_path, "b.png")
    written(tmp_path, "a.json", labelme(shape("car", "line", [[0, 0], [7, 5]])))
    written(tmp_path, "b.json", labelme(name="b.png"))
    flags = ["--images=images", "--annotations=labels", "--classes=background,car"]
    status, report, _ = test_doctor.examined(capsys, *flags)
    assert status == 2
    assert "shapes without an area: line" in test_doctor.unwrapped(report)
    assert "`skip_shapes=line`" in test_doctor.unwrapped(report)
    status, report, _ = test_doctor.examined(capsys, *flags, "--skip_shapes=line")
    assert status == 0, report


def test_the_same_text_draws_the_same_label(tmp_path):
    add_image(tmp_path)
    written(tmp_path, "a.json", labelme(shape("car", "circle", [[3, 3], [5, 3]])))
    (pair,) = folder.list_pairs("train", source(tmp_path))
    first = annotations.draw(pair.shapes)
    np.testing.assert_array_equal(first, annotations.draw(pair.shapes))
    assert first.dtype == np.uint8
