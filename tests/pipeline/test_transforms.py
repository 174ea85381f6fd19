"""The user's own augmentation: its call conventions, its seed, and what is refused."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasseg import errors, pipeline, records
from kerasseg.pipeline import augment
from kerasseg.pipeline.transforms import Transform
from tests.support import tiny


class Compose:
    """Called as albumentations' Compose; turns image and mask by 180 degrees or not."""

    def __init__(self):
        self.set_random_seed(None)

    def set_random_seed(self, seed):
        self.rng = random.Random(seed)

    def __call__(self, *args, force_apply=False, **data):
        if args:
            raise KeyError("You have to pass data to augmentations as named arguments")
        assert not force_apply
        turned = self.rng.random() < 0.5
        step = -1 if turned else 1
        return {key: value[::step, ::step] for key, value in data.items()}


def add_noise(image, mask, rng):
    noise = rng.integers(0, 2, image.shape, np.uint8)
    return image ^ noise, mask


def invert(image, mask):
    return 255 - image, mask


def ignore_all(*, image, mask, **_):
    return {"image": image, "mask": np.full_like(mask, 255)}


def call(function, *, image=None, mask=None, key=(1, 0)):
    image = np.zeros((2, 3, 3), np.uint8) if image is None else image
    mask = np.array([[0, 1, 2], [2, 255, 0]], np.uint8) if mask is None else mask
    return Transform(function)(image, mask, key, 3, "a.png")


def test_conventions_are_recognized():
    image, _ = call(invert)
    assert image.min() == 255
    _, mask = call(ignore_all)
    assert mask.min() == 255
    first, _ = call(add_noise)
    again, _ = call(add_noise)
    other, _ = call(add_noise, key=(1, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    seeded = [Transform(f).is_seeded for f in (invert, add_noise, Compose())]
    assert seeded == [False, True, True]


def test_a_compose_draws_from_the_seed():
    masks = [call(Compose(), key=(1, i))[1][0, 0] for i in range(20)]
    # The first pixel is 0, and the last, 0 too; so the second, 1, or the other, 255.
    turned = [call(Compose(), key=(1, i))[1][0, 1] for i in range(20)]
    assert set(masks) == {0} and set(turned) == {1, 255}
    assert turned == [call(Compose(), key=(1, i))[1][0, 1] for i in range(20)]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda i, m: (i[:1], m[:1]),
            r"image uint8 \(1, 3, 3\), expected shape \(2, 3",
        ),
        (lambda i, m: (i, m[:1]), r"mask uint8 \(1, 3\), expected shape \(2, 3\)"),
        (lambda i, m: (i / 255, m), r"float64 .*expected uint8.*Leave out normaliza"),
        (lambda i, m: (i, m * 0.5), "a mask of float64, expected class numbers"),
        (lambda i, m: (i, m.astype(int) - 1), "values from -1 to 254"),
        (
            lambda i, m: (i, m + np.uint8(m == 2)),
            r"out of range: 3 \(2 pixels\).*0 to 2",
        ),
        (lambda i, _m: i, "returned ndarray, expected image and mask"),
        (lambda i, m: (i, m[7, 7]), "failed: IndexError"),
    ],
)
def test_wrong_results_are_refused_with_the_name_of_the_image(function, message):
    with pytest.raises(errors.UserError, match=message) as raised:
        call(function)
    assert "image a.png" in str(raised.value)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(errors.UserError, match=r"`transform=3` is not callable"):
        Transform(3)


@given(st.integers(0, 255), st.integers(1, 254))
def test_no_label_out_of_range_passes(value, num_classes):
    mask = np.full((1, 2), value, np.int64)
    transform = Transform(lambda image, _: (image, mask))
    arguments = np.zeros((1, 2, 3), np.uint8), np.zeros((1, 2), np.uint8), (1, 1)
    if value < num_classes or value == 255:
        assert transform(*arguments, num_classes, "a")[1].tolist() == mask.tolist()
    else:
        with pytest.raises(errors.UserError, match=f"out of range: {value} "):
            transform(*arguments, num_classes, "a")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tiny.write_records(tmp_path_factory.mktemp("records"))
    return pipeline.ImageReader(records.open_split(folder, "train"))


def take(reader, transform, **options):
    chosen = augment.Augmentation(
        crop_size=(24, 24), augmentations=(("cutmix", 0.5),), transform=transform
    )
    dataset = pipeline.training_dataset(reader, chosen, batch_size=4, seed=1, **options)
    return list(itertools.islice(dataset.as_numpy_iterator(), 2))


@pytest.mark.parametrize("transform", [add_noise, Compose()])
def test_batches_are_equal_from_any_start(reader, transform):
    plain = take(reader, None)
    batches = take(reader, transform)
    assert any(
        (a["image"] != b["image"]).any() for a, b in zip(plain, batches, strict=True)
    )
    resumed = take(reader, transform, start=4)[0]
    for key in ("image", "label"):
        np.testing.assert_array_equal(batches[1][key], resumed[key])


def test_the_transform_comes_last(reader):
    for plain, inverted in zip(take(reader, None), take(reader, invert), strict=True):
        np.testing.assert_array_equal(255 - plain["image"], inverted["image"])
        np.testing.assert_array_equal(plain["label"], inverted["label"])


def test_an_error_in_a_batch_names_the_image(reader):
    def fail(image, mask):
        return image, mask.T[:1]

    with (
        pytest.raises(errors.UserError, match=r"`transform` fail, image train\d+.png"),
        reader.reraise_errors(),
    ):
        take(reader, fail)
    reader.error = None


def test_instances_are_not_augmented(reader):
    message = "`transform` augments image and mask, but not the instances"
    with pytest.raises(errors.UserError, match=message):
        take(reader, invert, weight_map_fn=lambda _, label: label)
    chosen = augment.Augmentation(crop_size=(24, 24), transform=invert)
    message = "`transform` augments image and mask, but not the objects"
    with pytest.raises(errors.UserError, match=message):
        pipeline.instance_training_dataset(reader, chosen, batch_size=1, seed=1)


@pytest.mark.slow
def test_albumentations_draws_from_the_seed(reader):
    albumentations = pytest.importorskip("albumentations")
    compose = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.RandomBrightnessContrast(p=0.5),
        ]
    )
    batches = take(reader, compose)
    resumed = take(reader, compose, start=4)[0]
    for key in ("image", "label"):
        np.testing.assert_array_equal(batches[1][key], resumed[key])
    assert (take(reader, None)[0]["label"] != batches[0]["label"]).any()
