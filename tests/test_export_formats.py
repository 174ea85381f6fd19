"""Formats other than the SavedModel: each written, loaded again and compared."""

import importlib.util
import inspect
import json
import os
import pathlib

import keras
import numpy as np
import pytest
from keras import layers

from kerasseg import blocks, exporting, models
from kerasseg.exporting import (
    formats,
    onnx_file,
    runtimes,
    saved_model,
    signatures,
    tflite_file,
)
from kerasseg.models import unet
from kerasseg.workdir import best_model
from tests import levels, reference, tiny

FILES = [name for name in formats.FORMATS if name != "saved_model"]
NEEDS = {"tflite": ["ai_edge_litert"], "onnx": ["onnx", "onnxruntime", "tf2onnx"]}


def need(*names):
    """Skips the test where what a format takes is not installed."""
    for name in names:
        for module in NEEDS.get(name.partition("_")[0], []):
            pytest.importorskip(module)


def pictures(*sizes):
    """Draws labelled pictures."""
    drawn = [tiny.picture(i, *size) for i, size in enumerate(sizes)]
    return [exporting.Picture(tiny.png(image), label) for image, label in drawn]


def export(model, folder, *names, **options):
    options = {
        "class_names": tiny.SPEC.class_names,
        "palette": tiny.SPEC.palette,
        "pictures": pictures((40, 48), (33, 65)),
        "calibration_images": [tiny.picture(i)[0] for i in range(3)],
        "fresh_process": False,
        **options,
    }
    return exporting.export_model(model, folder, format_names=names, **options)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """One small network in every format, and the Keras model."""
    need(*FILES)
    model = tiny.build_model("tiny", 3)
    folder = tmp_path_factory.mktemp("formats")
    return model, pathlib.Path(export(model, folder, "saved_model", *FILES))


# What is written.


def test_a_version_holds_what_was_asked_for(exported):
    _, folder = exported
    names = {formats.FORMATS[name].file for name in FILES}
    assert names < set(os.listdir(folder))
    found = json.loads((folder / "metadata.json").read_text())["formats"]
    assert list(found) == ["saved_model", *FILES]
    for name in FILES:
        entry = found[name]
        assert entry["bytes"] == os.path.getsize(exporting.file_of(folder, name))
        assert entry["largest_difference"] <= entry["tolerance"]
        assert abs(entry["mean_iou"] - entry["mean_iou_of_the_model"]) <= 0.02
        assert entry["pictures"] == (2 if name == "tflite_int8" else 3)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [(1, 1), (40, 48), (57, 31)], ids=str)
def test_a_file_takes_pictures_of_any_size(exported, name, size):
    model, folder = exported
    image = tiny.picture(7, 64, 64)[0][: size[0], : size[1]]
    found = runtimes.look(exporting.file_of(folder, name), image, b"")["logits"]
    wanted = np.asarray(model(image[np.newaxis].astype(np.float32)))[0]
    assert found.dtype == np.float32
    tolerance = formats.FORMATS[name].tolerance
    np.testing.assert_allclose(found, wanted, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("name", ["tflite_float32", "onnx"])
def test_a_mirrored_picture_is_the_same_in_each_format(name, tmp_path):
    # Below 0 the remainder of ONNX has another sign.
    need(name)
    image = keras.Input((None, None, 3))
    mirrored = layers.Conv2D(3, 1)(unet.Mirror(4, 16, margin=5)(image))
    logits = blocks.CropLike()([mirrored, image])
    export(keras.Model(image, logits, name="mirror"), tmp_path, name)


def test_smaller_numbers_make_smaller_files(exported):
    _, folder = exported
    data = {name: (folder / f"model_{name}.tflite").read_bytes() for name in NUMBERS}
    assert len(set(data.values())) == 3


NUMBERS = ("float32", "float16", "int8")


@pytest.mark.parametrize("name", ["tflite_float32", "onnx", "keras"])
def test_the_card_shows_code_that_makes_a_mask(exported, name, tmp_path, monkeypatch):
    model, folder = exported
    text = (folder / "README.md").read_text()
    code = exporting.how_to_call(
        "PATH/OF/THIS/FOLDER", name, formats.FORMATS[name].file
    )
    assert code in text
    monkeypatch.chdir(tmp_path)
    image, _ = tiny.picture(3)
    pathlib.Path("picture.jpg").write_bytes(tiny.png(image))
    names = {}
    plain = "\n".join(line[4:] for line in code.splitlines())
    exec(plain.replace("PATH/OF/THIS/FOLDER", str(folder)), names)
    wanted = np.asarray(model(image[np.newaxis].astype(np.float32)))[0].argmax(-1)
    assert (names["mask"] == wanted).mean() > 0.999


def test_a_version_without_saved_model_is_one_too(tmp_path):
    need("onnx")
    folder = export(tiny.build_model("tiny", 3), tmp_path, "keras", "onnx")
    assert sorted(os.listdir(folder)) == [
        *("README.md", "metadata.json", "model.keras", "model.onnx")
    ]
    text = pathlib.Path(folder, "README.md").read_text()
    assert "tf.saved_model" not in text and "serving_default" not in text


@pytest.mark.parametrize("name", ["saved_model", "tflite_float32", "onnx"])
def test_large_weights_are_no_constants_while_it_is_converted(
    name, tmp_path, monkeypatch
):
    need(name)
    for limit in ("LARGE", "HUGE"):
        monkeypatch.setattr(signatures, limit, 3)
    image = keras.Input((None, None, 3))
    shared = layers.Conv2D(3, 3, padding="same")
    x = layers.DepthwiseConv2D(3, padding="same")(shared(shared(image)))
    x = layers.Conv2DTranspose(3, 4, strides=2, padding="same", use_bias=False)(x)
    x = layers.SeparableConv2D(4, 3, strides=2, padding="same")(
        layers.PReLU(shared_axes=(1, 2))(x)
    )
    logits = layers.Dense(3)(layers.BatchNormalization()(x))
    model = reference.shake(keras.Model(image, logits, name="every_kind"))
    folder = export(model, tmp_path, name)
    if name == "onnx":
        import onnx

        graph = onnx.load(exporting.file_of(folder, name)).graph
        assert [each.name for each in graph.input] == ["image"]
        kernels = [each for each in graph.initializer if list(each.dims) == [3] * 4]
        assert len(kernels) == 1  # The shared one, already transposed.
    if name == "saved_model":
        files = pathlib.Path(folder, "variables")
        assert sum(file.stat().st_size for file in files.iterdir()) > 4 * 250


@pytest.mark.parametrize("name", ["tflite_float32", "onnx"])
def test_zeros_around_negative_numbers_stay_the_largest(name, tmp_path):
    # onnxruntime 1.31 takes the zeros for no numbers at all.
    need(name)
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(-1.0, offset=-1.0)(image)
    x = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))
    x = layers.UpSampling2D(2)(layers.Conv2D(3, 1)(x))
    logits = blocks.CropLike()([x, image])
    model = keras.Model(image, logits, name="zeros")
    export(model, tmp_path, name)


def test_a_keras_file_keeps_half_precision(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny.build_model("tiny", 3)
    finally:
        keras.config.set_dtype_policy("float32")
    unlabelled = [exporting.Picture(pictures((40, 48))[0].file)]
    names = "keras", "saved_model"
    folder = export(model, tmp_path, *names, pictures=unlabelled)
    loaded = best_model.load_file(exporting.file_of(folder, "keras"))
    assert loaded.get_layer("encoder").compute_dtype == "bfloat16"


# Names.


def test_tflite_stands_for_its_three():
    three = ["tflite_float32", "tflite_float16", "tflite_int8"]
    assert exporting.expand_formats(["tflite", "tflite_int8", "onnx"]) == [
        *three,
        "onnx",
    ]


@pytest.mark.parametrize(("names", "told"), [(["tfjs", "onnx"], "tfjs"), ([], "none")])
def test_other_formats_are_refused(names, told, tmp_path):
    with pytest.raises(ValueError, match=rf"No such format: {told}.* saved_model, tfl"):
        export(levels.build_model(), tmp_path / "out", *names)
    assert not (tmp_path / "out").exists()


# What is refused.


def test_a_file_does_not_go_where_a_server_looks_for_saved_models(tmp_path):
    export(levels.build_model(), tmp_path, "saved_model")
    with pytest.raises(
        ValueError, match=r"take one without for broken\. Add saved_model"
    ):
        export(levels.build_model(), tmp_path, "keras")
    assert os.listdir(tmp_path) == ["1"]
    export(levels.build_model(), tmp_path, "keras", "saved_model")


@pytest.mark.parametrize("name", ["tflite_float32", "onnx"])
def test_a_file_that_differs_is_refused_with_all_others(name, tmp_path, monkeypatch):
    need(name)
    module = onnx_file if name == "onnx" else tflite_file
    convert = module.convert

    def spoilt(model, *options):
        copy = tiny.build_model("tiny", 3, norm=False)
        copy.set_weights([1.01 * weight for weight in model.get_weights()])
        return convert(copy, *options)

    monkeypatch.setattr(module, "convert", spoilt)
    model = tiny.build_model("tiny", 3, norm=False)
    with pytest.raises(ValueError, match=f"{name} and the model in memory differ: log"):
        export(model, tmp_path, "keras", name)
    assert os.listdir(tmp_path) == []


def test_int8_needs_pictures(tmp_path):
    need("tflite")
    for option in ("calibration_images", "pictures"):
        with pytest.raises(ValueError, match=r"int8 .* leave (it|tflite_int8) out of"):
            export(levels.build_model(), tmp_path, "tflite_int8", **{option: ()})
    assert os.listdir(tmp_path) == []


def test_what_must_fail_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model, "write", lambda *_: pytest.fail("too late"))
    model = levels.build_model()
    with pytest.raises(ValueError, match=r"int8 .* leave it out of the formats"):
        export(model, tmp_path, "saved_model", "tflite_int8", pictures=())
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for name, package, extra in (
        ("onnx", "onnx", "onnx"),
        ("tflite_float16", "ai_edge_litert", "tflite"),
    ):
        text = rf"{name} needs {package}: pip install 'kerasseg\[{extra}\]', or leave"
        with pytest.raises(ImportError, match=text):
            export(model, tmp_path, "saved_model", name)
    assert os.listdir(tmp_path) == []


def test_operations_that_a_format_lacks_are_named(tmp_path):
    need("tflite", "onnx")
    options = {**models.metadata("fcn_32s").test_options, "crf_iterations": 2}
    model = models.build_model("fcn_32s", 3, **options)
    with pytest.raises(ValueError, match=r"TFLite float32: it has no \w+.* leave tfl"):
        export(model, tmp_path, "tflite_float32")
    with pytest.raises(ValueError, match=r"as ONNX: it has no \w+.* leave onnx out"):
        export(model, tmp_path, "onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["model.h5", "nothing"])
def test_other_files_are_no_exported_models(path, tmp_path):
    with pytest.raises(ValueError, match=r"is no exported model; .tflite, .onnx, .ker"):
        runtimes.Artefact(str(tmp_path / path))


def test_a_convolution_may_follow_cells_that_are_repeated(tmp_path):
    need("tflite")
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(2, 3, strides=2, padding="same")(image)
    x = blocks.CropLike()([blocks.UpSampling2D(2)(x), image])
    logits = layers.Conv2D(3, 3, padding="same")(layers.Concatenate()([x, image]))
    export(keras.Model(image, logits, name="repeats"), tmp_path, "tflite_float32")


MULTI_GRID = {"deeplab_v3": {"multi_grid": None}}  # Only ResNets have one.
# What takes another encoder than a ResNet; the cascade repeats blocks of one.
OVER = [
    (name, {"backbone": "efficientnet_lite0", **MULTI_GRID.get(name, {})})
    for name in models.list_models()
    if "backbone" in inspect.signature(models.metadata(name).builder).parameters
    and name != "deeplab_v3_cascade"
]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["tflite_float32", "onnx"])
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, {}) for name in models.list_models()),
        *OVER,
        ("unet", {"padding": "valid"}),
        ("enet", {"encoder_only": True}),
    ],
)
def test_every_architecture_is_written(name, changes, form, tmp_path, monkeypatch):
    need(form)
    monkeypatch.setattr(signatures, "LARGE", 64)  # As those of real ones are.
    options = {**models.metadata(name).test_options, **changes}
    model = reference.shake(models.build_model(name, 3, **options))
    unlabelled = [exporting.Picture(pictures((65, 97))[0].file)]
    export(model, tmp_path, form, pictures=unlabelled)
