"""Records of own images whose pixels have any number of classes."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import kerasseg
from kerasseg import datasets, errors, images, records
from kerasseg.images import bit_masks
from kerasseg.pipeline import array_records, augment
from kerasseg.pipeline.dataset import Dataset
from tests.images import test_rasters as rasters
from tests.support import commands, trees
from tfrecords_tools import build, extract, inspect
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import encoding

CLASSES = "road,car"


def draw(folder, size=(6, 8)):
    """Writes two images; b.png lacks the mask of car, as it shows none."""
    rng = np.random.default_rng(1)
    masks = {}
    for name in ("a", "b"):
        trees.save(
            folder / "photos" / f"{name}.png", rng.integers(0, 255, (*size, 3), "uint8")
        )
        masks[name] = rng.random((*size, 2)) < 0.5
    masks["b"][..., 1] = False
    for k, each in enumerate(CLASSES.split(",")):
        for name in ("a", "b"):
            if each == "car" and name == "b":
                continue
            mask = masks[name][..., k].astype(np.uint8) * (255 if k else 1)
            trees.save(folder / "masks" / each / f"{name}.png", mask)
    return masks


def run(folder, *more):
    return commands.run(
        build.main,
        "--dataset=folder",
        f"--images={folder / 'photos'}",
        f"--classes={CLASSES}",
        f"--records_dir={folder / 'records'}",
        "--multi_label",
        "--workers=1",
        "--val_fraction=0",
        *more,
    )


def test_a_folder_of_masks_for_each_class_is_built(tmp_path, capsys):
    expected = draw(tmp_path)
    ignored = np.zeros((6, 8), np.uint8)
    ignored[0, 0] = 255
    trees.save(tmp_path / "masks" / "__ignore__" / "a.png", ignored)
    expected["a"][0, 0] = False
    assert run(tmp_path, f"--masks={tmp_path / 'masks'}") == 0, capsys.readouterr().err
    data = Dataset(tmp_path / "records")
    assert data.spec.multi_label and data.classes == ("road", "car")
    assert (0, 0, 0) not in data.spec.classes.values()  # Black is no class.
    for image, label, name in data:
        assert image.shape == (6, 8, 3) and label.dtype == np.uint16
        np.testing.assert_array_equal(bit_masks.decode(label, 2), expected[name])
        assert (label == 255).sum() == (name == "a")
    capsys.readouterr()
    records_dir = f"--records_dir={tmp_path / 'records'}"
    assert commands.run(inspect.main, records_dir) == 0, capsys.readouterr().err
    assert "car" in capsys.readouterr().out
    out = tmp_path / "out"
    arguments = records_dir, "--split=train", f"--output_dir={out}", "--labels"
    assert commands.run(extract.main, *arguments) == 0, capsys.readouterr().err
    again = images.read_label(out / "labels" / "b.png", multi_label=True)
    np.testing.assert_array_equal(bit_masks.decode(again, 2), expected["b"])


def test_polygons_of_coco_may_overlap(tmp_path, capsys):
    trees.save(tmp_path / "photos" / "a.png", np.zeros((8, 8, 3), np.uint8))

    def square(number, low, high):
        ring = [low, low, high, low, high, high, low, high]
        return {
            "id": number,
            "image_id": 1,
            "category_id": number,
            "segmentation": [ring],
            "iscrowd": 0,
            "area": (high - low) ** 2,
            "bbox": [low, low, high - low, high - low],
        }

    (tmp_path / "coco.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
                "categories": [{"id": 1, "name": "road"}, {"id": 2, "name": "car"}],
                "annotations": [square(1, 0, 6), square(2, 4, 8)],
            }
        )
    )
    assert run(tmp_path, f"--annotations={tmp_path / 'coco.json'}") == 0, (
        capsys.readouterr().err
    )
    _, label, _ = Dataset(tmp_path / "records")[0]
    masks = bit_masks.decode(label, 2)
    # Pixels 0 to 5 and 4 to 7: 36 and 16 pixels, of which 2 x 2 have both.
    assert masks.sum((0, 1)).tolist() == [36, 16]
    assert (label == 6).sum() == 4 and label[7, 0] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": "background,car"}, "has background. With --multi_label"),
        ({"classes": "road,bus"}, "are not in the folder of a class"),
        ({"more": "--instances"}, "exclude each other"),
        ({"more": "--label_map=255:1"}, "whose values are not mapped"),
        ({"gray": True}, "the mask of an object has 0 and one other value"),
        ({"size": True}, "A mask must have the size of its image"),
    ],
)
def test_mistakes_are_reported(tmp_path, capsys, change, message):
    draw(tmp_path)
    path = tmp_path / "masks" / "car" / "a.png"
    if "gray" in change:
        trees.save(path, np.arange(48, dtype=np.uint8).reshape(6, 8))
    if "size" in change:
        trees.save(path, np.ones((3, 3), np.uint8))
    more = [f"--classes={change['classes']}"] if "classes" in change else []
    more += [change["more"]] if "more" in change else []
    assert run(tmp_path, f"--masks={tmp_path / 'masks'}", *more) == 2
    assert message in capsys.readouterr().err


MASKS = arrays.arrays(
    bool,
    st.tuples(
        st.integers(1, 4), st.integers(1, 4), st.integers(2, bit_masks.MAX_CLASSES)
    ),
)


@settings(max_examples=25, deadline=None)
@given(MASKS)
def test_masks_return_from_records_unchanged(masks):
    count = masks.shape[-1]
    image = np.zeros((*masks.shape[:2], 3), np.uint8)
    arrays_ = array_records.Arrays([image], [masks], ["a"], count, multi_label=True)
    example = records.parse_example(arrays_.encode(0))
    label = records.decode_label(example["label"], multi_label=True)
    np.testing.assert_array_equal(bit_masks.decode(label, count), masks)
    assert (
        list(example["present_classes"] or ())
        == np.flatnonzero(masks.any((0, 1))).tolist()
    )
    # Also of files.
    spec = datasets.DatasetSpec(
        source="",
        num_images={},
        multi_label=True,
        classes={str(k): (k, 0, 1) for k in range(count)},
    )
    files = tuple(
        pairs.ObjectMask(str(k), images.encode_label(masks[..., k].astype("u1")), k)
        for k in range(count)
    )
    contents = pairs.Contents(images.encode_image(image), b"", masks=files)
    pair = pairs.Pair("a", "a.png", "0")
    data = encoding.encode_pair(pair, contents, spec, encoding.Rules())
    again = records.decode_label(records.parse_example(data)["label"], multi_label=True)
    np.testing.assert_array_equal(again, label)
    assert bit_masks.present(again, count) == list(example["present_classes"] or ())


@given(MASKS, st.booleans())
def test_the_warp_keeps_masks_exact(masks, flipped):
    code = bit_masks.encode(masks).astype(np.uint16)
    size = masks.shape[:2]
    matrix = augment.crop_matrix(size, 1.0, (0, 1), flipped=flipped)
    image = np.zeros((*size, 3), np.uint8)
    _, warped = augment.warp(image, code, matrix, size)
    moved = np.full_like(code, 255)
    moved[:, : size[1] - 1] = code[:, 1:]
    moved = moved[:, ::-1] if flipped else moved
    assert warped.dtype == np.uint16
    np.testing.assert_array_equal(warped, moved)


def test_arrays_of_wrong_masks_are_refused(tmp_path):
    image = np.zeros((2, 2, 3), np.uint8)
    options = {
        "records_dir": tmp_path / "records",
        "multi_label": True,
        "val_fraction": 0,
    }
    for mask, message in (
        (np.zeros((2, 2), int), "one mask for each class"),
        (np.full((2, 2, 2), 3), "Multi-label masks are 0 or 1"),
    ):
        with pytest.raises(errors.UserError, match=message):
            kerasseg.data.from_arrays([image], [mask], ["a", "b"], **options)


def test_images_of_four_channels_and_nine_classes_are_built_at_half_size(
    tmp_path, capsys
):
    # In blocks of 2 x 2 equal pixels, so that means and nearest pixels are exact.
    rng = np.random.default_rng(3)
    image = rng.integers(1, 4000, (3, 4, 4)).astype(np.uint16)
    expected = rng.random((3, 4, 9)) < 0.5
    expected[..., 4] = False
    image[0, 0] = 0  # Without a value in any channel, see the tag below.
    large = image.repeat(2, 0).repeat(2, 1)
    tag = (42113, 2, 0, "0", True)
    (tmp_path / "photos").mkdir()
    data = rasters.tiff(large, planarconfig="contig", extratags=[tag])
    (tmp_path / "photos" / "a.tif").write_bytes(data)
    names = [f"class{k}" for k in range(9)]
    for k, name in enumerate(names):
        mask = expected[..., k].repeat(2, 0).repeat(2, 1).astype(np.uint8)
        trees.save(tmp_path / "masks" / name / "a.png", mask)
    more = f"--classes={','.join(names)}", "--image_scale=0.5"
    assert run(tmp_path, f"--masks={tmp_path / 'masks'}", *more) == 0, (
        capsys.readouterr().err
    )
    opened = Dataset(tmp_path / "records")
    ((pixels, label, _),) = opened
    np.testing.assert_array_equal(pixels, image)
    expected[0, 0] = False
    assert label[0, 0] == 255
    np.testing.assert_array_equal(bit_masks.decode(label, 9), expected)
    example = records.parse_example(
        records.open_split(opened.records_dir, "train").read(0)
    )
    present = np.flatnonzero(expected.any((0, 1))).tolist()
    assert list(example["present_classes"]) == present and 4 not in present
    kind = opened.spec.image_kind
    assert (kind.channels, kind.dtype) == (4, "uint16")
    # The pixel without a value is ignored.
    values = image.reshape(-1, 4)[1:].astype(float)
    np.testing.assert_allclose(kind.mean, values.mean(0), rtol=1e-6)
    records_dir = f"--records_dir={tmp_path / 'records'}"
    assert commands.run(inspect.main, records_dir) == 0, capsys.readouterr().err
