"""The export formats: each is written, loaded again and compared."""

import dataclasses
import importlib.util
import inspect
import json
import os
import pathlib
import re
import warnings

import keras
import numpy as np
import pytest
from keras import layers

from kerasseg import blocks, exporting, images, models
from kerasseg.exporting import formats, runtimes, signatures
from kerasseg.exporting.formats import onnx, saved_model, tflite
from kerasseg.models import unet
from kerasseg.workdir import best_model
from tests.support import levels, reference, tiny
from tests.support.networks import others_slow

FORMATS = formats.all_formats()
FILES = [name for name in FORMATS if name != "saved_model"]


def need(*names):
    """Skips the test if a package of a format is not installed."""
    for name in exporting.expand_formats(names):
        for package in FORMATS[name].packages:
            pytest.importorskip(package)


def samples(*sizes):
    """Generates labeled images."""
    drawn = [tiny.image_and_label(i, *size) for i, size in enumerate(sizes)]
    return [exporting.Sample(tiny.png(image), label) for image, label in drawn]


def export(model, folder, *names, **options):
    options = {
        "class_names": tiny.SPEC.class_names,
        "palette": tiny.SPEC.palette,
        "samples": samples((40, 48), (33, 65)),
        "calibration_images": [tiny.image_and_label(i)[0] for i in range(3)],
        "fresh_process": False,
        **options,
    }
    return exporting.export_model(model, folder, format_names=names, **options)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)  # Random weights can be too coarse for int8.
    return tiny.build_model("tiny", 3)


@pytest.fixture(scope="module")
def version(model, tmp_path_factory):
    """Returns a function of a format to a version with one network in this format."""
    versions = {}

    def get(name):
        need(name)
        if name not in versions:
            folder = tmp_path_factory.mktemp(name)
            versions[name] = pathlib.Path(export(model, folder, name))
        return versions[name]

    return get


# Every registered format.


@pytest.mark.parametrize("name", FORMATS)
def test_the_metadata_hold_file_and_comparison(version, name):
    folder, form = version(name), FORMATS[name]
    entries = json.loads((folder / "metadata.json").read_text())["formats"]
    assert list(entries) == [name]
    entry = entries[name]
    if form.file:
        assert form.file in os.listdir(folder)
        assert entry["file"] == form.file
        assert entry["bytes"] == os.path.getsize(exporting.file_of(folder, name))
    assert entry["largest_difference"] <= entry["tolerance"]
    assert abs(entry["mean_iou"] - entry["mean_iou_of_the_model"]) <= form.iou_tolerance
    assert entry["pictures"] == (2 if form.needs_samples else 3)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (40, 48), (57, 31)], ids=str)
def test_images_of_any_size_have_the_logits_of_the_model(version, model, name, size):
    image = tiny.image_and_label(7, 64, 64)[0][: size[0], : size[1]]
    path = exporting.file_of(version(name), name)
    logits = runtimes.predict(path, image, tiny.png(image))["logits"]
    expected = np.asarray(model(image[np.newaxis].astype(np.float32)))[0]
    assert logits.dtype == np.float32
    tolerance = FORMATS[name].tolerance * np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, atol=tolerance)


@pytest.mark.parametrize("name", FORMATS)
def test_the_code_of_the_card_predicts_a_mask(
    version, model, name, tmp_path, monkeypatch
):
    folder, form = version(name), FORMATS[name]
    code = exporting.how_to_call("PATH/OF/THIS/FOLDER", name)
    assert code in (folder / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    image, _ = tiny.image_and_label(3)
    pathlib.Path("image.jpg").write_bytes(tiny.png(image))
    variables = {}
    plain = "\n".join(line[4:] for line in code.splitlines())
    with warnings.catch_warnings():  # The short example does not close its files.
        warnings.simplefilter("ignore", ResourceWarning)
        exec(plain.replace("PATH/OF/THIS/FOLDER", str(folder)), variables)
    mask = variables["mask"]
    if isinstance(mask, bytes):
        mask = images.read_label(mask)
    expected = np.asarray(model(image[np.newaxis].astype(np.float32)))[0].argmax(-1)
    assert (mask == expected).mean() > (0.95 if form.tolerance >= 1 else 0.999)


@pytest.mark.parametrize("name", others_slow(FORMATS, ("saved_model", "onnx")))
def test_a_model_that_differs_is_an_error(name, model, tmp_path, monkeypatch):
    need(name)
    write = FORMATS[name].write

    def write_other(source, path):
        other = tiny.build_model("tiny", 3, norm=False)
        write(dataclasses.replace(source, model=other, folded=other), path)

    changed = dataclasses.replace(FORMATS[name], write=write_other)
    monkeypatch.setitem(formats.all_formats(), name, changed)
    with pytest.raises(ValueError, match=f"exported {name} and the trained model diff"):
        export(model, tmp_path, name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [n for n in FORMATS if FORMATS[n].packages])
def test_a_missing_package_is_an_error_before_anything_is_written(
    name, model, tmp_path, monkeypatch
):
    package, extra = FORMATS[name].packages[0], FORMATS[name].extra
    monkeypatch.setattr(saved_model, "write", lambda *_: pytest.fail("too late"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    text = rf"`format={name}` needs {package}: pip install 'kerasseg\[{extra}\]'"
    with pytest.raises(ImportError, match=text):
        export(model, tmp_path, "saved_model", name)
    assert os.listdir(tmp_path) == []


# Single formats.


@pytest.mark.slow
def test_several_formats_are_one_version(model, tmp_path):
    need(*FORMATS)
    folder = export(model, tmp_path, *FORMATS)
    assert {FORMATS[name].file for name in FILES} < set(os.listdir(folder))
    text = pathlib.Path(folder, "README.md").read_text()
    assert text.count("import onnxruntime") == 1
    assert text.count("get_signature_runner") == 1  # Of the three.
    assert text.count("serving_default`:") == 1


@pytest.mark.parametrize("name", ["tflite_float32", "onnx"])
def test_mirror_padding_is_the_same_in_each_format(name, tmp_path):
    # Below 0 the remainder of ONNX has another sign.
    need(name)
    image = keras.Input((None, None, 3))
    mirrored = layers.Conv2D(3, 1)(unet.Mirror(4, 16, margin=5)(image))
    logits = blocks.CropLike()([mirrored, image])
    export(keras.Model(image, logits, name="mirror"), tmp_path, name)


def test_the_tflite_files_differ(version):
    dtypes = "float32", "float16", "int8"
    files = {
        (version(f"tflite_{dtype}") / f"model_{dtype}.tflite").read_bytes()
        for dtype in dtypes
    }
    assert len(files) == 3


def test_a_version_may_lack_a_saved_model(tmp_path):
    need("onnx")
    folder = export(tiny.build_model("tiny", 3), tmp_path, "keras", "onnx")
    assert sorted(os.listdir(folder)) == [
        *("README.md", "metadata.json", "model.keras", "model.onnx")
    ]
    text = pathlib.Path(folder, "README.md").read_text()
    assert "tf.saved_model" not in text and "serving_default" not in text


@pytest.mark.parametrize(
    "name", others_slow(["saved_model", "tflite_float32", "onnx"], ("onnx",))
)
def test_large_weights_are_not_constants_during_conversion(name, tmp_path, monkeypatch):
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
        from onnx import load

        graph = load(exporting.file_of(folder, name)).graph
        assert [each.name for each in graph.input] == ["image"]
        kernels = [each for each in graph.initializer if list(each.dims) == [3] * 4]
        assert len(kernels) == 1  # The shared one, already transposed.
    if name == "saved_model":
        files = pathlib.Path(folder, "variables")
        assert sum(file.stat().st_size for file in files.iterdir()) > 4 * 250


@pytest.mark.parametrize("name", ["tflite_float32", "onnx"])
def test_zero_padding_around_negative_values_is_the_maximum(name, tmp_path):
    # onnxruntime 1.31 ignores the zeros without a workaround.
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
    unlabeled = [exporting.Sample(samples((40, 48))[0].file)]
    names = "keras", "saved_model"
    folder = export(model, tmp_path, *names, samples=unlabeled)
    loaded = best_model.load_file(exporting.file_of(folder, "keras"))
    assert loaded.get_layer("encoder").compute_dtype == "bfloat16"


# Names.


def test_tflite_is_a_group_of_three():
    three = ["tflite_float32", "tflite_float16", "tflite_int8"]
    assert exporting.expand_formats(["tflite", "tflite_int8", "onnx"]) == [
        *three,
        "onnx",
    ]


@pytest.mark.parametrize(("names", "shown"), [(["tfjs", "onnx"], "tfjs"), ([], "")])
def test_unknown_formats_are_errors(names, shown, tmp_path):
    groups = dict.fromkeys(form.group for form in FORMATS.values() if form.group)
    known = ", ".join([*FORMATS, *groups])
    text = rf"`format={shown}`: expected one or more of {known}\."
    with pytest.raises(ValueError, match=text):
        export(levels.build_model(), tmp_path / "out", *names)
    assert not (tmp_path / "out").exists()


# Errors.


def test_a_folder_of_saved_models_gets_no_version_without_one(tmp_path):
    export(levels.build_model(), tmp_path, "saved_model")
    with pytest.raises(
        ValueError, match=r"not load a version without one\. Add saved_model"
    ):
        export(levels.build_model(), tmp_path, "keras")
    assert os.listdir(tmp_path) == ["1"]
    export(levels.build_model(), tmp_path, "keras", "saved_model")


@pytest.mark.parametrize("name", others_slow(["tflite_float32", "onnx"], ("onnx",)))
def test_one_format_that_differs_is_an_error_for_all(name, tmp_path, monkeypatch):
    need(name)
    module = onnx if name == "onnx" else tflite
    convert = module.convert

    def convert_other(model, *options):
        copy = tiny.build_model("tiny", 3, norm=False)
        copy.set_weights([1.01 * weight for weight in model.get_weights()])
        return convert(copy, *options)

    monkeypatch.setattr(module, "convert", convert_other)
    model = tiny.build_model("tiny", 3, norm=False)
    with pytest.raises(ValueError, match=f"{name} and the trained model differ: the l"):
        export(model, tmp_path, "keras", name)
    assert os.listdir(tmp_path) == []


def test_int8_needs_images(tmp_path):
    need("tflite")
    for option in ("calibration_images", "samples"):
        with pytest.raises(ValueError, match=r"int8 .* leave tflite_int8 out of"):
            export(levels.build_model(), tmp_path, "tflite_int8", **{option: ()})
    assert os.listdir(tmp_path) == []


def test_missing_samples_are_an_error_before_anything_is_written(tmp_path, monkeypatch):
    need("tflite")
    monkeypatch.setattr(saved_model, "save", lambda *_: pytest.fail("too late"))
    with pytest.raises(ValueError, match=r"int8 .* leave tflite_int8 out of `format`"):
        export(levels.build_model(), tmp_path, "saved_model", "tflite_int8", samples=())
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_operations_that_a_format_lacks_are_named(tmp_path):
    need("tflite", "onnx")
    options = {**models.metadata("fcn_32s").test_options, "crf_iterations": 2}
    model = models.build_model("fcn_32s", 3, **options)
    with pytest.raises(
        ValueError, match=r"TFLite float32: TFLite has no \w+.* leave tfl"
    ):
        export(model, tmp_path, "tflite_float32")
    with pytest.raises(ValueError, match=r"ONNX, which has no \w+.* leave onnx out"):
        export(model, tmp_path, "onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["model.h5", "nothing"])
def test_other_files_are_not_exported_models(path, tmp_path):
    extensions = {pathlib.Path(FORMATS[name].file).suffix for name in FILES}
    with pytest.raises(ValueError, match="is not an exported model") as error:
        runtimes.ExportedModel(str(tmp_path / path))
    listed = re.search(r"Give a file \((.*)\) or the folder", str(error.value))[1]
    assert set(listed.split(", ")) == extensions >= {".keras", ".onnx", ".tflite"}


def test_two_formats_need_different_names_and_extensions():
    one = FORMATS["onnx"]
    changed = dataclasses.replace(one, name="other", load=FORMATS["keras"].load)
    with pytest.raises(ValueError, match=r"onnx and other .* extension '\.onnx'"):
        formats.check_distinct([one, changed])
    with pytest.raises(ValueError, match="Two export formats are named 'onnx'"):
        formats.check_distinct([one, one])
    formats.check_distinct([one, dataclasses.replace(one, name="other")])


def test_a_convolution_may_follow_nearest_neighbor_upsampling(tmp_path):
    need("tflite")
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(2, 3, strides=2, padding="same")(image)
    x = blocks.CropLike()([blocks.UpSampling2D(2)(x), image])
    logits = layers.Conv2D(3, 3, padding="same")(layers.Concatenate()([x, image]))
    export(keras.Model(image, logits, name="repeats"), tmp_path, "tflite_float32")


MULTI_GRID = {"deeplab_v3": {"multi_grid": None}}  # Only ResNets have one.
# Architectures with other encoders than ResNets; the cascade repeats ResNet blocks.
OVER = [
    (name, {"backbone": "efficientnet_lite0", **MULTI_GRID.get(name, {})})
    for name in models.list_models("semantic")
    if "backbone" in inspect.signature(models.metadata(name).builder).parameters
    and name != "deeplab_v3_cascade"
]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["tflite_float32", "onnx"])
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, {}) for name in models.list_models("semantic")),
        *OVER,
        ("unet", {"padding": "valid"}),
        ("enet", {"encoder_only": True}),
    ],
)
def test_every_architecture_is_exported(name, changes, form, tmp_path, monkeypatch):
    need(form)
    monkeypatch.setattr(signatures, "LARGE", 64)  # As in networks of full size.
    options = {**models.metadata(name).test_options, **changes}
    model = reference.shake(models.build_model(name, 3, **options))
    unlabeled = [exporting.Sample(samples((65, 97))[0].file)]
    export(model, tmp_path, form, samples=unlabeled)
