"""Methods that also learn from images without labels: terms, steps, runs."""

import dataclasses
import math
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasseg import errors, records, training
from kerasseg.pipeline import augment
from kerasseg.records import labeled_lists
from kerasseg.training import few_labels, network
from kerasseg.training import run as training_run
from kerasseg.training import step as steps
from kerasseg.training.few_labels import METHODS, adversarial, consistency, gan
from tests.support import tiny
from tests.support.networks import others_slow

SIZE = 40  # At least 32 pixels, for the discriminator.
CROP = augment.Augmentation(crop_size=(SIZE, SIZE))
STEP = tf.constant([7, 0], tf.int64)


def options(method, **changes):
    small = {"generator_filters": 16, "self_taught_start_step": 0}
    return training.FewLabels(semi=method, **{**small, **changes})


def recipe(**changes):
    settings = {
        "training_number_of_steps": 4,
        "train_batch_size": 4,
        "base_learning_rate": 0.1,
        "learning_policy": "constant",
        "momentum": 0.5,
    }
    return training.Recipe(**{**settings, **changes})


def images(count, seed=0):
    pairs = [tiny.image_and_label(seed + i, SIZE, SIZE) for i in range(count)]
    return tuple(np.stack(x) for x in zip(*pairs, strict=True))


def batch(count=4, views=1, box=(8, 4, 20, 30)):
    """A batch of labeled images, and of others without labels."""
    image, label = images(count)
    other, _ = images(count, seed=50)
    valid = np.ones(other.shape[:3], bool)
    valid[0, :10] = False
    boxes = np.tile(np.array(box, np.int32), (count, views, 1))
    boxes[2:] += (1, 2, 3, 4)
    arrays = {
        "image": image,
        "label": label,
        "unlabeled_image": other,
        "unlabeled_valid": valid,
        "unlabeled_strong": np.stack([255 - other] * views, axis=1),
        "unlabeled_boxes": boxes,
    }
    return {key: tf.constant(array) for key, array in arrays.items()}


def batch_of(name):
    """A batch for a method, with image-level classes if it needs them.

    No image shows two classes beside class 0, because their order is random.
    """
    if not METHODS[name].needs_tags:
        return batch()
    shown = [
        [True, True, False],
        [True, False, True],
        [False, True, False],
        [False] * 3,
    ]
    return {**batch(), "unlabeled_tags": tf.constant(shown)}


class Step:
    """The step function of a tiny network with a method, and its state."""

    def __init__(self, few=None, *, model_options=None, **changes):
        keras.utils.set_random_seed(3)
        chosen = recipe(**changes)
        tiny_network = network.Network(tiny.Builder(model_options or {}), 3)
        self.state, self.objective = training_run.create_state(
            tiny_network, chosen, None, few_labels=few
        )
        self.function = steps.StepFunction(
            self.state, self.objective, chosen, tf.distribute.get_strategy()
        )

    def __call__(self, inputs, step=0):
        return self.function(inputs, tf.constant(step, tf.int64))

    def weights(self):
        return {v.path: np.array(v) for v in self.state.model.weights}

    def beside(self):
        return [np.array(v) for n in self.state.beside for v in n.trainable_weights]


@pytest.fixture(scope="module")
def supervised():
    """Weights after two supervised steps."""
    step = Step()
    labeled = {k: v for k, v in batch().items() if k in ("image", "label")}
    for i in range(2):
        step(labeled, i)
    return step.weights()


@pytest.mark.parametrize("name", list(METHODS))
def test_a_step_is_finite_and_trains_every_network(name):
    step = Step(options(name, min_confidence=0.0), ema_decay=0.9)
    before, beside = step.weights(), step.beside()
    result = step(batch_of(name))
    assert bool(result.updated) and math.isfinite(float(result.loss))
    assert {"supervised"} < set(result.parts)
    total = sum(float(part) for part in result.parts.values())
    assert float(result.loss) == pytest.approx(total, rel=1e-5)
    after = step.weights()
    assert all((before[k] != after[k]).any() for k in before)
    for old, new in zip(beside, step.beside(), strict=True):
        assert (old != new).any()


@pytest.mark.parametrize("name", others_slow(METHODS, ("consistency",)))
def test_micro_batches_give_the_update_of_the_whole_batch(name):
    few = options(name, min_confidence=0.0, self_taught_weight=0.0)
    inputs = batch_of(name)
    label = inputs["label"].numpy()
    label[0] = 255
    inputs["label"] = tf.constant(label)
    settings = {"model_options": {"norm": False}, "ema_decay": 0.9}
    whole = Step(few, **settings)
    parts = Step(few, **settings, gradient_accumulation_steps=2)
    found = [dict(step(inputs).parts) for step in (whole, parts)]
    if name == "gan":  # Noise and statistics of generated images are per micro-batch.
        for each in found:
            del each["generated"], each["generator"]
    for term, value in found[0].items():
        assert float(value) == pytest.approx(float(found[1][term]), rel=1e-4), term
    if name != "gan":
        for key, value in whole.weights().items():
            np.testing.assert_allclose(value, parts.weights()[key], atol=1e-6)


WITHOUT_EFFECT = {
    "consistency": {"min_confidence": 1.01},
    "adversarial": {
        "adversarial_weight": 0.0,
        "semi_adversarial_weight": 0.0,
        "self_taught_weight": 0.0,
    },
    "em_adapt": {"unlabeled_weight": 0.0},
    "cam": {"unlabeled_weight": 0.0},
}


@pytest.mark.parametrize("name", list(WITHOUT_EFFECT))
def test_without_effect_a_step_equals_the_supervised_one_bit_for_bit(name, supervised):
    step = Step(options(name, **WITHOUT_EFFECT[name]))
    for i in range(2):
        step(batch_of(name), i)
    for key, value in step.weights().items():
        np.testing.assert_array_equal(value, supervised[key], err_msg=key)


def test_no_confident_pixel_is_a_loss_of_zero():
    result = Step(options("consistency", min_confidence=1.01))(batch())
    assert float(result.parts["consistency"]) == 0.0


def test_without_an_average_the_teacher_is_the_student():
    step = Step(options("consistency", min_confidence=0.0))
    method = step.objective.method
    inputs = batch()
    logits = step.state.model(inputs["unlabeled_image"], training=False)
    expected = np.argmax(logits, axis=-1)
    target = method.target(inputs).numpy()
    valid = inputs["unlabeled_valid"].numpy()
    np.testing.assert_array_equal(target[valid], expected[valid])
    assert (target[~valid] == 255).all()


def test_the_target_is_the_class_of_confident_pixels():
    # Softmax of (2, 0, 0) is 0.787, of (1, 0, 0) 0.576: the threshold is in between.
    logits = tf.constant([[[[2.0, 0, 0], [0.0, 1, 0], [0.0, 0, 9]]]])

    def teacher(image, training):
        del image, training
        return logits

    few = options("consistency", min_confidence=0.7)
    method = consistency.Consistency(teacher, None, few, 3)
    inputs = {
        "unlabeled_image": tf.zeros([1, 1, 3, 3]),
        "unlabeled_valid": tf.constant([[[True, True, False]]]),
    }
    assert method.target(inputs).numpy().tolist() == [[[0, 255, 255]]]


def test_cutmix_pastes_the_same_box_into_images_and_targets():
    # Maps of the numbers 0 to 3; the box of the first pair has 2 x 1 pixels, that of
    # the second none.
    numbers = np.broadcast_to(np.arange(4)[:, None, None], (4, 3, 3))
    boxes = tf.constant([[1, 2, 2, 1]] * 2 + [[0, 0, 0, 0]] * 2)
    mixed = consistency.mix(tf.constant(numbers), boxes).numpy()
    expected = numbers.copy()
    expected[0, 1:, 2], expected[1, 1:, 2] = 1, 0
    np.testing.assert_array_equal(mixed, expected)
    image = np.repeat(numbers[..., None], 3, axis=-1)
    np.testing.assert_array_equal(
        consistency.mix(tf.constant(image), boxes).numpy()[..., 1], expected
    )


def test_the_consistency_loss_is_the_mean_over_the_pixels_that_are_no_padding():
    # A student that returns zeros: each learned pixel costs log 3. All are learned but
    # the padding, which the denominator leaves out, too.
    few = options("consistency", min_confidence=0.0, strong_views=2)

    def student(image, training):
        del training
        return tf.zeros_like(image, tf.float32)

    method = consistency.Consistency(student, None, few, 3)
    inputs = batch(views=2)
    term = method.terms(inputs, None, STEP)["consistency"]
    mean = float(term.total) / float(method.counts(inputs)["unlabeled"])
    assert mean == pytest.approx(math.log(3), rel=1e-5)


@pytest.mark.parametrize(
    ("step", "weight"),
    # exp(-5), exp(-5 / 4), 1, 1.
    [(0, 0.0067379), (5, 0.2865048), (10, 1.0), (20, 1.0)],
)
def test_the_unlabeled_weight_rises_as_in_mean_teacher(step, weight):
    few = options("consistency", unlabeled_ramp_up_steps=10, unlabeled_weight=2.0)
    method = consistency.Consistency(None, None, few, 3)
    rising = float(method._weight(tf.constant(step)))
    assert rising == pytest.approx(2 * weight, rel=1e-4)


def test_uniform_logits_give_the_losses_of_a_uniform_distribution():
    # log(22 / 21) and log(22).
    logits = tf.zeros([1, 1, 1, 21])
    np.testing.assert_allclose(gan.real_loss(logits), [[[0.04652]]], atol=1e-5)
    np.testing.assert_allclose(gan.fake_loss(logits), [[[3.09104]]], atol=1e-5)


def test_a_fixed_logit_of_fake_is_no_restriction():
    rng = np.random.default_rng(0)
    logits, fake = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 4))
    for loss in (gan.real_loss, gan.fake_loss):
        np.testing.assert_allclose(
            loss(tf.constant(logits), tf.constant(fake)),
            loss(tf.constant(logits - fake[..., None]), tf.constant(0.0, tf.float64)),
            rtol=1e-10,
        )


def test_the_labeled_terms_of_the_gan_are_the_cross_entropy_of_all_classes():
    # -log p(y) over K + 1 classes is that over K classes plus -log(1 - p(fake)).
    logits = np.random.default_rng(0).normal(size=(6, 4))
    label = np.array([0, 1, 2, 3, 1, 2])
    with_fake = np.concatenate([logits, np.zeros((6, 1))], axis=1)
    expected = keras.ops.sparse_categorical_crossentropy(
        label, with_fake, from_logits=True
    )
    of_classes = keras.ops.sparse_categorical_crossentropy(
        label, logits, from_logits=True
    )
    np.testing.assert_allclose(
        of_classes + gan.real_loss(tf.constant(logits), tf.constant(0.0, tf.float64)),
        expected,
        rtol=1e-6,
    )


@pytest.mark.parametrize(("classes", "count"), [(21, 2_783_169), (11, 2_772_929)])
def test_the_discriminator_has_the_parameters_of_the_authors(classes, count):
    network = adversarial.discriminator(classes)
    assert network.count_params() == count
    assert network.compute_output_shape((1, 321, 321, classes)) == (1, 10, 10, 1)


def test_the_network_gets_no_gradient_from_the_discriminators_loss():
    step = Step(options("adversarial", **WITHOUT_EFFECT["adversarial"]))
    with tf.GradientTape() as tape:
        logits = step.state.model(batch()["image"], training=True)
        terms = step.objective.method.terms(batch(), logits, STEP)
        loss = terms["fake"].total + terms["real"].total
    weights = [v.value for v in step.state.model.trainable_variables]
    assert tape.gradient(loss, weights) == [None] * len(weights)


def test_the_discriminator_gets_no_gradient_from_the_networks_loss():
    step = Step(options("adversarial"))
    with tf.GradientTape() as tape:
        logits = step.state.model(batch()["image"], training=True)
        terms = step.objective.method.terms(batch(), logits, STEP)
        names = ("adversarial", "semi_adversarial", "self_taught")
        loss = sum(terms[name].total for name in names)
    weights = [v.value for v in step.state.beside[0].trainable_variables]
    assert tape.gradient(loss, weights) == [None] * len(weights)


def test_the_self_taught_loss_starts_at_its_step():
    step = Step(options("adversarial", self_taught_start_step=8))
    for number, starts in ((7, False), (8, True)):
        seed = tf.constant([number, 0], tf.int64)
        logits = step.state.model(batch()["image"])
        term = step.objective.method.terms(batch(), logits, seed)["self_taught"]
        assert (float(term.total) > 0) == starts


def test_moving_averages_are_those_of_labeled_images():
    labeled, both = Step(), Step(options("gan"))
    labeled({k: v for k, v in batch().items() if k in ("image", "label")})
    both(batch())
    for name in ("moving_mean", "moving_variance"):
        key = f"norm/{name}"
        np.testing.assert_array_equal(labeled.weights()[key], both.weights()[key])


def test_generated_images_are_rgb_of_128_pixels():
    made = gan.generator(16)(tf.zeros([2, gan.NOISE]), training=False)
    assert made.shape == (2, 128, 128, 3) and made.dtype == tf.float32
    assert float(tf.reduce_min(made)) >= 0 and float(tf.reduce_max(made)) <= 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records with a list of 4 labeled of 12 images."""
    folder = tiny.write_records(
        tmp_path_factory.mktemp("records"), size=(44, 48), tags=True
    )
    return label_some(folder)


def label_some(folder, count=4):
    names = [f"train{i}.png" for i in range(12)]
    drawn = labeled_lists.draw(names, count, seed=0)
    info = dataclasses.replace(
        records.read_info(folder), schema_version=2, labeled={"train": drawn}
    )
    records.write_info(folder, info)
    return folder


def run(folder, workdir, few, *, unlabeled=None, **changes):
    return training.train(
        tiny.Builder({}),
        training.Data(records_dir=str(folder), unlabeled_records_dir=unlabeled),
        recipe(ema_decay=0.9, save_interval_steps=2, **changes),
        CROP,
        workdir=str(workdir),
        few_labels=few,
    )


def checkpoint(workdir, step):
    reader = tf.train.load_checkpoint(str(workdir / "checkpoints" / f"ckpt-{step}"))
    return {k: reader.get_tensor(k) for k in reader.get_variable_to_shape_map()}


@pytest.mark.parametrize("name", others_slow(METHODS, ("consistency",)))
def test_a_resumed_run_is_bit_equal(name, folder, tmp_path):
    few = options(name, min_confidence=0.2)
    run(folder, tmp_path / "whole", few)
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    for path in (tmp_path / "part" / "checkpoints").glob("ckpt-4*"):
        path.unlink()
    assert run(folder, tmp_path / "part", few)["step"] in (2, 4)
    whole, part = (checkpoint(tmp_path / x, 4) for x in ("whole", "part"))
    assert whole.keys() == part.keys()
    for key, value in whole.items():
        np.testing.assert_array_equal(value, part[key], err_msg=key)


def test_the_images_of_both_kinds_are_counted(folder, tmp_path, capsys):
    run(folder, tmp_path, options("consistency", unlabeled_batch_size=6))
    out = "".join(capsys.readouterr())
    assert "labeled 16, unlabeled 24" in out  # 4 steps of 4 and 6 images.
    assert "4 labeled, 8 without labels" in out


def test_other_records_may_be_learned_without_labels(folder, tmp_path):
    other = tiny.write_records(tmp_path / "other", train=3, val=0)
    best = run(folder, tmp_path / "run", options("consistency"), unlabeled=str(other))
    assert best["step"] == 4


def test_records_whose_images_are_all_labeled_are_refused(tmp_path):
    folder = tiny.write_records(tmp_path / "records", size=(44, 48))
    with pytest.raises(errors.UserError, match=r"All 12 images .* are labeled"):
        run(folder, tmp_path / "run", options("consistency"))


@pytest.mark.parametrize("name", ["em_adapt", "cam"])
def test_records_without_image_level_classes_are_refused(name, folder, tmp_path):
    other = tiny.write_records(tmp_path / "other", train=3, val=0)
    message = f"`semi={name}` learns image-level classes, and the records of 3 images"
    with pytest.raises(errors.UserError, match=message):
        run(folder, tmp_path / "run", options(name), unlabeled=str(other))


def test_labeled_images_of_weight_zero_are_not_learned():
    # The terms of EM-Adapt weigh nothing either: a step changes no weight but the
    # moving averages of batch norm.
    few = options("em_adapt", labeled_weight=0.0, unlabeled_weight=0.0)
    step = Step(few, weight_decay=0.0)
    before = step.weights()
    result = step(batch_of("em_adapt"))
    assert float(result.loss) == 0 and float(result.parts["supervised"]) == 0
    for key, value in step.weights().items():
        assert (value != before[key]).any() == key.startswith("norm/moving"), key


def test_an_empty_unlabeled_split_is_refused(folder, tmp_path):
    other = tiny.write_records(tmp_path / "other", train=0, val=1)
    with pytest.raises(errors.UserError, match="has no records"):
        run(folder, tmp_path / "run", options("consistency"), unlabeled=str(other))


def test_a_crop_too_small_for_the_discriminator_is_refused(folder, tmp_path):
    with pytest.raises(errors.UserError, match="at least 32 x 32"):
        training.train(
            tiny.Builder({}),
            training.Data(records_dir=str(folder)),
            recipe(),
            augment.Augmentation(crop_size=(31, 40)),
            workdir=str(tmp_path),
            few_labels=options("adversarial"),
        )


def test_cutmix_of_an_odd_number_of_images_is_refused(folder, tmp_path):
    few = options("consistency", unlabeled_batch_size=3)
    with pytest.raises(errors.UserError, match="even"):
        run(folder, tmp_path, few)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_confidence": -1.0}, "`min_confidence` must be finite and at least 0"),
        ({"strong_views": 0}, "`strong_views` must be at least 1"),
        ({"cutmix_probability": 1.5}, "`cutmix_probability` must be from 0 to 1"),
        ({"unlabeled_batch_size": 0}, "`unlabeled_batch_size` must be at least 1"),
        ({"gan_weight": math.nan}, "`gan_weight` must be finite"),
    ],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(errors.UserError, match=message):
        few_labels.FewLabels(**changes)
