"""GAN: the network also tells real images from generated ones, pixel by pixel.

The network has K classes and, as a further one, "fake". Its logit is fixed at 0, which
is no restriction, because softmax only depends on differences of logits. So a network
of K classes is trained as it is, and never predicts "fake".

Sources: https://arxiv.org/abs/1703.09695 (Souly et al.), sections 3.2 and 3.3;
https://arxiv.org/abs/1606.03498 (Salimans et al.), section 5, for the fixed logit;
https://arxiv.org/abs/1511.06434 (DCGAN) for the generator. No code of the authors is
known; sizes of the generator and weights of the terms are choices.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kerasseg import pipeline
from kerasseg.training import batch_norm
from kerasseg.training.few_labels import register
from kerasseg.training.few_labels.method import (
    Method,
    Term,
    call_frozen,
    count,
    logits_of,
)

NOISE = 100  # Length of the generator's noise vector.
_NUM_SAMPLES = 8
_CELLS = 4  # Height and width of its first map.
_DEVIATION = 0.02  # Of its initial weights, as in DCGAN.


@register(name="gan")
class Gan(Method):
    """K + 1 classes and a generator of images, one for each image without a label.

    Real and generated images are normalized apart, and only labeled images move the
    averages of batch norm.
    """

    def __init__(self, student, average, options, num_classes):
        super().__init__(student, average, options, num_classes)
        self._num_tags = num_classes if options.gan_conditional else 0
        made = generator(options.generator_filters, self._num_tags)
        self.networks = {"generator": made}

    @property
    def views(self):
        """No strong views; the classes of an image if the GAN is conditional."""
        return pipeline.Views(tags=self.options.gan_conditional)

    def optimizers(self):
        """Returns Adam with the momentum of DCGAN."""
        rate = self.options.generator_learning_rate
        adam = keras.optimizers.Adam(rate, beta_1=0.5, name="generator")
        return {"generator": adam}

    def counts(self, batch):
        """Returns the pixels of unlabeled and of generated images."""
        return {
            "unlabeled": count(batch["unlabeled_valid"]),
            "generated": count(tf.ones_like(batch["unlabeled_valid"])),
        }

    def terms(self, batch, logits, seed):
        """Returns the terms of labeled, unlabeled and generated images."""
        is_labeled = batch["label"] < self.num_classes
        real = batch["unlabeled_image"]
        tags = batch.get("unlabeled_tags")
        noise = tf.random.stateless_normal([tf.shape(real)[0], NOISE], seed)
        made = self.networks["generator"](_with_tags(noise, tags), training=True)
        made = tf.image.resize(made, tf.shape(real)[1:3])
        with batch_norm.averages_kept():
            on_real = logits_of(self.student(real, training=True))
        with batch_norm.averages_kept():
            on_made = logits_of(self.student(tf.stop_gradient(made), training=True))
        with batch_norm.averages_kept():
            judged = logits_of(call_frozen(self.student, made))
        weight = self.options.gan_weight
        valid = batch["unlabeled_valid"]
        losses = {
            "labeled": real_loss(logits)[is_labeled],
            "unlabeled": real_loss(on_real, tags=tags)[valid],
            "generated": fake_loss(on_made),
        }
        terms = {
            name: Term(weight * tf.reduce_sum(loss), name)
            for name, loss in losses.items()
        }
        total = tf.reduce_sum(real_loss(judged, tags=tags))
        return {**terms, "generator": Term(total, "generated")}

    def samples(self):
        """Returns images of fixed noise; if they have classes, of one class each."""
        noise = tf.random.stateless_normal([_NUM_SAMPLES, NOISE], [0, 0])
        tags = None
        if self._num_tags:
            tags = tf.one_hot(tf.range(_NUM_SAMPLES) % self._num_tags, self._num_tags)
        made = self.networks["generator"](_with_tags(noise, tags), training=False)
        return np.rint(made).astype(np.uint8)


def generator(filters: int, num_tags: int = 0) -> keras.Model:
    """Builds the generator: a projection and five transposed convolutions of stride 2.

    Args:
        filters: Channels of the first map of 4 x 4 cells; each layer has half as many
            as the one before.
        num_tags: Number of image-level classes, 0 or 1, that follow the noise.

    Returns:
        Model from noise and classes `[batch, 100 + num_tags]` to RGB images from 0 to
        255, float32 `[batch, 128, 128, 3]`.
    """
    initializer = keras.initializers.RandomNormal(0.0, _DEVIATION)
    options = {"use_bias": False, "kernel_initializer": initializer}
    x = inputs = keras.Input((NOISE + num_tags,))
    x = layers.Dense(_CELLS * _CELLS * filters, name="project", **options)(x)
    x = layers.Reshape((_CELLS, _CELLS, filters), name="cells")(x)
    for i in range(1, 6):
        x = layers.BatchNormalization(name=f"norm{i}")(x)
        x = layers.ReLU(name=f"activation{i}")(x)
        channels = 3 if i == 5 else max(1, filters // 2**i)
        x = layers.Conv2DTranspose(
            channels,
            4,
            strides=2,
            padding="same",
            name=f"deconv{i}",
            **{**options, "use_bias": i == 5},
        )(x)
    x = layers.Activation("tanh", dtype="float32", name="tanh")(x)
    outputs = layers.Rescaling(127.5, 127.5, dtype="float32", name="rgb")(x)
    return keras.Model(inputs, outputs, name="generator")


def real_loss(
    logits: tf.Tensor,
    fake_logit: tf.Tensor | float = 0.0,
    tags: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns -log of the probability of a real pixel, `[batch, height, width]`.

    It is 1 - p(fake), or the sum over the classes that the image may show.

    Args:
        logits: Logits of the K classes, `[batch, height, width, K]`.
        fake_logit: Logit of the class "fake", `[batch, height, width]` or a number.
        tags: Whether an image may show a class, bool `[batch, K]`; a row without a
            true value means that it is not known. None for any class.
    """
    real = logits
    if tags is not None:
        possible = tags | ~tf.reduce_any(tags, axis=-1, keepdims=True)
        lowest = tf.constant(logits.dtype.min / 2, logits.dtype)
        real = tf.where(possible[:, tf.newaxis, tf.newaxis], logits, lowest)
    return _log_sum(logits, fake_logit) - tf.reduce_logsumexp(real, axis=-1)


def fake_loss(logits: tf.Tensor, fake_logit: tf.Tensor | float = 0.0) -> tf.Tensor:
    """Returns -log p(fake) of each pixel; see `real_loss`."""
    return _log_sum(logits, fake_logit) - fake_logit


def _with_tags(noise, tags):
    if tags is None:
        return noise
    return tf.concat([noise, tf.cast(tags, noise.dtype)], axis=-1)


def _log_sum(logits, fake_logit):
    fake = tf.broadcast_to(fake_logit, tf.shape(logits)[:-1])[..., tf.newaxis]
    return tf.reduce_logsumexp(tf.concat([logits, fake], axis=-1), axis=-1)
