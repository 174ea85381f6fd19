"""`kerasseg.fit`: networks, recipes, losses and callbacks of the user."""

import re

import keras
import numpy as np
import pytest

import kerasseg
from kerasseg import errors, losses, models, trained, training
from kerasseg.pipeline.dataset import Dataset
from kerasseg.system import packaged
from kerasseg.training import recipe_files
from kerasseg.workdir import best_model, flag_file
from tests.support import tiny

SETTINGS = {
    "training_number_of_steps": 2,
    "train_batch_size": 2,
    "train_crop_size": 16,
    "base_learning_rate": 0.1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Dataset(tiny.write_records(tmp_path_factory.mktemp("records"), val=1))


def build(num_classes=3, **options):
    return tiny.build_model("mine", num_classes, **options)


def weights(model, layer):
    return [np.array(w) for w in model.get_layer(layer).get_weights()]


def test_a_keras_model_is_trained_and_returned(data, tmp_path, capsys):
    model = build()
    before = weights(model, "classify")[0]
    segmenter = kerasseg.fit(model, data, workdir=tmp_path, **SETTINGS)
    assert (weights(model, "classify")[0] != before).any()
    assert np.asarray(segmenter.predict(data[0][0])).shape == data[0][1].shape
    assert isinstance(segmenter, trained.Segmenter)  # It has evaluate and export.
    lines = capsys.readouterr().out.splitlines()
    assert "Weights: those of a new network" in lines
    # Its flags are those of kerasseg.train.
    flags = flag_file.read(tmp_path)
    assert flags["records_dir"] == data.records_dir and "model" not in flags
    assert (flags["train_crop_size"], flags["train_batch_size"]) == ("16", "2")
    # The same call loads it; another one is refused.
    kerasseg.fit(build(), data, workdir=tmp_path, **SETTINGS)
    log = capsys.readouterr().out
    assert "Weights: restored from the checkpoint of step 2 in" in log
    assert "Tracing" not in log
    message = "--base_learning_rate=0.1 there, --base_learning_rate=0.2 here"
    with pytest.raises(errors.UserError, match=message):
        kerasseg.fit(
            build(), data, workdir=tmp_path, **{**SETTINGS, "base_learning_rate": 0.2}
        )


def test_an_encoder_is_frozen_to_the_bit(data, tmp_path):
    model = build()
    before = {name: weights(model, name) for name in ("encoder", "norm", "classify")}
    kerasseg.fit(
        model,
        data,
        workdir=tmp_path,
        freeze_encoder=["encoder", "norm"],
        ema_decay=0.9,
        **SETTINGS,
    )
    best = best_model.load_best(tmp_path)
    for name in ("encoder", "norm"):
        for each in (model, best):
            for old, new in zip(before[name], weights(each, name), strict=True):
                np.testing.assert_array_equal(old, new)
    assert (before["classify"][0] != weights(model, "classify")[0]).any()


def test_layers_to_freeze_must_be_known(data, tmp_path):
    def call(freeze, model):
        kerasseg.fit(model, data, workdir=tmp_path, freeze_encoder=freeze, **SETTINGS)

    with pytest.raises(errors.UserError, match="`freeze_encoder` names c1"):
        call(["c1"], build())
    with pytest.raises(errors.UserError, match="`freeze_encoder` needs the name"):
        call(True, build())


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        assert not logs
        self.epochs.append(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((epoch, sorted(logs)))


def test_callbacks_and_a_transform_are_called(data, tmp_path, capsys):
    stop = keras.callbacks.EarlyStopping(
        "val_mean_iou", mode="max", patience=1, min_delta=1.0
    )
    recorder = Recorder()
    turned = []

    def turn(image, mask):
        turned.append(image.shape)
        return image[::-1], mask[::-1]

    settings = {**SETTINGS, "eval_interval_steps": 1, "training_number_of_steps": 4}
    kerasseg.fit(
        build(),
        data,
        workdir=tmp_path,
        callbacks=[recorder, stop],
        transform=turn,
        **settings,
    )
    # Without an improvement by 1, it stops after the second validation.
    names = ["learning_rate", "loss", "val_loss", "val_mean_accuracy", "val_mean_iou"]
    assert [each for each in recorder.epochs if isinstance(each, int)] == [0, 1]
    (first, logs), _ = (each for each in recorder.epochs if isinstance(each, tuple))
    assert first == 0 and set(names) <= set(logs)
    assert set(turned) == {(16, 16, 3)}
    log = capsys.readouterr().out
    assert "Callbacks: Recorder, EarlyStopping. State of Recorder, if any, is" in log
    assert "Transform: turn. It takes no seed" in log


def mean_loss(labels, logits):
    return keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255)(
        labels, logits
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss", ["crossentropy", losses.CrossEntropy(), losses.crossentropy, mean_loss]
)
def test_equal_losses_of_all_forms_train_equally(data, tmp_path, loss):
    keras.utils.set_random_seed(1)
    model = build()
    settings = {**SETTINGS, "training_number_of_steps": 1, "weight_decay": 0.0}
    kerasseg.fit(model, data, workdir=tmp_path, loss=loss, **settings)
    keras.utils.set_random_seed(1)
    other = build()
    settings["loss"] = "crossentropy"
    kerasseg.fit(other, data, workdir=tmp_path / "other", **settings)
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 3}, "There is no setting `steps`"),
        ({"train_batch_sise": 3}, "Did you mean train_batch_size"),
        ({"train_batch_size": "two"}, "`train_batch_size=two` is not a batch size"),
        (
            {"save_interval_steps": 1.5},
            "`save_interval_steps=1.5` is float, expected int",
        ),
        ({"optimizer": "lion"}, "`optimizer=lion` is not one of sgd"),
        ({"recipe": "camvid/enett"}, "There is no recipe 'camvid/enett'. Did you mean"),
        ({"model": None}, "`model` was not given, and the recipe names none"),
        ({"model": "enett"}, "`model=enett` is not a known architecture"),
        ({"model_options": {"aux": True}}, "`model_options` are options of an archite"),
        ({"loss": 3}, "Unknown loss"),
        ({"eval_split": "test"}, "`eval_split=test` is no split of .* train, val"),
        ({"data": [1]}, "`data` is list, expected a data set of kerasseg.data"),
        (
            {"loss": mean_loss, "class_weights": "enet"},
            "`class_weights` needs the losses of kerasseg.train by name",
        ),
        (
            {"loss": mean_loss, "semi": "consistency"},
            "`semi=consistency` cannot be combined with `loss` as",
        ),
        (
            {"transform": len, "stage": "classification"},
            "`stage=classification` cannot be",
        ),
        (
            {"loss": keras.losses.sparse_categorical_crossentropy},
            r"sparse_categorical_crossentropy returned shape \(1, 64, 64\), expected a",
        ),
    ],
)
def test_wrong_arguments_are_refused(data, tmp_path, changes, message):
    arguments = {"model": build, "data": data, "workdir": tmp_path, **SETTINGS}
    with pytest.raises(errors.UserError, match=message):
        kerasseg.fit(**{**arguments, **changes})


@pytest.mark.parametrize("name", packaged.recipes())
def test_every_recipe_is_read(name):
    settings = recipe_files.read(name)
    assert settings.model in models.list_models()
    # Lines as the recipe writes them, but those of where the data are.
    text = packaged.recipes()[name].read_text()
    given = re.findall(r"^--(?:train_b|opt|training|loss|noadd|aug).*", text, re.M)
    assert len(given) > 2 and {*given} <= {*settings.lines()}


def test_a_line_that_is_no_flag_is_refused(tmp_path):
    path = tmp_path / "mine.flags"
    path.write_text("# Mine.\n--noadd_flipped_images\n--rotation=5\n")
    settings = recipe_files.read(path)
    assert (settings.images.add_flipped_images, settings.images.rotation) == (False, 5)
    path.write_text("--rotation\n")
    with pytest.raises(
        errors.UserError, match=r"mine.flags: line 1 is not a flag with"
    ):
        recipe_files.read(path)


@pytest.mark.slow
def test_an_architecture_is_trained_by_name(data, tmp_path, capsys):
    options = {"backbone": "efficientnet_lite0", "backbone_weights": None}
    recipe = training.Recipe(
        training_number_of_steps=1, train_batch_size=2, ema_decay=0.5
    )
    segmenter = kerasseg.fit(
        "unet",
        data.records_dir,
        recipe,
        workdir=tmp_path,
        model_options=options,
        freeze_encoder=True,
        train_crop_size=(32, 48),
    )
    assert segmenter.model.name == "unet"
    assert "Encoder: efficientnet_lite0, pretrained weights: none" in (
        capsys.readouterr().out
    )
    names = models.encoder_layers("unet", **options)
    keras.utils.set_random_seed(1)
    first = models.build_model("unet", 3, **options)
    for name in names:
        pairs = zip(weights(first, name), weights(segmenter.model, name), strict=True)
        for before, after in pairs:
            np.testing.assert_array_equal(before, after)
