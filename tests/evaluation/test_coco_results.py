"""Results in COCO's format: what is read, what is refused, and how it is scored."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import errors, evaluation, images
from kerasseg.evaluation import coco_results, coco_shapes
from kerasseg.records import rle
from tests.support import detected

coco_mask = pytest.importorskip("pycocotools.mask")

SIZE = 4, 6
TARGETS = [("a/street 7.jpg", SIZE), ("000000000139", SIZE)]
BOX = {"image_id": 139, "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}
# Column by column: 5 pixels of 0, 2 of 1, 2 of 0, 2 of 1, 13 of 0.
RUNS = {"size": [4, 6], "counts": [5, 2, 2, 2, 13]}


@pytest.fixture
def read(tmp_path):
    """Writes results, and reads them."""

    def call(content, *, annotations=None, targets=TARGETS):
        path, other = tmp_path / "results.json", None
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        if annotations is not None:
            other = tmp_path / "annotations.json"
            other.write_text(json.dumps(annotations))
        return coco_results.read_results(
            path, targets, detected.NAMES, annotations_json=other
        )

    return call


def test_boxes_and_masks_are_read(read):
    first, second = read([{**BOX, "segmentation": RUNS}])
    assert len(first) == 0
    assert second.boxes.tolist() == [[1, 1, 3, 3]]
    assert (second.scores.tolist(), second.classes.tolist()) == ([0.5], [1])
    assert (second.masks[0] == detected.rectangle(SIZE, (1, 1, 3, 3))).all()


def test_results_are_sorted_by_score_and_equal_ones_keep_their_order(read):
    scores = [0.2, 0.9, 0.2]
    _, each = read(
        [{**BOX, "score": s, "category_id": i + 1} for i, s in enumerate(scores)]
    )
    assert each.classes.tolist() == [2, 1, 3]
    assert each.masks is None


@pytest.mark.parametrize(
    "segmentation",
    [
        RUNS,
        {
            "size": [4, 6],
            "counts": rle.encode(detected.rectangle(SIZE, (1, 1, 3, 3))).decode(),
        },
        [[1, 1, 3, 1, 3, 3, 1, 3]],
        [[1, 1, 2, 1, 2, 3, 1, 3], [2, 1, 3, 1, 3, 3, 2, 3]],
    ],
    ids=["runs", "compressed", "polygon", "polygons"],
)
def test_a_mask_has_any_of_the_formats_and_its_box_is_optional(read, segmentation):
    without = {key: value for key, value in BOX.items() if key != "bbox"}
    _, each = read([{**without, "segmentation": segmentation}])
    assert each.boxes.tolist() == [[1, 1, 3, 3]]
    assert (each.masks[0] == detected.rectangle(SIZE, (1, 1, 3, 3))).all()


@pytest.mark.parametrize(
    "image_id", ["a/street 7.jpg", "a/street 7", "street 7.png", "street 7", 7, "7"]
)
def test_an_image_is_found_by_name_or_number(read, image_id):
    assert [len(each) for each in read([{**BOX, "image_id": image_id}])] == [1, 0]


def test_ids_of_an_annotation_file_are_names(read):
    annotations = {
        "images": [{"id": 1, "file_name": "000000000139.jpg"}],
        "categories": [{"id": 18, "name": "dog"}],
    }
    result = {**BOX, "image_id": 1, "category_id": 18}
    assert read([result], annotations=annotations)[1].classes.tolist() == [3]
    # The file of kerasseg.predict has these lists itself.
    assert read({**annotations, "annotations": [result]})[1].classes.tolist() == [3]
    assert read([{**BOX, "category_id": "dog"}])[1].classes.tolist() == [3]
    with pytest.raises(errors.UserError, match="1 unknown images: 139"):
        read([{**BOX, "category_id": 18}], annotations=annotations)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[", "not a JSON file"),
        ("3", "it is 3, expected a list of results"),
        ("{}", 'it has no "annotations"'),
        ("[3]", "result 0 is 3, expected an object"),
        ([{**BOX, "score": "high"}], r"\"score\" of result 0 \(image 139\) is 'high'"),
        ('[{"image_id": 139, "category_id": 1, "score": NaN}]', "score.* is nan"),
        ([{"image_id": 139, "category_id": 1}], "score.* is None, expected a finite"),
        ([{**BOX, "score": 10**400}], "a number of more than 60 digits"),
        ([{"category_id": 1}], 'result 0 has no "image_id"'),
        ([{**BOX, "image_id": 1.5}], '"image_id" of result 0 is 1.5, expected a whole'),
        ([{**BOX, "category_id": None}], '"category_id" of result 0'),
        ([{**BOX, "bbox": [1, 2, 3]}], "has 3 values, expected x, y, width"),
        ([{**BOX, "bbox": [1, 2, -3, 1]}], "is -3 wide and 1 high"),
        ([{**BOX, "bbox": [1, 2, 3, "4"]}], "bbox.* is '4', expected a finite number"),
        ([{**BOX, "bbox": []}], 'has neither "bbox" nor "segmentation"'),
        ([BOX, {**BOX, "segmentation": RUNS}], "result 0 .* has no segmentation, as 1"),
        (
            [{**BOX, "image_id": i} for i in ("b.jpg", 8)],
            "2 unknown images: 'b.jpg', 8",
        ),
        (
            [{**BOX, "category_id": i} for i in (0, 4, "cat")],
            "3 unknown categories: 0, 4, 'cat'.*`annotations_json`",
        ),
        (
            {
                "images": [],
                "categories": [{"id": 1, "name": "cat"}],
                "annotations": [BOX],
            },
            r"1 unknown images: 139; 1 unknown categories: '1 \(cat\)'",
        ),
        (
            {"categories": [{"id": 1, "name": "dog"}] * 2, "annotations": []},
            "two of its categories have the id 1",
        ),
        (
            {
                "categories": [{"id": i, "name": "dog"} for i in (1, 2)],
                "annotations": [],
            },
            "two of its categories have the name 'dog'",
        ),
    ],
)
def test_wrong_results_are_refused(read, content, text):
    with pytest.raises(errors.UserError, match=text):
        read(content)


@pytest.mark.parametrize(
    ("segmentation", "text"),
    [
        (
            {"size": [6, 4], "counts": "0"},
            r"size is \[6, 4\], that of the image \[4, 6\]",
        ),
        ({"size": [4, 6], "counts": [5, 2]}, "add up to 7 pixels, the image has 24"),
        ({"size": [4, 6], "counts": [-1, 25]}, "a run length is -1"),
        ({"size": [4, 6], "counts": "\u00ff"}, "damaged|add up"),
        ({"size": [4, 6], "counts": "PP"}, "damaged|add up"),
        ({"size": [4, 6]}, 'has no "counts"'),
        ("text", "it is 'text', expected polygons or run lengths"),
        ([[1, 2, 3, 4]], "a polygon has 4 numbers, expected x and y of three"),
        ([[1, 2, 3, 4, 5, None]], "a coordinate is None"),
        ([[1, 2, 3, 4, 5, 1e9]], "far outside of the image of 6 x 4"),
        ([[1, 2, 3, 4, 5, 10**400]], "far outside"),
        ([5], "a polygon is 5, expected a list"),
    ],
)
def test_wrong_masks_are_refused(read, segmentation, text):
    message = rf"the mask of result 0 \(image 139\) cannot be read: .*({text})"
    with pytest.raises(errors.UserError, match=message):
        read([{**BOX, "segmentation": segmentation}])


def test_a_number_that_several_images_have_is_an_error(read):
    targets = [("2007_000032", SIZE), ("2008_000032", SIZE)]
    with pytest.raises(errors.UserError, match="ids that several images have: 32"):
        read([{**BOX, "image_id": 32}], targets=targets)
    assert len(read([{**BOX, "image_id": "2008_000032"}], targets=targets)[1]) == 1


def test_a_folder_has_a_file_for_each_image(tmp_path):
    for name in ("139", "street 7"):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps([{**BOX, "image_id": name}] * 2))
    each = coco_results.read_results(tmp_path, TARGETS, detected.NAMES)
    assert [len(e) for e in each] == [2, 2]
    (tmp_path / "other.json").write_text(json.dumps([BOX]))
    with pytest.raises(errors.UserError, match=r"139.json and .*other.json both have"):
        coco_results.read_results(tmp_path, TARGETS, detected.NAMES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.MissingFileError, match=r"no \.json files"):
        coco_results.read_results(tmp_path / "empty", TARGETS, detected.NAMES)
    with pytest.raises(errors.MissingFileError, match="does not exist"):
        coco_results.read_results(tmp_path / "no.json", TARGETS, detected.NAMES)


def test_results_of_a_file_have_the_scores_of_the_detections(tmp_path):
    each = detected.random_images(4, 8)
    _, path = detected.write_coco(tmp_path, each)
    targets = [(f"{i + 1}.jpg", e.label.shape) for i, e in enumerate(each)]
    found = coco_results.read_results(path, targets, detected.NAMES)
    again = [
        evaluation.DetectedImage(e.index, e.name, e.objects, f, e.label)
        for e, f in zip(each, found, strict=True)
    ]
    split = detected.Split(len(each))
    expected = evaluation.score_instances(each, split)
    assert evaluation.score_instances(again, split).scores == expected.scores


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def masks(draw):
    height, width = draw(SIZES)
    bits = draw(
        st.lists(st.booleans(), min_size=height * width, max_size=height * width)
    )
    return np.array(bits, bool).reshape(height, width)


@settings(max_examples=60, deadline=None)
@given(masks())
def test_run_lengths_are_those_of_pycocotools_in_both_formats(mask):
    text = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]
    counts = rle.read(text, mask.shape).tolist()
    for given_counts in (text.decode(), counts):
        runs = {"size": list(mask.shape), "counts": given_counts}
        assert coco_shapes.encode(runs, mask.shape) == text
    assert (evaluation.EncodedMasks([text], mask.shape)[0] == mask).all()
    assert coco_shapes.box(text, mask.shape) == detected.box_of(mask)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(
            st.sampled_from(["size", "counts", "id", "name"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "image_id": st.just(139) | VALUES,
                "category_id": st.just(1) | VALUES,
                "score": st.just(0.5) | VALUES,
                "bbox": st.just([1, 1, 2, 2]) | VALUES,
                "segmentation": VALUES,
            },
        ),
        max_size=3,
    )
    | VALUES
)
def test_any_json_is_read_or_refused_with_a_reason(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "results.json"
    path.write_text(json.dumps(content))
    try:
        found = coco_results.read_results(path, TARGETS, detected.NAMES)
    except errors.UserError as error:
        assert str(path) in str(error)
    else:
        assert sum(map(len, found)) == len(
            content if isinstance(content, list) else content["annotations"]
        )
        assert all(isinstance(each, images.Detections) for each in found)


@settings(max_examples=100, deadline=None)
@given(
    VALUES
    | st.lists(
        st.lists(st.integers(-9, 15) | st.floats(-9, 15), max_size=9), max_size=3
    )
)
def test_any_segmentation_is_a_mask_of_the_image_or_refused(segmentation):
    try:
        text = coco_shapes.encode(segmentation, SIZE)
    except errors.UserError:
        return
    rle.read(text, SIZE)
