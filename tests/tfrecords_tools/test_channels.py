"""Own images of any number of channels, from files to a trained network."""

import cv2
import numpy as np
import pytest
import tifffile

import kerasseg
from kerasseg import errors, images, pipeline, records
from kerasseg.images import geo
from kerasseg.pipeline import augment, batches
from kerasseg.training import data, few_labels
from tests.images.test_rasters import PLACE
from tfrecords_tools.converters import class_lists, own_data, pairs
from tfrecords_tools.writing import encoding, planning, writer

SIDE = 48


def scene(seed, channels=4, dtype="uint8"):
    """Squares that only the last channel shows, on noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 120, (SIDE, SIDE, channels))
    label = np.zeros((SIDE, SIDE), np.uint8)
    y, x = rng.integers(0, SIDE - 20, 2)
    label[y : y + 20, x : x + 20] = 1
    image[..., -1] += 100 * label
    return image.astype(dtype), label


def write_folder(folder, items, suffix=".npy"):
    """Writes images and masks."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i, (image, label) in enumerate(items):
        path = folder / "images" / f"{i:02}{suffix}"
        if suffix == ".npy":
            np.save(path, image)
        elif suffix == ".tif":
            tifffile.imwrite(path, image, photometric="minisblack", **TIFF)
        else:
            cv2.imwrite(str(path), image)
        cv2.imwrite(str(folder / "masks" / f"{i:02}.png"), label)
    return folder


TIFF = {
    "planarconfig": "contig",
    "extratags": [
        *((number, kind, len(value), value, True) for number, kind, value in PLACE[0]),
        (42113, 2, 0, "0", True),
    ],
}


def build(folder, channels="", **options):
    source = pairs.Source(
        own=own_data.OwnData(
            images=str(folder / "images"),
            masks=str(folder / "masks"),
            classes=class_lists.read_classes("background,square"),
            val_fraction=0.25,
        )
    )
    out = folder / "records"
    rules = encoding.Rules(channels=channels)
    return out, writer.build_records("folder", source, out, rules=rules, **options)


def train_reader(out):
    return pipeline.ImageReader(records.open_split(out, "train"))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_records_hold_the_images_and_their_statistics(tmp_path, dtype):
    items = [scene(i, 5, dtype) for i in range(4)]
    out, result = build(write_folder(tmp_path, items))
    spec = records.read_info(out).spec
    kind = spec.image_kind
    assert (kind.channels, kind.dtype) == (5, dtype)
    assert result.image_kind == kind
    reader = train_reader(out)
    stored = {}
    for i in range(len(reader.split)):
        image, _, name = reader.read(i)
        stored[name] = image
        assert image.dtype == dtype
        np.testing.assert_array_equal(image, items[int(name)][0])
    pixels = np.concatenate([x.reshape(-1, 5) for x in stored.values()]).astype(float)
    np.testing.assert_allclose(kind.mean, pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(kind.deviation, pixels.std(0), rtol=1e-5)
    # Noise from 60 to 119 in each channel, and 100 more in the squares.
    assert kind.low == (60,) * 5
    assert kind.high == (119,) * 4 + (219,)


def test_crops_have_the_channels_of_the_records_and_masks_move_with_them(tmp_path):
    items = [scene(i, 6, "uint16") for i in range(4)]
    out, _ = build(write_folder(tmp_path, items))
    reader = train_reader(out)
    augmentation = augment.Augmentation(
        crop_size=(64, 40), rotation=20, augmentations=(("cutmix", 0.5),)
    )
    dataset = batches.training_dataset(reader, augmentation, batch_size=4, seed=1)
    batch = next(iter(dataset))
    image, label = batch["image"].numpy(), batch["label"].numpy()
    assert image.shape == (4, 64, 40, 6)
    assert image.dtype == np.uint16
    # The last channel is above 140 where the label is 1, but for a pixel of the border.
    inside = cv2.erode((label[0] == 1).astype(np.uint8), np.ones((3, 3)))
    assert (image[0, ..., 5][inside == 1] > 140).all()
    outside = cv2.erode((label[1] == 255).astype(np.uint8), np.ones((7, 7))) == 1
    assert outside.any()
    np.testing.assert_array_equal(
        np.unique(image[1][outside], axis=0), [[round(x) for x in reader.kind.padding]]
    )


def test_colors_are_changed_of_rgb_only(tmp_path):
    out, _ = build(write_folder(tmp_path, [scene(i, 4) for i in range(4)]))
    reader = train_reader(out)
    options = {"crop_size": (SIDE, SIDE), "max_scale_factor": 1, "flip": False}
    options |= {"min_scale_factor": 1}
    plain, changed = (
        next(
            iter(
                batches.training_dataset(
                    reader,
                    augment.Augmentation(**options, **colors),
                    batch_size=1,
                    seed=3,
                )
            )
        )["image"].numpy()
        for colors in (
            {},
            {
                "saturation": 1.0,
                "brightness": 0.5,
                "augmentations": (("hsv_jitter", 1.0),),
            },
        )
    )
    assert (plain[..., :3] != changed[..., :3]).mean() > 0.5
    np.testing.assert_array_equal(plain[..., 3], changed[..., 3])


@pytest.mark.parametrize(
    "options", [{"brightness": 0.1}, {"augmentations": (("hsv_jitter", 1.0),)}]
)
def test_color_augmentations_of_16_bits_are_refused(tmp_path, options):
    out, _ = build(write_folder(tmp_path, [scene(i, 3, "uint16") for i in range(4)]))
    with pytest.raises(errors.UserError, match="colors of 8-bit RGB"):
        batches.training_dataset(
            train_reader(out), augment.Augmentation(**options), batch_size=1, seed=1
        )


def test_missing_values_of_a_geotiff_are_ignored(tmp_path):
    items = [scene(i, 4, "uint16") for i in range(4)]
    for image, _ in items:
        image[:3, :2] = 0
    out, _ = build(write_folder(tmp_path, items, ".tif"))
    _, label, name = train_reader(out).read(0)
    expected = items[int(name)][1].copy()
    expected[:3, :2] = 255
    np.testing.assert_array_equal(label, expected)
    assert min(records.read_info(out).spec.image_kind.low) >= 60


def test_a_16_bit_png_keeps_its_bits_or_becomes_rgb_if_asked(tmp_path):
    items = [scene(i, 1, "uint16") for i in range(4)]
    folder = write_folder(tmp_path, [(16 * image, y) for image, y in items], ".png")
    out, result = build(folder)
    assert str(result.image_kind) == "gray of uint16"
    image, _, name = train_reader(out).read(0)
    np.testing.assert_array_equal(image, 16 * items[int(name)][0])
    with pytest.raises(planning.BuildError, match=r"gray of uint16.*is to be built"):
        build(folder, "rgb")


def test_a_network_of_two_channels_does_not_read_another_number(tmp_path):
    items = [scene(i, 2) for i in range(4)]
    items[3] = scene(3, 3)
    with pytest.raises(planning.BuildError, match="has 3 channels, expected 2"):
        build(write_folder(tmp_path, items))
    _, result = build(tmp_path, skip_bad=True)
    assert len(result.rejected) == 1


@pytest.mark.parametrize("channels", ["0", "33", "gray", "3.0"])
def test_a_wrong_number_of_channels_is_refused(tmp_path, channels):
    folder = write_folder(tmp_path, [scene(0)])
    with pytest.raises(errors.UserError, match="from 1 to 32, or rgb"):
        build(folder, channels)


def test_rgb_records_say_nothing_new(tmp_path):
    items = [scene(i, 3) for i in range(4)]
    out, result = build(write_folder(tmp_path, items, ".png"))
    assert result.image_kind == images.RGB
    assert '"images"' not in (out / "dataset.json").read_text()
    assert '"schema_version": 1' in (out / "dataset.json").read_text()


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ("semantic", {"semi": "consistency"}, "`semi=consistency` learns"),
        ("semantic", {"stage": "classification"}, "`stage=classification` learns"),
        ("instance", {}, "Networks that detect objects"),
    ],
)
def test_what_takes_rgb_only_is_refused_before_training(network, options, message):
    few = few_labels.FewLabels(**options)
    data.check_kinds(images.RGB, network, few)
    with pytest.raises(errors.UserError, match=message):
        data.check_kinds(images.ImageKind(4), network, few)


def test_arrays_of_any_channels_become_records(tmp_path):
    items = [scene(i, 6, "float32") for i in range(4)]
    arrays, labels = zip(*items, strict=True)
    given = kerasseg.data.from_arrays(
        arrays, labels, "background,square", records_dir=tmp_path / "r"
    )
    kind = given.spec.image_kind
    assert (kind.channels, kind.dtype, len(kind.mean)) == (6, "float32", 6)
    image, _, name = given[0]
    np.testing.assert_array_equal(image, arrays[int(name)])
    with pytest.raises(errors.UserError, match=r"Image 00003 is float32 .*, 5"):
        kerasseg.data.from_arrays(
            [*arrays[:3], arrays[3][..., :5]],
            labels,
            "background,square",
            records_dir=tmp_path / "other",
        )


def mean_iou(tmp_path, channels):
    """Returns the mIoU of a short training on squares that the last channel shows."""
    items = [scene(i) for i in range(40)]
    items = [(image[..., :channels], label) for image, label in items]
    out, _ = build(write_folder(tmp_path / str(channels), items))
    run = kerasseg.fit(
        "unet",
        str(out),
        model_options={"filters": 8, "batch_norm": True, "dropout": 0.0},
        workdir=tmp_path / f"run{channels}",
        training_number_of_steps=120,
        train_batch_size=8,
        train_crop_size="48",
        base_learning_rate=0.05,
    )
    scores, total = np.zeros((2, 2)), records.open_split(out, "val")
    reader = pipeline.ImageReader(total)
    for i in range(len(total)):
        image, label, _ = reader.read(i)
        mask = np.asarray(run.predict(image))
        np.add.at(scores, (label, mask), 1)
    hits = np.diagonal(scores)
    return (hits / (scores.sum(0) + scores.sum(1) - hits)).mean()


@pytest.mark.slow
def test_a_class_that_only_the_fourth_channel_shows_is_learned_with_it(tmp_path):
    # Without it, the best guess is background everywhere: 0.83 / 2 = 0.41.
    assert mean_iou(tmp_path, 3) < 0.5
    assert mean_iou(tmp_path, 4) > 0.9


def test_a_place_without_a_transform_has_no_coordinates():
    place = geo.Place((), None, None)
    np.testing.assert_array_equal(geo.to_map([[2, 3]], place), [[2, 3]])
