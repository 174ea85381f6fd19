"""Test-time options: scales, flip and dense CRF as parts of the exported graph."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kerasseg import crf, exporting, images, inference
from tests.exporting.test_exporting import check_operations
from tests.support import levels, networks, served, tiny

CRF = {
    **{"iterations": 3, "gaussian_sxy": 2.0, "gaussian_compat": 2.0},
    **{"bilateral_sxy": 8.0, "bilateral_srgb": 30.0, "bilateral_compat": 4.0},
}
OPTIONS = {
    "scales": {"scales": (0.5, 1.0, 1.75)},
    "flip": {"flip": True},
    "max": {"scales": (1.0, 1.5), "flip": True, "fusion": "max"},
    "max of logits": {"scales": (1.0, 1.5), "fusion": "max_logits"},
    "crf": {"crf": CRF},
    "gaussian only": {"crf": {**CRF, "bilateral_compat": 0.0}},
    "all": {"scales": (0.75, 1.0), "flip": True, "crf": CRF},
}


def evaluated(model, image, *, crf=None, **options):
    """Computes probabilities like evaluate."""
    predictor = inference.Predictor(model, **options)
    probabilities = predictor.probabilities(image[np.newaxis])[0]
    if crf is None:
        return probabilities
    return dense_crf(image, probabilities, engine="keras", **crf)


dense_crf = crf.dense_crf


@pytest.mark.parametrize(
    "name", networks.others_slow(OPTIONS, ("max of logits", "gaussian only"))
)
def test_the_graph_computes_the_same_as_evaluate(name, tmp_path):
    model = tiny.build_model("tiny", 3)
    image, label = tiny.image_and_label(4, 41, 55)
    path = served.export(
        tmp_path,
        model=model,
        test_time_options=exporting.TestTimeOptions(**OPTIONS[name]),
        samples=[exporting.Sample(tiny.png(image), label)],
    )
    loaded = tf.saved_model.load(path)
    outputs = loaded.signatures["tensor"](image=image[np.newaxis].astype(np.float32))
    expected = evaluated(model, image, **OPTIONS[name])
    np.testing.assert_allclose(outputs["probabilities"][0], expected, atol=1e-4)
    np.testing.assert_array_equal(outputs["classes"][0], expected.argmax(-1))
    plain = evaluated(model, image)
    assert np.abs(plain - expected).max() > 1e-3  # The options change something.
    file = tf.constant([tiny.png(image)])
    mask = loaded.signatures["serving_default"](image_bytes=file)["mask_png_bytes"]
    np.testing.assert_array_equal(
        images.read_label(mask.numpy()[0]), expected.argmax(axis=-1)
    )
    for signature in loaded.signatures.values():
        check_operations(signature)
    metadata = json.loads(pathlib.Path(path, "metadata.json").read_text())
    assert metadata["views"]["flip"] == OPTIONS[name].get("flip", False)
    text = " ".join(pathlib.Path(path, "README.md").read_text().split())
    assert "Its logits are log-probabilities." in text
    assert ("dense CRF" in text) == ("crf" in OPTIONS[name])


@pytest.mark.slow
def test_images_of_a_batch_are_independent(tmp_path):
    options = exporting.TestTimeOptions(flip=True, crf=CRF)
    model = tiny.build_model("tiny", 3)
    path = served.export(tmp_path, model=model, test_time_options=options)
    call = tf.saved_model.load(path).signatures["tensor"]
    batch = np.stack([tiny.image_and_label(i)[0] for i in range(2)]).astype(np.float32)
    probabilities = call(image=batch)["probabilities"]
    for i in range(2):
        alone = call(image=batch[i : i + 1])["probabilities"][0]
        np.testing.assert_allclose(probabilities[i], alone, atol=1e-5)


def test_an_export_with_test_time_options_can_be_loaded(tmp_path):
    options = exporting.TestTimeOptions(scales=(1.0,), flip=True)
    served.export(tmp_path, test_time_options=options)
    mask = inference.load(tmp_path).predict(levels.IMAGE)
    assert mask.tolist() == levels.CLASSES


def test_default_options_change_nothing(tmp_path):
    path = served.export(tmp_path, test_time_options=exporting.TestTimeOptions())
    assert json.loads(pathlib.Path(path, "metadata.json").read_text())["views"] is None


def test_other_formats_do_not_support_the_options(tmp_path):
    with pytest.raises(
        ValueError, match=r"SavedModel only, not of onnx, keras\. Export"
    ):
        served.export(
            tmp_path / "out",
            test_time_options=exporting.TestTimeOptions(flip=True),
            format_names=["saved_model", "onnx", "keras"],
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"scales": ()}, "scales=.*expected one or more numbers above 0"),
        ({"fusion": "sum"}, "`fusion=sum`"),
        ({"crf": {**CRF, "iterations": 0}}, "`iterations=0`: expected a whole number"),
    ],
)
def test_values_out_of_range_are_errors(options, error):
    with pytest.raises(ValueError, match=error):
        exporting.TestTimeOptions(**options)
