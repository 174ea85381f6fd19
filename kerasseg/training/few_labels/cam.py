"""CAM: the network also classifies images, so that its logits show where a class is.

The score of an image for a class is the mean of the logits of its pixels, or a smooth
maximum of them. The classes of pixels follow from the logits, see `seeds.seeds`.

Sources: https://arxiv.org/abs/1512.04150 (Zhou et al. 2016), section 2, with the layer
of the logits as the classifier; https://arxiv.org/abs/1411.6228 (Pinheiro and Collobert
2015), section 3.2, for the smooth maximum.
"""

import tensorflow as tf

from kerasseg.training import batch_norm
from kerasseg.training.few_labels import register
from kerasseg.training.few_labels.method import Method, Term, count, logits_of

_LOWEST = -1e9  # Stands for minus infinity, which has no gradient.


@register(name="cam")
class Cam(Method):
    """Learns to classify images whose classes are known.

    Class 0 is the background: it is not classified.
    """

    needs_tags = True

    def counts(self, batch):
        """Returns the number of images whose classes are known."""
        return {"tagged": count(tf.reduce_any(batch["unlabeled_tags"], axis=-1))}

    def terms(self, batch, logits, seed):
        """Returns the cross-entropy with the image-level classes."""
        del logits, seed
        with batch_norm.averages_kept():
            outputs = self.student(batch["unlabeled_image"], training=True)
        losses = image_loss(
            logits_of(outputs),
            batch["unlabeled_tags"],
            batch["unlabeled_valid"],
            self.options.cam_sharpness,
        )
        total = self.options.unlabeled_weight * tf.reduce_sum(losses)
        return {"cam": Term(total, "tagged")}


def image_loss(
    logits: tf.Tensor, tags: tf.Tensor, valid: tf.Tensor, sharpness: float = 0.0
) -> tf.Tensor:
    """Returns the sigmoid cross-entropy of each image, a mean over classes from 1 on.

    Args:
        logits: float32 `[batch, height, width, classes]`.
        tags: Whether an image shows a class, bool `[batch, classes]`. The loss of an
            image without a true value is 0: its classes are not known.
        valid: Pixels whose logits count, bool `[batch, height, width]`.
        sharpness: r of the score log(mean(exp(r x))) / r, which is between the mean of
            the logits x and their maximum; 0 for the mean.

    Returns:
        float32 `[batch]`, in nats.
    """
    inside = tf.cast(valid, logits.dtype)[..., tf.newaxis]
    area = tf.reduce_sum(inside, axis=(1, 2))
    if sharpness:
        scaled = tf.where(inside > 0, sharpness * logits, _LOWEST)
        sums = tf.reduce_logsumexp(scaled, axis=(1, 2))
        scores = (sums - tf.math.log(tf.maximum(area, 1.0))) / sharpness
    else:
        total = tf.reduce_sum(logits * inside, axis=(1, 2))
        scores = tf.math.divide_no_nan(total, area)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(
        tf.cast(tags[:, 1:], logits.dtype), scores[:, 1:]
    )
    known = tf.reduce_any(tags, axis=-1)
    return tf.where(known, tf.reduce_mean(losses, axis=-1), 0.0)
