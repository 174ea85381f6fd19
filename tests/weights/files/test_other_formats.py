"""safetensors, indices of several files, TensorFlow checkpoints and Keras files."""

import json
import os
import struct

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import errors
from kerasseg.weights import files as weight_files
from kerasseg.weights.files import keras_file
from tests.support import torch_format

KERNEL = np.arange(6, dtype="f4").reshape(2, 3)


def safetensors_bytes(tensors, metadata=None):
    """Returns a file of tensors: dtype, shape and bytes by name."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        span = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": span}
        data += content
    if metadata:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def one(value, name="a"):
    """Returns a safetensors file of one float32 array."""
    return safetensors_bytes({name: ("F32", list(value.shape), value.tobytes())})


TYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2"}
TYPES |= {"I8": "i1", "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?"}


def test_safetensors_of_each_type_are_exact(tmp_path):
    pytest.importorskip("safetensors")
    values = {name: np.array([[0, 1, 100]], dtype) for name, dtype in TYPES.items()}
    tensors = {name: (name, [1, 3], v.tobytes()) for name, v in values.items()}
    # The upper half of float32: 1 is 0x3F80, -2.5 is 0xC020.
    tensors["bf16"] = ("BF16", [2], np.array([0x3F80, 0xC020], "<u2").tobytes())
    tensors["scalar"] = ("F32", [], struct.pack("<f", 7))
    path = write(tmp_path / "a", safetensors_bytes(tensors, {"format": "pt"}))
    found = weight_files.read(path)
    assert set(found) == set(tensors) and found.file_format == "safetensors"
    for name, expected in values.items():
        assert found[name].dtype == expected.dtype and found[name].flags.writeable
        np.testing.assert_array_equal(found[name], expected)
    assert found["bf16"].dtype == "f4" and found["bf16"].tolist() == [1, -2.5]
    assert found["scalar"].shape == () and found["scalar"] == 7


@pytest.mark.parametrize(
    "content, message",
    [
        (safetensors_bytes({"a": ("F8_E4M3", [1], b"1")}), "'a' has the type F8_E4M3"),
        (one(KERNEL)[:-1], "truncated or damaged .safetensors"),
        (one(KERNEL) + b"x", "truncated or damaged .safetensors"),
        (
            safetensors_bytes({"a": ("F32", [1 << 40], b"1234")}),
            "truncated or damaged .safetensors",
        ),
        (struct.pack("<Q", 1 << 62) + b"{}", "truncated or damaged .safetensors"),
    ],
)
def test_damaged_safetensors_are_an_error(tmp_path, content, message):
    pytest.importorskip("safetensors")
    with pytest.raises(errors.UserError, match=message):
        weight_files.read(write(tmp_path / "a", content))


def test_missing_safetensors_name_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(errors.MissingPackageError, match=r"kerasseg\[weights\]"):
        weight_files.read(write(tmp_path / "a", one(KERNEL)))


@pytest.fixture
def sharded(tmp_path):
    """A folder of two PyTorch files and their index."""
    for i, name in enumerate(("b", "a")):
        tree = {name: torch_format.tensor(KERNEL + i)}
        torch_format.write_zip(tmp_path / f"part{i}.bin", tree)
    weight_map = {"a": "part1.bin", "b": "part0.bin"}
    write_index(tmp_path, weight_map)
    return tmp_path


def write_index(folder, weight_map):
    text = json.dumps({"metadata": {}, "weight_map": weight_map})
    return write(folder / "pytorch_model.bin.index.json", text)


def test_the_files_of_an_index_are_read_from_its_folder(sharded):
    found = weight_files.read(sharded)
    assert list(found) == ["a", "b"]
    assert found.file_format == "PyTorch (zip), 2 files"
    np.testing.assert_array_equal(found["a"], KERNEL + 1)
    index = sharded / "pytorch_model.bin.index.json"
    np.testing.assert_array_equal(weight_files.read(index)["b"], KERNEL)


def test_safetensors_are_preferred_to_pytorch_files(sharded):
    pytest.importorskip("safetensors")
    write(sharded / "model.safetensors", one(KERNEL, "c"))
    assert list(weight_files.read(sharded)) == ["c"]
    write(sharded / "other.safetensors", one(KERNEL, "d"))
    with pytest.raises(errors.UserError, match=r"has 2 files .* Give the path of one"):
        weight_files.read(sharded)


@pytest.mark.parametrize(
    "weight_map, message",
    [
        ({"a": "part1.bin", "b": "part9.bin"}, "1 of its 2 files are missing .*part9"),
        (
            {"a": "part1.bin"} | {"c": "part0.bin"},
            "not have the arrays that are listed",
        ),
        ({"a": "../part1.bin"}, "expected a plain file name"),
        ({"a": 3}, "expected text"),
        ({}, "lists no arrays"),
        ([], "expected an object"),
        ({"a": "pytorch_model.bin.index.json"}, "listed in an index, and is no"),
    ],
)
def test_a_wrong_index_is_an_error(sharded, weight_map, message):
    with pytest.raises(errors.UserError, match=message):
        weight_files.read(write_index(sharded, weight_map))


@pytest.mark.parametrize("text", ["{", '{"error": "x"}', '{"a":' * 9000])
def test_json_without_weights_is_an_error(tmp_path, text):
    with pytest.raises(errors.UserError, match=r"damaged .JSON|without a .weight_map."):
        weight_files.read(write(tmp_path / "index.json", text))


def save_v1(prefix, **variables):
    """Writes variables as the Saver of TensorFlow 1 does."""
    names = list(variables)
    tf.raw_ops.SaveV2(
        prefix=os.fspath(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=list(variables.values()),
    )


def test_a_checkpoint_is_read_by_prefix_index_or_folder(tmp_path):
    values = [0.0, 1.5]
    save_v1(
        tmp_path / "model.ckpt-7",
        kernel=tf.constant(KERNEL),
        half=tf.constant(values, tf.bfloat16),
        step=tf.constant(7, tf.int64),
        text=tf.constant("x"),
    )
    state = 'model_checkpoint_path: "/of/another/machine/model.ckpt-7"\n'
    write(tmp_path / "checkpoint", state)
    paths = tmp_path, tmp_path / "model.ckpt-7", tmp_path / "model.ckpt-7.index"
    for path in paths:
        found = weight_files.read(path)
        assert list(found) == ["half", "kernel", "step"]
        assert found.left_out == ("text",)
        np.testing.assert_array_equal(found["kernel"], KERNEL)
        assert found["half"].dtype == "f4" and found["half"].tolist() == values
        assert found["step"] == 7 and found["step"].dtype == "i8"
    save_v1(tmp_path / "model.ckpt-8", kernel=tf.constant(KERNEL + 1))
    np.testing.assert_array_equal(weight_files.read(tmp_path)["kernel"], KERNEL)
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(errors.UserError, match=r"2 checkpoints. Give the path of one"):
        weight_files.read(tmp_path)


def test_a_checkpoint_of_tensorflow_2_is_read(tmp_path):
    path = tf.train.Checkpoint(a=tf.Variable(KERNEL)).write(os.fspath(tmp_path / "c"))
    found = weight_files.read(path)
    np.testing.assert_array_equal(found["a/.ATTRIBUTES/VARIABLE_VALUE"], KERNEL)
    assert found.left_out == ("_CHECKPOINTABLE_OBJECT_GRAPH",)


def test_a_damaged_checkpoint_is_an_error(tmp_path):
    save_v1(tmp_path / "c", kernel=tf.constant(KERNEL))
    index = tmp_path / "c.index"
    content = index.read_bytes()
    for i in range(0, len(content) - 8, 5):
        index.write_bytes(content[:i] + bytes([content[i] ^ 16]) + content[i + 1 :])
        try:
            found = weight_files.read(index)
        except errors.UserError as error:
            assert "truncated or damaged" in str(error)
        else:  # Of no effect, such as in padding.
            np.testing.assert_array_equal(found["kernel"], KERNEL)
    index.write_bytes(content)
    (tmp_path / "c.data-00000-of-00001").write_bytes(b"short")
    with pytest.raises(errors.UserError, match=r"truncated or damaged .checkpoint"):
        weight_files.read(tmp_path / "c")


def network():
    image = keras.Input((4,))
    x = keras.layers.Dense(3, name="one")(image)
    model = keras.Model(image, keras.layers.Dense(2, name="two", dtype="bfloat16")(x))
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def test_files_of_keras_are_read_by_path(tmp_path):
    model = network()
    model.save(tmp_path / "model.keras")
    preset = tmp_path / "preset"
    preset.mkdir()
    model.save_weights(preset / keras_file.WEIGHTS)
    write(preset / "config.json", "{}")
    for path in (tmp_path / "model.keras", preset, preset / keras_file.WEIGHTS):
        found = weight_files.read(path)
        assert len(found) == 4 and found.left_out == ("optimizer/",)
        kernel = model.get_layer("one").kernel.numpy()
        np.testing.assert_array_equal(found["layers/dense/vars/0"], kernel)
        half = keras.ops.convert_to_numpy(model.get_layer("two").kernel)
        assert found["layers/dense_1/vars/0"].dtype == "f4"
        np.testing.assert_array_equal(found["layers/dense_1/vars/0"], half.astype("f4"))


def test_a_whole_model_of_keras_2_has_its_weights_in_a_group(tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["model_weights/conv/conv/kernel:0"] = KERNEL
        file["optimizer_weights/adam/m:0"] = KERNEL
        file["model_weights/names"] = "text"
    found = weight_files.read(tmp_path / "model.h5")
    assert list(found) == ["conv/conv/kernel:0"]
    assert found.key == "model_weights"
    assert found.left_out == ("names", "optimizer_weights/")


def test_hdf5_files_reach_no_other_file_and_stay_small(tmp_path):
    write(tmp_path / "secret", b"12345678")
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file["link"] = h5py.ExternalLink(os.fspath(tmp_path / "secret"), "/")
    with pytest.raises(errors.UserError, match="without arrays of numbers"):
        weight_files.read(path)
    secret = [(os.fspath(tmp_path / "secret"), 0, 8)]
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (2,), "f4", external=secret)
    with pytest.raises(errors.UserError, match="'a' is empty or stored in another"):
        weight_files.read(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (1 << 31,), "f4", chunks=(1024,))
    with pytest.raises(errors.UserError, match="made to exhaust the memory"):
        weight_files.read(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (4,), "f4", chunks=(1 << 28,), maxshape=(None,))
    with pytest.raises(errors.UserError, match="made to exhaust the memory"):
        weight_files.read(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=KERNEL, compression="gzip")
    with pytest.raises(errors.UserError, match=r"'a' is compressed. Run `h5repack"):
        weight_files.read(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(errors.UserError, match=r"truncated or damaged .HDF5"):
        weight_files.read(path)


def test_a_folder_without_weights_is_an_error(tmp_path):
    with pytest.raises(errors.UserError, match="the folder has no weights"):
        weight_files.read(tmp_path)
    write(tmp_path / "saved_model.pb", b"x")
    with pytest.raises(errors.UserError, match=r"a SavedModel.*variables/variables"):
        weight_files.read(tmp_path)
