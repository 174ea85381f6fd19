"""What the doctor reports about channels and bits of own images."""

import re

import cv2
import numpy as np

from tests.tfrecords_tools.test_channels import scene, write_folder
from tfrecords_tools.converters import class_lists, own_data, pairs
from tfrecords_tools.doctor import examining, split_report, splits, survey
from tfrecords_tools.writing import encoding, label_options


def source_of(folder):
    own = own_data.OwnData(
        images=str(folder / "images"),
        masks=str(folder / "masks"),
        classes=class_lists.read_classes("background,square"),
        val_fraction=0.25,
    )
    return pairs.Source(own=own)


def examine(folder, channels=""):
    options = label_options.LabelOptions(classes="background,square", channels=channels)
    return examining.examine(source_of(folder), options, 10**6)


def findings(examination):
    return {each.kind: each for each in examination.findings}


def test_12_bits_in_a_16_bit_file_are_named_and_kept(tmp_path):
    # The largest values are 219 * 16 = 3504, below 2**12.
    items = [
        (16 * image, label)
        for image, label in (scene(i, 1, "uint16") for i in range(4))
    ]
    write_folder(tmp_path, items, ".png")
    found = examine(tmp_path)
    note = findings(found)["channels"]
    assert note.is_note and not found.problems
    assert "gray of uint16: 4. Their values use 12 of 16 bits" in note.text
    problem = findings(examine(tmp_path, "rgb"))["16-bit images that use few bits"]
    assert "at most 14 of 256 levels remain" in problem.text  # 3504 // 256 + 1.


def test_images_of_different_channels_are_a_problem(tmp_path):
    items = [scene(i, 5) for i in range(4)]
    items[1] = scene(1, 4)
    write_folder(tmp_path, items)
    problem = findings(examine(tmp_path))["images of different channels or types"]
    for counted in ("5 channels of uint8: 3", "4 channels of uint8: 1"):
        assert counted in problem.text
    assert len(problem.leave_out) == 1 and problem.leave_out[0].endswith(":01")


def test_the_inspector_measures_every_channel(tmp_path):
    write_folder(tmp_path, [scene(i, 4) for i in range(4)])
    readers = splits.open_source("folder", source_of(tmp_path), encoding.Rules())
    surveyed = survey.survey(readers[0])
    text = split_report.describe(readers[0], surveyed)
    assert "images: 4 channels of uint8" in text
    assert "red: mean 89." in text  # Noise from 60 to 119.
    # Squares are 100 brighter: up to 219, of which 256 pixels of an image are read.
    assert re.search("channel 4: mean .* used range 60 to 21[5-9]", text)
    sheet = split_report.contact_sheet(readers, 1)
    assert sheet.dtype == np.uint8 and cv2.mean(sheet)[0] > 0
