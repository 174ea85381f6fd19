"""Consistency: a mean teacher labels images, and the student learns strong views.

The teacher is the moving average of the student. It sees a weakly augmented crop; where
it is confident, its classes are the target of the student on strongly augmented views
of that crop, into which CutMix pastes a rectangle of another one.

Sources: https://arxiv.org/abs/1703.01780 (mean teacher), 1906.01916 (CutMix),
2208.09910 (UniMatch), section 3.
"""

import tensorflow as tf

from kerasseg import errors, pipeline
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.pipeline import augmentations
from kerasseg.training import batch_norm
from kerasseg.training.few_labels import register
from kerasseg.training.few_labels.method import Method, Term, count, logits_of


@register(name="consistency")
class Consistency(Method):
    """Mean teacher with CutMix; without a moving average, the student is the teacher.

    Two consecutive images are mixed with each other, so that the result does not depend
    on the number of micro-batches and devices.
    """

    @property
    def views(self):
        """The strong views of the options."""
        options = self.options
        with errors.renamed({"augmentations": "strong_augmentations"}):
            chosen = augmentations.parse(options.strong_augmentations)
        return pipeline.Views(
            number=options.strong_views,
            augmentations=chosen,
            cutmix_probability=options.cutmix_probability,
        )

    def counts(self, batch):
        """Returns the number of pixels of a view that are no padding."""
        valid = self._mixed(batch, batch["unlabeled_valid"])
        return {"unlabeled": count(valid) / self.options.strong_views}

    def terms(self, batch, logits, seed):
        """Returns the cross-entropy with the teacher's classes.

        It has no class weights: they raise the probability of rare classes, with which
        the teacher predicts them more often, and so on.
        """
        del logits
        target = self._mixed(batch, self.target(batch))
        views = tf.unstack(batch["unlabeled_strong"], axis=1)
        mixed = tf.concat(
            [mix(view, self._boxes(batch, i)) for i, view in enumerate(views)], axis=0
        )
        with batch_norm.averages_kept():
            outputs = self.student(mixed, training=True)
        total = cross_entropy(target, logits_of(outputs))
        weight = self._weight(step=seed[0]) / self.options.strong_views
        return {"consistency": Term(weight * total, "unlabeled")}

    def target(self, batch: dict) -> tf.Tensor:
        """Returns the teacher's classes, 255 where it is not confident.

        Args:
            batch: See `terms`.

        Returns:
            uint8 `[batch, height, width]`.
        """
        teacher = self.average or self.student
        outputs = teacher(batch["unlabeled_image"], training=False)
        probabilities = tf.stop_gradient(tf.nn.softmax(logits_of(outputs)))
        confidence = tf.reduce_max(probabilities, axis=-1)
        learned = (confidence >= self.options.min_confidence) & batch["unlabeled_valid"]
        classes = tf.cast(tf.argmax(probabilities, axis=-1), tf.uint8)
        return tf.where(learned, classes, tf.constant(IGNORE_LABEL, tf.uint8))

    def _weight(self, step):
        """Returns the weight of the term, which rises as in the mean teacher, B.1."""
        steps = self.options.unlabeled_ramp_up_steps
        if not steps:
            return self.options.unlabeled_weight
        missing = 1.0 - tf.minimum(tf.cast(step, tf.float32) / steps, 1.0)
        return self.options.unlabeled_weight * tf.exp(-5.0 * missing**2)

    def _mixed(self, batch, maps):
        """Mixes maps `[batch, ...]` as each view is mixed: `[views * batch, ...]`."""
        views = range(self.options.strong_views)
        return tf.concat([mix(maps, self._boxes(batch, i)) for i in views], axis=0)

    @staticmethod
    def _boxes(batch, view):
        return batch["unlabeled_boxes"][:, view]


def mix(maps: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """Pastes a box of another map of the batch into each map, at the same place.

    Args:
        maps: `[batch, height, width, ...]`.
        boxes: Top, left, height and width in pixels, int32 `[batch, 4]`; a box without
            area leaves the map as it is.

    Returns:
        Like `maps`: the first map with the box of the second, the second with that of
        the first, and so on. A single map stays as it is.
    """
    height, width = maps.shape[1:3]
    pairs = tf.reshape(maps, [-1, min(2, maps.shape[0]), *maps.shape[1:]])
    partners = tf.reshape(tf.reverse(pairs, [1]), maps.shape)
    top, left, rows, columns = tf.split(boxes, 4, axis=1)
    y, x = tf.range(height)[tf.newaxis], tf.range(width)[tf.newaxis]
    in_rows = (y >= top) & (y < top + rows)
    in_columns = (x >= left) & (x < left + columns)
    inside = in_rows[:, :, tf.newaxis] & in_columns[:, tf.newaxis]
    for _ in range(len(maps.shape) - 3):
        inside = inside[..., tf.newaxis]
    return tf.where(inside, partners, maps)


def cross_entropy(target: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the cross-entropies of the pixels that are not ignored.

    Args:
        target: Classes and 255, uint8 `[batch, height, width]`.
        logits: float32 `[batch, height, width, classes]`.
    """
    learned = tf.not_equal(target, IGNORE_LABEL)
    classes = tf.where(learned, tf.cast(target, tf.int32), 0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    return tf.reduce_sum(tf.where(learned, losses, 0.0))
