"""The losses of a detector with masks: Mask R-CNN ([He17] section 3)."""

import keras
import tensorflow as tf
from keras import ops

from kerasseg.instances import boxes, mask_targets, matching, proposals, sampling
from kerasseg.training.objective import Sums
from kerasseg.training.recipe import Recipe

_ANCHORS, _ANCHOR_FRACTION = 256, 0.5  # Of an image, in the loss of the proposals.
_ROI_FRACTION = 0.25
_RPN_BETA, _BOX_BETA = 1 / 9, 1.0  # Of the smooth L1 losses, as in Detectron.


class InstanceObjective:
    """The losses of the proposal network and of the heads, as means over images.

    Anchors beyond the image are trained, too, unlike in the first Detectron: in small
    crops all large anchors cross the border.

    Args:
        model: A model of `models.mask_rcnn`.
        recipe: The hyperparameters.

    Attributes:
        model: The model.
    """

    def __init__(self, model: keras.Model, recipe: Recipe):
        self.model = model
        self._num_proposals = recipe.train_proposals
        self._num_rois = recipe.rois_per_image
        self._proposals = model.get_layer("proposals")
        self._align = {
            name: model.get_layer(f"{name}_roi_align") for name in ("box", "mask")
        }
        names = {layer.name for layer in model.layers}
        self._stage = model.get_layer("stage5") if "stage5" in names else None
        self._heads = {name: model.get_layer(f"{name}_head") for name in self._align}
        _, *rpn = self._proposals.input
        _, *maps = self._align["box"].input
        self._features = keras.Model(model.input, [rpn, maps])

    def prepare(self, batch: dict, replica: tf.distribute.ReplicaContext) -> dict:
        """Returns the batch of a replica; nothing depends on the global batch."""
        del replica
        return batch

    def sums(self, batch: dict, seed: tf.Tensor) -> Sums:
        """Computes the losses of a batch.

        Args:
            batch: Dict of "image" and of what `pipeline.instances.crop_targets`
                returns.
            seed: Seed of the choice of anchors and regions, int64 `[2]`.
        """
        image = batch["image"]
        rpn, maps = self._features(image, training=True)
        objectness, deltas, anchors = self._proposals.flatten(rpn)
        parts = self._rpn_losses(objectness, deltas, anchors, batch, seed)
        found = proposals.propose(
            objectness,
            deltas,
            anchors,
            ops.shape(image)[1:3],
            num_before=self._num_proposals,
            num_after=self._num_proposals,
        )
        rois = self._sample(found, batch, seed)
        parts |= self._box_losses(maps, rois, batch)
        parts["masks"] = self._mask_loss(maps, rois, batch)
        totals = {name: tf.reduce_sum(loss) for name, loss in parts.items()}
        count = tf.cast(tf.shape(image)[0], tf.float32)
        return Sums(tf.add_n(list(totals.values())), count, totals)

    def evaluated(self, model: keras.Model) -> keras.Model:
        """Returns the model that validations evaluate."""
        return model

    def _rpn_losses(self, objectness, deltas, anchors, batch, seed):
        logits, deltas = (tf.concat(parts, axis=1) for parts in (objectness, deltas))
        anchors = tf.concat(anchors, axis=0)
        labels, matched = matching.match_anchors(anchors, **_objects(batch))
        count = min(_ANCHORS, logits.shape[1] or _ANCHORS)
        sample = sampling.sample(
            labels, _uniform(tf.shape(labels), seed, 0), count, _ANCHOR_FRACTION
        )
        logits, deltas, matched = (
            tf.gather(x, sample.indices, batch_dims=1)
            for x in (logits, deltas, matched)
        )
        target = tf.cast(sample.is_positive, tf.float32)
        loss = tf.nn.sigmoid_cross_entropy_with_logits(target, logits)
        codes = boxes.encode(
            tf.gather(batch["boxes"], matched, batch_dims=1),
            tf.gather(anchors, sample.indices),
            boxes.RPN_WEIGHTS,
        )
        distance = tf.reduce_sum(_smooth_l1(deltas, codes, _RPN_BETA), axis=-1)
        num_sampled = _count(sample.valid)
        return {
            "objectness": _masked_sum(loss, sample.valid) / num_sampled,
            "proposals": _masked_sum(distance, sample.is_positive) / num_sampled,
        }

    def _sample(self, found, batch, seed):
        num_candidates = found.boxes.shape[1] + batch["boxes"].shape[1]
        shape = [tf.shape(found.boxes)[0], num_candidates]
        return sampling.sample_rois(
            found.boxes,
            found.valid,
            **_objects(batch),
            random=_uniform(shape, seed, 1),
            count=min(self._num_rois, num_candidates),
            positive_fraction=_ROI_FRACTION,
        )

    def _apply(self, head, regions, maps):
        """Applies a head to the features of regions."""
        x = self._align[head]([regions, *maps])
        if self._stage is not None:
            x = self._stage(x, training=True)
        return self._heads[head](x, training=True)

    def _box_losses(self, maps, rois, batch):
        logits, codes = self._apply("box", rois.boxes, maps)
        count, num_outputs = rois.boxes.shape[1], logits.shape[-1]
        logits = tf.reshape(logits, [-1, count, num_outputs])
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(rois.classes, logits)
        codes = tf.reshape(codes, [-1, count, num_outputs, 4])
        codes = tf.gather(codes, rois.classes, batch_dims=2)
        matched = tf.gather(batch["boxes"], rois.matched, batch_dims=1)
        target = boxes.encode(matched, rois.boxes, boxes.ROI_WEIGHTS)
        distance = tf.reduce_sum(_smooth_l1(codes, target, _BOX_BETA), axis=-1)
        num_sampled = _count(rois.valid)
        return {
            "classes": _masked_sum(loss, rois.valid) / num_sampled,
            "boxes": _masked_sum(distance, rois.classes > 0) / num_sampled,
        }

    def _mask_loss(self, maps, rois, batch):
        """Cross-entropy of the masks of the true classes, of positive regions only."""
        count = sampling.max_positives(rois.boxes.shape[1], _ROI_FRACTION)
        regions, classes = rois.boxes[:, :count], rois.classes[:, :count]
        logits = self._apply("mask", regions, maps)
        size = logits.shape[1]
        logits = tf.gather(
            tf.transpose(logits, [0, 3, 1, 2]), tf.reshape(classes, [-1]), batch_dims=1
        )
        logits = tf.reshape(logits, [-1, count, size, size])
        matched = rois.matched[:, :count]
        target = mask_targets.mask_targets(
            regions,
            tf.gather(batch["layers"], matched, batch_dims=1),
            tf.gather(batch["ids"], matched, batch_dims=1),
            batch["maps"],
            size,
        )
        loss = tf.nn.sigmoid_cross_entropy_with_logits(tf.stop_gradient(target), logits)
        is_positive = classes > 0
        loss = _masked_sum(tf.reduce_mean(loss, axis=[2, 3]), is_positive)
        return loss / _count(is_positive)


def _objects(batch):
    return {key: batch[key] for key in ("boxes", "classes", "is_crowd")}


def _uniform(shape, seed, number):
    """Returns random numbers that depend on the seed and a number only."""
    return tf.random.stateless_uniform(
        shape, seed + tf.constant([0, number << 40], tf.int64)
    )


def _count(chosen):
    """Counts along the last axis, at least 1: an image may have no positive region."""
    return tf.maximum(tf.reduce_sum(tf.cast(chosen, tf.float32), axis=-1), 1.0)


def _masked_sum(values, chosen):
    return tf.reduce_sum(tf.where(chosen, values, 0.0), axis=-1)


def _smooth_l1(x, y, beta):
    distance = tf.abs(x - y)
    return tf.where(
        distance < beta, 0.5 * tf.square(distance) / beta, distance - 0.5 * beta
    )
