"""Augmentations that are chosen by name: what each promises, and values by hand."""

import inspect
import pathlib
import types

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import errors, training
from kerasseg.pipeline import augment, augmentations, crops
from kerasseg.pipeline.augmentations import (
    classmix,
    copy_paste,
    cutmix,
    gaussian_blur,
    hsv_jitter,
    mosaic,
    random_colors,
)

NAMES = list(augmentations.AUGMENTATIONS)
MIXES = augmentations.mixes(tuple((name, 1.0) for name in NAMES))
COLORS = [name for name in NAMES if name not in MIXES]
CLASSES = np.array([0, 3, 7, 19, 255])
FREQUENCIES = np.full(20, 1 / 20)
SIDES = st.integers(1, 40)
SEEDS = st.integers(0, 10**6)


def draw_crops(seed, height, width):
    """Four crops of noise, with void pixels and instance ids."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, (4, height, width)).astype(np.uint8)
    images = rng.integers(0, 256, (4, height, width, 3), dtype=np.uint8)
    ids = labels.astype(np.int32) + np.arange(4, dtype=np.int32)[:, None, None] * 1000
    return [
        crops.Crop(*arrays) for arrays in zip(images, labels, "abcd", ids, strict=True)
    ]


def painted(drawn):
    """The crops with the label as the color of each pixel."""
    return [crop._replace(image=np.dstack([crop.label] * 3)) for crop in drawn]


def apply(name, drawn, seed):
    metadata = augmentations.AUGMENTATIONS[name]
    rng = np.random.default_rng(seed)
    if not metadata.partners:
        return drawn[0]._replace(image=metadata.function(drawn[0].image, rng))
    labels = [crop.label for crop in drawn[: 1 + metadata.partners]]
    more = [FREQUENCIES] if metadata.needs_frequencies else []
    choice = metadata.function(labels, rng, *more)
    assert (choice.shape, choice.dtype) == (labels[0].shape, np.uint8)
    return crops.paste_crops(drawn[: len(labels)], choice)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (513, 321)])
def test_shapes_and_types_stay(name, size):
    drawn = draw_crops(0, *size)
    for seed in range(3):
        result = apply(name, drawn, seed)
        for before, after in zip(drawn[0], result, strict=True):
            if isinstance(before, np.ndarray):
                assert (after.shape, after.dtype) == (before.shape, before.dtype)
        assert result.name == "a"


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_crops_and_others_differ(name):
    drawn = draw_crops(0, 40, 30)
    images = [apply(name, drawn, seed).image.tobytes() for seed in range(10)]
    assert images == [apply(name, drawn, seed).image.tobytes() for seed in range(10)]
    assert len(set(images)) >= 3  # There are 4 classes to paste.


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(height=SIDES, width=SIDES, seed=SEEDS)
def test_arguments_are_not_changed(name, height, width, seed):
    drawn, copies = (draw_crops(seed, height, width) for _ in range(2))
    result = apply(name, drawn, seed)
    result.image[:] += 1
    for crop, copy in zip(drawn, copies, strict=True):
        np.testing.assert_array_equal(crop.image, copy.image)
        np.testing.assert_array_equal(crop.label, copy.label)
        np.testing.assert_array_equal(crop.instances, copy.instances)


@pytest.mark.parametrize("name", MIXES)
@settings(max_examples=40, deadline=None)
@given(height=SIDES, width=SIDES, seed=SEEDS, num_labels=st.integers(1, 5))
def test_image_label_and_ids_are_taken_from_the_same_place(
    name, height, width, seed, num_labels
):
    drawn = draw_crops(seed, height, width)
    allowed = CLASSES[-num_labels:]  # Only void, or void and some classes.
    drawn = painted(
        [
            crop._replace(label=np.where(np.isin(crop.label, allowed), crop.label, 255))
            for crop in drawn
        ]
    )
    mixed = apply(name, drawn, seed)
    # So void moves with its pixels, and no label is new.
    np.testing.assert_array_equal(mixed.image, np.dstack([mixed.label] * 3))
    assert set(np.unique(mixed.label)) <= {*allowed}
    source = mixed.instances // 1000
    labels = np.stack([crop.label for crop in drawn])
    chosen = np.take_along_axis(labels, source[None], axis=0)[0]
    np.testing.assert_array_equal(mixed.label, chosen)


@pytest.mark.parametrize("name", COLORS)
@settings(max_examples=20, deadline=None)
@given(height=SIDES, width=SIDES, seed=SEEDS)
def test_colors_change_where_they_are(name, height, width, seed):
    (crop, *_) = draw_crops(seed, height, width)
    function = augmentations.AUGMENTATIONS[name].function
    for flipped in (np.s_[::-1], np.s_[:, ::-1]):  # A shift would not commute.
        image = np.ascontiguousarray(crop.image[flipped])
        one = function(image, np.random.default_rng(seed))
        two = function(crop.image, np.random.default_rng(seed))[flipped]
        assert np.abs(one.astype(int) - two).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_probability_is_that_of_being_applied(name):
    def count(probability):
        mix = name in MIXES
        chosen = ((name, probability),)
        assert not list(augmentations.drawn(chosen, (1, 0), mix=not mix))
        return sum(
            len(list(augmentations.drawn(chosen, (1, position), mix=mix)))
            for position in range(400)
        )

    assert count(1.0) == 400 and count(1e-9) == 0
    assert 160 < count(0.5) < 240  # 200, with a standard deviation of 10.


@pytest.mark.parametrize("name", NAMES)
def test_source_and_constants_are_documented(name):
    metadata = augmentations.AUGMENTATIONS[name]
    assert metadata.source.startswith("https://arxiv.org/abs/")
    documentation = inspect.getdoc(metadata.function)
    assert "\nSource: " in documentation
    for parameter in inspect.signature(metadata.function).parameters:
        assert f"\n    {parameter}: " in documentation
    page = pathlib.Path(__file__).parents[2] / "docs" / "training.md"
    assert f"| [`{name}`]({metadata.source}) |" in page.read_text("utf-8")


@pytest.mark.parametrize("mix", [classmix.classmix, copy_paste.copy_paste])
@settings(max_examples=40, deadline=None)
@given(height=SIDES, width=SIDES, seed=SEEDS)
def test_ignored_pixels_are_not_pasted_with_a_class(mix, height, width, seed):
    labels = [crop.label for crop in draw_crops(seed, height, width)[:2]]
    more = [FREQUENCIES] if mix is copy_paste.copy_paste else []
    choice = mix(labels, np.random.default_rng(seed), *more)
    assert not np.any(choice[labels[1] == 255])


def test_paste_takes_each_pixel_from_the_chosen_array():
    arrays = [np.full((2, 2), value, np.float32) for value in (0.25, 0.5, 0.75)]
    pasted = augmentations.paste(arrays, np.array([[0, 1], [2, 1]], np.uint8))
    assert pasted.tolist() == [[0.25, 0.5], [0.75, 0.5]]
    assert arrays[0].tolist() == [[0.25, 0.25]] * 2


def test_classmix_takes_half_of_the_classes():
    partner = np.array([[0, 1, 2, 3, 4, 255]], np.uint8)
    own = np.zeros_like(partner)
    taken = [
        classmix.classmix([own, partner], np.random.default_rng(seed))
        for seed in range(50)
    ]
    # Half of 5 classes, rounded down; each class in some draw, and void in none.
    assert {int(choice.sum()) for choice in taken} == {2}
    assert np.any(taken, axis=0).tolist() == [[True] * 5 + [False]]
    one_class = np.full((3, 3), 4, np.uint8)
    assert not classmix.classmix([one_class] * 2, np.random.default_rng(0)).any()


@settings(max_examples=100, deadline=None)
@given(size=st.tuples(SIDES, SIDES), seed=SEEDS, run=st.integers(1, 30))
def test_the_classes_of_a_label_are_found(size, seed, run):
    rng = np.random.default_rng(seed)
    pixels = rng.choice(CLASSES, size[0] * size[1] // run + 1).repeat(run)
    label = pixels[: size[0] * size[1]].reshape(size).astype(np.uint8)
    expected = sorted(set(label.ravel().tolist()) - {255})
    assert classmix.classes_in(label).tolist() == expected
    assert classmix.classes_in(label.T).tolist() == expected


def test_copy_paste_prefers_rare_classes():
    partner = np.array([[0, 0, 0, 1, 255]], np.uint8)
    rng = np.random.default_rng(0)
    rare = 0
    for _ in range(500):
        choice = copy_paste.copy_paste([partner, partner], rng, np.array([0.9, 0.1]))
        assert choice.tolist() in ([[1, 1, 1, 0, 0]], [[0, 0, 0, 1, 0]])
        rare += int(choice[0, 3])
    # (1 / 0.1) / (1 / 0.1 + 1 / 0.9) is 0.9; the standard deviation of 500 is 0.013.
    assert rare / 500 == pytest.approx(0.9, abs=0.05)
    void = np.full((2, 2), 255, np.uint8)
    assert not copy_paste.copy_paste([partner, void], rng, np.array([0.9, 0.1])).any()


def test_mosaic_has_four_parts_around_a_point():
    for seed in range(20):
        labels = [np.zeros((8, 12), np.uint8)] * 4
        choice = mosaic.mosaic(labels, np.random.default_rng(seed))
        corners = [choice[0, 0], choice[0, -1], choice[-1, 0], choice[-1, -1]]
        assert sorted(corners) == [0, 1, 2, 3]
        y = np.argmax(choice[:, 0] == corners[2])
        x = np.argmax(choice[0] == corners[1])
        assert 2 <= y <= 6 and 3 <= x <= 9  # From 1/4 to 3/4 of the sides.
        rows = [[corners[0]] * x + [corners[1]] * (12 - x)] * y
        rows += [[corners[2]] * x + [corners[3]] * (12 - x)] * (8 - y)
        assert choice.tolist() == rows


@settings(max_examples=200, deadline=None)
@given(height=st.integers(1, 600), width=st.integers(1, 600), seed=SEEDS)
def test_a_cut_box_lies_in_the_crop(height, width, seed):
    box = cutmix.cut_box(height, width, np.random.default_rng(seed))
    assert all(isinstance(number, int) for number in box)
    top, left, box_height, box_width = box
    assert 0 <= top < top + box_height <= height
    assert 0 <= left < left + box_width <= width


def test_cut_boxes_have_uniform_areas_and_ratios_in_their_range():
    rng = np.random.default_rng(0)
    boxes = np.array([cutmix.cut_box(1000, 1000, rng) for _ in range(2000)])
    areas, ratios = boxes[:, 2] * boxes[:, 3] / 1e6, boxes[:, 2] / boxes[:, 3]
    assert 0.0199 < areas.min() < 0.025 and 0.395 < areas.max() < 0.401
    # The mean of uniform numbers in 0.02 to 0.4; its standard error is 0.0025.
    assert areas.mean() == pytest.approx(0.21, abs=0.01)
    assert 0.29 < ratios.min() < 0.35 and 3.2 < ratios.max() < 3.35
    ends = boxes[:, :2] + boxes[:, 2:]
    assert boxes[:, :2].min() < 10 and ends.max() > 990
    # In a crop that is four times as wide as high, so are the boxes.
    wide = np.array([cutmix.cut_box(500, 2000, rng) for _ in range(2000)])
    assert np.all(wide[:, 2] / wide[:, 3] < 3.35 / 4)


def fixed(*values):
    """A generator that draws these numbers."""
    return types.SimpleNamespace(uniform=lambda *_: np.array(values))


def test_hue_saturation_and_value_change_as_drawn():
    red = np.array([[[255, 0, 0]]], np.uint8)
    # A third of a turn from red is green, to the 1/256 of a turn that the hue has.
    green = hsv_jitter.hsv_jitter(red, fixed(1, 0, 0), hue=1 / 3)
    np.testing.assert_allclose(green, [[[0, 255, 0]]], atol=3)
    blue = hsv_jitter.hsv_jitter(red, fixed(-1, 0, 0), hue=1 / 3)
    np.testing.assert_allclose(blue, [[[0, 0, 255]]], atol=3)
    color = np.array([[[200, 100, 50]]], np.uint8)
    # No saturation leaves the maximum; half of the value is half of each channel.
    gray = hsv_jitter.hsv_jitter(color, fixed(0, -1, 0), saturation=1.0)
    np.testing.assert_array_equal(gray, [[[200, 200, 200]]])
    dark = hsv_jitter.hsv_jitter(color, fixed(0, 0, -1), value=0.5)
    np.testing.assert_allclose(dark, [[[100, 50, 25]]], atol=2)


def test_blur_is_gaussian():
    image = np.zeros((21, 21, 3), np.uint8)
    image[10, 10] = 255
    blurred = gaussian_blur.gaussian_blur(
        image, np.random.default_rng(0), min_sigma=1.0, max_sigma=1.0
    )
    # Weights 1, exp(-1 / 2) and exp(-4 / 2) up to two pixels, divided by their sum of
    # 2.484: 255 / 2.484**2 = 41.3 at the center, and 25.1 one pixel from there.
    np.testing.assert_allclose(blurred[10, 10], 41.3, atol=1)
    np.testing.assert_allclose(blurred[10, 11], 25.1, atol=1)
    assert np.all(blurred[10, 13:] == 0)


def pillow(operation, image, magnitude):
    """What Pillow computes for an operation of `random_colors`."""
    given_image, factor = PIL.Image.fromarray(image), 0.1 + 1.8 * magnitude
    enhancers = {
        "brightness": PIL.ImageEnhance.Brightness,
        "contrast": PIL.ImageEnhance.Contrast,
        "color": PIL.ImageEnhance.Color,
        "sharpness": PIL.ImageEnhance.Sharpness,
    }
    if operation in enhancers:
        return enhancers[operation](given_image).enhance(factor)
    if operation == "posterize":
        return PIL.ImageOps.posterize(given_image, 8 - int(5 * magnitude))
    if operation == "solarize":
        return PIL.ImageOps.solarize(given_image, 256 * magnitude)
    return getattr(PIL.ImageOps, operation)(given_image)


@pytest.mark.parametrize("magnitude", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize(
    "operation", random_colors.OPERATIONS, ids=lambda function: function.__name__
)
def test_operations_on_colors_are_those_of_pillow(operation, magnitude):
    rng = np.random.default_rng(0)
    image = rng.normal([90, 120, 150], 20, (30, 40, 3)).clip(0, 255).astype(np.uint8)
    expected = np.asarray(pillow(operation.__name__, image, magnitude))
    result = operation(image, magnitude)
    inside = np.s_[1:-1, 1:-1]  # Pillow does not sharpen the border.
    assert np.abs(result.astype(int) - expected)[inside].max() <= 2  # Two roundings.
    flat = np.full((5, 5, 3), 77, np.uint8)
    expected = np.asarray(pillow(operation.__name__, flat, magnitude))
    np.testing.assert_allclose(operation(flat, magnitude), expected, atol=1)


def test_a_strong_view_changes_only_colors():
    image = draw_crops(0, 20, 20)[0].image
    views = [
        augmentations.strong_view(image, np.random.default_rng(seed))
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])
    with pytest.raises(errors.UserError, match="only, but cutmix mix several crops"):
        augmentations.strong_view(image, np.random.default_rng(0), (("cutmix", 1.0),))


def test_augmentations_are_read_from_the_option():
    options = training.AugmentationOptions(augmentations="cutmix:0.5, hsv_jitter:1")
    assert options.augmentation().augmentations == (("cutmix", 0.5), ("hsv_jitter", 1))
    assert training.AugmentationOptions().augmentation().augmentations == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cutmix", "part 'cutmix', which is not a name and a probability.*cutmix:0.5"),
        ("cutmix:often", "`augmentations=cutmix:often` has the part 'cutmix:often'"),
        ("cutmix:0.5,", "the part '', which is not"),
        ("cutmx:0.5", "Unknown augmentation 'cutmx'. Choose one of: classmix, copy_p"),
        ("cutmix:0", "cutmix with the probability 0, which must be above 0"),
        ("cutmix:1.5", "the probability 1.5, which must be above 0 and at most 1"),
        ("cutmix:nan", "the probability nan"),
        ("cutmix:0.5,cutmix:1", "cutmix more than once"),
    ],
)
def test_wrong_augmentations_are_refused(text, message):
    with pytest.raises(errors.UserError, match=message):
        training.AugmentationOptions(augmentations=text)


@pytest.mark.parametrize("chosen", [("cutmix", 0.5), [("cutmix", 0.5)], "cutmix:0.5"])
def test_augmentations_are_pairs(chosen):
    with pytest.raises(errors.UserError, match=r"must be a tuple of pairs.*got"):
        augment.Augmentation(augmentations=chosen)


def test_too_many_partners_are_refused():
    with pytest.raises(errors.UserError, match="must be in 0 to 3, got 4"):
        augmentations.register(source="https://arxiv.org/abs/0", partners=4)
