"""The list of labeled images belongs to a run, and to its scores."""

import json

import pytest

from kerasseg import errors, pipeline, records
from kerasseg.workdir import best_model, fingerprint, metadata
from tests.records.test_labeled_lists import LIST, write
from tests.support import tiny


def reader(folder, **options):
    return pipeline.ImageReader(records.open_split(folder, "train", **options))


def list_file(tmp_path, *names):
    path = tmp_path / f"{'_'.join(names)}.txt"
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def test_a_run_does_not_resume_with_another_list(tmp_path):
    folder, run = write(tmp_path / "records", labeled=LIST), tmp_path / "run"
    fingerprint.check(run, [reader(folder)])
    same = list_file(tmp_path, "4", "1")
    fingerprint.check(run, [reader(folder, labeled_list=same)])
    other = reader(folder, labeled_list=list_file(tmp_path, "1", "2"))
    there, here = LIST.checksum[:8], other.split.labeled_checksum[:8]
    with pytest.raises(
        errors.UserError,
        match=rf"another list .*train: checksum {there} there, {here} here.*`labeled_l",
    ):
        fingerprint.check(run, [other])
    without = reader(write(tmp_path / "records"))
    with pytest.raises(errors.UserError, match="there, no list here"):
        fingerprint.check(run, [without])


def test_a_run_without_a_list_does_not_resume_with_one(tmp_path):
    folder, run = write(tmp_path / "records"), tmp_path / "run"
    fingerprint.check(run, [reader(folder)])
    saved = json.loads((run / "records.json").read_text())
    assert sorted(saved["train"]) == ["classes", "fingerprint", "records"]
    listed = reader(folder, labeled_list=list_file(tmp_path, "1"))
    with pytest.raises(errors.UserError, match="checksum no list there, "):
        fingerprint.check(run, [listed])


def test_other_records_are_reported_as_such(tmp_path):
    run = tmp_path / "run"
    fingerprint.check(run, [reader(write(tmp_path / "a", labeled=LIST))])
    smaller = write(tmp_path / "b", labeled=LIST, train=5)
    with pytest.raises(errors.UserError, match="trained on other records"):
        fingerprint.check(run, [reader(smaller)])


def test_the_best_model_has_the_checksum_of_the_list(tmp_path):
    expected = {"labeled_images": 2, "labeled_checksum": LIST.checksum}
    fingerprint.check(tmp_path, [reader(write(tmp_path / "records", labeled=LIST))])
    assert fingerprint.labeled_list(tmp_path) == expected
    values = {"model": "tiny", "num_classes": 3, "options": {}, "step": 1}
    best_model.save_best(tmp_path, tiny.build_model("tiny", 3), values)
    saved = metadata.read_metadata(tmp_path)
    assert saved == {**values, **expected}
    assert metadata.labeled_list(saved) == expected


def test_a_run_with_all_labels_has_no_list(tmp_path):
    assert fingerprint.labeled_list(tmp_path) == {}
    fingerprint.check(tmp_path, [reader(write(tmp_path / "records"))])
    assert fingerprint.labeled_list(tmp_path) == {}
    assert metadata.labeled_list({"model": "tiny"}) == {}
