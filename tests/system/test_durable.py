"""Files are written as a whole or not at all."""

import os
import socket

import hypothesis
import pytest
from hypothesis import strategies

from kerasseg import errors
from kerasseg.system import files


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_bytes(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


# Up to 255 bytes in a file name; "é" has two, and a surrogate stands for one raw byte.
NAMES = strategies.text(
    strategies.sampled_from("aé \n'\udce9.#"), min_size=1, max_size=255
).filter(lambda name: len(os.fsencode(name)) <= 255 and name.strip(".") != "")


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(NAMES)
@hypothesis.example("a" * 249)
@hypothesis.example("é" * 127)
@hypothesis.example("\udce9" * 255)
def test_any_name_that_a_file_may_have_can_be_written(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    files.write_bytes(folder / name, b"data")
    assert os.listdir(folder) == [name]
    assert files.read_bytes(folder / name) == b"data"


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name, kind in {
        "pipe": "a named pipe",
        "zero": "a device",
        "folder": "a folder",
    }.items():
        for read in (files.read_bytes, files.read_text, files.read_json):
            with pytest.raises(
                errors.UserError, match=f"{name}' is {kind}, expected a regular file"
            ):
                read(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(OSError, match="No such device"):
            files.read_bytes(tmp_path / "s")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").write_bytes(b"data")
    assert files.read_bytes(tmp_path / "link") == b"data"


@pytest.mark.parametrize("text", ["[" * 200_000, "9" * 5000, "{", "NaN,"])
def test_json_that_cannot_be_read_is_an_error_of_its_file(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(errors.UserError, match=r"a\.json is not a JSON file"):
        files.read_json(tmp_path / "a.json")
