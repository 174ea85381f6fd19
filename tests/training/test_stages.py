"""The two stages of DecoupledNet: targets, losses, frozen variables, resuming."""

import dataclasses
import math
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import images, models, records, train, training
from kerasseg.models import decoupled_net
from kerasseg.pipeline import augment
from kerasseg.training import network
from kerasseg.training import run as training_run
from kerasseg.training import step as steps
from kerasseg.training.few_labels import classification, segmentation, stages
from kerasseg.workdir import best_model, metadata
from tests.support import commands, tiny

NAME = "decoupled_net_small"
OPTIONS = models.metadata(NAME).test_options
SIZE = 40, 48
# Pixels stay where they are.
WHOLE = augment.Augmentation(
    crop_size=SIZE, min_scale_factor=1.0, max_scale_factor=1.0, flip=False
)
STAGES = "classification", "segmentation"


def stripes(*classes, ignored=2):
    """An image and its label: vertical stripes of classes, and ignored rows on top."""
    label = np.repeat(np.uint8(classes), SIZE[1] // len(classes))
    label = np.tile(label, (SIZE[0], 1))
    label[:ignored] = 255
    return np.stack([40 * label] * 3, axis=-1), label


# Class 0 is the background. Image 2 shows nothing else.
PAIRS = [stripes(0, 1), stripes(0, 1, 2), stripes(0), stripes(2, 0)]
TAGS = [[1, 0], [1, 1], [0, 0], [0, 1]]


def write(folder, *, tags=TAGS, labels=True):
    """Writes `PAIRS` as records with image-level classes, where these are not None."""
    classes = [None if tag is None else 1 + np.flatnonzero(tag) for tag in tags]
    serialized = [
        records.encode_example(
            image=tiny.png(image),
            label=images.encode_label(label) if labels else None,
            name=f"{i}.png",
            image_format="png",
            height=SIZE[0],
            width=SIZE[1],
            present_classes=None if present is None else present.tolist(),
        )
        for i, ((image, label), present) in enumerate(zip(PAIRS, classes, strict=True))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    splits = {
        split: [
            records.write_shard(folder / records.shard_name(split, 0, 1), serialized)
        ]
        for split in ("train", "val")
    }
    info = records.DatasetInfo(tiny.SPEC, splits)
    if not labels:
        unlabeled = dict.fromkeys(splits, len(PAIRS))
        info = dataclasses.replace(info, schema_version=2, num_unlabeled=unlabeled)
    records.write_info(folder, info)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("records") / "tagged")


def open_reader(folder):
    return training.Data(records_dir=str(folder)).open("train_split")


@pytest.fixture
def reader(folder):
    return open_reader(folder)


def by_name(dataset, batches):
    """Returns the items of the first batches by the name of their image."""
    found: dict = {}
    for batch in dataset.take(batches):
        names = [name.decode() for name in batch["name"].numpy()]
        for i, name in enumerate(names):
            item = {key: value[i].numpy() for key, value in batch.items()}
            found.setdefault(name, []).append(item)
    return found


def test_tags_are_those_of_the_records_without_class_0(reader):
    order = classification.Classification().order(reader)
    np.testing.assert_array_equal(order, [0, 1, 2, 3])
    dataset = classification.tagged_dataset(
        reader, WHOLE, batch_size=2, seed=1, order=order
    )
    found = by_name(dataset, 2)
    for i, (image, _) in enumerate(PAIRS):
        (item,) = found[f"{i}.png"]
        np.testing.assert_array_equal(item["tags"], TAGS[i])
        np.testing.assert_array_equal(item["image"], image)
        assert item["known"]


def test_images_without_labels_or_tags(tmp_path, capsys):
    reader = open_reader(write(tmp_path / "no_labels", labels=False))
    assert len(classification.Classification().order(reader)) == 4
    some = open_reader(write(tmp_path / "some", tags=[None, [0, 1], None, [1, 0]]))
    np.testing.assert_array_equal(classification.Classification().order(some), [1, 3])
    assert "2 with image-level classes, 2 without" in capsys.readouterr().out
    none = open_reader(write(tmp_path / "none", tags=[None] * 4))
    with pytest.raises(ValueError, match="No image of the split 'train' has image"):
        classification.Classification().order(none)


def test_pairs_are_those_of_classes_that_occur(reader):
    # The rows and columns are those of the whole image. Image 2 gives no pair.
    whole = 0, 0, 40, 48
    np.testing.assert_array_equal(
        segmentation.list_pairs(reader, [0, 1, 2, 3]),
        [(0, 1, *whole), (1, 1, *whole), (1, 2, *whole), (3, 2, *whole)],
    )


def test_pairs_of_combinatorial_crops(reader):
    # Stripes of 16 columns: class 1 from column 16, class 2 from column 32. The ignored
    # rows are in no box.
    np.testing.assert_array_equal(
        segmentation.list_pairs(reader, [1], combinatorial=True),
        [
            (1, 1, 2, 16, 40, 32),
            (1, 1, 2, 16, 40, 48),
            (1, 2, 2, 16, 40, 48),
            (1, 2, 2, 32, 40, 48),
        ],
    )


def test_only_listed_images_give_pairs(folder, tmp_path):
    (tmp_path / "list.txt").write_text("3.png\n")
    data = training.Data(
        records_dir=str(folder), labeled_list=str(tmp_path / "list.txt")
    )
    task = segmentation.Segmentation(training.FewLabels(stage="segmentation"))
    reader = data.open("train_split")
    np.testing.assert_array_equal(task.order(reader), [0])
    dataset = task.training_dataset(
        reader, WHOLE, None, None, batch_size=2, seed=1, order=np.array([0])
    )
    assert set(by_name(dataset, 2)) == {"3.png"}
    # All images have tags, whatever the list says.
    assert len(classification.Classification().order(reader)) == 4


def test_background_alone_gives_no_pair_at_all(reader):
    with pytest.raises(ValueError, match=r"None of 1 labeled images .* besides left"):
        segmentation.list_pairs(reader, [2])


def test_the_target_is_one_class_and_void_stays_ignored(reader):
    pairs = segmentation.list_pairs(reader, [1])
    dataset = segmentation.pair_dataset(reader, WHOLE, pairs, batch_size=2, seed=1)
    label = PAIRS[1][1]
    for item in by_name(dataset, 1)["1.png"]:
        number = 1 + item["classes"].argmax()
        np.testing.assert_array_equal(item["classes"], np.eye(2)[number - 1])
        expected = np.where(label == 255, 255, label == number)
        np.testing.assert_array_equal(item["target"], expected)


def test_a_crop_without_the_class_is_ignored(reader):
    # Class 2 of image 1 lies in the last 16 columns, and the crop has the others.
    pairs = np.array([(1, 2, 0, 0, 40, 32), (1, 2, 0, 0, 40, 48)])
    narrow = augment.Augmentation(
        crop_size=(40, 32), min_scale_factor=1.0, max_scale_factor=1.0, flip=False
    )
    dataset = segmentation.pair_dataset(reader, narrow, pairs[:1], batch_size=1, seed=1)
    ((item,),) = by_name(dataset, 1).values()
    assert (item["target"] == 255).all()


def test_items_depend_on_seed_and_position_only(reader):
    pairs = segmentation.list_pairs(reader, range(4))
    varied = augment.Augmentation(crop_size=SIZE)

    def batches(read, start, count):
        options = {"batch_size": 2, "seed": 5, "start": start}
        return [*read(**options).take(count).as_numpy_iterator()]

    for read in (
        lambda **options: classification.tagged_dataset(reader, varied, **options),
        lambda **options: segmentation.pair_dataset(reader, varied, pairs, **options),
    ):
        whole, rest = batches(read, 0, 4), batches(read, 4, 2)
        for expected, actual in zip(whole[2:], rest, strict=True):
            for key, value in expected.items():
                np.testing.assert_array_equal(actual[key], value, err_msg=key)


def recipe(**changes):
    settings = {
        "training_number_of_steps": 4,
        "train_batch_size": 2,
        "base_learning_rate": 0.01,
        "learning_policy": "constant",
    }
    return training.Recipe(**{**settings, **changes})


class Step:
    """The step function of a stage, and its state."""

    def __init__(self, stage, **changes):
        keras.utils.set_random_seed(3)
        self.state, self.objective = training_run.create_state(
            network.Network(training.Builder(NAME, OPTIONS), 3),
            recipe(**changes),
            few_labels=training.FewLabels(stage=stage),
        )
        self.function = steps.StepFunction(
            self.state,
            self.objective,
            recipe(**changes),
            tf.distribute.get_strategy(),
        )

    def weights(self):
        return {v.path: np.array(v) for v in self.state.model.weights}


def batch(stage, classes=((1, 0), (0, 1))):
    image, labels = zip(*[PAIRS[1]] * 2, strict=True)
    tensors = {"image": np.stack(image)}
    if stage == "classification":
        tensors |= {"tags": np.float32(classes), "known": np.array([True, True])}
    else:
        targets = [
            np.where(x == 255, 255, x == k) for x, k in zip(labels, (1, 2), strict=True)
        ]
        tensors |= {"classes": np.float32(classes), "target": np.uint8(targets)}
    return {key: tf.constant(value) for key, value in tensors.items()}


@pytest.mark.parametrize("stage", STAGES)
def test_a_step_changes_only_the_variables_of_its_stage(stage):
    step = Step(stage, weight_decay=0.1)
    before = step.weights()
    result = step.function(batch(stage), tf.constant(0, tf.int64))
    assert bool(result.updated) and math.isfinite(float(result.loss))
    after = step.weights()
    changed = {path for path in before if (before[path] != after[path]).any()}
    parts = decoupled_net.parts(step.state.model)
    own = {v.path for x in parts.segmentation_layers for v in x.weights}
    if stage == "classification":
        own = set(before) - own
    # Batch norm included: weights and statistics.
    assert changed == own


def test_the_loss_of_one_pair_by_hand():
    # Logits of background and foreground at 3 pixels. The first is foreground: both
    # have probability 1/2, ln 2. The second is background, of probability 3/4: ln 4/3.
    # The third is ignored. Sum ln 8/3, of 2 pixels.
    logits = tf.constant([[[[0.0, 0.0], [math.log(3), 0.0], [5.0, -5.0]]]])
    target = tf.constant([[[1, 0, 255]]], tf.uint8)
    model = models.build_model(NAME, 3, **OPTIONS)
    total, count = segmentation.SegmentationObjective(model, recipe())(logits, target)
    assert float(total) == pytest.approx(math.log(8 / 3))
    assert float(count) == 2


def test_the_loss_of_tags_by_hand():
    # Scores 0 and ln 3, of which the first class is shown: ln 2 + ln 4. The tags of the
    # second image are not known.
    objective = classification.ClassificationObjective(
        models.build_model(NAME, 3, **OPTIONS)
    )
    scores = tf.constant([[0.0, math.log(3)], [9.0, -9.0]])
    objective.model = mock.Mock(return_value=scores)
    inputs = batch("classification") | {
        "tags": tf.constant([[1.0, 0.0], [0.0, 0.0]]),
        "known": tf.constant([True, False]),
    }
    sums = objective.sums(inputs, tf.constant([0, 0], tf.int64))
    assert float(sums.loss) == pytest.approx(math.log(8))
    assert float(sums.count) == 1


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ({}, {}, "`stage=segmentation` does not train .* `initial_checkpoint`"),
        ({}, {"class_weights": "enet"}, "`class_weights=enet` has no effect"),
        (
            {"stage": "classification"},
            {"loss": "dice"},
            "`loss=dice` has no effect with `stage=classification`",
        ),
    ],
)
def test_options_that_do_not_fit_a_stage_are_refused(options, changes, message):
    few = training.FewLabels(**{"stage": "segmentation", **options})
    with pytest.raises(ValueError, match=message):
        stages.check(few, recipe(**changes), WHOLE, None)


def test_mixed_crops_are_refused():
    mixed = augment.Augmentation(augmentations=(("cutmix", 0.5),))
    few = training.FewLabels(stage="classification")
    with pytest.raises(ValueError, match="`augmentations` has cutmix, which mix"):
        stages.check(few, recipe(), mixed, None)


def test_fields_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="`semi=gan` learns from images without"):
        training.FewLabels(stage="classification", semi="gan")
    with pytest.raises(ValueError, match="`combinatorial_crops` is for `stage=seg"):
        training.FewLabels(combinatorial_crops=True)


def test_other_networks_have_no_stages(folder, tmp_path, capsys):
    status = commands.run(
        train.main,
        "--model=unet",
        "--model_option=filters=2",
        f"--records_dir={folder}",
        f"--workdir={tmp_path / 'run'}",
        "--stage=classification",
    )
    assert status == 2
    assert "--model=unet is not a DecoupledNet" in capsys.readouterr().err


def run(folder, workdir, stage, initial=None, *, stop=None, **changes):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            del logs
            if batch + 1 == stop:
                raise KeyboardInterrupt

    return training.train(
        training.Builder(NAME, OPTIONS),
        training.Data(records_dir=str(folder)),
        recipe(save_interval_steps=2, ema_decay=0.5, **changes),
        augment.Augmentation(crop_size=SIZE),
        workdir=workdir,
        callbacks=[Stop()],
        initial_checkpoint=None if initial is None else str(initial),
        few_labels=training.FewLabels(stage=stage),
    )


@pytest.mark.slow
def test_both_stages_are_scored_and_resume_to_the_same_bits(folder, tmp_path, capsys):
    first = tmp_path / "classification"
    for stage, initial in zip(STAGES, (None, first), strict=True):
        whole, part = tmp_path / stage, tmp_path / f"{stage}_part"
        best = run(folder, whole, stage, initial)
        with pytest.raises(KeyboardInterrupt):
            run(folder, part, stage, initial, stop=3)
        run(folder, part, stage, initial)
        score = {"classification": "mean_ap", "segmentation": "mean_iou"}[stage]
        assert 0 <= best["scores"][score] <= 1
        assert metadata.read_metadata(part)["scores"] == best["scores"]
        for one, other in zip(
            best_model.load_best(whole).weights,
            best_model.load_best(part).weights,
            strict=True,
        ):
            np.testing.assert_array_equal(one, other, err_msg=one.path)
    output = capsys.readouterr().out
    assert "Pairs of a training image and a class: 4" in output
    assert "Not in the initial checkpoint" not in output
    loaded = [best_model.load_best(tmp_path / stage) for stage in STAGES]
    image = np.stack([PAIRS[1][0]]).astype("float32")
    one, other = (decoupled_net.parts(x).classification(image) for x in loaded)
    # Frozen; the moving average of equal weights is rounded.
    np.testing.assert_allclose(one, other, rtol=1e-4)


@pytest.mark.slow
def test_the_average_precision_rises(folder, tmp_path):
    run(
        folder,
        tmp_path / "run",
        "classification",
        training_number_of_steps=60,
        eval_interval_steps=20,
        optimizer="adam",
    )
    assert metadata.read_metadata(tmp_path / "run")["scores"]["mean_ap"] > 0.9
