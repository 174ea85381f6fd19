"""Two runs that detect objects are compared on the same images."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import errors, evaluation
from kerasseg.evaluation import instance_comparison
from kerasseg.metrics import intervals
from tests.support import detected

coco = pytest.importorskip("pycocotools.coco")
cocoeval = pytest.importorskip("pycocotools.cocoeval")

CLASSES = detected.NAMES[1:]
CAR = (0, 0, 9, 9)
MEANS = "mask_ap", "mask_ap50", "mask_ap75", "box_ap", "box_ap50", "box_ap75"


def scored(each):
    return evaluation.score_instances(each, detected.Split(len(each)))


def compared(folder, each, others):
    """Compares runs with these images through a file."""
    path = folder / "instances.npz"
    instance_comparison.write_matches(path, scored(others), CLASSES)
    return instance_comparison.compare(scored(each), path, CLASSES)


def image(index, instances, found, size=(20, 30)):
    return evaluation.DetectedImage(
        index,
        f"image{index}.jpg",
        detected.objects(size, instances),
        detected.detections(size, found),
    )


def worse(each, seed=0):
    """The same images, with half of the detections and random scores."""
    rng = np.random.default_rng(seed)
    changed = []
    for one in each:
        kept = rng.random(len(one.detections)) < 0.5
        detections = dataclasses.replace(
            one.detections,
            boxes=one.detections.boxes[kept],
            scores=rng.random(kept.sum()),
            classes=one.detections.classes[kept],
            masks=one.detections.masks[kept],
        )
        changed.append(dataclasses.replace(one, detections=detections))
    return changed


def test_runs_with_the_same_detections_have_a_difference_of_0(tmp_path):
    each = detected.random_images(0, 8)
    difference = compared(tmp_path, each, each)
    nothing = {"value": 0, "low": 0, "high": 0, "above_zero": 0}
    assert [difference[key] for key in MEANS] == [nothing] * 6
    assert difference["mask_class_ap"] == dict.fromkeys(CLASSES, nothing)
    assert (difference["resamples"], difference["pictures"]) == (1000, 8)


@pytest.mark.parametrize("seed", range(3))
def test_the_difference_is_that_of_the_figures_of_pycocotools(tmp_path, seed):
    each = detected.random_images(seed, 8, size=(100, 140))
    others = worse(each, seed)
    difference = compared(tmp_path, each, others)
    for kind, iou_type in (("mask", "segm"), ("box", "bbox")):
        own, other = (plain_stats(tmp_path, x, iou_type) for x in (each, others))
        for i, name in enumerate(("ap", "ap50", "ap75")):
            ends = difference[f"{kind}_{name}"]
            assert ends["value"] == pytest.approx(own[i] - other[i], abs=1e-12)
            assert ends["low"] <= ends["value"] <= ends["high"]
            assert 0 <= ends["above_zero"] <= 1


def plain_stats(folder, each, iou_type):
    annotations, results = detected.write_coco(folder, each)
    listed = json.loads(results.read_text())
    if iou_type == "segm":
        for result in listed:
            del result["bbox"]
    labels = coco.COCO(str(annotations))
    result = cocoeval.COCOeval(labels, labels.loadRes(listed), iou_type)
    result.evaluate()
    result.accumulate()
    result.summarize()
    return result.stats


def test_both_runs_are_resampled_alike(tmp_path):
    # Two cars; one run finds both, the other one only that of image 0: AP 51/101, as
    # in test_instances. The images are drawn (2, 0), (1, 1) or (0, 2) times, so that
    # the difference is 0, 50/101 or 1, with chances of 1/4, 1/2 and 1/4.
    both = [image(i, [(1, CAR)], [(1, 0.9, CAR)]) for i in range(2)]
    one = [both[0], image(1, [(1, CAR)], [])]
    difference = compared(tmp_path, both, one)
    weights = np.concatenate(list(intervals.resamples(2)))
    above_zero = np.mean(weights[:, 1] > 0)
    assert 0.7 < above_zero < 0.8
    for key in MEANS:
        expected = {"value": 50 / 101, "low": 0, "high": 1, "above_zero": above_zero}
        assert difference[key] == pytest.approx(expected)
    assert difference["box_class_ap"]["car"] == pytest.approx(difference["box_ap"])
    assert difference["box_class_ap"]["dog"] is None
    reverse = compared(tmp_path, one, both)["mask_ap"]
    expected = {"value": -50 / 101, "low": -1, "high": 0, "above_zero": 0}
    assert reverse == pytest.approx(expected)


def test_only_boxes_are_compared_if_a_run_has_no_masks(tmp_path):
    each = detected.random_images(1, 5)
    boxes = [
        dataclasses.replace(e, detections=dataclasses.replace(e.detections, masks=None))
        for e in each
    ]
    for own, other in ((each, boxes), (boxes, each)):
        difference = compared(tmp_path, own, other)
        assert difference["box_ap"]["value"] == 0
        assert "mask_ap" not in difference


def test_images_without_instances_have_no_difference(tmp_path):
    nothing = [image(0, [], [(1, 0.9, CAR)])]
    difference = compared(tmp_path, nothing, nothing)
    assert [difference[key] for key in MEANS] == [None] * 6


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_any_evaluation_is_written_and_read_again(tmp_path_factory, seed, count):
    result = scored(detected.random_images(seed, count))
    path = tmp_path_factory.mktemp("e") / "instances.npz"
    instance_comparison.write_matches(path, result, CLASSES)
    names, rankings = instance_comparison.read_matches(path, CLASSES)
    assert names == result.names
    assert rankings.keys() == result.rankings.keys()
    for kind, expected in result.rankings.items():
        for own, other in zip(rankings[kind], expected, strict=True):
            for field in dataclasses.fields(own):
                values = (getattr(x, field.name) for x in (own, other))
                np.testing.assert_array_equal(*values)


# Other runs.


def test_runs_on_other_images_are_refused(tmp_path):
    each = detected.random_images(2, 3)
    others = [dataclasses.replace(e, name=f"other{e.index}.jpg") for e in each]
    with pytest.raises(errors.UserError, match=r"other images: 3 are missing there"):
        compared(tmp_path, each, others)


def test_runs_on_other_labels_are_refused(tmp_path):
    # The second car has 81 pixels in one run, and 72 in the other.
    each = [image(i, [(1, CAR)], []) for i in range(2)]
    others = [each[0], image(1, [(1, (0, 0, 9, 8))], [])]
    with pytest.raises(
        errors.UserError, match=r"1 of 2 images differ, the first is image1\.jpg"
    ):
        compared(tmp_path, each, others)


def test_runs_with_other_classes_are_refused(tmp_path):
    path = tmp_path / "instances.npz"
    result = scored([image(0, [(1, CAR)], [])])
    instance_comparison.write_matches(path, result, ["car", "person", "cat"])
    with pytest.raises(errors.UserError, match="not have the matches of the classes"):
        instance_comparison.compare(result, path, CLASSES)


def rewritten(path, **changes):
    with np.load(path) as arrays:
        changed = {**arrays, **changes}
    changed = {key: value for key, value in changed.items() if value is not None}
    np.savez(path, **changed)


@pytest.mark.parametrize(
    "changes",
    [
        {"box_count": None},
        {"instances": np.zeros((3, 7), np.int64)},
        {"instances": np.full((3, 1), -1)},
        {"box_image": np.array([5])},
        {"box_hits": np.zeros((9, 1), bool)},
        {"box_count": np.array([9, 9, 9])},
        {"names": np.array("no JSON")},
        {"names": np.array("[1, 2]")},
        {"names": np.array('{"classes": [1, 2, 3], "images": ["a"]}')},
        {"pixels": np.array([[0.5], [0], [0]])},
        {"box_misses": np.array(["a"])},
        {"box_hits": np.array([{}])},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_a_damaged_file_is_reported(tmp_path, changes):
    path = tmp_path / "instances.npz"
    result = scored([image(0, [(1, CAR)], [(1, 0.9, CAR)])])
    instance_comparison.write_matches(path, result, CLASSES)
    rewritten(path, **changes)
    with pytest.raises(errors.UserError, match=r"npz is damaged .*that run again"):
        instance_comparison.read_matches(path, CLASSES)


def test_bytes_that_are_no_archive_are_reported(tmp_path):
    path = tmp_path / "instances.npz"
    result = scored([image(0, [(1, CAR)], [(1, 0.9, CAR)])])
    instance_comparison.write_matches(path, result, CLASSES)
    data = path.read_bytes()
    wrong = bytearray(data)
    wrong[len(data) // 3] ^= 255
    for content in (b"", b"text", data[: len(data) // 2], bytes(wrong)):
        path.write_bytes(content)
        with pytest.raises(errors.UserError, match=r"npz is damaged"):
            instance_comparison.read_matches(path, CLASSES)
    path.unlink()
    with pytest.raises(errors.MissingFileError, match="Evaluate the run of"):
        instance_comparison.read_matches(path, CLASSES)
