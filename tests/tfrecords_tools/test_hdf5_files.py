"""HDF5 files that refer to other files, or say sizes that are not theirs."""

import os

import h5py
import numpy as np
import pytest

from kerasseg import images
from tfrecords_tools.converters import hdf5_files

SECRET = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)


@pytest.fixture
def secret(tmp_path):
    """Another file of this machine, whose content must not become labels."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = SECRET
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    return tmp_path


def external_storage(file, folder):
    storage = [(str(folder / "secret.bin"), 0, 12)]
    file.create_dataset("labels", (1, 3, 4), "u1", external=storage)


def external_link(file, folder):
    file["labels"] = h5py.ExternalLink(str(folder / "secret.h5"), "x")


def linked_group(file, folder):
    file["group"] = h5py.ExternalLink(str(folder / "secret.h5"), "/")
    file["labels"] = h5py.SoftLink("/group/x")


def virtual(file, folder):
    layout = h5py.VirtualLayout((1, 3, 4), "u1")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "x", (1, 3, 4))
    file.create_virtual_dataset("labels", layout)


def references(make):
    def write(file, folder):
        make(file, folder)
        file.move("labels", "hidden")
        array = np.array([[file["hidden"].ref]], h5py.ref_dtype)
        file.create_dataset("labels", data=array)

    write.__name__ = f"references_to_{make.__name__}"
    return write


def huge(file, _):
    file.create_dataset("labels", (1, 1 << 20, 1 << 20), "u1", chunks=(1, 9, 9))


def huge_chunk(file, _):
    chunks = (1 << 20, 1 << 9, 1)
    file.create_dataset("labels", chunks, "u1", chunks=chunks, compression="gzip")


def text(file, _):
    file.create_dataset("labels", data=["x"], dtype=h5py.string_dtype())


def group(file, _):
    file.create_group("labels")


WRITERS = {
    external_storage: "its values lie in other files",
    external_link: "labels is a link, expected data in this file",
    linked_group: "labels is a link",
    virtual: "its values lie in other files",
    references(external_storage): "its values lie in other files",
    references(virtual): "its values lie in other files",
    huge: "takes 1,099,511,627,776 bytes",
    huge_chunk: "takes 536,870,912 bytes",
    text: "its values are object, expected numbers",
    group: "it is a Group, expected an array",
}


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_files_that_refer_to_others_or_are_huge_are_refused(secret, write):
    path = secret / "a.mat"
    with h5py.File(path, "w") as file:
        write(file, secret)
    with pytest.raises(images.ImageError, match=WRITERS[write]) as caught:
        hdf5_files.read_part(str(path), "labels", 0)
    assert "a.mat: labels, number 1, cannot be read" in str(caught.value)


@pytest.mark.parametrize("make", [None, references], ids=["array", "references"])
def test_arrays_of_the_file_itself_are_read(tmp_path, make):
    def plain(file, _):
        file["labels"] = SECRET

    with h5py.File(tmp_path / "a.mat", "w") as file:
        (make(plain) if make else plain)(file, tmp_path)
    found = hdf5_files.read_part(str(tmp_path / "a.mat"), "labels", 0)
    np.testing.assert_array_equal(found, SECRET if make else SECRET[0])


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.mat")
    with pytest.raises(images.ImageError, match="is a named pipe"):
        hdf5_files.read_part(str(tmp_path / "a.mat"), "labels", 0)
