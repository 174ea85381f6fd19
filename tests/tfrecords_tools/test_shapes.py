"""The drawn data set: reproducible, and as described."""

import numpy as np
import pytest

from kerasseg import datasets, images, records
from tests.support import faults
from tfrecords_tools.converters import pairs, shapes
from tfrecords_tools.writing import writer


@pytest.fixture
def few():
    """Makes the splits small."""
    spec = datasets.get("shapes")
    spec.num_images.update(train=4, val=2)
    yield
    spec.num_images.update(train=400, val=100)


def listed(split="train", seed=1):
    return shapes.list_pairs(split, pairs.Source(seed=seed))


def drawn(count=40):
    return [shapes.draw(pair.seed) for pair in listed()[:count]]


def test_num_drawn_images_are_drawn_and_the_first_are_the_same():
    more = shapes.list_pairs("val", pairs.Source(num_drawn=101))
    assert len(more) == 101
    assert more[:100] == listed("val")


def test_the_same_seed_draws_the_same_bytes():
    pair = listed()[3]
    first, second = shapes.read_pair(pair), shapes.read_pair(pair)
    assert first == second
    assert shapes.read_pair(listed(seed=2)[3]).image != first.image


def test_another_process_draws_the_same_bytes():
    code = """
import hashlib
from tfrecords_tools.converters import pairs, shapes
pair = shapes.list_pairs("val", pairs.Source(seed=1))[7]
found = shapes.read_pair(pair)
print(hashlib.sha256(found.image + found.label + found.instances).hexdigest())
"""
    outputs = {faults.run(["-c", code]).stdout for _ in range(2)}
    assert len(outputs) == 1 and len(outputs.pop().strip()) == 64


def test_no_image_is_in_both_splits():
    train, val = listed("train"), listed("val")
    assert (len(train), len(val)) == (400, 100)
    seeds = {pair.seed for pair in train + val}
    assert len(seeds) == 500
    assert len({pair.name for pair in train + val}) == 500


def test_other_splits_are_errors():
    with pytest.raises(ValueError, match="shapes has no split 'test', only train, val"):
        listed("test")


def test_instances_are_parts_of_one_class_each():
    for image, label, instances in drawn():
        assert image.shape == (240, 320, 3) and image.dtype == np.uint8
        assert label.shape == instances.shape == (240, 320)
        assert instances.dtype == np.uint16
        np.testing.assert_array_equal(instances == 0, label == 0)
        for number in range(1, instances.max() + 1):
            assert len(np.unique(label[instances == number])) == 1


def test_images_contain_all_classes_and_overlaps():
    # Every class, between one and seven shapes, some cut off, some overlapping.
    found = drawn()
    classes = set().union(*(np.unique(label).tolist() for _, label, _ in found))
    assert classes == set(range(6))
    counts = [int(instances.max()) for _, _, instances in found]
    assert min(counts) >= 1 and max(counts) <= 7
    borders = [label[:, 0].any() or label[0].any() for _, label, _ in found]
    assert 10 < sum(borders) < 40
    assert sum(touches(instances) for _, _, instances in found) > 10


def touches(instances):
    """Returns whether two shapes lie side by side somewhere."""
    left, right = instances[:, :-1], instances[:, 1:]
    return bool(((left != right) & (left > 0) & (right > 0)).any())


def test_colors_are_independent_of_the_class():
    # The mean color of each class is close to gray, 128, as it is random.
    pixels = {number: [] for number in range(6)}
    for image, label, _ in drawn(60):
        for number in np.unique(label).tolist():
            pixels[number].append(image[label == number].mean(axis=0))
    for means in pixels.values():
        assert np.abs(np.mean(means, axis=0) - 128).max() < 40


@pytest.mark.usefixtures("few")
def test_records_hold_labels_and_instances(tmp_path):
    result = writer.build_records(
        "shapes", pairs.Source(), tmp_path, splits=["train", "val"]
    )
    assert result.num_records == {"train": 4, "val": 2}
    split = records.open_split(tmp_path, "train", dataset="shapes", deep=True)
    example = records.parse_example(split.read(0))
    _, label, instances = shapes.draw(listed()[0].seed)
    assert example["name"] == "train_0001"
    assert example["image"].startswith(b"\xff\xd8\xff")  # JPEG
    np.testing.assert_array_equal(records.decode_label(example["label"]), label)
    assert example["instance"] == images.encode_label(instances)


@pytest.mark.usefixtures("few")
def test_another_seed_builds_other_records(tmp_path):
    for seed in (1, 2):
        writer.build_records(
            "shapes", pairs.Source(seed=seed), tmp_path / str(seed), splits=["val"]
        )
    first, second = (
        (tmp_path / str(seed) / "val-00000-of-00001.tfrecord").read_bytes()
        for seed in (1, 2)
    )
    assert first != second


def test_the_command_needs_no_source(tmp_path):
    flags = ["--dataset=shapes", "--splits=val", f"--records_dir={tmp_path}"]
    done = faults.run(["-m", "tfrecords_tools.build", *flags])
    assert done.returncode == 0
    assert "val: 100 records" in done.stdout
