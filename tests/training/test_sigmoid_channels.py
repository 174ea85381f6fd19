"""Sigmoids on images of four channels and 16 bits, from arrays to a server."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import kerasseg
from kerasseg import exporting, images, inference
from kerasseg.images.class_rules import ClassRule
from kerasseg.serve import engine
from kerasseg.workdir import best_model, class_names, class_rule, layout

CLASSES = ["background", "bright"]
SETTINGS = {
    "activation": "sigmoid",
    "training_number_of_steps": 1,
    "train_batch_size": 2,
    "train_crop_size": 16,
    "base_learning_rate": 1e-4,
}
PALETTE = np.array([[0, 0, 0], [255, 0, 0]], np.uint8)
SIZE = 20, 24


def scenes():
    """Images whose last channel is 3000 in the left half, and 1000 in the right."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 500, (4, *SIZE, 4)).astype(np.uint16)
    labels = np.zeros((4, *SIZE), np.uint8)
    labels[:, :, : SIZE[1] // 2] = 1
    pixels[..., 3] = 1000 + 2000 * labels.astype(np.uint16)
    return pixels, labels


def linear(*weights):
    """Builds logits `w * (x - 2)` of the last channel x in thousands."""
    image = keras.Input((None, None, 4))
    scaled = layers.Rescaling(1 / 1000, offset=-2.0)(image)
    classify = layers.Conv2D(len(weights), 1, name="classify")
    model = keras.Model(image, classify(scaled), name="linear")
    kernel = np.zeros((1, 1, 4, len(weights)))
    kernel[..., 3, :] = weights
    classify.kernel.assign(kernel)
    return model


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("binary")
    data = kerasseg.data.from_arrays(*scenes(), CLASSES, records_dir=folder / "records")
    kerasseg.fit(linear(1.0), data, workdir=folder / "run", **SETTINGS)
    return folder / "run"


def test_one_logit_of_four_channels_is_exported_and_served(binary, tmp_path):
    # z is about 1 in the left half and -1 in the right: sigmoids of 0.73 and 0.27.
    class_rule.write(binary, {"bright": 0.25}, {"split": "val"})
    tuned = ClassRule(thresholds=(0.25,))
    image, left = scenes()[0][0], scenes()[1][0]
    for threshold, expected in ((0.25, np.ones_like(left)), (0.5, left)):
        network = kerasseg.load(binary)
        assert network.image_kind.channels == network.model.input.shape[-1] == 4
        assert network.rule == (tuned if threshold == 0.25 else ClassRule())
        np.testing.assert_array_equal(network.predict(image), expected)
        (binary / layout.THRESHOLDS).unlink(missing_ok=True)
    names = {"class_names": CLASSES, "palette": network.palette, "rule": tuned}
    model = best_model.load_best(binary)
    path = exporting.export_saved_model(model, tmp_path / "export", **names)
    written = json.loads((tmp_path / "export/1/metadata.json").read_text())
    assert written["activation"] == "sigmoid"
    assert (written["images"]["channels"], written["thresholds"]) == (4, [0.25])
    card = " ".join((tmp_path / "export/1/README.md").read_text().split())
    assert "It returns `logits`, float32 [N, height, width, 1]" in card
    assert "1 where the probability of class 1 is above 0.25" in card
    loaded = kerasseg.load(tmp_path / "export")
    served = engine.Engine(path)
    for each in (loaded, served):
        assert each.image_kind == network.image_kind
        assert (each.rule, each.class_names) == (tuned, tuple(CLASSES))
    np.testing.assert_array_equal(loaded.predict(image), 1)
    np.testing.assert_array_equal(served.masks([image])[0], 1)


def test_a_keras_file_keeps_images_and_rule(binary, tmp_path):
    network = kerasseg.load(binary)
    network.model.save(tmp_path / "model.keras")
    loaded = kerasseg.load(tmp_path / "model.keras")
    assert (loaded.image_kind, loaded.rule) == (network.image_kind, network.rule)
    image = scenes()[0][0]
    found = loaded.evaluate([(image, scenes()[1][0])])
    assert found.scores["mean_iou"] == 1


def test_several_classes_of_four_channels_become_bits_and_polygons(tmp_path):
    pixels, left = scenes()
    masks = np.stack([np.ones_like(left), left], axis=-1)
    data = kerasseg.data.from_arrays(
        pixels, masks, ["all", "left"], records_dir=tmp_path / "data", multi_label=True
    )
    assert (data[0][0].dtype, data[0][1].dtype) == (np.uint16, np.uint16)
    workdir = tmp_path / "run"
    kerasseg.fit(linear(0.0, 1.0), data, workdir=workdir, **SETTINGS)
    model = kerasseg.load(workdir).model
    model.get_layer("classify").bias.assign([9.0, 0.0])
    network = kerasseg.load(workdir)
    network = inference.Segmenter(
        model,
        network.class_names,
        network.palette,
        rule=network.rule,
        image_kind=network.image_kind,
    )
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/a.npy", pixels[0])
    paths = inference.inputs.find_images(str(tmp_path / "in"), str(tmp_path / "out"))
    kinds = ("index", "geotiff", "geojson", "overlay")
    assert not inference.files.predict_files(
        network, paths, tmp_path / "out", kinds=kinds
    )
    out = tmp_path / "out"
    written = images.read_label(out / "index/a.png", multi_label=True)
    # "all" is bit 1, and "left" is bit 2.
    np.testing.assert_array_equal(written, 2 + 4 * left[0])
    raster = images.read_raster(out / "geotiff/a.tif", channels=1)
    np.testing.assert_array_equal(raster.pixels[..., 0], written)
    features = json.loads((out / "geojson/a.geojson").read_text())["features"]
    found = {x["properties"]["class"]: x["properties"]["pixels"] for x in features}
    assert found == {"all": 20 * 24, "left": 20 * 12}


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_tflite_file_is_predicted_as_the_network(binary, tmp_path, multi_label):
    pytest.importorskip("ai_edge_litert")
    kind = kerasseg.load(binary).image_kind
    model = linear(0.0, 1.0) if multi_label else linear(1.0)
    rule = ClassRule(multi_label=True) if multi_label else ClassRule(thresholds=(0.2,))
    class_names.attach(model, CLASSES, PALETTE, kind, rule=rule)
    version = exporting.export_model(
        model,
        tmp_path / "export",
        class_names=CLASSES,
        palette=PALETTE,
        rule=rule,
        format_names=["tflite_float32"],
        fresh_process=False,
    )
    loaded = kerasseg.load(exporting.file_of(version, "tflite_float32"))
    assert (loaded.image_kind, loaded.rule) == (kind, rule)
    expected = inference.Segmenter(model, CLASSES, PALETTE, rule=rule, image_kind=kind)
    image = scenes()[0][0]
    for name in ("classes", "probabilities", "confident_classes"):
        if name == "confident_classes" and multi_label:
            continue
        one, other = (
            getattr(n.predictor, name)(image[None]) for n in (loaded, expected)
        )
        np.testing.assert_allclose(one, other, atol=1e-5)
    found = loaded.predict(image)
    assert np.asarray(found).dtype == rule.mask_dtype
    np.testing.assert_array_equal(found, expected.predict(image))
