"""The export: two signatures, compared with the model before they are published."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework import op_def_registry

from kerasseg import blocks, exporting, images, inference, models
from kerasseg.exporting import checking, folding, runtimes
from tests.exporting import test_signatures
from tests.support import levels, networks, reference, tiny

NAMES, PALETTE = tiny.SPEC.class_names, tiny.SPEC.palette

# Operations that may be stateful: calls, branches, loops and checks.
CALLS = {"Assert", "If", "StatefulPartitionedCall", "While"}


def check_operations(function):
    """Checks that all operations are TensorFlow's, without Python and state."""
    for name in exporting.operations(function):
        assert hasattr(tf.raw_ops, name), f"{name} is a custom operation"
        assert "PyFunc" not in name and "File" not in name
        assert name in CALLS or not op_def_registry.get(name).is_stateful, name


def export(model, folder, **options):
    options = {"class_names": NAMES, "palette": PALETTE, **options}
    return exporting.export_saved_model(model, folder, **options)


def noise(height, width):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pathlib.Path(export(levels.build_model(), tmp_path_factory.mktemp("levels")))


@pytest.fixture(scope="module")
def exported(folder):
    return tf.saved_model.load(folder)


def masks(exported, *files):
    result = exported.signatures["serving_default"](image_bytes=tf.constant(files))
    return [images.read_label(mask) for mask in result["mask_png_bytes"].numpy()]


# Signatures.


def test_the_signatures_have_the_documented_inputs_and_outputs(exported):
    serving, tensor = (exported.signatures[x] for x in ("serving_default", "tensor"))
    files = tf.TensorSpec([None], tf.string, name="image_bytes")
    assert serving.structured_input_signature == ((), {"image_bytes": files})
    outputs = serving.structured_outputs
    assert {k: (v.shape.rank, v.dtype) for k, v in outputs.items()} == {
        "mask_png_bytes": (1, tf.string)
    }
    batch = tf.TensorSpec([None, None, None, 3], tf.float32, name="image")
    assert tensor.structured_input_signature == ((), {"image": batch})
    outputs = tensor.structured_outputs
    assert {k: (v.shape.rank, v.dtype) for k, v in outputs.items()} == {
        "logits": (4, tf.float32),
        "probabilities": (4, tf.float32),
        "classes": (3, tf.int32),
    }


def test_one_request_may_hold_images_of_different_sizes(exported):
    one, tall = levels.red([[255]]), levels.red([[0, 64, 128]] * 5)
    result = masks(exported, tiny.png(one), tiny.png(levels.IMAGE), tiny.png(tall))
    expected = [[[2]], levels.CLASSES, [[0, 1, 2]] * 5]
    assert [mask.tolist() for mask in result] == expected


def test_an_empty_request_returns_no_mask(exported):
    nothing = tf.constant([], tf.string)
    actual = exported.signatures["serving_default"](image_bytes=nothing)
    assert actual["mask_png_bytes"].shape == (0,)


def test_a_mask_is_an_8_bit_grayscale_png_of_class_numbers(exported):
    files = tf.constant([tiny.png(levels.IMAGE)])
    actual = exported.signatures["serving_default"](image_bytes=files)
    mask = actual["mask_png_bytes"].numpy()[0]
    assert images.stores_plain_numbers(mask)
    header = images.probe(mask)
    assert (header.mode, header.width, header.height) == ("L", 3, 2)


@pytest.mark.parametrize("kind", test_signatures.FILES)
def test_files_of_every_kind_are_predicted_like_in_evaluation(exported, kind):
    file = test_signatures.FILES[kind]
    [mask] = masks(exported, file)
    image = images.read_image(file, apply_exif=False)  # As the card says.
    expected = inference.Predictor(levels.build_model()).classes(image[np.newaxis])[0]
    np.testing.assert_array_equal(mask, expected)
    tensor = exported.signatures["tensor"]
    batch = tf.constant(image[np.newaxis], tf.float32)
    np.testing.assert_array_equal(tensor(image=batch)["classes"][0], expected)


@pytest.mark.parametrize("file", [b"<html>", b"GIF89a" + bytes(40)])
def test_files_of_other_kinds_are_errors(exported, file):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a JPEG or PNG"):
        masks(exported, file)


def test_the_tensor_signature_takes_batches(exported):
    batch = np.stack([levels.IMAGE, levels.IMAGE[:, ::-1]]).astype(np.float32)
    actual = exported.signatures["tensor"](image=tf.constant(batch))
    first = np.array(levels.CLASSES)
    np.testing.assert_array_equal(actual["classes"], [first, first[:, ::-1]])
    softmax = tf.nn.softmax(actual["logits"])
    np.testing.assert_allclose(actual["probabilities"], softmax, atol=1e-6)


def test_among_several_outputs_the_logits_are_exported(tmp_path):
    path = export(tiny.build_model("tiny", 3, aux=True), tmp_path)
    tensor = tf.saved_model.load(path).signatures["tensor"]
    assert set(tensor.structured_outputs) == {"logits", "probabilities", "classes"}


# Other files of a version.


def test_assets_hold_class_names_and_palette(folder):
    actual = json.loads((folder / "assets/classes.json").read_text())
    assert actual == {
        "class_names": ["left", "middle", "right"],
        "palette": [[0, 0, 0], [255, 0, 0], [0, 0, 255]],
        "ignore_label": 255,
    }


def test_the_metadata_hold_the_comparison_and_the_description(tmp_path):
    nan, inf = float("nan"), float("inf")
    # [9, 200] has the classes 0 and 2, and the labels 0 and 1: IoUs of 1, 0 and 0.
    files = [tiny.png(levels.IMAGE), tiny.png(levels.red([[9, 200]]))]
    labels = [np.full((2, 3), 255, np.uint8), np.array([[0, 1]], np.uint8)]
    path = export(
        levels.build_model(),
        tmp_path,
        samples=list(map(exporting.Sample, files, labels)),
        description={"step": 70, "scores": {"iou": {"right": nan, "left": 2 * [inf]}}},
    )
    actual = json.loads(pathlib.Path(path, "metadata.json").read_text())
    assert actual["step"] == 70
    assert actual["scores"] == {"iou": {"right": None, "left": [None, None]}}
    assert [entry["name"] for entry in actual["classes"]] == list(NAMES)
    compared = actual["formats"]["saved_model"]
    assert compared["mean_iou"] == compared["mean_iou_of_the_model"] == 1 / 3
    assert compared["bytes"] > 1000
    assert compared["pictures"] == 3  # With the synthetic one, 33 x 47.
    assert compared["pixels"] == 2 * 3 + 1 * 2 + 33 * 47
    assert compared["pixels_that_differ"] == 0
    assert compared["largest_difference"] <= compared["tolerance"] == 1e-4


def test_the_card_describes_limitations(folder):
    text = (folder / "README.md").read_text()
    assert "EXIF is not applied" in text
    assert "8-bit grayscale" in text
    assert "| 1 | middle | 255, 0, 0 |" in text


def test_the_code_of_the_card_predicts_a_mask(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("image.jpg").write_bytes(tiny.png(levels.IMAGE))
    code = "\n".join(x[4:] for x in exporting.how_to_call(folder).splitlines())
    # The short example leaves it to Python to close files.
    with pytest.warns(ResourceWarning):
        exec(code, {})
    assert images.read_label(tmp_path / "mask.png").tolist() == levels.CLASSES


# Architectures.


@pytest.fixture(scope="module")
def export_of(tmp_path_factory):
    """Returns a function that exports a small network of an architecture, once."""

    @functools.lru_cache(maxsize=1)
    def exported(name):
        options = models.metadata(name).test_options
        model = reference.shake(models.build_model(name, 3, **options))
        sample = exporting.Sample(tiny.png(noise(65, 97)))
        return model, export(model, tmp_path_factory.mktemp(name), samples=[sample])

    return exported


@pytest.mark.parametrize(
    "name",
    networks.others_slow(models.list_models("semantic"), ("unet",)),
)
def test_a_network_is_exported_as_plain_tensorflow(name, export_of):
    model, path = export_of(networks.same_as(name))
    batch = noise(33, 47)[np.newaxis].astype(np.float32)
    loaded = tf.saved_model.load(path)
    serving, tensor = (loaded.signatures[x] for x in ("serving_default", "tensor"))
    logits = tensor(image=tf.constant(batch))["logits"]
    expected = np.asarray(model(batch, training=False))
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())
    check_operations(serving)
    check_operations(tensor)


def test_tensorflow_loads_it_without_kerasseg_and_keras(folder, tmp_path):
    (tmp_path / "image.png").write_bytes(tiny.png(levels.IMAGE))
    code = f"""
import sys

sys.modules["keras"] = sys.modules["kerasseg"] = None  # Importing them fails.
import tensorflow as tf

model = tf.saved_model.load("{folder}")
file = tf.constant([open("{tmp_path}/image.png", "rb").read()])
mask = model.signatures["serving_default"](image_bytes=file)["mask_png_bytes"][0]
print(tf.io.decode_png(mask)[..., 0].numpy().tolist())
image = tf.cast(tf.io.decode_png(file[0])[tf.newaxis], tf.float32)
print(model.signatures["tensor"](image=image)["classes"][0].numpy().tolist())
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(levels.CLASSES)] * 2


def test_a_network_of_half_precision_is_exported_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = reference.shake(tiny.build_model("tiny", 3))
    finally:
        keras.config.set_dtype_policy("float32")
    path = export(model, tmp_path)
    batch = noise(8, 9)[np.newaxis].astype(np.float32)
    actual = tf.saved_model.load(path).signatures["tensor"](image=tf.constant(batch))
    plain = folding.in_float32(model)(batch)
    np.testing.assert_allclose(actual["logits"], plain, atol=1e-5)
    assert np.abs(actual["logits"] - model(batch)).max() > 1e-4  # 8 bits of mantissa.


# Errors.


def remaining(folder):
    return sorted(os.listdir(folder)) if os.path.exists(folder) else []


@pytest.mark.parametrize("change", ["logits", "nan"])
def test_an_export_that_differs_is_an_error_and_removed(change, tmp_path, monkeypatch):
    fold = folding.fold_batch_norm

    def change_weights(model):
        folded = fold(model)
        kernel, bias = folded.get_layer("logits").get_weights()
        bias[1] = np.nan if change == "nan" else bias[1] + 0.5
        folded.get_layer("logits").set_weights([kernel, bias])
        return folded

    monkeypatch.setattr(folding, "fold_batch_norm", change_weights)
    with pytest.raises(
        ValueError, match=r"differ: the logits by .* Nothing was exported"
    ):
        export(levels.build_model(), tmp_path)
    assert remaining(tmp_path) == []


class ConstantModel:
    """An exported model with constant outputs."""

    def __init__(self, outputs):
        self._outputs = outputs

    def predict(self, *_):
        return self._outputs


def compare_with(model, label=None, name="saved_model", **outputs):
    """Compares a model with an export that has other outputs for `IMAGE`."""
    own = {
        "logits": np.asarray(model(levels.IMAGE[np.newaxis]))[0],
        "classes": np.array(levels.CLASSES),
        "mask": images.encode_label(np.array(levels.CLASSES, np.uint8)),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtimes, "ExportedModel", lambda _: ConstantModel(own | outputs))
        return checking.compare(
            "folder",
            name,
            checking.Reference(model),
            [exporting.Sample(tiny.png(levels.IMAGE), label)],
            fresh_process=False,
        )


def test_each_output_is_compared():
    model = levels.build_model()
    assert compare_with(model)["pixels_that_differ"] == 0
    wrong = np.array(levels.CLASSES, np.uint8)
    wrong[1, 2] = 0
    with pytest.raises(ValueError, match="the output classes in 1 of 6 pixels"):
        compare_with(model, classes=wrong.astype(int))
    with pytest.raises(ValueError, match="the output mask in 1 of 6 pixels"):
        compare_with(model, mask=images.encode_label(wrong))
    with pytest.raises(
        ValueError, match=r"output mask has the size \(2, 2\), not \(2, 3\)"
    ):
        compare_with(model, mask=images.encode_label(wrong[:, :2].copy()))


def test_masks_may_differ_where_rounding_decides():
    model = levels.build_model()
    kernel, bias = model.get_layer("logits").get_weights()
    kernel[..., 2], bias[2] = kernel[..., 1], bias[1] + 1e-7  # Classes 1 and 2 tie.
    model.get_layer("logits").set_weights([kernel, bias])
    ones = np.minimum(levels.CLASSES, 1).astype(np.uint8)
    actual = compare_with(model, mask=images.encode_label(ones))
    assert actual["pixels_that_differ"] <= 4  # The number of pixels of classes 1 and 2.


def test_a_network_that_unpools_may_differ_at_some_pixels():
    def compare_at(model, count, by=5.0):
        image = np.zeros((20, 30, 3), np.uint8)
        logits = np.array(model(image[np.newaxis]))[0]
        logits.reshape(600, -1)[:count] += by
        outputs = {"logits": logits, "classes": logits.argmax(-1)}
        outputs["mask"] = images.encode_label(np.zeros((20, 30), np.uint8))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runtimes, "ExportedModel", lambda _: ConstantModel(outputs))
            reference, files = checking.Reference(model), [tiny.png(image)]
            return checking.compare(
                "folder",
                "saved_model",
                reference,
                list(map(exporting.Sample, files)),
                fresh_process=False,
            )

    plain = levels.build_model()
    x, _ = blocks.MaxPoolWithIndices(name="pool")(plain.input)
    zero = layers.Rescaling(0.0)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    unpools = keras.Model(plain.input, layers.Add()([plain.output, zero]))
    # A twentieth of 600 pixels may differ by any amount, half of them by a twentieth of
    # the largest logit.
    assert compare_at(unpools, 29)["largest_difference"] == 0
    largest = np.abs(np.array(plain(np.zeros((1, 20, 30, 3))))).max()
    actual = compare_at(unpools, 299, 0.04 * largest)
    assert actual["largest_difference"] == pytest.approx(0.04)
    assert actual["tolerance"] == 0.05
    for model, count, by in [
        (unpools, 30, 5.0),
        (unpools, 301, 0.04 * largest),
        (plain, 1, 0.04 * largest),
    ]:
        with pytest.raises(ValueError, match=r"logits by .* of the largest one"):
            compare_at(model, count, by)


def test_decoded_images_must_equal_those_of_evaluation(monkeypatch):
    read = images.read_image
    monkeypatch.setattr(
        images, "read_image", lambda *args, **options: read(*args, **options)[..., ::-1]
    )
    with pytest.raises(ValueError, match="the decoded images differ by 255 of 255"):
        compare_with(levels.build_model())


def test_names_and_colors_must_match_the_classes(tmp_path):
    with pytest.raises(ValueError, match="3 classes; got 2 names and 3 colors"):
        export(levels.build_model(), tmp_path / "out", class_names=("a", "b"))
    many = [str(i) for i in range(256)]
    colors = np.zeros((256, 3), np.uint8)
    with pytest.raises(
        ValueError, match="256 classes, but an 8-bit mask holds at most 255"
    ):
        export(
            levels.build_model(256), tmp_path / "out", class_names=many, palette=colors
        )
    assert remaining(tmp_path) == []


def test_a_model_of_fixed_size_is_an_error(tmp_path):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Conv2D(3, 1)(image))
    with pytest.raises(ValueError, match=r"\(None, 8, 8, 3\).*image_size=\(None, None"):
        export(model, tmp_path)


@keras.saving.register_keras_serializable("tests")
class CallsPython(layers.Layer):
    def call(self, x):
        return tf.ensure_shape(
            tf.numpy_function(lambda a: a, [x], tf.float32), [None, None, None, 3]
        )

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def test_a_model_that_calls_python_is_an_error(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(3, 1)(CallsPython()(image)))
    with pytest.raises(ValueError, match=r"calls Python while it runs \(\['PyFunc'\]"):
        export(model, tmp_path)
    assert remaining(tmp_path) == []
