"""MATLAB files: the same as scipy reads, and damage is always an error."""

import io

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays
from scipy import io as scipy_io

from kerasseg import images
from tfrecords_tools.converters import mat_files


def saved(compress=True, **variables):
    file = io.BytesIO()
    scipy_io.savemat(file, variables, do_compression=compress)
    return file.getvalue()


DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


@hypothesis.given(
    strategies.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(
            dtype, arrays.array_shapes(min_dims=2, max_dims=3, max_side=5)
        )
    ),
    strategies.booleans(),
)
def test_arrays_are_read_unchanged(array, compress):
    data = saved(compress, first=1.5, x=array)
    found = mat_files.read_variable(data, "x", "a.mat")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_numbers_stored_in_a_smaller_type_are_converted():
    # scipy and MATLAB store doubles unchanged; MATLAB may also store them as bytes.
    data = bytearray(saved(compress=False, x=np.array([[1.0, 2.0]])))
    start = data.index(np.array([1.0, 2.0]).tobytes())
    data[start - 8 : start + 16] = b"\x02\x00\x02\x00\x01\x02\x00\x00"  # Two uint8.
    length = int.from_bytes(data[132:136], "little") - 16
    data[132:136] = length.to_bytes(4, "little")
    found = mat_files.read_variable(bytes(data), "x", "a.mat")
    assert found.dtype == np.float64 and found.tolist() == [[1.0, 2.0]]


def test_cells_structs_and_strings_are_lists_dicts_and_strings():
    cell = np.empty((1, 3), object)
    cell[0] = ["über", np.array([[3]], np.uint8), np.array([], object)]
    data = saved(x=cell, y={"name": "a", "size": 2.0})
    text, number, empty = mat_files.read_variable(data, "x", "a.mat")
    assert (text, number.tolist(), empty) == ("über", [[3]], [])
    (struct,) = mat_files.read_variable(data, "y", "a.mat")
    assert struct["name"] == "a" and struct["size"].tolist() == [[2.0]]


def test_big_endian_files_are_read():
    data = bytearray(saved(compress=False, x=np.array([[7]], np.uint8)))
    # Reverses every 4-byte word of this file, except for its text and its data.
    for i in range(128, len(data), 4):
        data[i : i + 4] = data[i : i + 4][::-1]
    data[124:128] = b"\x01\x00MI"
    position = data.index(b"\x00\x00\x00x")
    data[position : position + 4] = b"x\x00\x00\x00"
    position = data.rindex(b"\x00\x00\x00\x07")
    data[position : position + 4] = b"\x07\x00\x00\x00"
    assert mat_files.read_variable(bytes(data), "x", "a.mat").tolist() == [[7]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "its header is damaged"),
        (b"<html>" + bytes(200), "its header is damaged"),
        (b"MATLAB 7.3 MAT-file" + bytes(200), "it has version 7.3, expected"),
        (saved(y=1), "it holds y, expected x"),
        (saved()[:128], "it holds nothing, expected x"),
        (saved(x=1)[:-1], "an element has"),
        (saved(False, x=1)[:-8], "an element has"),
    ],
)
def test_other_files_are_refused(data, reason):
    with pytest.raises(images.ImageError, match=r"a\.mat cannot be .* again") as caught:
        mat_files.read_variable(data, "x", "a.mat")
    assert reason in str(caught.value)


def test_a_variable_that_would_fill_the_memory_is_refused(monkeypatch):
    data = saved(x=np.zeros((1000, 1000)))
    assert len(data) < 20_000
    monkeypatch.setattr(mat_files, "_MAX_BYTES", 1 << 20)
    with pytest.raises(
        images.ImageError, match="truncated, or larger than 1,048,576 bytes"
    ):
        mat_files.read_variable(data, "x", "a.mat")


def test_bytes_are_counted_after_the_conversion(monkeypatch):
    # 100 uint8 stored for 100 doubles, which take 800 bytes.
    data = bytearray(saved(compress=False, x=np.zeros((10, 10), np.uint8)))
    data[144] = 6  # The class: double instead of uint8.
    assert mat_files.read_variable(bytes(data), "x", "a.mat").dtype == np.float64
    monkeypatch.setattr(mat_files, "_MAX_ARRAY", 799)
    with pytest.raises(images.ImageError, match="an array of 800 bytes is larger than"):
        mat_files.read_variable(bytes(data), "x", "a.mat")


WHOLE = {
    compress: saved(
        compress,
        y={"a": np.arange(6).reshape(2, 3), "b": np.array(["x", "yz"], object)},
        x=np.eye(3),
    )
    for compress in (False, True)
}


@hypothesis.settings(max_examples=300)
@hypothesis.given(
    strategies.booleans(),
    strategies.lists(
        strategies.tuples(strategies.integers(0, 900), strategies.integers(0, 255)),
        min_size=1,
        max_size=4,
    ),
    strategies.integers(0, 900),
)
def test_damage_is_an_error_or_other_numbers(compress, changes, num_cut):
    data = bytearray(WHOLE[compress])
    for position, value in changes:
        data[position % len(data)] = value
    data = bytes(data[: len(data) - num_cut % len(data)])
    for variable in ("x", "y"):
        try:
            mat_files.read_variable(data, variable, "a.mat")
        except images.ImageError:
            continue
