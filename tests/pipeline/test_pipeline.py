"""The input pipeline: order, resuming, checks, sizes."""

import itertools

import cv2
import numpy as np
import pytest

from kerasseg import pipeline, records
from kerasseg.pipeline import augment
from tests.support import tiny

CROP = augment.Augmentation(crop_size=(33, 37))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("records"))


@pytest.fixture
def reader(folder):
    return pipeline.ImageReader(records.open_split(folder, "train"))


def take(reader, batches, **options):
    settings = {"batch_size": 4, "seed": 1, **options}
    dataset = pipeline.training_dataset(reader, CROP, **settings)
    return list(itertools.islice(dataset.as_numpy_iterator(), batches))


def names(batches):
    return [name.decode() for batch in batches for name in batch["name"]]


def test_batches_are_uint8_crops(reader):
    (batch,) = take(reader, 1)
    assert batch["image"].shape == (4, 33, 37, 3)
    assert batch["label"].shape == (4, 33, 37)
    assert batch["image"].dtype == batch["label"].dtype == np.uint8


def test_an_epoch_has_each_image_once_and_the_next_another_order(reader):
    read = names(take(reader, 6))  # An epoch is 12 images: 3 batches of 4.
    assert (
        sorted(read[:12])
        == sorted(read[12:])
        == sorted(f"train{i}.png" for i in range(12))
    )
    assert read[:12] != read[12:]


def test_order_and_augmentation_depend_only_on_the_seed(reader):
    first, again, other = take(reader, 3), take(reader, 3), take(reader, 3, seed=2)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one["image"], two["image"])
    assert names(first) != names(other)


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_a_resumed_run_reads_the_same_as_one_that_never_stopped(reader, batches):
    whole = take(reader, 6)
    resumed = take(reader, 6 - batches, start=batches * 4)
    for one, two in zip(whole[batches:], resumed, strict=True):
        assert one["name"].tolist() == two["name"].tolist()
        np.testing.assert_array_equal(one["image"], two["image"])
        np.testing.assert_array_equal(one["label"], two["label"])


def test_another_batch_size_reads_the_same_images_in_the_same_order(reader):
    assert names(take(reader, 6, batch_size=2)) == names(take(reader, 3))


def test_a_resumed_run_does_not_read_what_it_skips(reader, monkeypatch):
    indices = []
    read = reader.split.read
    monkeypatch.setattr(reader.split, "read", lambda i: indices.append(i) or read(i))
    take(reader, 1, start=10_000_000)
    assert len(indices) < 40  # One batch and what is prefetched.


def test_images_with_hard_classes_are_repeated(tmp_path):
    spec, image = tiny.SPEC, np.zeros((8, 8, 3), np.uint8)
    labels = [np.full((8, 8), k, np.uint8) for k in (0, 1, 2, 1)]
    shard = records.write_shard(
        tmp_path / records.shard_name("train", 0, 1),
        [tiny.example(image, label, f"{i}") for i, label in enumerate(labels)],
    )
    records.write_info(tmp_path, records.DatasetInfo(spec, {"train": [shard]}))
    reader = pipeline.ImageReader(records.open_split(tmp_path, "train"))
    order = pipeline.oversample(reader, ["middle"], 3)
    assert order.tolist() == [0, 1, 1, 1, 2, 3, 3, 3]
    with pytest.raises(ValueError, match=r"unknown are \['bicycle'\].*left"):
        pipeline.oversample(reader, ["bicycle"], 3)
    with pytest.raises(ValueError, match=r"0 times.*at least 1"):
        pipeline.oversample(reader, ["middle"], 0)


def test_evaluation_reads_each_image_once_at_its_own_size(folder):
    reader = pipeline.ImageReader(records.open_split(folder, "val"))
    batches = list(pipeline.evaluation_dataset(reader, batch_size=2))
    assert [len(batch["name"]) for batch in batches] == [2, 2, 1]
    read = {
        name.decode(): image
        for batch in batches
        for name, image in zip(
            batch["name"].numpy(), batch["image"].numpy(), strict=True
        )
    }
    image, _ = tiny.image_and_label(1003)
    np.testing.assert_array_equal(read["val3.png"], image)


def test_only_images_of_equal_size_are_in_a_batch():
    sizes = [(4, 5), (5, 4), (4, 5), (4, 5), (5, 4)]
    assert pipeline.equal_size_batches(sizes, 2) == [[0, 2], [3], [1, 4]]


def write_one(tmp_path, serialized):
    shard = records.write_shard(
        tmp_path / records.shard_name("train", 0, 1), serialized
    )
    records.write_info(tmp_path, records.DatasetInfo(tiny.SPEC, {"train": [shard]}))
    return records.open_split(tmp_path, "train")


def damaged(kind):
    image, label = tiny.image_and_label(0)
    if kind == "label":
        label = label.copy()
        label[:2, :3] = 7
    if kind == "size":
        label = label[:-1]
    serialized = tiny.example(image, label, "odd.png")
    if kind == "image":
        return serialized.replace(b"IHDR", b"IHDX")
    if kind == "feature":
        return serialized.replace(b"image/encoded", b"image/encodex")
    return serialized


MESSAGES = {
    "label": r"record 1, image odd.png: labels out of range: 7 \(.* pixels?\).* 2",
    "size": "image odd.png: the label is 48x39, the image 48x40",
    "image": "record 1, image odd.png: ",
    "feature": "record 1: .*'image/encoded'",
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_bad_record_stops_the_pipeline_and_is_named(tmp_path, kind):
    good = tiny.example(*tiny.image_and_label(1), "good.png")
    reader = pipeline.ImageReader(write_one(tmp_path, [good, damaged(kind)]))
    with (
        pytest.raises(records.RecordError, match=MESSAGES[kind]),
        reader.reraise_errors(),
    ):
        take(reader, 2)


def test_skipped_records_are_counted_and_have_ignored_pixels_only(tmp_path):
    good = tiny.example(*tiny.image_and_label(1), "good.png")
    split = write_one(tmp_path, [good, damaged("image")])
    reader = pipeline.ImageReader(split, skip_bad=1)
    batches = take(reader, 2, batch_size=2)
    for batch in batches:
        bad = batch["name"].tolist().index(b"")
        assert np.all(batch["label"][bad] == 255)
    assert list(reader.bad) == [1]
    reader = pipeline.ImageReader(
        write_one(tmp_path, [damaged("image"), damaged("size")]), skip_bad=1
    )
    with pytest.raises(records.RecordError), reader.reraise_errors():
        take(reader, 2, batch_size=2)


def test_an_empty_split_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="'train' has no records"):
        take(pipeline.ImageReader(write_one(tmp_path, [])), 1)


def with_instances(seed, instances):
    image, label = tiny.image_and_label(seed)
    data = None
    if instances is not None:
        data = cv2.imencode(".png", instances)[1].tobytes()
    return tiny.example(image, label, f"{seed}.png", instance=data)


def test_weights_are_computed_from_instances_with_the_same_warp(tmp_path):
    # An instance of 16 bits for each class; ignored pixels belong to instance 900.
    ids = np.array([300, 301, 302] + [900] * 253, np.uint16)
    serialized = [with_instances(i, ids[tiny.image_and_label(i)[1]]) for i in range(6)]
    reader = pipeline.ImageReader(write_one(tmp_path, serialized))
    rotated = augment.Augmentation(crop_size=(33, 37), rotation=20.0)
    settings = {"batch_size": 3, "seed": 1}
    dataset = pipeline.training_dataset(
        reader,
        rotated,
        **settings,
        weight_map_fn=lambda instances, label: instances + label / 1000,
    )
    plain = pipeline.training_dataset(reader, rotated, **settings)
    outside = 0
    for batch, without in zip(dataset.take(4), plain.take(4), strict=True):
        assert set(without) == {"image", "label", "name"}
        np.testing.assert_array_equal(batch["image"], without["image"])
        label, weight = batch["label"].numpy(), batch["weight"].numpy()
        assert weight.dtype == np.float32 and weight.shape == (3, 33, 37)
        for number in range(3):
            np.testing.assert_allclose(weight[label == number], number * 1.001 + 300)
        # Ignored in the image, or outside of it, where there is no instance.
        assert set(weight[label == 255].round(3)) <= {
            np.float32(900.255),
            np.float32(0.255),
        }
        outside += np.sum(weight < 1)
    assert outside


@pytest.mark.parametrize(
    "instances, message",
    [
        (
            None,
            "record 0, image .*: the record has no instance ids.*without `border_w",
        ),
        (np.zeros((40, 40), np.uint16), "the instance map is 40x40, the image 48x40"),
        (
            np.zeros((40, 48, 3), np.uint8),
            "record 0, image .*: An instance map is uint8.*gray",
        ),
    ],
)
def test_records_without_matching_instances_are_named(tmp_path, instances, message):
    split = write_one(tmp_path, [with_instances(0, instances)])
    reader = pipeline.ImageReader(split)
    with pytest.raises(records.RecordError, match=message):
        reader.read(0, instances=True)
    assert len(reader.read(0)) == 3
    reader = pipeline.ImageReader(split, skip_bad=1)
    assert reader.read(0, instances=True)[3].tolist() == [[0]]


def test_workers_share_the_images_of_each_update(reader):
    whole = take(reader, 3, batch_size=8)
    # Two workers with two devices each: 8 images in batches of 2, two for each worker.
    workers = [
        take(reader, 6, batch_size=2, shard=pipeline.InputShard(8, index, 2))
        for index in (0, 1)
    ]
    for i, update in enumerate(whole):
        batches = [batch for worker in workers for batch in worker[2 * i : 2 * i + 2]]
        for key, value in update.items():
            read = np.concatenate([batch[key] for batch in batches])
            np.testing.assert_array_equal(read, value)
    later = take(reader, 4, batch_size=2, start=8, shard=pipeline.InputShard(8, 1, 2))
    assert names(later) == names(workers[1][2:])
