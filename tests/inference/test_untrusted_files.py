"""Untrusted model files: no code in them runs, and none exhausts the memory."""

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


def test_a_file_may_be_compressed(tmp_path):
    plain, packed = tmp_path / "plain.keras", tmp_path / "packed.keras"
    levels.build_model().save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name), zipfile.ZIP_DEFLATED)
    mask = kerasseg.load(packed).predict(levels.IMAGE)
    assert mask.tolist() == levels.CLASSES
    assert pathlib.Path(packed).stat().st_size < plain.stat().st_size
