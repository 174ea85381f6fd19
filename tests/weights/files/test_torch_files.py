"""Files of torch.save: values, dtypes, views, and which dictionary is read."""

import argparse
import collections
import pathlib
import pickle
import zipfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from kerasseg import errors
from kerasseg.weights import files as weight_files
from kerasseg.weights.files import state_dict
from tests.support import torch_format

WRITERS = (torch_format.write_zip, torch_format.write_legacy)
KERNEL = np.arange(24, dtype="f4").reshape(2, 3, 4)


def read(tree, folder, write=torch_format.write_zip, **options):
    """Writes a file in a folder and reads it."""
    return weight_files.read(write(folder / "weights.pth", tree, **options))


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("dtype", torch_format.KINDS)
def test_values_of_each_dtype_are_exact(folder, write, dtype):
    values = np.array([[0, 1, 3], [100, 2, 1]]).astype(dtype)
    tree = collections.OrderedDict(b=torch_format.tensor(values, "1"))
    tree["a"] = torch_format.tensor(np.array(5).astype(dtype), "2")
    found = read(tree, folder, write)
    assert list(found) == ["b", "a"]
    assert found["b"].dtype == dtype and found["b"].flags.writeable
    np.testing.assert_array_equal(found["b"], values)
    assert found["a"].shape == () and found["a"] == np.array(5).astype(dtype)


@pytest.mark.parametrize("write", WRITERS)
def test_bfloat16_becomes_float32(folder, write):
    # The upper half of float32: 1 is 0x3F80, -2.5 is 0xC020, 0x0001 is 2 ** -133.
    bits = np.array([0x3F80, 0xC020, 0x0001], "<u2")
    stored = torch_format.storage(bits, kind="BFloat16Storage")
    tree = {
        "a": torch_format.Tensor(stored, 0, (3,), (1,)),
        "b": torch_format.Tensor(stored, 1, (), ()),
    }
    found = read(tree, folder, write)
    assert found["a"].dtype == found["b"].dtype == "f4"
    assert found["a"].tolist() == [1.0, -2.5, 2.0**-133]
    assert found["b"].shape == () and found["b"] == -2.5


def test_big_endian_bytes_are_converted(folder):
    values = np.array([1.5, -2], ">f4")
    stored = torch_format.storage(values, kind="FloatStorage")
    tree = {"a": torch_format.Tensor(stored, 0, (2,), (1,))}
    found = read(tree, folder, entries=[("byteorder", b"big")])
    assert found["a"].dtype == np.dtype("=f4") and found["a"].tolist() == [1.5, -2]
    with pytest.raises(errors.UserError, match="unknown byte order"):
        read(tree, folder, entries=[("byteorder", b"middle")])


@pytest.mark.parametrize("write", WRITERS)
def test_a_view_is_read_by_its_offset_and_strides(folder, write):
    # Storage 0..5, offset 1: shape (2, 2) and strides (1, 2) are [[1, 3], [2, 4]].
    stored = torch_format.storage(np.arange(6, dtype="f4"))
    tree = {
        "view": torch_format.Tensor(stored, 1, (2, 2), (1, 2)),
        "expanded": torch_format.Tensor(stored, 5, (2, 2), (0, 0)),
        "empty": torch_format.Tensor(stored, 6, (0, 3), (3, 1)),
        "again": torch_format.Tensor(stored, 1, (2, 2), (1, 2)),
    }
    found = read(tree, folder, write)
    assert found["view"].tolist() == [[1, 3], [2, 4]]
    assert found["expanded"].tolist() == [[5, 5], [5, 5]]
    assert found["empty"].shape == (0, 3)
    assert found["again"] is found["view"]  # Tied weights take no more memory.


@pytest.mark.parametrize(
    "view", [(1, (2, 3), (1, 2)), (6, (1,), (1,)), (0, (2,), (6,)), (7, (), ())]
)
@pytest.mark.parametrize("write", WRITERS)
def test_a_view_beyond_its_storage_is_an_error(folder, write, view):
    stored = torch_format.storage(np.arange(6, dtype="f4"))
    with pytest.raises(errors.UserError, match="a tensor exceeds its storage"):
        read({"a": torch_format.Tensor(stored, *view)}, folder, write)


@pytest.mark.parametrize("number", [-1, 1 << 62, 1.0, True, None])
def test_a_size_that_is_no_size_is_an_error(folder, number):
    stored = torch_format.storage(np.arange(6, dtype="f4"))
    for view in ((number, (1,), (1,)), (0, (number,), (1,)), (0, (2,), (number,))):
        with pytest.raises(errors.UserError, match="as a size of a tensor"):
            read({"a": torch_format.Tensor(stored, *view)}, folder)


def test_parameters_and_tensors_of_subclasses_are_arrays(folder):
    value = torch_format.tensor(KERNEL)
    from_type = torch_format.Named("torch._tensor", "_rebuild_from_type_v2")
    rebuild = torch_format.Named("torch._utils", "_rebuild_tensor_v2")
    view = (value.storage, 0, value.shape, value.strides, False, {})
    kind = torch_format.Named("torch.nn.parameter", "Buffer")
    typed = torch_format.Named("torch._utils", "_rebuild_tensor_v3")
    data = np.array([7, 65535], "<u2").tobytes()
    untyped = torch_format.Storage("9", data, "UntypedStorage", len(data))
    view16 = (untyped, 0, (2,), (1,), False, {}, torch_format.Named("torch", "uint16"))
    tree = {
        "a": torch_format.parameter(value),
        "b": torch_format.Call(from_type, (rebuild, kind, view, {"tag": 1})),
        "c": torch_format.Call(typed, view16),
    }
    for write in WRITERS:
        found = read(tree, folder, write)
        np.testing.assert_array_equal(found["a"], KERNEL)
        np.testing.assert_array_equal(found["b"], KERNEL)
        assert found["c"].dtype == "u2" and found["c"].tolist() == [7, 65535]


def test_the_metadata_of_a_state_dict_are_ignored(folder):
    function = torch_format.Named("collections", "OrderedDict")
    pairs = [["a", torch_format.tensor(KERNEL)]]  # As Python 2 writes them.
    state = {"_metadata": {"": {"version": 1}}}
    found = read(torch_format.Call(function, (pairs,), state), folder)
    assert list(found) == ["a"] and found.left_out == ()


WEIGHTS = {"conv.weight": torch_format.tensor(KERNEL)}
SETTINGS = argparse.Namespace(lr=0.1, folder=pathlib.PurePosixPath("a/b"))
SCALAR = torch_format.tensor(np.float32(0.5), "9")
OBJECT = torch_format.Call(torch_format.Named("mmengine.history", "Buffer"), (), {1: 2})


@pytest.mark.parametrize(
    "tree, key, left_out",
    [
        (WEIGHTS, "", ()),
        ({**WEIGHTS, "note": "x", 7: None}, "", ("note", "7")),
        (
            {"state_dict": WEIGHTS, "meta": {"CLASSES": ("a",), "hub": OBJECT}},
            "state_dict",
            ("meta",),
        ),
        (
            {"epoch": 3, "best": SCALAR, "optimizer": {"state": {}}, "model": WEIGHTS},
            "model",
            ("epoch", "best", "optimizer"),
        ),
        ({"args": SETTINGS, "net": WEIGHTS}, "net", ("args",)),
        ({"model": {"state_dict": WEIGHTS}, "x": 1}, "model.state_dict", ("x",)),
        (
            {"ema": {"w": torch_format.tensor(KERNEL, "5")}, "model": WEIGHTS},
            "model",
            ("ema",),
        ),
        ({"model_ema": WEIGHTS, "best": SCALAR}, "model_ema", ("best",)),
        ({"generator": WEIGHTS, "epoch": 1}, "generator", ("epoch",)),
        ({"model": OBJECT, "model_state": WEIGHTS}, "model_state", ("model",)),
    ],
)
@pytest.mark.parametrize("write", WRITERS)
def test_the_state_dict_of_a_checkpoint_is_read(folder, write, tree, key, left_out):
    found = read(tree, folder, write)
    assert list(found) == ["conv.weight"]
    np.testing.assert_array_equal(found["conv.weight"], KERNEL)
    assert (found.key, found.left_out) == (key, left_out)


def test_keys_are_searched_in_their_order(folder):
    keys = [*state_dict.KEYS, *state_dict.EMA_KEYS]
    for i, key in enumerate(keys):
        tree = {k: WEIGHTS.copy() for k in reversed(keys[i:])}
        assert read(tree, folder).key == key


def test_prefixes_of_wrappers_are_removed_from_all_names_or_none(folder):
    a, b = torch_format.tensor(KERNEL, "0"), torch_format.tensor(KERNEL, "1")
    found = read({"module._orig_mod.a.b": a, "module._orig_mod.c": b}, folder)
    assert list(found) == ["a.b", "c"] and found.prefix == "module._orig_mod."
    found = read({"module.a": a, "head.c": b}, folder)
    assert list(found) == ["module.a", "head.c"] and found.prefix == ""


MODEL = torch_format.Call(torch_format.Named("segmentation.nets", "UNet"), (), {"a": 1})


@pytest.mark.parametrize(
    "tree, message",
    [
        (MODEL, r"a pickled object \(segmentation.nets.UNet\), not weights by name"),
        ({"model": MODEL, "epoch": 1}, r"object \(segmentation.nets.UNet\)"),
        (torch_format.tensor(KERNEL), "holds a Tensor, expected a state dict"),
        ([torch_format.tensor(KERNEL)], "holds a list, expected a state dict"),
        ({"encoder": WEIGHTS, "decoder": WEIGHTS}, "keys are 'encoder', 'decoder'"),
        ({}, "cannot be identified; its keys are none"),
        (
            {
                **WEIGHTS,
                "q": torch_format.Call(
                    torch_format.Named("torch._utils", "_rebuild_qtensor")
                ),
            },
            "'q' is a tensor made by torch._utils._rebuild_qtensor, such as a quant",
        ),
        (
            {
                "c": torch_format.Tensor(
                    torch_format.storage([1.0], kind="ComplexFloatStorage"),
                    0,
                    (1,),
                    (1,),
                )
            },
            "tensors of 'ComplexFloatStorage'.*convert them with PyTorch",
        ),
    ],
)
@pytest.mark.parametrize("write", WRITERS)
def test_what_is_no_state_dict_is_an_error(folder, write, tree, message):
    with pytest.raises(errors.UserError, match=message):
        read(tree, folder, write)


def test_an_archive_may_be_compressed(folder):
    tree = {"a": torch_format.tensor(np.ones(1000, "f4"))}
    found = read(tree, folder, method=zipfile.ZIP_DEFLATED)
    assert found["a"].sum() == 1000
    with pytest.raises(errors.UserError, match="compressed by a method that is not"):
        read(tree, folder, method=zipfile.ZIP_LZMA)


def test_views_of_storages_of_the_first_versions_are_refused(folder):
    with pytest.raises(errors.UserError, match=r"PyTorch before 0\.4 wrote them"):
        read({"a": torch_format.tensor(KERNEL)}, folder, view=(("k", 0, 3),))


def test_a_pickle_of_another_program_is_an_error(folder):
    path = folder / "weights.pkl"
    path.write_bytes(pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(errors.UserError, match="a pickle, but not one of torch"):
        weight_files.read(path)
    torch_format.write_legacy(path, {}, magic=1)
    with pytest.raises(errors.UserError, match="a pickle, but not one of torch"):
        weight_files.read(path)


@st.composite
def _trees(draw):
    """Draws arrays, and tensors that are views of them."""
    arrays, tensors = {}, {}
    for i in range(draw(st.integers(1, 4))):
        dtype = draw(st.sampled_from(sorted(torch_format.KINDS)))
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        base = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
        whole = base.transpose(draw(st.permutations(range(base.ndim))))
        starts = [draw(st.integers(0, side)) for side in whole.shape]
        step = draw(st.integers(1, 3))
        view = whole[(..., *(slice(start, None, step) for start in starts))]
        offset = int(np.dot(starts, whole.strides)) if view.size else 0
        strides = tuple(step // base.itemsize for step in view.strides)
        stored = torch_format.storage(base.ravel(), str(i))
        arrays[f"t{i}"] = view
        tensors[f"t{i}"] = torch_format.Tensor(
            stored, offset // base.itemsize, view.shape, strides
        )
    return arrays, tensors


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(_trees(), st.sampled_from(WRITERS), st.integers(2, 5))
def test_any_views_are_read_as_written(tmp_path_factory, trees, write, protocol):
    expected, tensors = trees
    folder = tmp_path_factory.mktemp("views")
    found = read({"state_dict": tensors}, folder, write, protocol=protocol)
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)
