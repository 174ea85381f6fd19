"""EM-Adapt: classes of pixels from the image-level classes of an image.

In each step, the E-step assigns the pixels of an image to the classes that it shows,
from the network's own logits, so that each class gets a fraction of the area. The
M-step learns these classes with the cross-entropy.

Source: https://arxiv.org/abs/1502.02734 (Papandreou et al. 2015), section 3.2, and the
supplementary material for the biases of the E-step.
"""

import tensorflow as tf

from kerasseg.datasets import IGNORE_LABEL
from kerasseg.training import batch_norm
from kerasseg.training.few_labels import register
from kerasseg.training.few_labels.consistency import cross_entropy
from kerasseg.training.few_labels.method import Method, Term, count, logits_of

_ROUNDING = 1e-9  # Of a fraction times a number of pixels.


@register(name="em_adapt")
class EmAdapt(Method):
    """Learns the hard assignment of pixels to image-level classes.

    Images whose classes are not known are not learned from.
    """

    needs_tags = True

    def counts(self, batch):
        """Returns the number of pixels of images whose classes are known."""
        return {"unlabeled": count(_learned(batch))}

    def terms(self, batch, logits, seed):
        """Returns the cross-entropy with the classes of the E-step."""
        del logits
        with batch_norm.averages_kept():
            outputs = self.student(batch["unlabeled_image"], training=True)
        logits = logits_of(outputs)
        target = e_step(
            tf.stop_gradient(logits),
            batch["unlabeled_tags"],
            _learned(batch),
            seed,
            background=self.options.background_area,
            foreground=self.options.foreground_area,
        )
        total = cross_entropy(target, logits)
        return {"em": Term(self.options.unlabeled_weight * total, "unlabeled")}


def e_step(
    logits: tf.Tensor,
    tags: tf.Tensor,
    valid: tf.Tensor,
    seed: tf.Tensor,
    *,
    background: float = 0.4,
    foreground: float = 0.2,
) -> tf.Tensor:
    """Assigns each pixel to a class that its image shows.

    First, each pixel gets the class with the highest logit among those of the image.
    Then a bias is added to one class after the other, class 0 first and the others in
    random order: the smallest bias with which the class gets its fraction of the
    pixels, or none if it has them. A class may lose pixels to those that come after it,
    so that only the last one surely keeps its fraction.

    Args:
        logits: float32 `[batch, height, width, classes]`.
        tags: Whether an image shows a class, bool `[batch, classes]`.
        valid: Pixels to assign, bool `[batch, height, width]`.
        seed: int64 `[2]`; the random order depends on nothing else.
        background: Smallest fraction of the valid pixels for class 0, from 0 to 1.
        foreground: Smallest fraction for each other class of the image, from 0 to 1.

    Returns:
        uint8 `[batch, height, width]`: classes of the image, and 255 where not valid or
        where the image has no class. Of equal logits plus biases, the last that was
        changed.
    """
    shape, classes = tf.shape(valid), logits.shape[-1]
    valid = tf.reshape(valid, [shape[0], -1])
    valid &= tf.reduce_any(tags, axis=-1, keepdims=True)
    scores = tf.reshape(logits, [shape[0], -1, classes])
    lowest = tf.constant(logits.dtype.min, logits.dtype)
    possible = tf.where(tags[:, tf.newaxis], scores, lowest)
    highest = tf.reduce_max(possible, axis=-1)
    target = tf.argmax(possible, axis=-1, output_type=tf.int32)

    areas = tf.constant([background] + [foreground] * (classes - 1), tf.float64)
    needed = areas * tf.reduce_sum(tf.cast(valid, tf.float64), -1, keepdims=True)
    needed = tf.cast(tf.math.ceil(needed - _ROUNDING), tf.int32)
    order = _order(tags, seed)
    for i in tf.range(tf.reduce_max(tf.reduce_sum(tf.cast(tags, tf.int32), -1))):
        chosen = order[:, i]
        score = tf.gather(scores, chosen, axis=2, batch_dims=1)
        gap = tf.where(valid, highest - score, logits.dtype.max)
        number = tf.gather(needed, chosen, batch_dims=1)[:, tf.newaxis]
        ranked = tf.gather(tf.sort(gap), tf.maximum(number - 1, 0), batch_dims=1)
        chosen = chosen[:, tf.newaxis]
        has = valid & (target == chosen)
        has = tf.reduce_sum(tf.cast(has, tf.int32), axis=-1, keepdims=True)
        shown = tf.gather(tags, chosen, batch_dims=1)
        taken = shown & (has < number) & (gap <= ranked)
        target = tf.where(taken, chosen, target)
        highest = tf.where(taken, score + ranked, highest)
    target = tf.where(valid, target, IGNORE_LABEL)
    return tf.reshape(tf.cast(target, tf.uint8), shape)


def _order(tags, seed):
    """Returns the classes of each image: 0, its others in random order, the rest."""
    drawn = tf.random.stateless_uniform(tf.shape(tags), seed)
    first = tf.one_hot(0, tags.shape[-1], dtype=drawn.dtype)
    return tf.argsort(tf.where(tags, drawn - 2 * first, 2.0), axis=-1)


def _learned(batch):
    """Returns the pixels of images whose classes are known, without padding."""
    known = tf.reduce_any(batch["unlabeled_tags"], axis=-1)
    return batch["unlabeled_valid"] & known[:, tf.newaxis, tf.newaxis]
