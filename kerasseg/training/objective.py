"""What a step minimises: losses of the outputs of a network, each with its weight."""

import keras
import tensorflow as tf

from kerasseg import blocks, datasets, errors, losses
from kerasseg.pipeline import border_weights


class Objective:
    """The weighted losses of a network's outputs, over the labelled pixels.

    Args:
        model: The network: logits, or a dict of them with "logits" at the picture's
            size.
        recipe: See `recipe.Recipe`.
        class_weights: One number a class, or None. Where the recipe weighs borders,
            its map of weights holds them, and the losses do not.

    Attributes:
        weigh: Function of a crop's instances and label to the weights of its pixels,
            or None.
        model: The network without the outputs that weigh nothing and what only they
            need; the same layers.
        weights: Of the outputs that count, by name.

    Raises:
        ValueError: The recipe names an output that the model lacks, or an option that
            its losses lack, or no output counts.
    """

    def __init__(self, model, recipe, class_weights=None):
        self.weigh = border_weights.weight_map_fn(
            class_weights, w0=recipe.border_weights, sigma=recipe.border_sigma
        )
        options = recipe.loss_options()
        if class_weights is not None and self.weigh is None:
            options["class_weights"] = class_weights
        self._loss = losses.weighted_sum(recipe.loss_weights(), **options)
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

    def __call__(self, outputs, label, pixel_weights=None):
        """Sums the losses of all outputs.

        A pixel of a smaller output stands for as many of the picture's as its area
        holds, so that what is summed over parts and replicas is exact.

        Args:
            outputs: Of `self.model`.
            label: uint8 `[batch, height, width]`; a smaller output is held to those
                of the pixels that its cells stand at (see `blocks.AtStride`).
            pixel_weights: One factor a pixel, as `label`, or None.

        Returns:
            `(total, count)`: the weighted sum, and the label's labelled pixels.
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
        labelled = tf.not_equal(label, datasets.IGNORE_LABEL)
        return total, tf.reduce_sum(tf.cast(labelled, tf.float32))

    def scored(self, model):
        """Returns what validations score: `model`, or what stands in for it.

        Where "logits" weighs nothing and needs weights that no other output trains,
        the output that weighs most is scored in its place, at the size of the picture.

        Args:
            model: The network, or its moving average.
        """
        if "logits" in self.weights or self._trains_logits(model):
            return model
        heaviest = max(self.weights, key=lambda name: self.weights[name])
        resize = blocks.ResizeLike(dtype="float32", name="scored")
        return keras.Model(
            model.input, resize([model.output[heaviest], model.input]), name=model.name
        )

    def _trains_logits(self, model):
        logits = keras.Model(model.input, model.output["logits"])
        trained = {v.path for v in self.model.trainable_variables}
        return trained.issuperset(v.path for v in logits.trainable_variables)


def _output_weights(model, recipe):
    """Returns the weight of each output that counts, "logits" first."""
    outputs = model.output if isinstance(model.output, dict) else {"logits": None}
    given = recipe.named_output_weights()
    unknown = sorted(set(given) - set(outputs))
    if unknown:
        raise errors.UserError(
            f"`output_weights={recipe.output_weights}` names {', '.join(unknown)}; the "
            f"model's outputs are {', '.join(sorted(outputs))}. Auxiliary outputs need "
            "`model_option=aux=true` where the architecture has them."
        )
    weights = {
        name: given.get(name, 1.0 if name == "logits" else recipe.aux_loss_weight)
        for name in sorted(outputs, key=lambda name: (name != "logits", name))
    }
    counting = {name: weight for name, weight in weights.items() if weight}
    if not counting:
        raise errors.UserError(
            f"`output_weights={recipe.output_weights}` leaves nothing to minimise: "
            f"give one of {', '.join(sorted(outputs))} a weight above 0."
        )
    return counting


def _at_cells(label, logits, stride):
    """Takes the pixel that each cell stands at: labels are never mixed."""
    size = tf.shape(logits)[1:3]
    if stride is None:
        return tf.image.resize(label[..., None], size, method="nearest")[..., 0]
    for axis, cells in ((1, size[0]), (2, size[1])):
        last = tf.shape(label)[axis] - 1  # Cells beyond it saw the padding alone.
        pixels = tf.minimum(stride * tf.range(cells), last)
        label = tf.gather(label, pixels, axis=axis)
    return label


def _area(label):
    sides = tf.shape(label)[1:3]
    return tf.cast(sides[0] * sides[1], tf.float32)
