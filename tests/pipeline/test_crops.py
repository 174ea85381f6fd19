"""Crops by position: mixes within groups, resuming, instance ids, class frequencies."""

import itertools

import cv2
import numpy as np
import pytest

from kerasseg import errors, images, pipeline, records
from kerasseg.pipeline import augment, augmentations, crops
from tests.support import tiny

ALL = tuple((name, 0.5) for name in augmentations.AUGMENTATIONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("records"))


@pytest.fixture
def reader(folder):
    return pipeline.ImageReader(records.open_split(folder, "train"))


@pytest.fixture
def reader_of_instances(tmp_path):
    """Four images with an instance of classes 1 and 2 each, whose id is the class."""
    serialized = []
    for i in range(4):
        image, label = tiny.image_and_label(i)
        ids = np.where(label == 255, 0, label)
        encoded = cv2.imencode(".png", ids.astype(np.uint16))[1].tobytes()
        serialized.append(tiny.example(image, label, f"{i}.png", instance=encoded))
    path = tmp_path / records.shard_name("train", 0, 1)
    shard = records.write_shard(path, serialized)
    records.write_info(tmp_path, records.DatasetInfo(tiny.SPEC, {"train": [shard]}))
    return pipeline.ImageReader(records.open_split(tmp_path, "train"))


def crop(*chosen):
    return augment.Augmentation(crop_size=(33, 37), rotation=5.0, augmentations=chosen)


def take(reader, batches, *chosen, **options):
    settings = {"batch_size": 4, "seed": 1, **options}
    dataset = pipeline.training_dataset(reader, crop(*chosen), **settings)
    return list(itertools.islice(dataset.as_numpy_iterator(), batches))


def joined(batches):
    return {
        key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]
    }


def assert_equal(one, two):
    for key, array in joined(one).items():
        np.testing.assert_array_equal(array, joined(two)[key])


def test_without_augmentations_by_name_the_random_numbers_are_as_before(reader):
    index = {reader.read(i)[2]: i for i in range(12)}
    batches = joined(take(reader, 3))
    for position, name in enumerate(batches["name"]):
        rng = np.random.default_rng((1, position))
        image, label, _ = reader.read(index[name.decode()])
        image, label = augment.augment(image, label, crop(), rng)
        np.testing.assert_array_equal(batches["image"][position], image)
        np.testing.assert_array_equal(batches["label"][position], label)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_a_mixed_crop_does_not_depend_on_the_batch(reader, batch_size):
    count = 24 // batch_size
    assert_equal(
        take(reader, 6, *ALL), take(reader, count, *ALL, batch_size=batch_size)
    )


@pytest.mark.parametrize("start", [4, 6])
def test_a_resumed_run_mixes_the_same_crops(reader, start):
    whole = joined(take(reader, 5, *ALL))
    resumed = joined(take(reader, 2, *ALL, start=start))
    for key, array in resumed.items():
        np.testing.assert_array_equal(array, whole[key][start : start + 8])


def test_workers_mix_the_same_crops(reader):
    workers = [
        take(reader, 2, *ALL, batch_size=2, shard=pipeline.InputShard(4, index, 2))
        for index in (0, 1)
    ]
    in_order = [batch for pair in zip(*workers, strict=True) for batch in pair]
    assert_equal(in_order, take(reader, 2, *ALL))


@pytest.mark.parametrize("name", augmentations.AUGMENTATIONS)
def test_each_augmentation_is_applied_with_its_probability(reader, name):
    def read_twelve(*chosen):
        crop_reader = crops.CropReader(reader, crop(*chosen), 1)
        read = list(crop_reader.read(range(12), range(12), 12))
        return tuple(np.stack([one[i] for one in read]) for i in range(3))

    plain, rarely, always = (
        read_twelve(*chosen) for chosen in ([], [(name, 1e-9)], [(name, 1.0)])
    )
    for one, two in zip(plain, rarely, strict=True):
        np.testing.assert_array_equal(one, two)
    assert plain[2].tolist() == always[2].tolist()  # The names.
    assert set(np.unique(always[1])) <= {0, 1, 2, 255}
    changed = [
        not np.array_equal(*pair) for pair in zip(plain[0], always[0], strict=True)
    ]
    assert np.mean(changed) > 0.7  # A partner may have no class to paste.
    if not augmentations.AUGMENTATIONS[name].partners:
        np.testing.assert_array_equal(plain[1], always[1])


def test_an_augmentation_does_not_change_the_draws_of_another(reader):
    blur = ("gaussian_blur", 0.5)
    alone = joined(take(reader, 6, blur))
    both = joined(take(reader, 6, blur, ("hsv_jitter", 0.5)))
    mixed = joined(take(reader, 6, blur, ("cutmix", 0.5)))
    for name, batches in {"hsv_jitter": both, "cutmix": mixed}.items():
        metadata = augmentations.AUGMENTATIONS[name]
        drawn = [
            any(augmentations.drawn(((name, 0.5),), (1, i), mix=metadata.partners > 0))
            for i in range(24)
        ]
        equal = [
            np.array_equal(*pair)
            for pair in zip(alone["image"], batches["image"], strict=True)
        ]
        assert equal == [not applied for applied in drawn]
        assert 4 < sum(drawn) < 20


class Reader:
    """Images whose pixels, classes and ids are their record index, and counts reads."""

    kind = images.RGB

    def __init__(self):
        self.indices = []

    def read(self, index, *, instances=False):
        self.indices.append(index)
        image, label = (
            np.full(shape, index, np.uint8) for shape in ((9, 9, 3), (9, 9))
        )
        ids = [np.full((9, 9), index, np.uint16)] if instances else []
        return image, label, f"{index}", *ids


WHOLE = {"min_scale_factor": 1.0, "max_scale_factor": 1.0, "flip": False}


def read(chosen, positions, count, *, reader=None, instances=False):
    """Reads crops whose record index is their position."""
    augmentation = augment.Augmentation(crop_size=(9, 9), augmentations=chosen, **WHOLE)
    crop_reader = crops.CropReader(
        reader or Reader(), augmentation, 1, instances=instances
    )
    return list(crop_reader.read(positions, positions, count))


@pytest.mark.parametrize("name", ["cutmix", "mosaic"])
def test_partners_are_those_of_the_group_without_further_reads(name):
    reader = Reader()
    mixed = read(((name, 1.0),), range(8), 8, reader=reader)
    assert sorted(reader.indices) == list(range(8))
    for i, one in enumerate(mixed):
        sources = set(np.unique(one.label))
        assert sources <= set(range(i // 4 * 4, i // 4 * 4 + 4))
        assert len(sources) == {"cutmix": 2, "mosaic": 4}[name]
        assert one.name == str(i)


def test_only_partners_outside_of_the_batch_that_are_drawn_are_read():
    reader = Reader()
    positions = [5, 4, 6, 7]
    (one,) = read((("cutmix", 1.0),), positions, 1, reader=reader)
    assert len(reader.indices) == 2 and reader.indices[0] == 5
    (alone,) = read((("cutmix", 1e-9),), positions, 1, reader=reader)
    assert reader.indices[2:] == [5] and not np.array_equal(one.label, alone.label)
    read((("hsv_jitter", 1.0),), range(4), 4, reader=reader)
    assert reader.indices[3:] == [0, 1, 2, 3]


def test_instances_of_different_crops_have_different_ids():
    # In crop 65 of 64 to 67, id 65 becomes 65 + 1 * 65536, and so on.
    mixed = read((("mosaic", 1.0),), range(64, 68), 4, instances=True)
    for one in mixed:
        expected = one.label + (one.label.astype(int) % 4 << 16)
        np.testing.assert_array_equal(one.instances, expected)
    (plain,) = read((), [65], 1, instances=True)
    assert plain.instances.dtype == np.uint16 and np.all(plain.instances == 65)
    (no_object,) = read((("cutmix", 1e-9),), [0], 1, instances=True)
    assert not no_object.instances.any()


def test_weights_are_computed_from_mixed_instances(reader_of_instances):
    def weight_map(instances, label):
        expected = np.where(label == 255, 0, label)
        np.testing.assert_array_equal(instances % 65536, expected)
        return np.full(label.shape, len(np.unique(instances >> 16)), np.float32)

    chosen = ("mosaic", 1.0)
    (batch,) = take(reader_of_instances, 1, chosen, weight_map_fn=weight_map)
    assert batch["weight"].max() == 4  # Instances of four crops.


def test_copy_paste_receives_the_class_frequencies_of_the_split(reader):
    crop_reader = crops.CropReader(reader, crop(("copy_paste", 0.5)), 1)
    labels = np.concatenate([reader.read(i)[1].ravel() for i in range(12)])
    counts = np.bincount(labels, minlength=256)[:3]
    np.testing.assert_allclose(crop_reader._frequencies, counts / counts.sum())
    assert crops.CropReader(reader, crop(("cutmix", 0.5)), 1)._frequencies is None


def test_detectors_accept_colors_and_refuse_mixes(reader_of_instances):
    def batches(*chosen):
        return pipeline.instance_training_dataset(
            reader_of_instances, crop(*chosen), batch_size=2, seed=1
        )

    (plain,), (changed,) = (
        list(batches(*chosen).take(1).as_numpy_iterator())
        for chosen in ([], [("random_colors", 1.0)])
    )
    for key, array in plain.items():
        assert np.array_equal(array, changed[key]) == (key != "image")
    message = r"has mosaic, which mix several crops.*gaussian_blur, hsv_jitter, random_"
    with pytest.raises(errors.UserError, match=message):
        batches(("hsv_jitter", 0.5), ("mosaic", 0.5))
