"""Class names and colors travel in `.keras` files."""

import json
import zipfile

import keras
import numpy as np
import pytest

import kerasseg
from kerasseg import exporting
from kerasseg.workdir import class_names
from tests.support import levels, tiny

NAMES, PALETTE = tiny.SPEC.class_names, tiny.SPEC.palette


def expect_classes(path):
    segmenter = kerasseg.load(path)
    assert segmenter.class_names == NAMES
    np.testing.assert_array_equal(segmenter.palette, PALETTE)
    assert segmenter.predict(levels.IMAGE).tolist() == levels.CLASSES


def test_the_saved_model_of_a_run_keeps_its_class_names(tmp_path, caplog):
    workdir = levels.make_workdir(tmp_path / "run")  # The file has no names.
    assert class_names.of_model(levels.build_model()) is None
    model = kerasseg.load(workdir).model
    model.save(tmp_path / "first.keras")
    expect_classes(tmp_path / "first.keras")
    kerasseg.load(tmp_path / "first.keras").model.save(tmp_path / "second.keras")
    expect_classes(tmp_path / "second.keras")
    assert "class names" not in caplog.text


def test_the_best_model_of_a_run_holds_its_class_names(tmp_path):
    workdir = levels.make_workdir(tmp_path / "run")
    levels.make_workdir(workdir)  # As in training: there is a dataset.json.
    expect_classes(workdir / "best" / "model.keras")


def test_an_exported_keras_file_holds_the_class_names(tmp_path):
    path = exporting.export_saved_model(
        levels.build_model(),
        tmp_path,
        class_names=NAMES,
        palette=PALETTE,
        format_names=["keras"],
    )
    expect_classes(f"{path}/model.keras")


def test_keras_loads_such_a_file_without_kerasseg(tmp_path):
    model = levels.build_model()
    class_names.attach(model, NAMES, PALETTE)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers] == [x.name for x in model.layers]
    assert class_names.of_model(loaded) is None


def test_names_of_another_number_are_reported_and_not_used(tmp_path, caplog):
    model = levels.build_model()
    class_names.attach(model, NAMES[:2], PALETTE[:2])
    model.save(tmp_path / "model.keras")
    assert kerasseg.load(tmp_path / "model.keras").class_names == ("0", "1", "2")
    assert "holds 2 class names: its 3 classes are named 0 to 2" in caplog.text


@pytest.mark.parametrize(
    "classes", [7, [], [{"name": "a"}], [{"name": "a", "color": [0, 0, 999]}] * 3]
)
def test_damaged_names_are_reported_and_not_used(tmp_path, caplog, classes):
    levels.build_model().save(tmp_path / "model.keras")
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as source,
        zipfile.ZipFile(tmp_path / "changed.keras", "w") as copy,
    ):
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["kerasseg_classes"] = classes
                data = json.dumps(config)
            copy.writestr(name, data)
    assert kerasseg.load(tmp_path / "changed.keras").class_names == ("0", "1", "2")
    assert "its class names are not used" in caplog.text


def test_a_run_at_another_output_stride_keeps_its_class_names(tmp_path, monkeypatch):
    levels.register(monkeypatch, [])
    workdir = levels.make_workdir(tmp_path / "run", output_stride=16)
    kerasseg.load(workdir, output_stride=8).model.save(tmp_path / "model.keras")
    expect_classes(tmp_path / "model.keras")
