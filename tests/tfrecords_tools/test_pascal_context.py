"""PASCAL-Context with 59 and 60 classes, in a miniature of VOC2010 and its labels."""

import numpy as np
import pytest
from scipy import io as scipy_io

from kerasseg import datasets, images, records
from tests.support import published
from tfrecords_tools.converters import pairs, pascal_context, pascal_context_60
from tfrecords_tools.writing import writer

# What other tools select from the 459, in another order.
SAME_NUMBERS = """2 259 260 415 324 9 258 144 18 19 22 23 397 25 284 158 159 416 33 162
    420 454 295 296 427 44 45 46 308 59 440 445 31 232 65 354 424 68 326 72 458 34 207
    80 355 85 347 220 349 360 98 187 104 105 366 189 368 113 115"""
SPLITS = {"train": ["2008_000002", "2008_000003"], "val": ["2008_000008"]}


@pytest.fixture
def source(tmp_path):
    label = np.arange(18 * 26, dtype=np.uint16).reshape(18, 26) % 460
    label = label[:12, :16].copy()
    label[0, :4] = [2, 458, 1, 431]  # aeroplane, wood, accordion, unknown.
    return pairs.Source(published.pascal_context(tmp_path / "VOC2010", SPLITS, label))


def built(dataset, source, folder):
    writer.build_records(dataset, source, folder, splits=["train", "val"])
    split = records.open_split(folder, "val", deep=True)
    return records.decode_label(records.parse_example(split.read(0))["label"])


def test_the_spec_is_that_of_the_authors():
    spec, other = datasets.get("pascal_context"), datasets.get("pascal_context_60")
    assert spec.num_images == other.num_images == {"train": 4998, "val": 5105}
    assert (spec.num_classes, other.num_classes) == (59, 60)
    assert other.class_names == ("background", *spec.class_names)
    voc = datasets.get("pascal_voc").class_names
    assert other.class_names[:21] == voc  # The other 39 follow.
    assert spec.class_names[20:22] == ("bag", "bed")
    assert spec.class_names[-1] == "wood"


def test_numbers_are_those_of_other_tools():
    assert sorted(pascal_context.NUMBERS) == sorted(map(int, SAME_NUMBERS.split()))
    # From labels.txt: the three with other names there, and some with the same name.
    number = dict(
        zip(
            datasets.get("pascal_context").class_names,
            pascal_context.NUMBERS,
            strict=True,
        )
    )
    assert number["diningtable"] == 397  # table
    assert number["bedclothes"] == 19
    assert number["clothes"] == 80  # cloth
    assert (number["person"], number["sky"], number["curtain"]) == (284, 360, 105)


def test_other_pixels_are_ignored_or_background(source, tmp_path):
    ignored = built("pascal_context", source, tmp_path / "59")
    assert ignored[0, :4].tolist() == [0, 58, 255, 255]
    background = built("pascal_context_60", source, tmp_path / "60")
    assert background[0, :4].tolist() == [1, 59, 0, 0]
    np.testing.assert_array_equal(
        np.where(ignored == 255, 0, ignored.astype(int) + 1), background
    )


def test_labels_of_type_double_are_read(source):
    (pair,) = pascal_context.list_pairs("val", source)
    scipy_io.savemat(pair.label, {"LabelMap": np.full((12, 16), 440.0)})
    assert np.unique(pascal_context.read_pair(pair).label).tolist() == [55]  # Wall.
    scipy_io.savemat(pair.label, {"LabelMap": np.full((12, 16), 0.5)})
    with pytest.raises(
        images.ImageError, match=r"mat: 0\.5 \(192 pixels\) are not val"
    ):
        pascal_context.read_pair(pair)


def test_bad_labels_are_named(source):
    (pair,) = pascal_context.list_pairs("val", source)
    for content, reason in (
        ({"LabelMap": np.full((12, 16), 460)}, r"460 \(192 pixels\) are not values"),
        (
            {"LabelMap": np.zeros((2, 2, 2))},
            r"is float64 \[2, 2, 2\], expected int",
        ),
        ({"LabelMap": "text"}, r"is <U4 \[\], expected integers"),
        ({"S": 1}, "it holds S, expected LabelMap"),
    ):
        scipy_io.savemat(pair.label, content)
        with pytest.raises(images.ImageError, match=rf"000008\.mat.*{reason}"):
            pascal_context_60.read_pair(pair)


def test_missing_folders_are_named(source):
    (source.source_dir / "trainval").rename(source.source_dir / "elsewhere")
    with pytest.raises(
        FileNotFoundError, match="Context's folder trainval, unpacked in"
    ):
        pascal_context.list_pairs("train", source)
    with pytest.raises(FileNotFoundError, match=r"Main/test\.txt does not exist"):
        pascal_context.list_pairs("test", source)
