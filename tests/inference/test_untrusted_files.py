"""Untrusted model files: no code in them runs, and none exhausts the memory."""

import json
import os
import pathlib
import pickle
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

import kerasseg
from kerasseg.workdir import best_model
from tests.support import levels


def lambda_model(function):
    image = keras.Input((None, None, 3))
    return keras.Model(image, layers.Conv2D(3, 1)(layers.Lambda(function)(image)))


def test_python_code_in_a_file_runs_only_with_trust(tmp_path):
    path = tmp_path / "model.keras"
    lambda_model(lambda x: x + 1).save(path)
    with pytest.raises(
        ValueError, match=r"contains Python code.*Lambda.* trust=True\)"
    ):
        best_model.load_file(path)
    with pytest.raises(ValueError, match=r"trust its author.* kerasseg\.load\(path, t"):
        kerasseg.load(path)
    segmenter = kerasseg.load(path, trust=True)
    assert segmenter.predict(np.zeros((2, 3, 3), np.uint8)).shape == (2, 3)


def test_hdf5_files_are_not_read(tmp_path):
    path = tmp_path / "model.h5"
    lambda_model(lambda x: x + 1).save(path)
    with pytest.raises(
        ValueError, match=r"not a \.keras file.*such as \.h5 and pickles"
    ):
        kerasseg.load(path)


class Payload:
    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (self._path,)


@pytest.mark.parametrize("name", ["model.keras", "model.pkl"])
def test_pickles_are_not_read(tmp_path, name):
    path, ran = tmp_path / name, tmp_path / "ran"
    path.write_bytes(pickle.dumps(Payload(str(ran))))
    with pytest.raises(
        ValueError, match=r"not a \.keras file.*such as \.h5 and pickles"
    ):
        kerasseg.load(path)
    assert not ran.exists()
    pickle.loads(path.read_bytes())  # It would have run.
    assert ran.exists()


def test_a_zip_bomb_is_an_error_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    levels.build_model().save(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(50_000_000))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(keras.models, "load_model", None)
    with pytest.raises(ValueError, match=r"would expand to 50,\d\d\d,\d\d\d bytes"):
        kerasseg.load(path)


def test_a_member_is_no_larger_than_the_file(tmp_path):
    path = tmp_path / "claims.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}")
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\1\2") + 23] |= 0x40  # A compressed size of 1 GiB.
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"would expand to 1,07\d,"):
        kerasseg.load(path)


def test_a_file_may_be_compressed(tmp_path):
    plain, packed = tmp_path / "plain.keras", tmp_path / "packed.keras"
    levels.build_model().save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name), zipfile.ZIP_DEFLATED)
    mask = kerasseg.load(packed).predict(levels.IMAGE)
    assert mask.tolist() == levels.CLASSES
    assert pathlib.Path(packed).stat().st_size < plain.stat().st_size


def rewritten(path, target, **changes):
    """Copies a .keras file with entries of its JSON files replaced."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            data = source.read(name)
            if name in changes:
                data = changes[name](data)
            copy.writestr(name, data)
    return target


def of_version(version):
    return lambda data: json.dumps({**json.loads(data), "keras_version": version})


def with_unknown_layer(data):
    return data.replace(b'"Conv2D"', b'"Conv2DOfTheFuture"')


@pytest.mark.parametrize("version", ["2.13.1", "3.99.0"])
def test_a_file_of_another_keras_version_names_both(tmp_path, version):
    path = tmp_path / "model.keras"
    levels.build_model().save(path)
    changes = {"metadata.json": of_version(version), "config.json": with_unknown_layer}
    changed = rewritten(path, tmp_path / "changed.keras", **changes)
    with pytest.raises(
        ValueError, match=f"was saved by Keras {version}, and Keras "
    ) as e:
        kerasseg.load(changed)
    assert keras.__version__ in str(e.value)
    assert "damaged" not in str(e.value)
    # Another version that can be read is read.
    kept = {"metadata.json": of_version(version)}
    loaded = kerasseg.load(rewritten(path, tmp_path / "kept.keras", **kept))
    assert loaded.predict(levels.IMAGE).tolist() == levels.CLASSES


def test_a_damaged_file_of_another_version_is_damaged(tmp_path):
    path = tmp_path / "model.keras"
    levels.build_model().save(path)
    changes = {"metadata.json": of_version("2.13.1")}
    changed = rewritten(path, tmp_path / "changed.keras", **changes)
    data = bytearray(changed.read_bytes())
    at = data.index(b"config.json") + 40
    data[at] ^= 1
    changed.write_bytes(data)
    with pytest.raises(ValueError, match=r"is damaged or not a \.keras file"):
        kerasseg.load(changed)


@pytest.mark.parametrize("name", ["metadata.json", "config.json"])
def test_a_file_without_a_part_says_which(tmp_path, name):
    path = tmp_path / "other.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for each in {"metadata.json", "config.json", "model.weights.h5"} - {name}:
            archive.writestr(each, "{}")
    with pytest.raises(ValueError, match=f"is not a .keras file: it lacks {name}"):
        kerasseg.load(path)


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="is a named pipe, expected a regular file"):
        best_model.load_file(tmp_path / "model.keras")
    export = tmp_path / "export" / "1"
    (export / "assets").mkdir(parents=True)
    os.mkfifo(export / "saved_model.pb")
    (export / "assets/classes.json").write_text('{"class_names": [], "palette": []}')
    with pytest.raises(ValueError, match="is a named pipe, expected a regular file"):
        kerasseg.load(export.parent)


def network(shape=(None, None, 3), *others):
    """Builds a model of an image and layers."""
    image = x = keras.Input(shape)
    for layer in others:
        x = layer(x)
    return keras.Model(image, x)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (
            lambda: network((None, None, 1), layers.Conv2D(3, 1)),
            r"an input of RGB images \(its shape is \[any, any, any, 1\]\)",
        ),
        (lambda: network((8,), layers.Dense(3)), r"its shape is \[any, 8\]"),
        (
            lambda: network((32, 32, 3), layers.Flatten(), layers.Dense(3)),
            r"logits of each pixel \(the shape of its output is \[any, 3\]\)",
        ),
        (
            lambda: network((None, None, 3), layers.Conv2D(3, 3, strides=2)),
            r"logits of the size of the image \(64 x 96 become 31 x 47\)",
        ),
        (
            lambda: network((None, None, 3), layers.Conv2D(300, 1)),
            r"1 to 255 classes \(its output has 300 channels\)",
        ),
        (
            lambda: network(
                (None, None, 3), lambda x: {"a": layers.Conv2D(3, 1)(x), "b": x}
            ),
            r"""a single output, or one named "logits" \(its outputs: \['a', 'b'\]\)""",
        ),
        (
            lambda: network((None, None, 3), lambda x: [layers.Conv2D(3, 1)(x), x]),
            "a single output",
        ),
    ],
)
def test_a_model_that_does_not_segment_says_what_it_lacks(tmp_path, build, text):
    path = tmp_path / "model.keras"
    build().save(path)
    with pytest.raises(ValueError, match=rf"is not a segmentation network. .*{text}"):
        kerasseg.load(path)


def test_a_foreign_model_is_loaded_and_what_is_missing_is_reported(tmp_path, caplog):
    path = tmp_path / "model.keras"
    network((None, None, 3), layers.Conv2D(3, 1, name="restored")).save(path)
    assert kerasseg.load(path).class_names == ("0", "1", "2")
    assert (
        "is not an architecture of kerasseg: the 3 channels of its output"
        in caplog.text
    )
    assert "without normalization" in caplog.text
    assert "holds no class names and colors: its 3 classes are named 0" in caplog.text
