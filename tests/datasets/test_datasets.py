"""Metadata of the data sets."""

import contextlib
import dataclasses

import numpy as np
import pytest

from kerasseg import datasets
from tfrecords_tools.converters import pairs, registry


@pytest.mark.parametrize("name", datasets.list_datasets())
def test_the_metadata_of_every_data_set_is_consistent(name):
    spec = datasets.get(name)
    assert spec.name == name
    assert spec.num_classes == len(spec.class_names) == len(spec.palette)
    assert spec.palette.dtype == np.uint8
    assert spec.source and min(spec.num_images.values()) > 0
    assert not set(spec.source_ignore) & set(range(spec.num_classes))
    assert spec.num_classes <= datasets.IGNORE_LABEL


@pytest.mark.parametrize("name", datasets.list_datasets())
def test_metadata_can_be_written_as_json(name):
    spec = datasets.get(name)
    assert datasets.DatasetSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("name", datasets.list_datasets())
def test_every_data_set_has_a_converter_with_its_splits(name):
    converter = registry.converter(name)
    # The missing source is reported, not the split.
    for split in datasets.get(name).num_images:
        with contextlib.suppress(FileNotFoundError):
            converter.list_pairs(split, pairs.Source())


def test_modules_of_the_package_are_listed():
    assert {"camvid", "pascal_voc", "shapes"} <= set(datasets.list_datasets())


def test_an_unknown_data_set_is_an_error():
    listed = ", ".join(datasets.list_datasets())
    with pytest.raises(
        ValueError, match=rf"Unknown data set 'camvit'\. .*: {listed}\."
    ):
        datasets.get("camvit")


def test_metadata_is_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        datasets.get("camvid").source = "elsewhere"


def test_voc_colors_are_its_bit_interleaved_color_map():
    # Bits 0, 3, 6 of the class number are the upper bits of red, bits 1, 4, 7 of green,
    # bits 2, 5 of blue: class 15 = 0b01111 has red bits 1, 1, green 1, 0, blue 1, 0.
    spec = datasets.get("pascal_voc")
    for number, color in enumerate(spec.palette.tolist()):
        expected = [0, 0, 0]
        for level in range(3):
            for channel in range(3):
                bit = number >> (3 * level + channel) & 1
                expected[channel] |= bit << (7 - level)
        assert color == expected
    assert spec.classes["person"] == (192, 128, 128)


def test_camvid_ignores_the_number_after_its_classes():
    spec = datasets.get("camvid")
    assert spec.source_ignore == (spec.num_classes,) == (11,)
