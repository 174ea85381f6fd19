"""Adversarial: a discriminator tells label maps from the maps of the network.

Source: https://arxiv.org/abs/1802.07934 (Hung et al.), sections 3 and 4.
"""

import keras
import tensorflow as tf
from keras import layers

from kerasseg.training import batch_norm
from kerasseg.training.few_labels import register
from kerasseg.training.few_labels.consistency import cross_entropy
from kerasseg.training.few_labels.method import (
    Method,
    Term,
    call_frozen,
    count,
    logits_of,
)

_FILTERS = 64, 128, 256, 512, 1


@register(name="adversarial")
class Adversarial(Method):
    """A fully convolutional discriminator, adversarial and self-taught terms.

    The discriminator learns to tell one-hot label maps from predicted probabilities.
    The network learns to make it mistake its maps, and, on images without labels, its
    own classes where the discriminator is confident that they are labels.
    """

    min_crop_size = 2 ** len(_FILTERS)

    def __init__(self, student, average, options, num_classes):
        super().__init__(student, average, options, num_classes)
        self.networks = {"discriminator": discriminator(num_classes)}
        self._reads_unlabeled = bool(
            options.semi_adversarial_weight or options.self_taught_weight
        )

    def optimizers(self):
        """Returns Adam, as in section 4 of the paper."""
        rate = self.options.discriminator_learning_rate
        adam = keras.optimizers.Adam(rate, beta_1=0.9, beta_2=0.99, name="adversarial")
        return {"discriminator": adam}

    def counts(self, batch):
        """Returns the pixels without labels, and all predicted ones."""
        unlabeled = count(batch["unlabeled_valid"])
        labeled = count(batch["label"] < self.num_classes)
        return {"unlabeled": unlabeled, "predicted": labeled + unlabeled}

    def terms(self, batch, logits, seed):
        """Returns the terms of the discriminator and of the network."""
        options, label = self.options, batch["label"]
        is_labeled = label < self.num_classes
        predicted = [(tf.nn.softmax(logits), is_labeled)]
        one_hot = tf.one_hot(tf.cast(label, tf.int32), self.num_classes)
        terms = {"real": Term(self._learned(one_hot, is_labeled, 1.0), "labeled")}
        if options.adversarial_weight:
            total = self._adversarial(*predicted[0])
            terms["adversarial"] = Term(options.adversarial_weight * total, "labeled")
        if self._reads_unlabeled:
            with batch_norm.averages_kept():
                outputs = self.student(batch["unlabeled_image"], training=True)
            logits, valid = logits_of(outputs), batch["unlabeled_valid"]
            predicted.append((tf.nn.softmax(logits), valid))
            terms |= self._unlabeled_terms(logits, valid, step=seed[0])
        per = "predicted" if self._reads_unlabeled else "labeled"
        totals = [self._learned(tf.stop_gradient(p), v, 0.0) for p, v in predicted]
        return {**terms, "fake": Term(tf.add_n(totals), per)}

    def _unlabeled_terms(self, logits, valid, step):
        options, terms = self.options, {}
        if options.semi_adversarial_weight:
            total = self._adversarial(tf.nn.softmax(logits), valid)
            weight = options.semi_adversarial_weight
            terms["semi_adversarial"] = Term(weight * total, "unlabeled")
        if options.self_taught_weight:
            total = self._self_taught(logits, valid)
            started = tf.cast(step >= options.self_taught_start_step, tf.float32)
            weight = options.self_taught_weight * started
            terms["self_taught"] = Term(weight * total, "unlabeled")
        return terms

    def _learned(self, maps, valid, is_label):
        """Returns the loss of the discriminator on maps."""
        judged = self.networks["discriminator"](maps, training=True)
        return _cross_entropy(judged, valid, is_label)

    def _adversarial(self, maps, valid):
        """Returns the loss of the network, where the discriminator stays as it is."""
        judged = call_frozen(self.networks["discriminator"], maps)
        return _cross_entropy(judged, valid, 1.0)

    def _self_taught(self, logits, valid):
        """Returns the loss of the network's own classes, times the valid pixels."""
        maps = tf.stop_gradient(tf.nn.softmax(logits))
        judged = call_frozen(self.networks["discriminator"], maps)
        judged = tf.image.resize(judged, tf.shape(valid)[1:3])[..., 0]
        trusted = tf.sigmoid(judged) > self.options.self_taught_threshold
        target = tf.cast(tf.argmax(maps, axis=-1), tf.uint8)
        target = tf.where(trusted & valid, target, tf.constant(255, tf.uint8))
        mean = cross_entropy(target, logits) / tf.maximum(count(target < 255), 1.0)
        return mean * count(valid)


def discriminator(num_classes: int) -> keras.Model:
    """Builds the discriminator: 5 convolutions of 4 x 4 with stride 2 ([Hung18] 4).

    Args:
        num_classes: Number of classes.

    Returns:
        Model from probabilities `[batch, height, width, num_classes]`, of at least 32
        x 32 pixels, to logits `[batch, height // 32, width // 32, 1]` of being labels.
    """
    x = inputs = keras.Input((None, None, num_classes))
    for i, filters in enumerate(_FILTERS, start=1):
        x = layers.ZeroPadding2D(1, name=f"pad{i}")(x)
        x = layers.Conv2D(filters, 4, strides=2, name=f"conv{i}")(x)
        if i < len(_FILTERS):
            x = layers.LeakyReLU(0.2, name=f"activation{i}")(x)
    outputs = layers.Activation("linear", dtype="float32", name="judged")(x)
    return keras.Model(inputs, outputs, name="discriminator")


def _cross_entropy(judged, valid, is_label):
    """Returns the sum of the binary cross-entropies of the valid pixels."""
    judged = tf.image.resize(judged, tf.shape(valid)[1:3])[..., 0]
    target = tf.fill(tf.shape(judged), is_label)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(target, judged)
    return tf.reduce_sum(tf.where(valid, losses, 0.0))
