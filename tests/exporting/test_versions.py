"""Versions of an export: numbered folders, published atomically."""

import os
import pathlib
import time

import pytest

from kerasseg.exporting import versions


def publish(folder, version=None):
    versions.check_version(folder, version)
    with versions.temporary_folder(folder) as temporary:
        pathlib.Path(temporary, "file").write_text("x")
        return versions.publish(temporary, folder, version)


def test_versions_count_up_from_the_largest(tmp_path):
    folder = tmp_path / "new" / "folder"
    assert publish(folder) == str(folder / "1")
    assert publish(folder, "9") == str(folder / "9")
    (folder / "100.old").mkdir()
    (folder / "note 300").touch()
    assert publish(folder) == str(folder / "10")
    names = ["1", "10", "100.old", "9", "note 300"]
    assert sorted(os.listdir(folder)) == names  # No temporary folder is left.
    assert (folder / "10" / "file").read_text() == "x"


@pytest.mark.parametrize("name", ["3", "0003"])
def test_an_existing_version_is_not_changed(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(
        FileExistsError, match=r"Version 3 exists in .*, such as 4, or leave"
    ):
        publish(tmp_path, 3)
    assert os.listdir(tmp_path) == [name]
    assert os.listdir(tmp_path / name) == []


@pytest.mark.parametrize(
    "version", ["new", "1.5", "-1", "0", "", "01", "1/2", "9" * 19]
)
def test_a_version_is_a_whole_number(tmp_path, version):
    with pytest.raises(
        ValueError, match=r"expected a whole number above 0\. Choose for"
    ):
        publish(tmp_path / "out", version)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_writable_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(
            PermissionError, match=r"is not writable .* not a writable folder"
        ):
            publish(folder)
    monkeypatch.setattr(os, "access", lambda *_: False)  # Root may write anywhere.
    with pytest.raises(
        PermissionError, match=r"is not writable .* not a writable folder"
    ):
        publish(tmp_path / "out")
    assert os.listdir(tmp_path) == ["file"]


def test_a_failing_disk_is_an_error(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", fail)
    with pytest.raises(PermissionError, match="Read-only file system"):
        publish(tmp_path)


def test_two_exports_at_once_take_two_numbers(tmp_path):
    with versions.temporary_folder(tmp_path) as temporary:
        (tmp_path / "1").mkdir()  # Another export was faster.
        (tmp_path / "1" / "file").touch()
        assert versions.publish(temporary, tmp_path) == str(tmp_path / "2")
    with versions.temporary_folder(tmp_path) as temporary:
        (tmp_path / "7").mkdir()
        (tmp_path / "7" / "file").touch()
        with pytest.raises(FileExistsError, match="Version 7 exists in"):
            versions.publish(temporary, tmp_path, 7)
    assert sorted(os.listdir(tmp_path)) == ["1", "2", "7"]


def test_exports_of_two_machines_may_have_one_process_number(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)  # As in containers.
    with versions.temporary_folder(tmp_path) as temporary:
        pathlib.Path(temporary, "file").write_text("x")
        with versions.temporary_folder(tmp_path):
            pass
        assert os.listdir(temporary) == ["file"]


@pytest.mark.parametrize("name", ["out", "[1] out*"])
def test_a_version_without_a_saved_model_is_not_mixed_with_others(tmp_path, name):
    (tmp_path / name / "1").mkdir(parents=True)
    (tmp_path / name / "1" / "saved_model.pb").touch()
    with pytest.raises(ValueError, match="holds versions with a SavedModel"):
        versions.check_version(tmp_path / name, with_saved_model=False)


def test_a_number_taken_at_the_last_moment_is_not_overwritten(tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "file").touch()
    next_numbers = iter([1, 2])
    monkeypatch.setattr(versions, "_next", lambda _: next(next_numbers))
    assert publish(tmp_path) == str(tmp_path / "2")


def test_folders_of_killed_exports_are_removed_after_a_day(tmp_path):
    # An export with a CRF may run for hours.
    for name, age in ((".tmp-1", 100_000), (".tmp-2", 80_000), ("kept", 100_000)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    publish(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".tmp-2", "1", "kept"]


def test_an_error_removes_the_temporary_folder(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        versions.temporary_folder(tmp_path) as temporary,
    ):
        assert os.path.isdir(temporary)
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []
