"""Inspecting records: faults, statistics, the contact sheet."""

import numpy as np
import pytest

from kerasseg import datasets, images, records
from tests.support import commands, faults, tiny, trees
from tfrecords_tools import inspect
from tfrecords_tools.converters import pairs
from tfrecords_tools.doctor import split_report, splits, survey
from tfrecords_tools.writing import writer

FIRST, SECOND = (records.shard_name("train", i, 2) for i in range(2))


@pytest.fixture
def folder(tmp_path):
    return tiny.write_records(tmp_path / "records")


def write_labels(folder, labels, *, spec=tiny.SPEC, image_size=None):
    """Writes one file of noise images with these labels."""
    folder.mkdir(exist_ok=True)
    serialized = []
    for i, label in enumerate(labels):
        size = image_size or (label.shape if label is not None else (4, 4))
        image = np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8)
        serialized.append(
            records.encode_example(
                image=tiny.png(image),
                label=None if label is None else images.encode_label(label),
                name=f"image{i}",
                image_format="png",
                height=size[0],
                width=size[1],
            )
        )
    shard = records.write_shard(folder / records.shard_name("train", 0, 1), serialized)
    records.write_info(folder, records.DatasetInfo(spec, {"train": [shard]}))
    return folder


def inspected(*flags, cwd):
    arguments = ["-m", "tfrecords_tools.inspect", *flags]
    environment = {**faults.ENVIRONMENT, "PYTHONPATH": str(faults.ROOT)}
    return faults.run(arguments, cwd=cwd, env=environment)


def test_pixels_weights_and_sizes_are_counted(tmp_path):
    # Two images: 4 x 4 with 12 of class 0 and 4 of class 1; 2 x 4 with 6 of class 1
    # and 2 ignored. Class 0: 12 of 16 pixels of its images, 0.75; class 1: 10 of 24.
    # Median of 0.75 and 0.4167 is 0.5833; weights 0.7778 and 1.4. Class 2 is absent.
    # ENet: 12 of 22 labeled pixels, 1 / ln(1.02 + 0.5455) = 2.2313.
    first = np.zeros((4, 4), np.uint8)
    first[0] = 1
    second = np.ones((2, 4), np.uint8)
    second[0, :2] = 255
    (reader,) = splits.open_records(write_labels(tmp_path / "r", [first, second]))
    found = survey.survey(reader)
    assert found.counts.pixels.tolist() == [12, 10, 0]
    assert found.counts.images.tolist() == [1, 2, 0]
    assert found.counts.ignored == 2
    assert dict(found.sizes) == {(4, 4): 1, (2, 4): 1}
    text = split_report.describe(reader, found)
    assert "stripes train: 2 images\n" in text
    assert "sizes (height x width): 4 x 4: 1, 2 x 4: 1" in text
    left = next(line for line in text.splitlines() if "left " in line).split()
    assert left == ["left", "12", "54.55%", "1", "0.7778", "2.2313"]
    assert "--class_weights of median_frequency: 0.7778,1.4000,0.0000" in text


def test_many_sizes_are_shortened(tmp_path):
    labels = [np.zeros((2, 2 + i), np.uint8) for i in range(7)]
    (reader,) = splits.open_records(write_labels(tmp_path / "r", labels))
    text = split_report.describe(reader, survey.survey(reader))
    assert "2 x 2: 1, 2 x 3: 1, 2 x 4: 1, 2 x 5: 1, others: 3" in text


def test_images_without_labels_are_counted(tmp_path):
    folder = write_labels(tmp_path / "r", [None, np.zeros((4, 4), np.uint8)])
    (reader,) = splits.open_records(folder)
    text = split_report.describe(reader, survey.survey(reader))
    assert "without a label: 1" in text
    only = write_labels(tmp_path / "only", [None])
    (reader,) = splits.open_records(only)
    text = split_report.describe(reader, survey.survey(reader))
    assert "median" not in text  # There are no classes to weight.


def test_fewer_images_than_the_data_set_has_are_noted(tmp_path):
    spec = datasets.get("shapes")
    folder = write_labels(tmp_path / "r", [np.zeros((4, 4), np.uint8)], spec=spec)
    (reader,) = splits.open_records(folder, "shapes")
    text = split_report.describe(reader, survey.survey(reader))
    assert "shapes train: 1 image (the data set has 400)" in text


def test_every_bad_record_is_named(tmp_path):
    good, unknown = np.zeros((4, 4), np.uint8), np.full((4, 4), 9, np.uint8)
    folder = write_labels(tmp_path / "r", [good, unknown, good])
    (reader,) = splits.open_records(folder)
    found = survey.survey(reader)
    (fault,) = found.faults
    assert fault.startswith("train-00000-of-00001.tfrecord, record 1: image 'imag")
    assert "has labels [9], but stripes has 0 to 2 and 255" in fault
    assert "bad: 1" in split_report.describe(reader, found)
    text = split_report.list_faults([fault] * 12)
    assert text.startswith("12 images are bad: train-") and text.endswith("2 more")


def test_labels_of_another_size_are_named(tmp_path):
    labels = [np.zeros((4, 4), np.uint8)]
    folder = write_labels(tmp_path / "r", labels, image_size=(4, 6))
    (reader,) = splits.open_records(folder)
    (fault,) = survey.survey(reader).faults
    assert "is (4, 6), its label (4, 4)" in fault


def test_a_flipped_bit_a_cut_and_extra_files_are_listed_at_once(folder):
    faults.flip_bit(folder / FIRST, 40)
    faults.cut(folder / SECOND, 100)
    (folder / "val-00000-of-00002.tfrecord").unlink()
    (folder / "test-00000-of-00001.tfrecord").write_bytes(b"")
    with pytest.raises(records.RecordError) as caught:
        splits.open_records(folder)
    text = str(caught.value)
    assert f"{FIRST}: its checksum differs from dataset.json" in text
    assert f"{SECOND}: expected 6 records" in text
    assert "val-00000-of-00002.tfrecord is missing" in text
    assert "test-00000-of-00001.tfrecord is not in dataset.json" in text
    assert "train, " not in text and text.count("test-00000") == 1


def test_every_split_of_foreign_records_is_found(folder):
    (folder / records.INFO_FILE).unlink()
    with pytest.raises(ValueError, match="names the classes"):
        splits.open_records(folder)
    found = splits.open_records(folder, "shapes")
    assert [(each.split, each.count) for each in found] == [("train", 12), ("val", 5)]
    assert all(survey.survey(each).faults == () for each in found)


def test_a_folder_without_records_says_how_to_build(tmp_path):
    with pytest.raises(FileNotFoundError, match="Build the records first"):
        splits.open_records(tmp_path, "camvid")


def test_a_source_is_inspected_as_the_records_it_would_become(tmp_path):
    source = pairs.Source(trees.camvid(tmp_path / "CamVid"))
    bad = tmp_path / "CamVid" / "train" / "train_02.png"
    bad.write_bytes(b"")
    train, val = splits.open_source("camvid", source)
    found = survey.survey(train)
    (fault,) = found.faults
    assert fault.startswith("train_02: ")
    assert "is not a JPEG or PNG file but empty" in fault
    assert survey.survey(val).faults == ()
    trees.save(bad, trees.image(2))
    writer.build_records("camvid", source, tmp_path / "records", splits=["train"])
    (built,) = splits.open_records(tmp_path / "records")
    counts = survey.survey(splits.open_source("camvid", source)[0]).counts
    assert counts.pixels.tolist() == survey.survey(built).counts.pixels.tolist()


def test_the_contact_sheet_shows_images_of_each_split(folder):
    sheet = split_report.contact_sheet(splits.open_records(folder), 2)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3
    assert sheet.shape[0] >= 4 * 40 and sheet.shape[1] >= 2 * 48


def test_a_contact_sheet_shows_images_without_labels(tmp_path):
    folder = write_labels(tmp_path / "r", [None])
    assert split_report.contact_sheet(splits.open_records(folder), 4).ndim == 3


def test_the_command_prints_a_table_and_writes_the_sheet(folder, tmp_path):
    (tmp_path / "here").mkdir()
    done = inspected(f"--records_dir={folder}", cwd=tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert "stripes train: 12 images" in done.stdout
    assert "stripes val: 5 images" in done.stdout
    assert "median-frequency weight" in done.stdout
    sheet = folder / "contact_sheet.png"
    assert f"Images with their labels: {sheet}\n" in done.stdout
    assert images.read_image(sheet).ndim == 3
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.slow
def test_the_command_can_omit_the_sheet(folder, tmp_path):
    inspected(f"--records_dir={folder}", "--contact_sheet=", cwd=tmp_path)
    assert not list(tmp_path.rglob("*.png"))


def test_a_contact_sheet_that_cannot_be_written_is_reported(folder, capsys):
    path = folder / "none" / "sheet.png"
    arguments = [f"--records_dir={folder}", f"--contact_sheet={path}"]
    assert commands.run(inspect.main, *arguments) == 0
    assert "Give another path with --contact_sheet=FILE" in capsys.readouterr().out


def test_the_command_inspects_a_source(tmp_path, capsys, monkeypatch):
    trees.camvid(tmp_path / "CamVid")
    before = sorted((tmp_path / "CamVid").rglob("*"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    flags = ["--dataset=camvid", f"--source_dir={tmp_path / 'CamVid'}"]
    for _ in range(2):  # An equal sheet is kept.
        assert commands.run(inspect.main, *flags) == 0
        out = capsys.readouterr().out
        assert "camvid train: 5 images (the data set has 367)" in out
        assert f"with their labels: {tmp_path / 'CamVid_contact_sheet.png'}\n" in out
    assert not list((tmp_path / "here").iterdir())
    assert sorted((tmp_path / "CamVid").rglob("*")) == before


@pytest.mark.slow
def test_faults_are_one_line_and_change_the_exit_status(folder, tmp_path):
    faults.flip_bit(folder / FIRST, 40)
    done = inspected(f"--records_dir={folder}", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ") and FIRST in line
    unknown = write_labels(tmp_path / "r", [np.full((4, 4), 9, np.uint8)])
    done = inspected(f"--records_dir={unknown}", cwd=tmp_path)
    assert done.returncode == 2
    assert "Error: 1 image is bad: train-00000" in done.stderr
    assert "bad: 1" in done.stdout


def test_the_command_needs_records_or_a_source(tmp_path):
    done = inspected(cwd=tmp_path)
    assert done.returncode == 2
    assert "Give --records_dir, or --dataset and --source_dir" in done.stderr


def test_help_is_the_modules_text(tmp_path):
    done = inspected("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("Inspects a folder of records")
    assert "--source_dir" in done.stdout
