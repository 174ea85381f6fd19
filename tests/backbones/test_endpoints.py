"""Row 119: endpoints are the output of a stage, not the norm that the next starts with.

Runs whose workdir has format 1 keep the endpoints they were trained with.
"""

import json

import keras
import numpy as np
import pytest

from kerasseg import backbones, models, training
from kerasseg.backbones import rewrite
from kerasseg.pipeline import augment
from kerasseg.workdir import best_model, checkpoints, flag_file, layout
from tests.backbones import test_rewrite
from tests.support import networks, tiny

# The layer of the original model whose input is the output of the stage: the first of
# what leads to the next stage.
_NEXT = {
    "convnext_tiny": "convnext_tiny_downsampling_block_{}",  # Of stage 0, 1, 2.
    "densenet121": "pool{}_bn",
    "resnet50_v2": "conv{}_block{}_preact_bn",
}
_UNITS = {2: 3, 3: 4, 4: 6}  # Of ResNet-50; the last of a stage has its stride.


def first_of_next(name, k):
    numbers = {"convnext_tiny": [k - 2], "densenet121": [k]}
    return _NEXT[name].format(*numbers.get(name, [k, _UNITS.get(k)]))


def endpoints(source, image, name, **options):
    widest = test_rewrite.ROWS[name].widest
    return rewrite.encoder(source, image, widest=widest, **options)


@pytest.mark.parametrize("name", networks.others_slow(_NEXT, ("resnet50_v2",)))
def test_endpoints_are_those_of_the_original_model(name):
    source = test_rewrite.original(name, 64)
    image = keras.Input((None, None, 3))
    own = endpoints(source, image, name)
    before = endpoints(source, image, name, own_ends=False)
    x = test_rewrite.random_image(64)
    own, before = (
        {k: np.array(v) for k, v in keras.Model(image, c)(x).items()}
        for c in (own, before)
    )
    expected = keras.Model(
        source.input,
        [source.get_layer(first_of_next(name, k)).input for k in (2, 3, 4)],
    )(test_rewrite.before_normalization(source, x))
    for k, value in zip((2, 3, 4), expected, strict=True):
        test_rewrite.assert_equal(own[f"c{k}"], np.array(value))
        assert np.abs(own[f"c{k}"] - before[f"c{k}"]).max() > 0.1
    np.testing.assert_array_equal(own["c5"], before["c5"])


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v3_small",
        "vgg16",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in test_rewrite.FAMILIES
            if name not in ("mobilenet_v3_small", "vgg16", *_NEXT)
        ),
    ],
)
def test_endpoints_of_other_encoders_have_not_changed(name):
    side = test_rewrite.ROWS[name].side if name in test_rewrite.STATIC else None
    source = test_rewrite.ROWS[name].constructor(
        include_top=False, weights=None, input_shape=(side, side, 3)
    )
    image = keras.Input((None, None, 3))
    own, before = (
        {
            k: v._keras_history.operation.name
            for k, v in endpoints(source, image, name, own_ends=own).items()
        }
        for own in (True, False)
    )
    assert own == before


class Builder(tiny.Builder):
    """Builds the tiny network, and notes the format of the workdir."""

    seen: list  # Set by the test.

    def __call__(self, num_classes):
        self.seen.append(backbones.workdir_format())
        return super().__call__(num_classes)


def train(folder, workdir, steps, initial_checkpoint=None):
    Builder.seen = []
    training.train(
        Builder(),
        training.Data(records_dir=str(folder)),
        training.Recipe(
            training_number_of_steps=steps, train_batch_size=2, ema_decay=0.5
        ),
        augment.Augmentation(crop_size=(24, 24)),
        workdir=str(workdir),
        initial_checkpoint=initial_checkpoint,
    )
    return set(Builder.seen)  # Of the model and of its average.


def run_format(workdir):
    return json.loads((workdir / layout.RUN).read_text())["format"]


@pytest.mark.slow
def test_a_run_keeps_the_format_of_its_workdir(tmp_path, monkeypatch):
    folder = tiny.write_records(tmp_path / "records")
    assert train(folder, tmp_path / "new", 1) == {2}
    assert run_format(tmp_path / "new") == 2
    assert train(folder, tmp_path / "new", 2) == {2}
    (tmp_path / "new" / layout.RUN).unlink()  # A run of the release before.
    old = (tmp_path / "new").rename(tmp_path / "old")
    assert train(folder, old, 3) == {1}
    assert run_format(old) == 1
    # A network for the weights of an old one is built like the old one.
    assert train(folder, tmp_path / "later", 1, initial_checkpoint=str(old)) == {1}
    assert run_format(tmp_path / "later") == 1
    assert backbones.workdir_format() == flag_file.FORMAT == 2

    def build_model(*_, **__):
        raise ZeroDivisionError(backbones.workdir_format())

    monkeypatch.setattr(models, "build_model", build_model)
    for number in (1, 2):
        (old / layout.RUN).write_text(json.dumps({"format": number}))
        with pytest.raises(ZeroDivisionError, match=str(number)):
            best_model.load_best(old, output_stride=8)
    (old / layout.RUN).unlink()
    with pytest.raises(ZeroDivisionError, match="1"):
        best_model.load_best(old, output_stride=8)


def test_a_started_run_without_a_checkpoint_is_a_new_one(tmp_path):
    (tmp_path / layout.FLAGS).write_text("--seed=1\n")
    assert flag_file.check_format(tmp_path) == 2
    checkpoints.Checkpoints(tmp_path / layout.CHECKPOINTS, {}).save(1)
    assert flag_file.check_format(tmp_path) == 1


@pytest.mark.slow
def test_ends_of_convnext_can_have_a_normalization_of_their_own():
    image = keras.Input((64, 64, 3))
    plain = backbones.build("convnext_tiny", image)
    c = backbones.build("convnext_tiny", image, end_norms=True)
    norms = [layer for x in c.values() for layer in [x._keras_history.operation]]
    assert [layer.epsilon for layer in norms] == [1e-6] * 4
    assert [layer.name for layer in norms[:3]] == ["c2_norm", "c3_norm", "c4_norm"]
    assert {key: x.shape for key, x in c.items()} == {
        k: x.shape for k, x in plain.items()
    }
    # Scale and shift of 96, 192 and 384 channels.
    counts = [
        keras.Model(image, [*ends.values()]).count_params() for ends in (c, plain)
    ]
    assert counts[0] - counts[1] == 2 * (96 + 192 + 384)


def test_only_convnext_has_normalizations_of_its_ends():
    assert backbones.list_options("convnext_base") == ["crop", "end_norms"]
    assert backbones.list_options("densenet121") == []
