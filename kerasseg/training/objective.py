"""The loss of a training step: a weighted sum over the outputs of the network."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from kerasseg import blocks, datasets, errors, losses
from kerasseg.pipeline import border_weights
from kerasseg.training.recipe import LOSS_OPTION_FLAGS, Recipe


class Sums(NamedTuple):
    """Losses of a batch as sums, which add up over micro-batches and replicas.

    Attributes:
        loss: Sum of the loss, float32.
        count: What the sums are divided by: labeled pixels, or images; float32.
        parts: Sums of the terms of the loss by name, float32.
    """

    loss: tf.Tensor
    count: tf.Tensor
    parts: dict[str, tf.Tensor]


class LossSums(Protocol):
    """The loss of a step, of any task: what `step.train_step` calls.

    Attributes:
        model: The network that is trained.
        evaluated: See `Objective.evaluated`.
    """

    model: keras.Model
    evaluated: Callable[[keras.Model], keras.Model]

    def prepare(self, batch: dict, replica: tf.distribute.ReplicaContext) -> dict:
        """See `Objective.prepare`."""
        ...

    def sums(self, batch: dict, seed: tf.Tensor) -> Sums:
        """See `Objective.sums`."""
        ...


class Objective:
    """The weighted losses of a network's outputs, over the labeled pixels.

    Args:
        model: The network: logits, or a dict with "logits" at the size of the image.
        recipe: The hyperparameters.
        class_weights: One weight per class, or None. If the recipe weights borders,
            the maps of pixel weights contain them.

    Attributes:
        weight_map: Function of a crop's instance mask and label to the weights of its
            pixels, or None.
        model: The network without outputs of weight 0 and layers that only they use;
            it shares the other layers.
        weights: Weights of the outputs, by name.

    Raises:
        errors.UserError: The recipe names an output that the model lacks, a loss or
            an option that does not exist, or no output has a weight.
    """

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        class_weights: np.ndarray | None = None,
    ):
        self.weight_map = border_weights.weight_map_fn(
            class_weights, w0=recipe.border_weights, sigma=recipe.border_sigma
        )
        options = recipe.loss_options()
        if class_weights is not None and self.weight_map is None:
            options["class_weights"] = class_weights
        with errors.renamed(LOSS_OPTION_FLAGS):
            self._loss = losses.weighted_sum(recipe.loss_weights(), **options)
        if recipe.border_weights:
            _check_pixel_weights(recipe)
        self.weights = _output_weights(model, recipe)
        self.model = model
        self._strides = {
            layer.name: layer.stride
            for layer in model.layers
            if isinstance(layer, blocks.AtStride)
        }
        if isinstance(model.output, dict) and set(self.weights) != set(model.output):
            outputs = {name: model.output[name] for name in self.weights}
            self.model = keras.Model(model.input, outputs, name=model.name)

    def use(self, loss: Callable) -> None:
        """Replaces the losses of the recipe, see `own_loss.as_sums`."""
        self._loss = loss

    def use_each_class(
        self, num_classes: int, class_weights: np.ndarray | None
    ) -> None:
        """Replaces the losses by their means over independent classes.

        Args:
            num_classes: Number of classes, one logit each.
            class_weights: One weight per class, or None.

        Raises:
            errors.UserError: The recipe weights borders.
        """
        if self.weight_map is not None:
            raise errors.UserError(
                "`border_weights` weights pixels between objects, which multi-label "
                "records do not have. Leave it out."
            )
        self._loss = losses.multi_label(self._loss, num_classes, class_weights)

    def prepare(self, batch: dict, replica: tf.distribute.ReplicaContext) -> dict:
        """Returns the batch of a replica with what depends on the global batch.

        Args:
            batch: See `sums`.
            replica: The context of the replica; not needed here.
        """
        del replica
        return batch

    def sums(self, batch: dict, seed: tf.Tensor) -> Sums:
        """Computes the loss of a batch.

        Args:
            batch: Dict of "image" and "label", and "weight" where pixels have weights.
            seed: Seed of random choices; not needed here.
        """
        del seed
        outputs = self.model(batch["image"], training=True)
        return Sums(*self(outputs, batch["label"], batch.get("weight")), {})

    def __call__(
        self,
        outputs: tf.Tensor | dict[str, tf.Tensor],
        label: tf.Tensor,
        pixel_weights: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Sums the losses of all outputs.

        A pixel of a smaller output counts as often as the pixels of the image that its
        area covers, so that sums over micro-batches and replicas are exact.

        Args:
            outputs: Outputs of `self.model`.
            label: uint8 `[batch, height, width]`. A smaller output is compared with
                the pixels at the centers of its cells, see `blocks.AtStride`.
            pixel_weights: One weight per pixel, like `label`, or None.

        Returns:
            The weighted sum of the losses, and the number of labeled pixels.
        """
        if not isinstance(outputs, dict):
            outputs = {"logits": outputs}
        total, area = 0.0, _area(label)
        for name, weight in self.weights.items():
            logits = outputs[name]
            stride = self._strides.get(name)
            small, options = _at_cells(label, logits, stride), {}
            if pixel_weights is not None:
                options["pixel_weights"] = _at_cells(pixel_weights, logits, stride)
            part, _ = self._loss(small, logits, **options)
            total += weight * part * area / _area(small)
        return total, self.count(label)

    @staticmethod
    def count(label: tf.Tensor) -> tf.Tensor:
        """Returns the number of labeled pixels, float32."""
        labeled = tf.not_equal(label, datasets.IGNORE_LABEL)
        return tf.reduce_sum(tf.cast(labeled, tf.float32))

    def evaluated(self, model: keras.Model) -> keras.Model:
        """Returns the model that validations evaluate: `model`, or one in its place.

        If "logits" has weight 0 and needs layers that no other output trains, the
        output with the largest weight takes its place, at the size of the image.

        Args:
            model: The network, or its moving average.
        """
        if "logits" in self.weights or self._trains_logits(model):
            return model
        largest = max(self.weights, key=lambda name: self.weights[name])
        resize = blocks.ResizeLike(dtype="float32", name="scored")
        return keras.Model(
            model.input, resize([model.output[largest], model.input]), name=model.name
        )

    def _trains_logits(self, model):
        logits = keras.Model(model.input, model.output["logits"])
        trained = {v.path for v in self.model.trainable_variables}
        return trained.issuperset(v.path for v in logits.trainable_variables)


def _check_pixel_weights(recipe):
    """Refuses border weights for a loss that is not a sum over pixels."""
    for name in recipe.loss_weights():
        try:
            losses.weighted_sum({name: 1.0}, pixel_weights=None)
        except ValueError:
            raise errors.UserError(
                f"`border_weights={recipe.border_weights}` weights pixels, and {name} "
                f"is not a sum over pixels. Choose `loss=crossentropy`, or 0."
            ) from None


def _output_weights(model, recipe):
    """Returns the weights of the outputs that are not 0, "logits" first."""
    outputs = model.output if isinstance(model.output, dict) else {"logits": None}
    given = recipe.output_loss_weights()
    unknown = sorted(set(given) - set(outputs))
    if unknown:
        raise errors.UserError(
            f"`output_weights={recipe.output_weights}` names {', '.join(unknown)}; the "
            f"outputs of the model are {', '.join(sorted(outputs))}. For auxiliary "
            f"outputs give `model_option=aux=true`, if the architecture has them."
        )
    weights = {
        name: given.get(name, 1.0 if name == "logits" else recipe.aux_loss_weight)
        for name in sorted(outputs, key=lambda name: (name != "logits", name))
    }
    positive = {name: weight for name, weight in weights.items() if weight}
    if not positive:
        raise errors.UserError(
            f"`output_weights={recipe.output_weights}` leaves nothing to minimize. "
            f"Give one of {', '.join(sorted(outputs))} a weight above 0."
        )
    return positive


def _at_cells(label, logits, stride):
    """Returns the label of the pixel at each cell: labels are never interpolated."""
    size = tf.shape(logits)[1:3]
    if stride is None:
        return tf.image.resize(label[..., None], size, method="nearest")[..., 0]
    for axis, cells in ((1, size[0]), (2, size[1])):
        last = tf.shape(label)[axis] - 1  # Cells beyond it only cover padding.
        pixels = tf.minimum(stride * tf.range(cells), last)
        label = tf.gather(label, pixels, axis=axis)
    return label


def _area(label):
    sides = tf.shape(label)[1:3]
    return tf.cast(sides[0] * sides[1], tf.float32)
