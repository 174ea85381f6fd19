"""Annotation files that are hostile, damaged or odd (docs/reliability.md)."""

import base64
import json
import time

import cv2
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from kerasseg import errors, images
from tests.support import commands
from tests.tfrecords_tools.test_annotations import (
    HEIGHT,
    WIDTH,
    add_image,
    coco,
    cvat,
    label,
    labelme,
    rows,
    shape,
    source,
    square,
    written,
)
from tfrecords_tools import annotations, build
from tfrecords_tools.annotations import drawing
from tfrecords_tools.converters import class_lists, folder

SIZE = (HEIGHT, WIDTH)
INFINITE = float("inf")
pytestmark = pytest.mark.usefixtures("pycocotools")


@pytest.fixture
def pycocotools():
    return pytest.importorskip("pycocotools.mask")


def fault(root, **more):
    """The error of the only image."""
    with pytest.raises(annotations.AnnotationError) as caught:
        label(root, **more)
    text = str(caught.value)
    assert not any(raw in text for raw in ("Error(", "NoneType", "object at", "KeyErr"))
    return text


def polygon(*corners):
    return ";".join(f"{x},{y}" for x, y in corners)


# Row 94: numbers of a file reach neither an allocation nor a loop before a check.

FAR = (INFINITE, -INFINITE, float("nan"), 1e12, -1e12, 1e308, 10**400, 1e6)


@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("kind", ["polygon", "rectangle", "circle", "rotation", "mask"])
def test_corners_far_outside_are_refused_in_labelme(tmp_path, kind, far):
    add_image(tmp_path)
    corners = [[far, 1], [1, 1], [1, far], [2, 2]]
    points = corners[:2] if kind in ("circle", "rectangle") else corners
    written(tmp_path, "a.json", labelme(shape("car", kind, points, mask="AAAA")))
    assert "lies far outside of the image of 8 x 6 pixels" in fault(tmp_path)


@pytest.mark.parametrize("far", FAR)
def test_corners_far_outside_are_refused_in_coco(tmp_path, far):
    add_image(tmp_path)
    written(tmp_path, "x.json", coco(square(3, 1, 1, far, 3)))
    assert "lies far outside of the image of 8 x 6 pixels" in fault(tmp_path)


@pytest.mark.parametrize("far", ["1e12", "-1e12", "inf", "nan", "1e999"])
@pytest.mark.parametrize(
    "text",
    [
        '<polygon label="car" points="1,1;FAR,1;2,2"/>',
        '<box label="car" xtl="1" ytl="1" xbr="FAR" ybr="4"/>',
        '<ellipse label="car" cx="1" cy="1" rx="FAR" ry="4"/>',
        '<box label="car" xtl="1" ytl="1" xbr="3" ybr="4" rotation="FAR"/>',
    ],
)
def test_numbers_far_outside_are_refused_in_cvat(tmp_path, text, far):
    if "rotation" in text and far in ("1e12", "-1e12"):
        return  # An angle, however large, is one.
    add_image(tmp_path)
    written(tmp_path, "x.xml", cvat(text.replace("FAR", far)))
    found = fault(tmp_path)
    assert "x.xml (sub/a.png): " in found and "shape 1" in found
    assert "far outside" in found or "expected a finite number" in found


@pytest.mark.parametrize(
    "box",
    [
        'rle="2000000000" left="0" top="0" width="40000" height="50000"',
        'rle="2000000000" left="0" top="0" width="3" height="2"',
        'rle="0,2000000000" left="-9" top="0" width="2000000000" height="1"',
        'rle="-4,10" left="0" top="0" width="3" height="2"',
        'rle="1.5" left="0" top="0" width="3" height="2"',
        'rle="" left="0" top="0" width="3" height="2"',
        'left="0" top="0" width="3" height="2"',
    ],
)
def test_masks_of_cvat_are_checked_before_they_are_expanded(tmp_path, box, monkeypatch):
    monkeypatch.setattr(drawing.np, "repeat", None)
    add_image(tmp_path)
    written(tmp_path, "x.xml", cvat(f'<mask label="car" {box}/>'))
    assert "x.xml (sub/a.png): " in fault(tmp_path)


HUGE = [(25, 31), (100_000, 100_000), (90_000, 90_000), (1, 10**12), (2**62, 2)]


@pytest.mark.parametrize("size", HUGE)
@pytest.mark.parametrize("kind", ["labelme", "coco", "cvat"])
def test_a_size_beyond_the_image_is_refused_before_it_is_allocated(
    tmp_path, kind, size, monkeypatch
):
    add_image(tmp_path)
    height, width = size
    if kind == "labelme":
        content = labelme() | {"imageHeight": height, "imageWidth": width}
        written(tmp_path, "a.json", content)
    elif kind == "coco":
        content = coco()
        content["images"][0] |= {"height": height, "width": width}
        written(tmp_path, "x.json", content)
    else:
        text = cvat().replace(f"width='{WIDTH}'", f"width='{width}'")
        text = text.replace(f"height='{HEIGHT}'", f"height='{height}'")
        written(tmp_path, "x.xml", text)
    monkeypatch.setattr(drawing.np, "full", None)
    expected = f"of {width} x {height} pixels, more than 16 times those of the image of"
    assert f"{expected} 8 x 6." in fault(tmp_path)


def bmp():
    return cv2.imencode(".bmp", np.ones((2, 2, 3), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a JPEG or PNG file but unknown"),
        (bmp(), "its mask is not a PNG file"),
        (b"GIF89a", "but gif"),
        (images.encode_label(np.ones((60, 80), np.uint8)), "the maximum is 432"),
        (cv2.imencode(".jpg", np.ones((2, 2)))[1].tobytes(), "is not a PNG file"),
    ],
)
def test_masks_in_base64_are_small_png_files(tmp_path, data, reason):
    # A mask may have (1 + 2 x 1)^2 = 9 times the 6 x 8 pixels of the image: 432.
    add_image(tmp_path)
    text = base64.b64encode(data).decode()
    written(tmp_path, "a.json", labelme(shape("car", "mask", [[0, 0]], mask=text)))
    found = fault(tmp_path)
    assert reason in found and "a.json (a.png): shape 1 (class number 1)" in found


DEEP = "[" * 200_000
BROKEN = {
    "deep": DEEP + "]" * 200_000,
    "infinite": '{"imagePath": "a0.png", "shapes": [], "imageHeight": Infinity}',
    "digits": '{"imagePath": "a0.png", "shapes": [], "imageHeight": %s}' % ("9" * 5000),
    "empty": "",
    "list": "[]",
    "none": '{"imagePath": "a0.png", "shapes": null}',
    "shape": json.dumps(labelme(5, name="a0.png")),
    "name": '{"imagePath": 5, "shapes": []}',
    "kind": json.dumps(labelme(shape("car", "blob", [[1, 1]]), name="a0.png")),
    "class": json.dumps(
        labelme(shape("van", "circle", [[1, 1], [2, 2]]), name="a0.png")
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_one_bad_file_is_one_bad_image(tmp_path, capsys, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        add_image(tmp_path, f"a{i}.png")
        car = shape("car", "rectangle", [[1, 1], [3, 3]])
        written(tmp_path, f"a{i}.json", labelme(car, name=f"a{i}.png"))
    written(tmp_path, "a0.json", BROKEN[kind])
    flags = ["--dataset=folder", "--images=images", "--annotations=labels"]
    flags += ["--classes=background,car", "--val_fraction=0", "--records_dir=r"]
    assert commands.run(build.main, *flags, "--workers=1") == 2
    error = capsys.readouterr().err
    assert "1 image has annotations that cannot be used. The first: labels/a0.json" in (
        error
    )
    assert len(error) < 1500 and "Traceback" not in error
    assert commands.run(build.main, *flags, "--workers=1", "--on_error=skip") == 0
    printed = capsys.readouterr().out
    assert "train: 2 records" in printed and "1 bad pair was skipped" in printed
    (line,) = (tmp_path / "r/rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["name"] == "a0"


@pytest.mark.parametrize(
    "text",
    [
        "<a>" * 200_000,
        "<a>" * 200_000 + "</a>" * 200_000,
        '<!DOCTYPE a [<!ENTITY x "y">'
        + "".join(
            f'<!ENTITY x{i} "{f"&x{i - 1 if i else str()};" * 9}">' for i in range(9)
        )
        + "]><annotations>&x8;</annotations>",
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
    ],
)
def test_hostile_xml_is_refused_at_once(tmp_path, text):
    add_image(tmp_path)
    start = time.monotonic()
    written(tmp_path, "x.xml", text)
    assert "x.xml" in fault(tmp_path)
    assert time.monotonic() - start < 20


# Row 102: keys that must be unique.


def test_two_images_of_one_id_are_refused_with_both_names(tmp_path):
    add_image(tmp_path), add_image(tmp_path, "b.png")
    content = coco(square(3, 1, 1, 3, 3), images=("a.png", "b.png"))
    content["images"][1]["id"] = 7
    written(tmp_path, "x.json", content)
    assert "'a.png' and 'b.png' in its images have the same id 7" in fault(tmp_path)


def test_two_categories_of_one_id_are_refused_with_both_names(tmp_path):
    add_image(tmp_path)
    content = coco(square(3, 1, 1, 3, 3))
    content["categories"][1]["id"] = 3
    written(tmp_path, "x.json", content)
    assert "'car' and 'road' in its categories have the same id 3" in fault(tmp_path)


def test_two_annotations_of_one_id_are_refused_with_their_images(tmp_path):
    content = coco(square(3, 1, 1, 3, 3), square(4, 1, 1, 3, 3))
    content["images"].append(content["images"][0] | {"id": 8, "file_name": "b.png"})
    content["annotations"] = [
        {**item, "id": 5, "image_id": 7 + i}
        for i, item in enumerate(content["annotations"])
    ]
    add_image(written(tmp_path, "x.json", content))
    assert "two annotations with the id 5, of 'b.png' and 'a.png'" in fault(tmp_path)


def test_two_categories_of_one_name_are_refused_if_both_are_used(tmp_path):
    add_image(tmp_path)
    names = ("car", "car", "road")
    content = coco(square(3, 1, 1, 3, 3), square(5, 4, 1, 5, 3), categories=names)
    written(tmp_path, "x.json", content)
    assert label(tmp_path)[1] == rows(".11.2...")[0]
    written(
        tmp_path,
        "x.json",
        coco(square(3, 1, 1, 3, 3), square(4, 4, 1, 5, 3), categories=names),
    )
    assert "two categories named 'car', with the ids" in fault(tmp_path)


@pytest.mark.parametrize("other", ["Car", "car ", " car", "CAR", "c ar"])
def test_classes_that_differ_by_case_or_spaces_are_refused(tmp_path, other):
    shapes = [shape(name, "rectangle", [[1, 1], [2, 2]]) for name in ("car", other)]
    add_image(written(tmp_path, "a.json", labelme(*shapes)))
    with pytest.raises(
        errors.UserError, match="differ by case or spaces only"
    ) as caught:
        folder.make_spec(source(tmp_path, classes=None))
    assert repr(other) in str(caught.value) and "'car'" in str(caught.value)
    classes = class_lists.read_classes("background,car")
    assert label(tmp_path, classes=classes, name_map=((other, 1),))[1][1] == 1


def test_swapped_files_are_refused_with_both_names(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        add_image(tmp_path, f"{name}.png")
        written(tmp_path, f"{name}.json", labelme(name=f"{other}.png"))
    found = fault(tmp_path)
    assert "labels/a.json has the name of" in found and "images/a.png" in found
    assert '"imagePath" is b.png, which is' in found


@pytest.mark.parametrize(
    ("given", "listed"), [("7", 7), (7, "7"), (" 7", 7), ("x", 7), (7.0, "7")]
)
def test_ids_as_text_beside_numbers_are_explained(tmp_path, given, listed):
    content = coco(square(3, 1, 1, 3, 3))
    content["images"][0]["id"] = listed
    content["annotations"][0]["image_id"] = given
    add_image(written(tmp_path, "x.json", content))
    found = fault(tmp_path)
    if isinstance(given, float):
        assert 'annotation 0 has the "image_id" 7.0' in found
    elif given == "x":
        assert "images that it does not list, such as 'x'" in found
    else:
        assert f"of image {given!r}, but the id of the image is {listed!r}" in found


# Row 103: nested folders with repeating names.


@pytest.mark.parametrize(
    "image_path", ["a.png", "{folder}/a.png", "../images/{folder}/a.png"]
)
def test_nested_folders_with_repeating_names_are_matched(tmp_path, image_path):
    for i, name in enumerate(("x", "y", "z/x"), 1):
        add_image(tmp_path, f"{name}/a.png")
        car = shape("car", "rectangle", [[i, 0], [i, 5]])
        path = image_path.format(folder=name)
        written(tmp_path, f"{name}/a.json", labelme(car, name=path))
    found = folder.list_pairs("train", source(tmp_path))
    columns = {p.name: int(folder.read_pair(p).label[0].argmax()) for p in found}
    assert columns == {"x/a": 1, "y/a": 2, "z/x/a": 3}


def test_no_file_that_matches_no_single_image_vanishes(tmp_path):
    for name in ("x", "y"):
        add_image(tmp_path, f"{name}/a.png")
    for name in ("u", "v"):
        written(tmp_path, f"{name}/a.json", labelme(name="a.png"))
    with pytest.raises(
        errors.UserError, match="Files without a counterpart: 4"
    ) as caught:
        folder.list_pairs("train", source(tmp_path))
    assert all(f"{name}/a.json" in str(caught.value) for name in ("u", "v"))


# Row 106: one raster rule, by each format's own coordinates.

INSIDE = strategies.tuples(
    strategies.floats(-4, 12, width=32), strategies.floats(-3, 9, width=32)
)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(strategies.lists(INSIDE, min_size=3, max_size=6))
def test_polygons_of_cvat_equal_those_of_coco(corners):
    flat = [float(x) for corner in corners for x in corner]
    text = f'<polygon label="car" points="{polygon(*corners)}"/>'
    root = annotations.reading.ElementTree.fromstring(cvat(text))
    (found,) = annotations.cvat.read(root, "x.xml")[0].shapes
    assert (found.drawer, found.data) == ("coco", [flat])


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(INSIDE, INSIDE)
def test_boxes_of_cvat_equal_polygons_of_coco(first, second):
    (left, top), (right, bottom) = first, second
    text = f'<box label="car" xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"/>'
    root = annotations.reading.ElementTree.fromstring(cvat(text))
    (found,) = annotations.cvat.read(root, "x.xml")[0].shapes
    assert found.data == [[left, top, right, top, right, bottom, left, bottom]]


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    strategies.integers(-6, 10), strategies.integers(-5, 8), strategies.data()
)
def test_masks_are_cut_at_the_edges_as_polygons_are(left, top, data):
    height, width = data.draw(strategies.tuples(*[strategies.integers(1, 5)] * 2))
    part = np.ones((height, width), bool)
    expected = [
        [left <= x < left + width and top <= y < top + height for x in range(WIDTH)]
        for y in range(HEIGHT)
    ]
    assert drawing._place(part, left, top, SIZE).tolist() == expected


def test_masks_over_the_edge_are_cut(tmp_path):
    add_image(tmp_path)
    mask = '<mask label="road" rle="0, 6" left="-1" top="5" width="3" height="2"/>'
    written(tmp_path, "x.xml", cvat(mask))
    assert label(tmp_path)[5] == rows("22......")[0]
    (tmp_path / "labels/x.xml").unlink()
    part = base64.b64encode(images.encode_label(np.ones((3, 3), np.uint8))).decode()
    written(tmp_path, "a.json", labelme(shape("car", "mask", [[6, -1]], mask=part)))
    assert label(tmp_path)[:3] == rows("......11 ......11 ........")


@pytest.mark.parametrize("kind", ["rotation", "oriented_rectangle", "quadrilateral"])
def test_rotated_rectangles_are_drawn(tmp_path, kind):
    add_image(tmp_path)
    corners = [[1, 1], [6, 1], [6, 4], [1, 4]]
    written(tmp_path, "a.json", labelme(shape("road", kind, corners)))
    assert label(tmp_path) == rows(
        "........ .222222. .222222. .222222. .222222. ........"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", labelme(shape("car", "cuboid", [[1, 1]]))),
        ("x.xml", cvat('<cuboid label="car" xtl1="1"/>')),
    ],
)
def test_unknown_kinds_are_called_unknown(tmp_path, name, content):
    add_image(written(tmp_path, name, content))
    found = fault(tmp_path)
    assert "shapes of unknown kinds: cuboid. Convert them to polygons" in found
    assert "without an area" not in found
    assert not np.any(label(tmp_path, skip_shapes="cuboid"))


# Row 109: errors name the file, the item and what is wrong.

ODD = [
    (
        labelme() | {"imageHeight": None},
        '"imageHeight" is None, expected a whole number',
    ),
    (
        {k: v for k, v in labelme().items() if k != "imageHeight"},
        '"imageHeight" is None',
    ),
    (labelme({"label": "car"}), 'shape 1 has no "points"'),
    (labelme({"points": []}), 'shape 1 has no "label"'),
    (labelme(None), "shape 1 is None, expected a JSON object"),
    (labelme(shape("car", "polygon", [1, 2, 3])), "its point 1 is not a pair"),
    (
        labelme(shape("car", "polygon", [["1", "2"]] * 3)),
        "coordinate '1' is not a number",
    ),
    (labelme(shape("car", "mask", [])), "shape 1 is a mask without a corner"),
    (labelme(shape("car", "mask", [[1, 1]])), 'shape 1 has no "mask"'),
    (labelme(shape("car", ["x"], [[1, 1]])), '"shape_type" that is not text'),
]


@pytest.mark.parametrize(("content", "reason"), ODD)
def test_odd_files_of_labelme_are_explained(tmp_path, content, reason):
    add_image(written(tmp_path, "a.json", content))
    found = fault(tmp_path)
    assert reason in found and "a.json (a.png): " in found


def changed(key, value):
    """COCO's file with another value in its only annotation."""
    content = coco({**square(3, 1, 1, 3, 3), "id": 9})
    content["annotations"][0][key] = value
    return content


ODD_COCO = [
    (changed("category_id", None), 'annotation 9 has the "category_id" None'),
    (changed("category_id", "3"), "category '3', which is not listed (only 3 is)"),
    (changed("category_id", [3]), 'annotation 9 has the "category_id" list'),
    (changed("segmentation", "x"), "annotation 9, a coco of car, cannot be drawn (its"),
    (changed("segmentation", [["1"] * 6]), "its coordinate '1' is not a number"),
    (changed("segmentation", {"size": [6, 8]}), 'its segmentation has no "counts"'),
    (changed("segmentation", {"counts": []}), 'its segmentation has no "size"'),
    (changed("segmentation", {"size": [6, 8], "counts": [None]}), "a run is None"),
    (
        coco() | {"images": [{"id": 7, "file_name": "a.png"}]},
        "\"height\" of image 'a.png'",
    ),
    (coco() | {"images": [{"id": 7}]}, 'number 0 of its images has no "file_name"'),
    (coco() | {"images": None}, 'it has the "images" None'),
    (coco() | {"annotations": [5]}, "annotation 0 is 5, expected a JSON object"),
    (coco() | {"categories": {}}, 'it has the "categories" dict'),
]


@pytest.mark.parametrize(("content", "reason"), ODD_COCO)
def test_odd_files_of_coco_are_explained(tmp_path, content, reason):
    add_image(written(tmp_path, "x.json", content))
    found = fault(tmp_path)
    assert reason in found and "x.json" in found


ODD_CVAT = [
    ('<polygon label="car"/>', 'shape 1 has no attribute "points"'),
    ('<polygon label="car" points="1,1;2;3,3"/>', "a point of shape 1 is not a pair"),
    ('<box label="car" xtl="1"/>', 'shape 1, a box, has no attribute "ytl"'),
    (
        '<box label="car" xtl="a"/>',
        "\"xtl\" of shape 1 is 'a', expected a finite number",
    ),
    ('<mask label="car" rle="1"/>', 'shape 1 has no attribute "left"'),
    (
        '<polygon label="car" points="1,1;3,1;3,3" z_order="x"/>',
        "z_order of shape 1 is",
    ),
]


@pytest.mark.parametrize(("text", "reason"), ODD_CVAT)
def test_odd_files_of_cvat_are_explained(tmp_path, text, reason):
    add_image(written(tmp_path, "x.xml", cvat(text)))
    found = fault(tmp_path)
    assert reason in found and "x.xml (sub/a.png): " in found


DEGENERATE = [
    ("x.json", coco(square(3, 1, 1, 1, 3), square(4, 0, 0, 2, 1)), "lie on one line"),
    ("x.json", coco(square(3, -4, -4, -1, -1), square(4, 0, 0, 2, 1)), "lies outside"),
    (
        "x.json",
        coco({"category_id": 3, "segmentation": [[1, 1, 2, 2]]}, square(4, 0, 0, 2, 1)),
        "has 2 corners, expected at least three",
    ),
    (
        "a.json",
        labelme(
            shape("car", "polygon", [[1, 1], [2, 2]]),
            shape("road", "rectangle", [[0, 0], [1, 0]]),
        ),
        "has 2 corners, expected at least three",
    ),
    (
        "x.xml",
        cvat(
            '<mask label="car" rle="6" left="0" top="0" width="3" height="2"/>'
            '<box label="road" xtl="0" ytl="0" xbr="2" ybr="1"/>'
        ),
        "its mask has no pixel",
    ),
    (
        "x.xml",
        cvat(
            '<box label="car" xtl="1" ytl="1" xbr="1" ybr="1"/>'
            '<box label="road" xtl="0" ytl="0" xbr="2" ybr="1"/>'
        ),
        "lie on one line",
    ),
]


@pytest.mark.parametrize(("name", "content", "reason"), DEGENERATE)
def test_degenerate_shapes_are_named_and_can_be_skipped(
    tmp_path, name, content, reason
):
    add_image(written(tmp_path, name, content))
    found = fault(tmp_path)
    assert reason in found and "of car, cannot be drawn" in found
    assert "`skip_shapes=degenerate`" in found
    expected = rows("22...... " + "........ " * 5)
    assert label(tmp_path, skip_shapes="degenerate") == expected


def test_only_the_degenerate_polygons_of_an_object_are_skipped(tmp_path):
    whole = square(3, 0, 0, 2, 1)["segmentation"]
    content = coco({"category_id": 3, "segmentation": [[5, 5, 6, 6], *whole]})
    add_image(written(tmp_path, "x.json", content))
    assert label(tmp_path, skip_shapes="degenerate")[0] == rows("11......")[0]


def test_a_polygon_far_below_a_pixel_is_not_degenerate(tmp_path):
    tiny = {"category_id": 3, "segmentation": [[1.2, 1.2, 1.4, 1.2, 1.3, 1.4]]}
    add_image(written(tmp_path, "x.json", coco(tiny)))
    assert not np.any(label(tmp_path))
