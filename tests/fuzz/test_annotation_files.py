"""Whatever an annotation file holds: a label or an error, in time, and nothing lost."""

import json
import os
import pathlib
import tempfile
import time
import tracemalloc

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from kerasseg import errors
from tests import fuzz
from tests.fuzz import annotation_files
from tests.support import trees
from tfrecords_tools.converters import class_lists, folder, own_data, pairs
from tfrecords_tools.writing import quarantine, writer

pytest.importorskip("pycocotools.mask")
IMAGE = trees.image(1, annotation_files.HEIGHT, annotation_files.WIDTH)
CLASSES = class_lists.read_classes("background,car,road")
QUICK = hypothesis.settings(max_examples=150, deadline=None, database=None)
SUPPRESSED = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]
SLOW = hypothesis.settings(QUICK, max_examples=2000, suppress_health_check=SUPPRESSED)
RAW = ("Error(", "NoneType", "KeyError", "object at 0x", "Traceback")


def source(root, **more):
    own = own_data.OwnData(
        images=str(root / "images"),
        annotations=str(root / "labels"),
        classes=CLASSES,
        val_fraction=0,
        skip_shapes="bbox",
        **more,
    )
    return pairs.Source(own=own)


def check_one(suffix, data):
    """Reads a file and draws the label of its image."""
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        trees.save(root / "images/a.png", IMAGE)
        (root / "labels").mkdir()
        (root / f"labels/a{suffix}").write_bytes(data)
        start = time.monotonic()
        try:
            for pair in folder.list_pairs("train", source(root)):
                label = folder.read_pair(pair).label
                assert label.dtype == np.uint8 and label.ndim == 2
                assert label.size <= 64_000_000
        except errors.UserError as error:
            text = str(error)
            assert f"a{suffix}" in text or "image" in text
            assert not any(raw in text for raw in RAW), text
        assert time.monotonic() - start < 10


def check_many(contents):
    """Builds images with one file each: each becomes a record or a rejected pair."""
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        (root / "labels").mkdir()
        for i, data in enumerate(contents):
            trees.save(root / f"images/p{i}.png", IMAGE)
            (root / f"labels/p{i}.json").write_bytes(data)
        engine = quarantine.run
        if os.environ.get("KERASSEG_FUZZ_WORKERS"):
            engine = _in_workers
        try:
            result = writer.build_records(
                "folder", source(root), root / "r", skip_bad=True, engine=engine
            )
        except errors.UserError as error:
            # Of another image, of two, of a file of many images, or all are bad.
            assert any(f"p{i}" in str(error) for i in range(len(contents))), error
            return
        lines = root / "r/rejected.jsonl"
        rejected = lines.read_text().splitlines() if lines.exists() else []
        assert len(rejected) == len(result.rejected)
        assert sum(result.num_records.values()) + len(rejected) == len(contents)
        assert not any(raw in line for line in rejected for raw in RAW)
        assert all(json.loads(line)["reason"] for line in rejected)


def _in_workers(to_do, **more):
    return quarantine.run(to_do, num_workers=2, **more)


MANY = strategies.integers(2, 5).flatmap(
    lambda n: strategies.tuples(
        *(annotation_files.labelme_files(f"p{i}.png") for i in range(n))
    )
)


@QUICK
@hypothesis.given(annotation_files.files())
def test_any_file_gives_a_label_or_an_error(file):
    check_one(*file)


@hypothesis.settings(QUICK, max_examples=40)
@hypothesis.given(MANY)
def test_a_build_loses_no_image(contents):
    check_many(contents)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_files_of_ten_minutes_give_labels_or_errors():
    @SLOW
    @hypothesis.given(annotation_files.files())
    def draw(file):
        tracemalloc.reset_peak()
        check_one(*file)
        assert tracemalloc.get_traced_memory()[1] < 400 << 20

    tracemalloc.start()
    try:
        fuzz.repeat(draw)
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_builds_of_ten_minutes_lose_no_image(monkeypatch):
    monkeypatch.setenv("KERASSEG_FUZZ_WORKERS", "2")

    @hypothesis.settings(SLOW, max_examples=50)
    @hypothesis.given(MANY)
    def draw(contents):
        check_many(contents)

    fuzz.repeat(draw)
