"""Features normalized by statistics that are computed before training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerasseg import blocks, pipeline, records, training
from kerasseg.pipeline import augment
from kerasseg.training import feature_statistics
from kerasseg.workdir import best_model
from tests.support import tiny

RNG = np.random.default_rng(0)
CROP = augment.Augmentation(crop_size=(24, 24))


def build_model(num_classes):
    """Builds a network of statistics of raw pixels and a classifier."""
    image = keras.Input((None, None, 3), name="image")
    constant = layers.Rescaling(0.0, 7.0, name="constant")(image)
    x = layers.Concatenate(name="join")([image, constant[..., :1]])
    x = blocks.NormalizeFeatures(name="features")(x)
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name="classify")(x)
    return keras.Model(image, logits, name="features")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_records(tmp_path_factory.mktemp("records"), train=6, val=2)


def run(folder, workdir, initial_checkpoint=None, **changes):
    settings = {
        "training_number_of_steps": 1,
        "train_batch_size": 2,
        "base_learning_rate": 0.01,
        **changes,
    }
    training.train(
        build_model,
        training.Data(records_dir=str(folder)),
        training.Recipe(**settings),
        CROP,
        workdir=str(workdir),
        initial_checkpoint=initial_checkpoint,
    )
    return best_model.load_best(workdir).get_layer("features")


def pixels(numbers):
    return np.concatenate([tiny.image_and_label(i)[0].reshape(-1, 3) for i in numbers])


def test_a_channel_is_normalized_to_mean_0_and_variance_1():
    layer = blocks.NormalizeFeatures()
    x = np.array([[[[7.0, 5.0]]]], "float32")
    assert np.ravel(layer(x)).tolist() == [7, 5]  # Before it is filled.
    assert not layer.is_filled
    layer.fill([3.0, 5.0], [4.0, 0.0], images=2)
    # (7 - 3) / 2, and 0 where a channel never changes.
    assert np.ravel(layer(x)).tolist() == [2, 0]
    assert layer.is_filled
    assert layer.trainable_variables == []
    assert layer(np.zeros((2, 3, 4, 2), "float16")).shape == (2, 3, 4, 2)


@pytest.mark.parametrize(
    "given, message",
    [
        (([1.0], [1.0], 1), r"has 2 channels; got \(1,\) means and \(1,\) variances"),
        (([1.0, 2.0], [1.0, 1.0], 0), "of 0 images"),
        (([1.0, np.nan], [1.0, 1.0], 1), "'norm' are not all finite"),
    ],
)
def test_invalid_statistics_are_refused(given, message):
    layer = blocks.NormalizeFeatures(name="norm")
    layer.build((None, None, None, 2))
    with pytest.raises(ValueError, match=message):
        layer.fill(*given)


def test_moments_of_parts_are_those_of_all_values():
    values = RNG.normal(5000, [1, 10, 0], (70, 3))  # A sum of squares would cancel.
    moments = feature_statistics.Moments()
    for part in np.split(values, [1, 20, 60]):
        moments.add(len(part), part.mean(axis=0), part.var(axis=0))
    np.testing.assert_allclose(moments.mean, values.mean(axis=0))
    np.testing.assert_allclose(moments.variance, values.var(axis=0), atol=1e-9)
    assert moments.num_parts == 4


def test_a_new_run_computes_statistics_of_whole_training_images(folder, tmp_path):
    layer = run(folder, tmp_path, ema_decay=0.9)  # What is saved is the average.
    expected = pixels(range(6))
    mean, variance = np.asarray(layer.mean), np.asarray(layer.variance)
    np.testing.assert_allclose(mean[:3], expected.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(variance[:3], expected.var(axis=0), rtol=1e-4)
    assert (mean[3], variance[3]) == pytest.approx((7, 1))
    assert float(layer.pictures) == pytest.approx(6)


def test_few_of_many_images_are_evenly_spaced(folder, monkeypatch):
    monkeypatch.setattr(feature_statistics, "MAX_IMAGES", 3)
    reader = pipeline.ImageReader(records.open_split(str(folder), "train"))
    model, copy = build_model(3), build_model(3)
    feature_statistics.fill(reader, model, copy)
    # Records 0, 2 or 3, and 5 of the two shards; 2.5 is rounded to even.
    names = [reader.read(i)[2] for i in (0, 2, 5)]
    expected = pixels(int(n.removeprefix("train")[0]) for n in names).mean(axis=0)
    for each in (model, copy):
        mean = np.asarray(each.get_layer("features").mean)
        np.testing.assert_allclose(mean[:3], expected, rtol=1e-5)


def test_a_model_on_mirrored_devices_is_filled(folder):
    reader = pipeline.ImageReader(records.open_split(str(folder), "train"))
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = build_model(3)
    feature_statistics.fill(reader, model)
    layer = model.get_layer("features")
    assert layer.is_filled
    mean = np.asarray(layer.mean + 0.0)[:3]
    np.testing.assert_allclose(mean, pixels(range(6)).mean(axis=0), rtol=1e-5)


def test_statistics_of_a_checkpoint_are_kept(folder, tmp_path, monkeypatch):
    first = run(folder, tmp_path / "run")
    # Neither a resumed run nor one with an initial checkpoint computes them again.
    monkeypatch.setattr(feature_statistics, "_compute", None)
    second = run(folder, tmp_path / "run", training_number_of_steps=2)
    third = run(folder, tmp_path / "other", str(tmp_path / "run"))
    for layer in (second, third):
        np.testing.assert_array_equal(layer.mean, first.mean)
        np.testing.assert_array_equal(layer.variance, first.variance)


def test_damaged_records_are_left_out_of_the_statistics(tmp_path):
    image, label = tiny.image_and_label(0)
    good = tiny.example(image, label, "a.png")
    examples = [good, good.replace(tiny.png(image), b"x" * len(tiny.png(image)))]
    shard = records.write_shard(tmp_path / records.shard_name("train", 0, 1), examples)
    info = records.DatasetInfo(tiny.SPEC, {"train": [shard]})
    records.write_info(tmp_path, info)
    split = records.open_split(str(tmp_path), "train")
    model = build_model(3)
    feature_statistics.fill(pipeline.ImageReader(split, skip_bad=1), model)
    layer = model.get_layer("features")
    assert float(layer.pictures) == 1
    np.testing.assert_allclose(np.asarray(layer.mean)[:3], pixels([0]).mean(axis=0))
