"""Scales, the mirror and the dense CRF as parts of the exported graph."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import crf, exporting, images, inference
from tests import levels, served, tiny
from tests.test_exporting import check_operations

CRF = {
    **{"iterations": 3, "gaussian_sxy": 2.0, "gaussian_compat": 2.0},
    **{"bilateral_sxy": 8.0, "bilateral_srgb": 30.0, "bilateral_compat": 4.0},
}
VIEWS = {
    "scales": {"scales": (0.5, 1.0, 1.75)},
    "flip": {"flip": True},
    "the largest": {"scales": (1.0, 1.5), "flip": True, "fusion": "max"},
    "crf": {"crf": CRF},
    "by place": {"crf": {**CRF, "bilateral_compat": 0.0}},
    "all": {"scales": (0.75, 1.0), "flip": True, "crf": CRF},
}


def evaluated(model, image, *, crf=None, **options):
    """Finds probabilities as evaluate does."""
    predictor = inference.Predictor(model, **options)
    found = predictor.probabilities(image[np.newaxis])[0]
    if crf is None:
        return found
    return dense_crf(image, found, engine="keras", **crf)


dense_crf = crf.dense_crf


@pytest.mark.parametrize("name", VIEWS)
def test_the_graph_does_what_evaluate_does(name, tmp_path):
    model = tiny.build_model("tiny", 3)
    image, label = tiny.picture(4, 41, 55)
    path = served.export(
        tmp_path,
        model=model,
        views=exporting.Views(**VIEWS[name]),
        pictures=[exporting.Picture(tiny.png(image), label)],
    )
    loaded = tf.saved_model.load(path)
    found = loaded.signatures["tensor"](image=image[np.newaxis].astype(np.float32))
    wanted = evaluated(model, image, **VIEWS[name])
    np.testing.assert_allclose(found["probabilities"][0], wanted, atol=1e-4)
    np.testing.assert_array_equal(found["classes"][0], wanted.argmax(-1))
    plain = evaluated(model, image)
    assert np.abs(plain - wanted).max() > 1e-3  # It does something.
    file = tf.constant([tiny.png(image)])
    mask = loaded.signatures["serving_default"](image_bytes=file)["mask_png_bytes"]
    np.testing.assert_array_equal(
        images.read_label(mask.numpy()[0]), wanted.argmax(axis=-1)
    )
    for signature in loaded.signatures.values():
        check_operations(signature)
    facts = json.loads(pathlib.Path(path, "metadata.json").read_text())
    assert facts["views"]["flip"] == VIEWS[name].get("flip", False)
    text = " ".join(pathlib.Path(path, "README.md").read_text().split())
    assert "Its logits are log-probabilities." in text
    assert ("dense CRF" in text) == ("crf" in VIEWS[name])


def test_pictures_of_a_batch_do_not_speak_to_each_other(tmp_path):
    views = exporting.Views(flip=True, crf=CRF)
    path = served.export(tmp_path, model=tiny.build_model("tiny", 3), views=views)
    call = tf.saved_model.load(path).signatures["tensor"]
    batch = np.stack([tiny.picture(i)[0] for i in range(2)]).astype(np.float32)
    found = call(image=batch)["probabilities"]
    for i in range(2):
        alone = call(image=batch[i : i + 1])["probabilities"][0]
        np.testing.assert_allclose(found[i], alone, atol=1e-5)


def test_an_export_that_looks_can_be_predicted_with(tmp_path):
    served.export(tmp_path, views=exporting.Views(scales=(1.0,), flip=True))
    found = inference.load(tmp_path).predict(levels.IMAGE)
    assert found.tolist() == levels.CLASSES


def test_plain_views_change_nothing(tmp_path):
    path = served.export(tmp_path, views=exporting.Views())
    assert json.loads(pathlib.Path(path, "metadata.json").read_text())["views"] is None


def test_other_formats_cannot_look(tmp_path):
    with pytest.raises(
        ValueError, match=r"SavedModel only, and also .* onnx, keras\. E"
    ):
        served.export(
            tmp_path / "out",
            views=exporting.Views(flip=True),
            format_names=["saved_model", "onnx", "keras"],
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"scales": ()}, "scales=.*give one or more numbers above 0"),
        ({"fusion": "sum"}, "fusion='sum'"),
        ({"crf": {**CRF, "iterations": 0}}, "iterations=0: give a whole number"),
    ],
)
def test_settings_out_of_range_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        exporting.Views(**options)
