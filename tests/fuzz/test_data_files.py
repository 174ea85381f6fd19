"""Whatever a data file holds: a result or an error of it, in time and memory."""

import json
import pathlib
import tempfile
import time

import hypothesis
import numpy as np
import pytest

from kerasseg import errors, images, records
from tests import fuzz
from tests.fuzz import data_files, values
from tfrecords_tools.converters import archives, hdf5_files, mat_files
from tfrecords_tools.writing import label_rules

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),  # "Invalid APNG, will ..."
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),
]
SETTINGS = hypothesis.settings(
    max_examples=100,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def read_image(data):
    for read in (images.probe, images.read_image, images.read_label):
        try:
            result = read(data, name="a.png")
        except images.ImageError as error:
            assert str(error).startswith("a.png")
        else:
            assert isinstance(result, images.Header) or result.dtype == np.uint8
    for colors in ((), (((0, 0, 0), 0),)):
        try:
            rules = label_rules.LabelRules(colors=colors, tolerance=9 * bool(colors))
            label_rules.read_mask(data, rules, name="a.png")
        except images.ImageError as error:
            assert "a.png" in str(error)


def read_example(data):
    try:
        example = records.parse_example(data)
        image = records.decode_image(example["image"])
        for key, decode in (
            ("label", records.decode_label),
            ("instance", records.decode_instances),
        ):
            if example[key] is not None:
                assert decode(example[key], image.shape[:2]).shape == image.shape[:2]
    except errors.UserError:
        return


def read_mat(data):
    for variable in ("x", "y"):
        try:
            mat_files.read_variable(data, variable, "a.mat")
        except images.ImageError as error:
            assert "a.mat" in str(error)


def read_hdf5(data):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "a.mat")
        path.write_bytes(data)
        try:
            hdf5_files.read_part(str(path), "x", 2)
        except images.ImageError as error:
            assert "a.mat" in str(error)
        finally:
            hdf5_files._open.cache_clear()


def unpack(data):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "inner", "a.tar")
        path.parent.mkdir()
        path.write_bytes(data)
        try:
            archives.unpack([path])
        except archives.ArchiveError as error:
            assert "a.tar" in str(error)
            assert [*path.parent.iterdir()] == [path]
        assert [*pathlib.Path(folder).iterdir()] == [path.parent]


def read_manifest(content):
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, records.INFO_FILE).write_text(json.dumps(content))
        try:
            info = records.read_info(folder)
            for split in info.splits:
                records.find_faults(pathlib.Path(folder), info, split)
        except errors.UserError as error:
            assert "dataset.json" in str(error)


with tempfile.TemporaryDirectory() as _folder:
    _MANIFEST = data_files.manifest(pathlib.Path(_folder))
READERS = {
    read_image: data_files.image_files(),
    read_example: data_files.examples(),
    read_mat: data_files.MATS,
    read_hdf5: data_files.HDF5S,
    unpack: data_files.ARCHIVES,
    read_manifest: values.changed(_MANIFEST),
}


def draw(read, max_examples):
    """Returns a function that reads examples, each within ten seconds."""

    @hypothesis.settings(SETTINGS, max_examples=max_examples)
    @hypothesis.given(READERS[read])
    def run(data):
        start = time.monotonic()
        read(data)
        assert time.monotonic() - start < 10

    return run


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_any_file_gives_a_result_or_an_error(read):
    draw(read, 60)()


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_files_of_ten_minutes_give_results_or_errors(read):
    fuzz.repeat(draw(read, 3000))
