"""Batches with instances: warps of ids, boxes, fixed shapes, order, resuming."""

import dataclasses
import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from kerasseg import errors, images, pipeline, records
from kerasseg.pipeline import augment, instances
from kerasseg.records import rle
from tests.support import tiny

pytest.importorskip("pycocotools")

CROP = augment.Augmentation(crop_size=(33, 37), rotation=10.0)
ALL = pipeline.InstanceOptions(min_instance_area=1)
HEIGHT, WIDTH = 40, 48
FULL = rle.encode(np.ones((HEIGHT, WIDTH), bool))


def objects_of(masks, classes=None, is_crowd=None):
    """Returns instances; class 1 by default."""
    count = len(masks)
    encoded = records.encode_masks(
        masks,
        [1] * count if classes is None else classes,
        [False] * count if is_crowd is None else is_crowd,
    )
    return records.from_rles(encoded, masks.shape[1:])


def boxes_as_masks(boxes, size=(HEIGHT, WIDTH)):
    masks = np.zeros((len(boxes), *size), bool)
    for mask, (y1, x1, y2, x2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


def drawn(seed):
    """Draws up to five rectangles, which may overlap."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, HEIGHT, (rng.integers(0, 6), 2, 2)), axis=1)
    masks = boxes_as_masks(corners.reshape(-1, 4) + np.array([0, 0, 1, 1]))
    classes = rng.integers(1, 3, len(masks))
    return masks, classes, rng.random(len(masks)) < 0.2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve records with objects."""
    folder = tmp_path_factory.mktemp("records")
    serialized = []
    for i in range(12):
        objects = records.encode_masks(*drawn(i))
        pair = tiny.image_and_label(i)
        serialized.append(tiny.example(*pair, f"{i}.png", objects=objects))
    write(folder, serialized)
    return folder


def write(folder, serialized):
    shard = records.write_shard(folder / records.shard_name("train", 0, 1), serialized)
    info = records.DatasetInfo(tiny.SPEC, {"train": [shard]}, 2, ("middle", "right"))
    records.write_info(folder, info)


def open_reader(folder, **options):
    return pipeline.ImageReader(records.open_split(folder, "train"), **options)


@pytest.fixture
def reader(folder):
    return open_reader(folder)


def take(reader, batches, **options):
    settings = {"batch_size": 4, "seed": 1, **options}
    dataset = pipeline.instance_training_dataset(reader, CROP, **settings)
    return list(itertools.islice(dataset.as_numpy_iterator(), batches))


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(value, two[key], err_msg=key)


# The geometry.


def stack():
    shape = strategies.integers(0, 6).map(lambda count: (count, 6, 8))
    return arrays.arrays(bool, shape)


@hypothesis.given(stack())
def test_flipping_twice_is_the_identity(masks):
    objects = objects_of(masks)
    flip = augment.crop_matrix((6, 8), 1.0, (0, 0), flipped=True)
    once = augment.warp_instances(objects.maps, flip, (6, 8))
    np.testing.assert_array_equal(once, objects.maps[..., ::-1])
    twice = augment.warp_instances(once, flip, (6, 8))
    np.testing.assert_array_equal(twice, objects.maps)
    before, _ = objects.measure()
    after, _ = dataclasses.replace(objects, maps=once).measure()
    mirrored = before[:, [0, 3, 2, 1]] * [1, -1, 1, -1] + [0, 8, 0, 8]
    has_pixels = masks.any(axis=(1, 2))
    np.testing.assert_array_equal(after[has_pixels], mirrored[has_pixels])


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(
    strategies.integers(0, 1000),
    strategies.integers(1, 6),
    strategies.integers(1, 4),
    strategies.floats(0, 10),
)
def test_boxes_bound_the_masks_of_a_crop_tightly(seed, most, layers, elastic):
    options = pipeline.InstanceOptions(
        max_instances=most, max_layers=layers, min_instance_area=1
    )
    objects = objects_of(*drawn(seed))
    augmentation = dataclasses.replace(CROP, elastic_deformation=elastic)
    image, label = tiny.image_and_label(seed)
    rng = np.random.default_rng(seed)
    _, _, maps = augment.augment(image, label, augmentation, rng, objects.maps)
    crop = dataclasses.replace(objects, maps=maps)
    targets, counts = instances.crop_targets(crop, options)
    ids = targets["ids"]
    kept = ids > 0
    assert set(np.unique(targets["maps"])) <= {0, *ids.tolist()}
    assert set(ids[kept].tolist()) <= set(objects.ids.tolist())
    assert ids[kept].tolist() == sorted(ids[kept].tolist())  # In their order.
    assert (targets["classes"][~kept] == 0).all()
    for i in np.flatnonzero(kept):
        mask = targets["maps"][targets["layers"][i]] == ids[i]
        np.testing.assert_array_equal(mask, crop.mask(ids[i] - 1))
        assert targets["classes"][i] == objects.classes[ids[i] - 1]
        rows, columns = np.nonzero(mask)
        expected = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        assert targets["boxes"][i].tolist() == expected
    assert (
        counts["read"]
        == len(objects)
        == kept.sum()
        + counts["outside"]
        + (counts["over_max_instances"] + counts["over_max_layers"])
    )


def test_an_instance_outside_of_the_crop_is_left_out_and_a_small_one_ignored():
    # The crop is the left 10 columns. Of the instances, 4 x 4 = 16, 3 x 5 = 15 and
    # 3 x 5 pixels are inside, and none of the last.
    boxes = [(0, 0, 4, 4), (5, 1, 8, 6), (10, 5, 13, 40), (20, 10, 30, 20)]
    objects = objects_of(boxes_as_masks(boxes), [2, 1, 2, 1])
    matrix = augment.crop_matrix((40, 10), 1.0, (0, 0))
    maps = augment.warp_instances(objects.maps, matrix, (40, 10))
    targets, counts = instances.crop_targets(
        dataclasses.replace(objects, maps=maps), pipeline.InstanceOptions()
    )
    assert targets["ids"][:4].tolist() == [1, 2, 3, 0]
    assert targets["classes"][:4].tolist() == [2, 1, 2, 0]
    assert targets["is_crowd"][:4].tolist() == [False, True, True, False]
    assert targets["boxes"][2].tolist() == [10, 5, 13, 10]
    assert counts == {
        "images": 1,
        "read": 4,
        "outside": 1,
        "small": 2,
        "over_max_instances": 0,
        "over_max_layers": 0,
    }


def test_of_600_instances_the_largest_are_kept_and_the_others_counted():
    # 600 columns of 1 to 3 pixels: 200 of each height. The 100 largest have 3.
    heights = np.arange(600) % 3 + 1
    objects = objects_of(
        boxes_as_masks([(0, i, h, i + 1) for i, h in enumerate(heights)], (4, 600))
    )
    targets, counts = instances.crop_targets(objects, ALL)
    assert (targets["boxes"][:, 2] == 3).all()
    assert targets["ids"].tolist() == list(
        range(3, 303, 3)
    )  # Of equal ones, the first.
    assert (targets["maps"] > 0).sum() == 300
    assert counts["over_max_instances"] == 500
    total = pipeline.InstanceCounts()
    total.add(counts)
    total.add(counts)
    assert total["over_max_instances"] == 1000
    assert total.describe() == (
        "instances: 1,200 in 2 images, 1,000 left out because of `max_instances`"
    )


def test_of_many_layers_the_largest_instances_are_kept():
    # Six nested squares need six layers; a seventh instance lies beside them.
    boxes = [(0, 0, i, i) for i in range(1, 7)] + [(0, 10, 1, 11)]
    objects = objects_of(boxes_as_masks(boxes))
    assert len(objects.maps) == 6
    targets, counts = instances.crop_targets(objects, ALL)
    assert targets["ids"][:6].tolist() == [3, 4, 5, 6, 7, 0]
    assert targets["layers"][:5].tolist() == [3, 2, 1, 0, 0]  # The largest comes first.
    assert counts["over_max_layers"] == 2 and targets["maps"].shape == (4, 40, 48)


def test_an_instance_of_one_pixel_has_a_box_of_one_pixel():
    objects = objects_of(boxes_as_masks([(3, 5, 4, 6)]))
    targets, _ = instances.crop_targets(objects, ALL)
    assert targets["boxes"][0].tolist() == [3, 5, 4, 6] and not targets["is_crowd"][0]
    targets, _ = instances.crop_targets(objects, pipeline.InstanceOptions())
    assert targets["is_crowd"][0]


@pytest.mark.parametrize("name", ["max_instances", "max_layers", "min_instance_area"])
def test_options_below_one_are_refused(name):
    with pytest.raises(errors.UserError, match=f"`{name}` must be at least 1, got 0"):
        pipeline.InstanceOptions(**{name: 0})


# Batches.


def test_batches_have_fixed_shapes(reader):
    (batch,) = take(reader, 1)
    shapes = {key: (value.shape, value.dtype.name) for key, value in batch.items()}
    del shapes["name"]
    assert shapes == {
        "image": ((4, 33, 37, 3), "uint8"),
        "label": ((4, 33, 37), "uint8"),
        "boxes": ((4, 100, 4), "float32"),
        "classes": ((4, 100), "int32"),
        "is_crowd": ((4, 100), "bool"),
        "layers": ((4, 100), "int32"),
        "ids": ((4, 100), "int32"),
        "maps": ((4, 4, 33, 37), "int32"),
    }


def test_images_and_labels_are_those_of_the_semantic_pipeline(reader):
    semantic = pipeline.training_dataset(reader, CROP, batch_size=4, seed=1)
    expected = list(itertools.islice(semantic.as_numpy_iterator(), 4))
    for one, two in zip(take(reader, 4), expected, strict=True):
        assert_equal({key: one[key] for key in two}, two)


def test_batches_depend_only_on_the_seed_and_resume_exactly(reader):
    whole = take(reader, 5)
    for one, two in zip(whole, take(reader, 5), strict=True):
        assert_equal(one, two)
    for one, two in zip(whole[2:], take(reader, 3, start=8), strict=True):
        assert_equal(one, two)
    other = take(reader, 1, seed=2)[0]
    assert not np.array_equal(other["maps"], whole[0]["maps"])


def test_workers_share_the_images_of_each_update(reader):
    whole = take(reader, 2, batch_size=4)
    shards = [pipeline.InputShard(4, index, 2) for index in (0, 1)]
    parts = [take(reader, 2, batch_size=2, shard=shard) for shard in shards]
    for i, update in enumerate(whole):
        joined = {
            key: np.concatenate([part[i][key] for part in parts]) for key in update
        }
        assert_equal(joined, update)


def test_counts_are_of_the_images_that_were_read(reader):
    counts = pipeline.InstanceCounts()
    take(reader, 3, counts=counts)
    assert counts["images"] >= 12 and counts["read"] > 0
    assert "instances: " in counts.describe()


def test_images_without_instances_have_empty_targets(tmp_path):
    none = records.encode_masks([], [], [])
    pairs = [tiny.image_and_label(i) for i in range(2)]
    write(tmp_path, [tiny.example(*pair, "a.png", objects=none) for pair in pairs])
    (batch,) = take(open_reader(tmp_path), 1, batch_size=2)
    assert not batch["ids"].any() and not batch["maps"].any()
    assert not batch["boxes"].any() and not batch["is_crowd"].any()
    (whole, *_) = pipeline.instance_evaluation_dataset(open_reader(tmp_path))
    assert whole["boxes"].shape == (1, 0, 4) and whole["maps"].shape == (1, 1, 40, 48)


def test_instance_maps_give_batches_too(tmp_path):
    image, label = tiny.image_and_label(0)
    label = np.where(label == 0, 255, label).astype(np.uint8)
    ids = np.array([0, 301, 302] + [0] * 253, np.uint16)[label]
    write(
        tmp_path, [tiny.example(image, label, "a", instance=images.encode_label(ids))]
    )
    (batch,) = pipeline.instance_evaluation_dataset(open_reader(tmp_path))
    assert batch["ids"].numpy().tolist() == [[301, 302]]
    assert batch["classes"].numpy().tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "record 0, image a: the record has no instances.*`instances`"),
        ({"objects": ((FULL,), (3,))}, "an instance has the class 3, .* 1 to 2"),
        ({"objects": ((b"05",), (1,))}, "add up to 5 pixels, the image of 48x40 has"),
        ({"objects": ((b"0P",), (1,))}, "string of runs is damaged"),
    ],
)
def test_records_without_usable_instances_are_named(tmp_path, more, message):
    if more:
        rles, classes = more["objects"]
        more = {"objects": records.EncodedObjects(rles, classes, (False,))}
    write(tmp_path, [tiny.example(*tiny.image_and_label(0), "a", **more)])
    reader = open_reader(tmp_path)
    with pytest.raises(records.RecordError, match=message):
        reader.read_objects(0)
    assert len(reader.read(0)) == 3  # Semantic training reads them.
    replaced = open_reader(tmp_path, skip_bad=1).read_objects(0)
    assert replaced[0].shape == (1, 1, 3) and len(replaced[3]) == 0


# Evaluation.


def test_evaluation_has_whole_images_with_all_instances(reader):
    batches = list(pipeline.instance_evaluation_dataset(reader, batch_size=5))
    assert [len(batch["name"]) for batch in batches] == [5, 5, 2]
    index = 0
    for batch in batches:
        counts = []
        for i in range(len(batch["name"])):
            masks, classes, is_crowd = drawn(index)
            count, index = len(masks), index + 1
            counts.append(count)
            assert batch["classes"][i, :count].numpy().tolist() == classes.tolist()
            assert batch["is_crowd"][i, :count].numpy().tolist() == is_crowd.tolist()
            maps, ids = batch["maps"][i].numpy(), batch["ids"][i].numpy()
            for k, mask in enumerate(masks):
                layer = batch["layers"][i, k]
                np.testing.assert_array_equal(maps[layer] == ids[k], mask)
        assert batch["boxes"].shape[1] == max(counts)


def test_evaluation_resizes_images_and_instances_together(tmp_path):
    masks = boxes_as_masks([(8, 6, 20, 24), (0, 0, 1, 1)])
    objects = records.encode_masks(masks, [1, 2], [False, False])
    write(tmp_path, [tiny.example(*tiny.image_and_label(0), "a.png", objects=objects)])
    dataset = pipeline.instance_evaluation_dataset(
        open_reader(tmp_path), min_resize_value=20, max_resize_value=1000
    )
    (batch,) = dataset
    assert batch["image"].shape == (1, 20, 24, 3)
    assert batch["size"].numpy().tolist() == [[40, 48]]
    # Half of each: rows 8 to 20 become 4 to 10, columns 6 to 24 become 3 to 12.
    boxes = batch["boxes"][0].numpy()
    assert boxes[0].tolist() == [4, 3, 10, 12]
    assert batch["ids"].numpy().tolist() == [[1, 2]]
