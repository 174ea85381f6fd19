"""COCO's polygons and runs as masks."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from kerasseg import images
from tests.support import published
from tfrecords_tools.annotations import coco

coco_mask = pytest.importorskip("pycocotools.mask")


def decode(segmentation, size=(4, 6)):
    return coco.decode(segmentation, size, "a.jpg")


def box(left, top, right, bottom):
    return [[left, top, right, top, right, bottom, left, bottom]]


def drawn(*annotations):
    image = coco.CocoImage("a.jpg", 4, 6, annotations)
    return coco.draw(image, {1: 1, 2: 2}, background=0)


def test_polygons_are_filled():
    mask = decode(box(1, 1, 3, 3))
    # Columns 1 and 2 of rows 1 and 2: 3 is where the polygon ends.
    assert mask.astype(int).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_the_parts_of_a_thing_are_one_mask():
    mask = decode(box(0, 0, 1, 1) + box(4, 2, 6, 4))
    assert mask.sum() == 1 + 4


def test_runs_are_in_column_order():
    # One pixel off, two on, one off: column 0 has rows 1 and 2.
    runs = {"size": [4, 6], "counts": [1, 2, 21]}
    mask = decode(runs)
    assert np.argwhere(mask).tolist() == [[1, 0], [2, 0]]


@hypothesis.given(
    arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=30))
)
def test_the_string_of_runs_is_decoded(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    runs = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    np.testing.assert_array_equal(decode(runs, mask.shape), mask)


def test_small_things_are_drawn_over_large_ones():
    large = {"category_id": 1, "segmentation": box(0, 0, 6, 4)}
    small = {"category_id": 2, "segmentation": box(2, 1, 4, 3)}
    for order in ((large, small), (small, large)):
        label = drawn(*order)
        assert label[1:3, 2:4].tolist() == [[2, 2], [2, 2]]
        assert (label == 1).sum() == 24 - 4


def test_things_are_drawn_over_crowds_which_are_ignored():
    thing = {"category_id": 1, "segmentation": box(0, 0, 4, 4), "iscrowd": 0}
    runs = {"size": [4, 6], "counts": [12, 12]}  # Columns 3 to 5.
    crowd = {"category_id": 2, "segmentation": runs, "iscrowd": 1}
    assert drawn(thing, crowd)[0].tolist() == [1, 1, 1, 1, 255, 255]


def test_other_categories_are_not_drawn():
    assert not drawn({"category_id": 3, "segmentation": "whatever"}).any()


BAD = {
    "a polygon has 2 corners": [[1, 1, 2, 2]],
    "a polygon has 7 values, an odd number": [[1, 1, 2, 2, 3, 3, 4]],
    "lies far outside of the image of 6 x 4 pixels": [[0, 0, 1e9, 0, 5, 5]],
    "polygon from [nan, nan]": [[float("nan")] * 6],
    "annotation": [],
    "its size is [4, 5], that of the image [4, 6]": {"size": [4, 5], "counts": [20]},
    "its runs do not add up to 4 x 6 pixels": {"size": [4, 6], "counts": [25]},
    "a run is -1, expected a whole number": {"size": [4, 6], "counts": [25, -1]},
    'its segmentation has no "counts"': {"size": [4, 6]},
    "string of runs is damaged": {"size": [4, 6], "counts": "o" * 99},
    "it has no polygon and no run lengths": None,
}


@pytest.mark.parametrize("reason", BAD)
def test_what_cannot_be_drawn_is_named(reason):
    with pytest.raises(images.ImageError, match=r"^a\.jpg has an annotation") as caught:
        drawn({"category_id": 1, "segmentation": BAD[reason]})
    assert reason in str(caught.value)


@hypothesis.given(strategies.text(min_size=1, max_size=20))
def test_any_text_of_runs_is_drawn_or_refused(text):
    runs = {"size": [4, 6], "counts": text}
    try:
        assert decode(runs).shape == (4, 6)
    except images.ImageError:
        return


def test_a_file_of_annotations_is_read(tmp_path):
    thing = {"category_id": 3, "segmentation": box(0, 0, 1, 1), "area": 1.0}
    listed = {"a.jpg": (4, 6, [thing]), "b.jpg": (5, 7, [])}
    published.coco_file(tmp_path / "a.json", listed, {3: "car", 1: "person"})
    names, found = coco.read_images(tmp_path / "a.json")
    assert names == {3: "car", 1: "person"}
    assert [(x.file_name, x.height, x.width) for x in found] == [
        ("a.jpg", 4, 6),
        ("b.jpg", 5, 7),
    ]
    assert found[0].annotations[0]["segmentation"] == thing["segmentation"]
    assert found[1].annotations == ()


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.json"
    for text in ("", "[]", "{}", '{"images": [], "annotations": [{}]}', "<html>"):
        path.write_text(text)
        with pytest.raises(
            ValueError, match=r"a\.json is not an annotation file in COCO"
        ):
            coco.read_images(path)
    content = {"images": [], "categories": [], "annotations": [{"image_id": 5}]}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="images that it does not list, such as 5"):
        coco.read_images(path)
    with pytest.raises(FileNotFoundError):
        coco.read_images(tmp_path / "nothing.json")


def test_missing_pycocotools_is_an_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    with pytest.raises(
        ValueError, match=r"need pycocotools\. .* pip install 'kerasseg\[d"
    ):
        drawn({"category_id": 1, "segmentation": box(0, 0, 1, 1)})
