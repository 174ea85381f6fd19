"""Networks with sigmoids, from training to exports."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import kerasseg
from kerasseg import blocks, errors, evaluate, inference, models, training
from kerasseg.images.class_rules import ClassRule
from kerasseg.inference import refining, segmenter
from kerasseg.models import outputs
from kerasseg.training.network import Network
from kerasseg.workdir import best_model, class_names, class_rule, layout
from tests.support import tiny
from tests.support.commands import run as run_command

CLASSES = ["background", "right"]
SETTINGS = {
    "activation": "sigmoid",
    "training_number_of_steps": 1,
    "train_batch_size": 2,
    "train_crop_size": 16,
    "weight_decay": 0.0,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    pairs = [tiny.image_and_label(i) for i in range(6)]
    masks = [np.where(label == 1, 0, np.minimum(label, 2) // 2) for _, label in pairs]
    for mask, (_, label) in zip(masks, pairs, strict=True):
        mask[label == 255] = 255
    folder = tmp_path_factory.mktemp("binary") / "records"
    images = [image for image, _ in pairs]
    return kerasseg.data.from_arrays(images, masks, CLASSES, records_dir=folder)


def linear(num_logits, weights):
    """Builds one convolution of 1 x 1 pixel."""
    image = keras.Input((None, None, 3))
    scaled = layers.Rescaling(1 / 255)(image)
    classify = layers.Conv2D(num_logits, 1, name="classify")
    model = keras.Model(image, classify(scaled))
    classify.kernel.assign(weights)
    return model


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "workdir"
    weights = np.array([[[[-1.0], [-1.0], [2.0]]]])
    kerasseg.fit(linear(1, weights), data, workdir=workdir, **SETTINGS)
    return workdir


def test_a_step_equals_that_of_a_softmax_of_two_logits(data, tmp_path):
    weights = np.array([[[[0.2], [-0.4], [0.6]]]])
    # z = z1 - z0, and the gradients of z1 and z0 are that of z and its negative. So a
    # step of two logits changes their difference by twice the rate.
    one = linear(1, weights)
    two = linear(2, np.concatenate([-weights / 2, weights / 2], axis=-1))
    kerasseg.fit(one, data, workdir=tmp_path / "a", base_learning_rate=0.2, **SETTINGS)
    softmax = {**SETTINGS, "activation": "softmax"}
    kerasseg.fit(two, data, workdir=tmp_path / "b", base_learning_rate=0.1, **softmax)
    kernels = [np.array(m.get_layer("classify").kernel) for m in (one, two)]
    difference = kernels[1][..., 1:] - kernels[1][..., :1]
    np.testing.assert_allclose(kernels[0], difference, atol=1e-6)
    assert np.abs(kernels[0] - weights).max() > 1e-3


def test_the_number_of_logits_is_checked(data, tmp_path):
    message = r"expected \(batch, height, width, 1\): `activation=sigmoid` has one"
    with pytest.raises(errors.UserError, match=message):
        kerasseg.fit(
            linear(2, np.zeros((1, 1, 3, 2))), data, workdir=tmp_path, **SETTINGS
        )
    with pytest.raises(errors.UserError, match="have 3 classes that exclude each"):
        Network(tiny.Builder(), 3, "sigmoid")
    with pytest.raises(errors.UserError, match="this one detects objects"):
        Network(training.Builder("mask_rcnn"), 3, "sigmoid")
    image = keras.Input((None, None, 3))
    logits = blocks.CrfRnn(name="crf")([image, layers.Conv2D(1, 1)(image)])
    refined = keras.Model(image, logits, name="refined")
    with pytest.raises(errors.UserError, match="the CRF of refined refines classes"):
        Network(refined, 2, "sigmoid").build()


def test_methods_for_few_labels_are_refused(data, tmp_path):
    message = "`semi=consistency` needs classes that exclude each other"
    with pytest.raises(errors.UserError, match=message):
        kerasseg.fit("fpn", data, workdir=tmp_path, semi="consistency", **SETTINGS)


def test_a_run_predicts_two_classes(run, data):
    network = kerasseg.load(run)
    assert network.class_names == tuple(CLASSES)
    assert network.model.output.shape[-1] == 1
    image = data[0][0]
    found = network.predict(image)
    z = np.asarray(network.model(image[np.newaxis].astype("float32")))[0, ..., 0]
    np.testing.assert_allclose(
        found.probabilities[..., 1], 1 / (1 + np.exp(-z)), atol=1e-6
    )
    np.testing.assert_array_equal(found, z > 0)
    trained = json.loads((run / layout.BEST_METADATA).read_text())
    assert (trained["num_classes"], trained["activation"]) == (1, "sigmoid")


def test_scales_and_tiles_keep_the_probabilities_of_both_classes(run, data):
    image = data[0][0]
    for options in ({"scales": (0.5, 1), "flip": True}, {"tile_size": 128}):
        for fusion in ("mean", "max", "max_logits"):
            network = kerasseg.load(run, fusion=fusion, **options)
            probabilities = network.probabilities(image)
            np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)


@pytest.fixture
def thresholds(run):
    """Gives the run a threshold, which others do not see."""
    class_rule.write(run, {"right": 0.75}, {"split": "val"})
    yield ClassRule(thresholds=(0.75,))
    (run / layout.THRESHOLDS).unlink()


@pytest.mark.parametrize("how", ["run", "file", "saved_model"])
def test_thresholds_travel_with_the_network(run, data, thresholds, how, tmp_path):
    network = kerasseg.load(run)
    path = run
    if how == "file":
        path = tmp_path / "model.keras"
        network.model.save(path)
    if how == "saved_model":
        from kerasseg import exporting

        model = best_model.load_best(run)
        assert class_names.rule_of(model) == thresholds
        names = {"class_names": network.class_names, "palette": network.palette}
        exporting.export_saved_model(model, tmp_path, **names)
        path = tmp_path
        (signature,) = tmp_path.glob("1/metadata.json")
        written = json.loads(signature.read_text())
        assert (written["activation"], written["thresholds"]) == ("sigmoid", [0.75])
    image = data[0][0]
    loaded = kerasseg.load(path)
    assert loaded.predictor.rule == thresholds
    probabilities = network.probabilities(image)
    near = np.abs(probabilities[..., 1] - 0.75) < 1e-5
    found = np.asarray(loaded.predict(image))
    np.testing.assert_array_equal(found[~near], (probabilities[..., 1] > 0.75)[~near])
    assert 0 < found.mean() < 1 and (found != (probabilities[..., 1] > 0.5)).any()


def test_thresholds_of_another_model_are_not_used(run, capsys):
    class_rule.write(run, {"right": 0.75}, {})
    path = run / layout.THRESHOLDS
    path.write_text(path.read_text().replace('"step": 1', '"step": 9'))
    assert class_rule.read(run) == ClassRule()
    assert "are those of step 9, which is no longer the best" in capsys.readouterr().out
    for text in ("{}", '{"step": 1, "thresholds": {"left": 0.5}}', "["):
        path.write_text(text)
        with pytest.raises(errors.UserError, match="json is damaged"):
            class_rule.read(run)
    path.unlink()


def test_the_command_tunes_thresholds(run, capsys):
    arguments = f"--workdir={run}", "--noreport", "--measures="
    assert run_command(evaluate.main, *arguments, "--tune_thresholds") == 0
    assert "Threshold of right: 0." in capsys.readouterr().out
    path = run / layout.THRESHOLDS
    written = json.loads(path.read_text())
    assert (written["step"], written["split"], written["images"]) == (1, "val", 1)
    scores = json.loads((run / layout.METRICS).read_text())
    assert scores["thresholds"] == [written["thresholds"]["right"]]
    assert run_command(evaluate.main, *arguments, "--superpixels=9") == 2
    assert "has a threshold of 0." in capsys.readouterr().err
    arguments = (*arguments, "--superpixels=9", "--tune_thresholds")
    assert run_command(evaluate.main, *arguments) == 2
    path.unlink()
    trained = run / layout.BEST_METADATA
    before = trained.read_text()
    trained.write_text(before.replace('"sigmoid"', '"softmax"'))
    assert run_command(evaluate.main, *arguments[:1], "--tune_thresholds") == 2
    assert "--tune_thresholds applies to networks with" in capsys.readouterr().err
    trained.write_text(before)


def test_a_crf_is_refused_with_thresholds():
    thresholds = ClassRule(thresholds=(0.75,))
    message = "`superpixels` chooses the class with"
    with pytest.raises(errors.UserError, match=message):
        refining.check_rule(thresholds, None, 10)
    message = "`crf` refines classes that exclude each other"
    with (
        pytest.raises(errors.UserError, match=message),
        inference.start_refiner({}, 0, rule=ClassRule(multi_label=True)),
    ):
        pass


def test_a_file_that_ends_in_a_sigmoid_is_refused(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(image))
    model.save(tmp_path / "model.keras")
    with pytest.raises(errors.UserError, match="its last layer is a sigmoid: build"):
        segmenter.load(tmp_path / "model.keras")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(models.list_models("semantic")))
def test_every_architecture_has_a_head_of_one_logit(name):
    options = models.metadata(name).test_options
    if "decoupled" in name:
        with pytest.raises(errors.UserError, match="must be at least 2"):
            Network(training.Builder(name, options), 2, "sigmoid").build()
        return
    built = [
        Network(training.Builder(name, options), 2, activation).build()
        for activation in ("sigmoid", "softmax")
    ]
    logits = [outputs.logits(model.output).shape[-1] for model in built]
    assert logits == [1, 2]
    # Only heads differ: one output channel less of each.
    assert built[0].count_params() < built[1].count_params()
