"""Multi-label networks, from training to exports."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kerasseg
from kerasseg import errors, evaluate, exporting, images, losses, predict
from kerasseg.images import bit_masks
from kerasseg.workdir import layout
from tests.support import tiny
from tests.support.commands import run as run_command

CLASSES = ["warm", "dark"]
SETTINGS = {
    "activation": "sigmoid",
    "training_number_of_steps": 1,
    "train_batch_size": 2,
    "train_crop_size": 16,
    "base_learning_rate": 0.01,
}


def build(num_classes=2):
    image = keras.Input((None, None, 3))
    scaled = layers.Rescaling(1 / 255)(image)
    classify = layers.Conv2D(num_classes, 1, name="classify")
    model = keras.Model(image, classify(scaled), name="linear")
    # Red against green and blue; green and blue against red.
    classify.kernel.assign([[[[6, -4], [1, 2], [-4, 3.0]]]])
    return model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    pairs = [tiny.image_and_label(i) for i in range(6)]
    masks = [np.stack([label <= 1, label >= 1], -1).astype("u1") for _, label in pairs]
    for mask, (_, label) in zip(masks, pairs, strict=True):
        mask[label == 255] = 255
    folder = tmp_path_factory.mktemp("multi") / "records"
    arrays = [image for image, _ in pairs], masks
    return kerasseg.data.from_arrays(
        *arrays, CLASSES, records_dir=folder, multi_label=True
    )


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "workdir"
    kerasseg.fit(build(), data, workdir=workdir, class_weights="enet", **SETTINGS)
    return workdir


def test_a_pixel_has_all_classes_above_one_half(run, data):
    network = kerasseg.load(run)
    image = data[0][0]
    found = network.predict(image)
    z = np.asarray(network.model(image[np.newaxis].astype("float32")))[0]
    np.testing.assert_allclose(found.probabilities, 1 / (1 + np.exp(-z)), atol=1e-6)
    np.testing.assert_array_equal(found.masks, z > 0)
    np.testing.assert_array_equal(found.mask, (z > 0) @ [2, 4])
    assert found.dtype == np.uint16 and "warm" in repr(found)
    assert found.classes["dark"] == pytest.approx((z[..., 1] > 0).mean())
    assert set(found.polygons()) == set(found.classes)
    assert found.overlay().shape == image.shape and found._repr_png_()
    for options in ({"scales": (0.5, 1), "flip": True}, {"tile_size": 128}):
        views = kerasseg.load(run, **options).probabilities(image)
        assert np.abs(views - found.probabilities).mean() < 0.1


def test_a_run_is_evaluated_and_predicts_masks_of_each_class(
    run, data, tmp_path, capsys
):
    arguments = [f"--workdir={run}"]
    assert run_command(evaluate.main, *arguments, "--tune_thresholds") == 0, (
        capsys.readouterr().err
    )
    assert (run / layout.REPORT).stat().st_size
    scores = json.loads((run / layout.METRICS).read_text())
    assert set(scores["iou"]) == set(CLASSES) and len(scores["thresholds"]) == 2
    # The same of the masks on disk.
    name, image = data.split("val")[0][2], data.split("val")[0][0]
    path = tmp_path / "images" / f"{name}.png"
    path.parent.mkdir()
    path.write_bytes(images.encode_image(image))
    out, kinds = tmp_path / "out", "index,masks,overlay,color,probabilities,contours"
    more = f"--input={path.parent}", f"--output_dir={out}", f"--output={kinds}"
    assert run_command(predict.main, *arguments, *more) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert run_command(predict.main, *arguments, *more) == 0  # Resumed.
    assert "1 of 1" in capsys.readouterr().out
    code = images.read_label(out / "index" / f"{name}.png", multi_label=True)
    for k, each in enumerate(CLASSES):
        mask = images.read_label(out / "masks" / each / f"{name}.png")
        np.testing.assert_array_equal(mask == 255, bit_masks.decode(code, 2)[..., k])
    folder = f"--predictions_dir={out / 'index'}"
    more = f"--records_dir={data.records_dir}", f"--output_dir={tmp_path / 'scores'}"
    assert run_command(evaluate.main, folder, *more) == 0, capsys.readouterr().err
    again = json.loads((tmp_path / "scores" / layout.METRICS).read_text())
    assert again["iou"] == scores["iou"]
    for wrong, message in {
        "--measures=boundary_iou": "are of classes that exclude each other",
        "--superpixels=9": "this network is multi-label",
    }.items():
        assert run_command(evaluate.main, *arguments, wrong) == 2
        assert message in capsys.readouterr().err
    more = f"--input={path}", f"--output_dir={tmp_path / 'no'}", "--output=confidence"
    assert run_command(predict.main, *arguments, *more) == 2
    assert "this one is multi-label" in capsys.readouterr().err
    (run / layout.THRESHOLDS).unlink()


def test_an_export_returns_the_bits_of_the_classes(run, data, tmp_path):
    network = kerasseg.load(run)
    path = exporting.export_saved_model(
        network.model,
        tmp_path / "export",
        class_names=network.class_names,
        palette=network.palette,
    )
    image = data[0][0]
    loaded = tf.saved_model.load(path)
    file = images.encode_image(image)
    outputs = loaded.signatures["serving_default"](image_bytes=tf.constant([file]))
    mask = outputs["mask_png_bytes"][0].numpy()
    expected = np.asarray(network.predict(image))
    found = images.read_label(mask, multi_label=True)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        kerasseg.load(tmp_path / "export").predict(image), expected
    )
    card = (tmp_path / "export" / "1" / "README.md").read_text()
    assert "16-bit grayscale PNG" in card and "sums of 2 ** (k + 1)" in card


def test_evaluation_in_python_takes_masks_of_each_class(run, data):
    network = kerasseg.load(run)
    image, label, _ = data[0]
    result = network.evaluate([(image, bit_masks.decode(label, 2).astype(int))])
    assert set(result.scores["iou"]) == set(CLASSES)


def test_losses_of_the_user_get_each_class(data, tmp_path):
    shapes = []

    def mean_error(labels, logits):
        shapes.append((tuple(labels.shape)[-1], tuple(logits.shape)[-1]))
        return tf.reduce_mean((tf.cast(labels, tf.float32) - logits) ** 2)

    settings = {**SETTINGS, "workdir": tmp_path / "own"}
    kerasseg.fit(build(), data, loss=mean_error, **settings)
    assert set(shapes) == {(2, 2)}
    settings["workdir"] = tmp_path / "class"
    kerasseg.fit(build(), data, loss=losses.Dice(multi_label=True), **settings)
    with pytest.raises(errors.UserError, match="has `multi_label=False`, and the"):
        kerasseg.fit(
            build(), data, loss=losses.Dice(), **settings | {"workdir": tmp_path / "c"}
        )


def test_what_needs_exclusive_classes_is_refused(data, tmp_path):
    for change, message in (
        ({"activation": "softmax"}, "Give `activation=sigmoid`"),
        ({"augmentations": "classmix:1"}, "Choose cutmix or mosaic"),
        ({"border_weights": 10.0}, "which multi-label records do not have"),
    ):
        with pytest.raises(errors.UserError, match=message):
            kerasseg.fit(
                build(), data, workdir=tmp_path / "no", **{**SETTINGS, **change}
            )


def discs(seed, side=64):
    """Draws discs of three colors, which add up where they overlap."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    image = np.full((side, side, 3), 60.0)
    masks = np.zeros((side, side, 3), np.uint8)
    for k in range(3):
        for y, x, radius in rng.integers((8, 8, 7), (side - 8, side - 8, 14), (2, 3)):
            masks[(rows - y) ** 2 + (columns - x) ** 2 < radius**2, k] = 1
        image[..., k] += 130 * masks[..., k]
    image += rng.integers(-25, 25, image.shape)
    return image.clip(0, 255).astype(np.uint8), masks


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "multi_label"])
def test_drawn_shapes_are_learned_within_a_minute(kind, tmp_path):
    pairs = [discs(i) for i in range(24)]
    masks = [mask for _, mask in pairs]
    classes = ["red", "green", "blue"]
    if kind == "binary":
        masks, classes = [mask[..., 0] for mask in masks], ["background", "red"]
    data = kerasseg.data.from_arrays(
        [image for image, _ in pairs],
        masks,
        classes,
        records_dir=tmp_path / "records",
        multi_label=kind == "multi_label",
    )
    network = kerasseg.fit(
        "unet",
        data,
        workdir=tmp_path / "run",
        model_options={"backbone": "resnet18_quarter"},
        activation="sigmoid",
        loss="crossentropy:1,dice:1",
        optimizer="adam",
        base_learning_rate=0.003,
        training_number_of_steps=150,
        train_batch_size=4,
        train_crop_size=64,
    )
    scores = kerasseg.load(tmp_path / "run").evaluate(split="val").scores
    assert network.model.output.shape[-1] == (1 if kind == "binary" else 3)
    # Each pixel shows its classes by its color; chance is about 0.3.
    assert min(scores["iou"].values()) > 0.8
