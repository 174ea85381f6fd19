"""`kerasseg.data`: data sets of records, files, annotations and arrays."""

import itertools
import json
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import kerasseg
from kerasseg import errors, losses
from kerasseg.pipeline import array_records
from tests.support import tiny

CLASSES = ["left", "middle", "right"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kerasseg" / "records"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("records"))


def pairs(count):
    images, masks = zip(*map(tiny.image_and_label, range(count)), strict=True)
    return list(images), list(masks)


def write_files(folder, count=5):
    for i, (image, mask) in enumerate(zip(*pairs(count), strict=True)):
        for kind, pixels in (("photos", image[..., ::-1]), ("masks", mask)):
            (folder / kind).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / kind / f"{i}.png"), pixels)
    return folder / "photos", folder / "masks"


def test_records_are_a_sequence(folder):
    data = kerasseg.data.from_records(folder)
    assert data.classes == tuple(CLASSES) and len(data) == 12
    assert data.splits == ("train", "val") and len(data.split("val")) == 5
    names = [name for _, _, name in data]
    assert len(set(names)) == 12 and names[-1] == data[-1][2]
    image, mask, _ = data[names.index("train3.png")]
    expected = tiny.image_and_label(3)
    np.testing.assert_array_equal(image, expected[0])
    np.testing.assert_array_equal(mask, expected[1])
    with pytest.raises(IndexError, match="Image 12 of 12"):
        _ = data[12]
    assert repr(data) == (
        "<kerasseg.data.Dataset stripes, split train: 12 images, 3 classes (left, "
        f"middle, right); other splits: val; records: {folder}>"
    )


def test_batches_depend_on_the_seed_and_train_a_keras_model(folder):
    data = kerasseg.data.from_records(folder)
    crop = kerasseg.data.Augmentation(crop_size=(16, 24))

    def take(seed):
        batches = data.batches(crop, batch_size=4, seed=seed).as_numpy_iterator()
        return list(itertools.islice(batches, 3))

    one, again, other = take(1), take(1), take(2)
    for (image, mask), (image2, mask2) in zip(one, again, strict=True):
        assert image.shape == (4, 16, 24, 3) and mask.shape == (4, 16, 24)
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(mask, mask2)
    assert any((a != b).any() for (_, a), (_, b) in zip(one, other, strict=True))
    model = tiny.build_model("tiny", 3)
    model.compile("sgd", losses.CrossEntropy(), jit_compile=False)
    history = model.fit(data.batches(crop), steps_per_epoch=1, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"][0])


def test_without_an_augmentation_images_come_once(folder):
    data = kerasseg.data.from_records(folder, "val")
    sizes = [len(image) for image, _ in data.batches(batch_size=2)]
    assert sizes == [2, 2, 1]
    message = "`transform` is called on augmented crops. Give an `augmentation`"
    with pytest.raises(errors.UserError, match=message):
        data.batches(transform=lambda *pair: pair)
    with pytest.raises(
        errors.UserError, match="`batch_size` must be at least 1, got 0"
    ):
        data.batches(batch_size=0)


def test_an_error_of_a_transform_names_the_image_in_fit(folder):
    data = kerasseg.data.from_records(folder)
    crop = kerasseg.data.Augmentation(crop_size=(16, 16))
    batches = data.batches(crop, transform=lambda image, mask: (image, mask | 8))
    with pytest.raises(Exception, match=r"image train\d+.png: labels out of range: 8"):
        next(iter(batches))


def test_files_are_built_once_and_again_if_one_changes(tmp_path, cache, capsys):
    images, masks = write_files(tmp_path)
    data = kerasseg.data.from_folder(images, masks, CLASSES)
    # A fifth of the 5 images is val.
    assert (len(data), data.splits) == (4, ("train", "val"))
    assert f"Records: {cache}" in capsys.readouterr().out
    written = {path: path.stat().st_mtime_ns for path in cache.rglob("*.tfrecord")}
    again = kerasseg.data.from_folder(images, masks, CLASSES)
    assert again.records_dir == data.records_dir
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    changed = data[0][2]
    cv2.imwrite(str(masks / f"{changed}.png"), np.ones((40, 48), np.uint8))
    mask = kerasseg.data.from_folder(images, masks, CLASSES)[0][1]
    assert (mask == 1).all()


def test_options_of_the_build_are_taken(tmp_path):
    images, masks = write_files(tmp_path)
    options = {"label_map": "2:255", "val_fraction": 0.4}
    data = kerasseg.data.from_folder(
        f"{images}/*.png", masks, CLASSES, records_dir=tmp_path / "records", **options
    )
    assert len(data) == 3 and data.records_dir == str(tmp_path / "records")
    assert not any((mask == 2).any() for _, mask, _ in data)
    with pytest.raises(errors.UserError, match="There is no option `val_part`"):
        kerasseg.data.from_folder(images, masks, CLASSES, val_part=0.1)


def test_a_mask_with_a_new_class_is_refused(tmp_path):
    images, masks = write_files(tmp_path)
    message = r"masks/\d.png: 2 \(\d+ pixels\) are not classes of folder"
    with pytest.raises(errors.UserError, match=message):
        kerasseg.data.from_folder(images, masks, ["left", "middle"])


def test_coco_annotations_are_drawn(tmp_path):
    images, _ = write_files(tmp_path, 2)
    square = {"id": 1, "category_id": 7, "iscrowd": 0, "bbox": [0, 0, 4, 4], "area": 16}
    corners = [0, 0, 4, 0, 4, 4, 0, 4]
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": 40, "width": 48}
            for i in range(2)
        ],
        "categories": [{"id": 7, "name": "box"}],
        "annotations": [
            {**square, "id": i, "image_id": i, "segmentation": [corners]}
            for i in range(2)
        ],
    }
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    data = kerasseg.data.from_coco(images, path, val_fraction=0.0)
    assert data.classes == ("background", "box")
    assert np.count_nonzero(data[0][1]) == 16  # 4 x 4 pixels.
    with pytest.raises(errors.UserError, match="is not a JSON file"):
        kerasseg.data.from_coco(images, tmp_path / "a.xml")


def test_the_drawn_data_set_needs_no_files(tmp_path):
    data = kerasseg.data.from_dataset(
        "shapes", records_dir=tmp_path / "shapes", num_drawn=2
    )
    assert len(data) == 2 and data.spec.name == "shapes"
    with pytest.raises(errors.UserError, match="There is no option `drawn`"):
        kerasseg.data.from_dataset("shapes", drawn=2)


def test_arrays_are_written_once(tmp_path, cache):
    images, masks = pairs(5)
    data = kerasseg.data.from_arrays(images, masks, CLASSES)
    assert len(data) == 4 and len(data.split("val")) == 1
    for image, mask, name in [*data, *data.split("val")]:
        np.testing.assert_array_equal(image, images[int(name)])
        np.testing.assert_array_equal(mask, masks[int(name)])
    again = kerasseg.data.from_arrays(np.stack(images), np.stack(masks), CLASSES)
    assert again.records_dir == data.records_dir and len([*cache.iterdir()]) == 1
    here = tmp_path / "here"
    kerasseg.data.from_arrays(images, masks, CLASSES, records_dir=here)
    kerasseg.data.from_arrays(images, masks, CLASSES, records_dir=here)
    message = f"`records_dir={here}` exists and does not hold the records of these"
    with pytest.raises(errors.UserError, match=message):
        kerasseg.data.from_arrays(images[1:], masks[1:], CLASSES, records_dir=here)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"images": [np.zeros((40, 48), np.uint8)] * 2},
            r"00000 is uint8 \(40, 48\), exp",
        ),
        ({"images": [np.zeros((40, 48, 3))] * 2}, "Image 00000 is float64"),
        (
            {"masks": [np.zeros((4, 4), int)] * 2},
            r"mask of image 00000 is int64 \(4, 4\)",
        ),
        ({"masks": [np.zeros((40, 48))] * 2}, "mask of image 00000 is float64"),
        (
            {"masks": [np.full((40, 48), 3)] * 2},
            r"00000: labels out of range: 3 \(1920",
        ),
        ({"masks": [np.full((40, 48), -1)] * 2}, "00000 has values from -1 to -1"),
        ({"masks": []}, "2 `images`, 0 `masks` and 2 `names`"),
        ({"names": ["a", "a"]}, "`names` has a more than once"),
        (
            {"val_fraction": 1.0},
            "`val_fraction` must be at least 0 and below 1, got 1.0",
        ),
        ({"val_fraction": 0.9}, "`val_fraction=0.9` leaves no image of 2 to train on"),
        ({"classes": ["one"]}, "names only 'one'"),
    ],
)
def test_wrong_arrays_are_refused(changes, message):
    images, masks = pairs(2)
    arguments = {"images": images, "masks": masks, "classes": CLASSES, **changes}
    with pytest.raises(errors.UserError, match=message):
        kerasseg.data.from_arrays(**arguments)


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.int64, np.uint16]),
        st.tuples(st.integers(1, 5), st.integers(1, 5)),
        elements=st.sampled_from([0, 1, 2, 255]),
    )
)
def test_masks_keep_their_values(mask):
    image = np.zeros((*mask.shape, 3), np.uint8)
    checked = array_records.Arrays([image], [mask[..., None]], ["a"], 3)
    np.testing.assert_array_equal(checked.pair(0)[1], mask)


def test_the_attribute_starts_nothing():
    code = "import kerasseg, sys; dir(kerasseg); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert isinstance(kerasseg.data, type(keras))
