"""Reading images without labels, image-level classes, and the labels that are used."""

import dataclasses

import numpy as np
import pytest

from kerasseg import errors, pipeline, records
from kerasseg.pipeline import class_statistics
from tests.records.test_labeled_lists import LIST, unlabeled_example, write
from tests.support import faults, tiny


def reader(folder, **options):
    return pipeline.ImageReader(records.open_split(folder, "train"), **options)


def test_an_image_is_read_without_its_label(tmp_path):
    images = reader(write(tmp_path, num_unlabeled=1))
    for index, seed, name in ((2, 2, "2"), (6, 0, "u0")):
        image, found = images.read_image(index)
        np.testing.assert_array_equal(image, tiny.image_and_label(seed)[0])
        assert found == name


def test_the_label_is_not_even_checked(tmp_path):
    image, label = tiny.image_and_label(0)
    tiny.write_images(tmp_path, {"train": [(image, label + 7)]})  # Classes 7 to 9.
    images = reader(tmp_path)
    np.testing.assert_array_equal(images.read_image(0)[0], image)
    with pytest.raises(records.RecordError, match=r"train0\.png"):
        images.read(0)


@pytest.mark.parametrize("skip_bad", [0, 9])
def test_a_record_without_a_label_is_never_trained_on(tmp_path, skip_bad):
    images = reader(write(tmp_path, num_unlabeled=1), skip_bad=skip_bad)
    with pytest.raises(
        records.RecordError, match=r"image u0: .* no label\. .* `unlabeled_records_dir`"
    ):
        images.read(6)
    assert images.error is not None
    assert not images.bad


def test_damaged_images_count_against_those_that_may_be_skipped(tmp_path):
    folder = write(tmp_path, num_unlabeled=2)
    path = folder / records.shard_name("train", 0, 1)
    for index in (1, 6):
        faults.flip_bit(path, int(records.scan_shard(path)[index, 0]) + 5)
    images = reader(folder, skip_bad=1)
    image, name = images.read_image(6)
    assert (image.shape, name) == ((1, 1, 3), "")
    assert images.read_image(6)[1] == ""  # The same one again.
    assert list(images.bad) == [6]
    with pytest.raises(records.RecordError, match="record 1: the checksum"):
        images.read_image(1)


# Image-level classes.


def tags_of(folder, present, class_names=("left", "middle", "right")):
    spec = dataclasses.replace(
        tiny.SPEC, classes={name: (0, 0, 0) for name in class_names}
    )
    image, label = tiny.image_and_label(0)
    serialized = tiny.example(image, label, "a", present_classes=present)
    folder.mkdir(exist_ok=True)
    path = folder / records.shard_name("train", 0, 1)
    shard = records.write_shard(path, [serialized])
    records.write_info(folder, records.DatasetInfo(spec, {"train": [shard]}))
    return reader(folder).read_tags(0)


@pytest.mark.parametrize(
    ("present", "tags"),
    [((0, 2), [True, False, True]), ((), [False] * 3), ([1], [False, True, False])],
)
def test_classes_become_tags(tmp_path, present, tags):
    found = tags_of(tmp_path, present)
    assert found.dtype == bool
    assert found.tolist() == tags


def test_unknown_classes_are_none(tmp_path):
    assert tags_of(tmp_path, None) is None


def test_the_background_is_no_tag(tmp_path):
    found = tags_of(tmp_path, (0, 1), ("background", "cat"))
    assert found.tolist() == [False, True]


@pytest.mark.parametrize("present", [(3,), (-1, 0)])
def test_tags_out_of_range_name_the_image(tmp_path, present):
    with pytest.raises(records.RecordError, match=r"image a: .* expected 0 to 2\. C"):
        tags_of(tmp_path, present)


# Which labels are used.


def test_all_labels_are_used_without_a_list(tmp_path):
    images = reader(write(tmp_path))
    assert pipeline.labeled_order(images) is None
    assert pipeline.labeled_order(images, [3, 3, 1]).tolist() == [3, 3, 1]
    with pytest.raises(
        errors.UserError, match=r"All 6 images .* `labeled_list`, or rec"
    ):
        pipeline.unlabeled_order(images)


def test_the_labels_of_a_list_are_used(tmp_path):
    images = reader(write(tmp_path, labeled=LIST, num_unlabeled=2))
    assert pipeline.labeled_order(images).tolist() == [1, 4]
    assert pipeline.labeled_order(images, [4, 0, 1, 4]).tolist() == [4, 1, 4]
    assert pipeline.unlabeled_order(images).tolist() == [0, 2, 3, 5, 6, 7]


def test_a_split_without_labels_cannot_be_trained_on(tmp_path):
    images = reader(write(tmp_path, num_unlabeled=2, train=0))
    with pytest.raises(errors.UserError, match=r"No image .* has a label that is used"):
        pipeline.labeled_order(images)
    assert pipeline.unlabeled_order(images).tolist() == [0, 1]


def test_labels_that_are_not_used_are_not_counted_for_weights(tmp_path):
    images = reader(write(tmp_path, labeled=LIST, num_unlabeled=1))
    counts = class_statistics.count_split(images)
    labels = [tiny.image_and_label(i)[1] for i in (1, 4)]
    assert counts.pixels.tolist() == [
        sum(int((label == i).sum()) for label in labels) for i in range(3)
    ]


def test_images_whose_labels_are_not_used_are_not_repeated(tmp_path):
    images = reader(write(tmp_path, labeled=LIST, num_unlabeled=1))
    order = pipeline.oversample(images, ["left"], 3)  # In all images.
    assert order.tolist() == [1, 1, 1, 4, 4, 4]
    assert pipeline.labeled_order(images, order).tolist() == order.tolist()


def test_an_unlabeled_record_is_small():
    """It has neither a label nor keys of one."""
    example = records.parse_example(unlabeled_example(0, "u"))
    assert example["label"] is None
    assert example["present_classes"] is None
