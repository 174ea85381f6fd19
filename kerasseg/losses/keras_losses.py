"""Each registered loss as a Keras class, for `model.compile`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from kerasseg import errors, losses
from kerasseg.losses import pixels


class KerasLoss(keras.losses.Loss):
    """Averages a registered loss over the labeled pixels of a batch.

    Args:
        name: Name of the loss; None for that of the function.
        multi_label: Whether the classes are independent: the loss is then the mean of
            that of each logit.
        **options: The keyword arguments of the function but `pixel_weights`.

    Call arguments:
        y_true: Class numbers, `[batch, height, width]` or `[batch, height, width, 1]`,
            any type; floats must be whole numbers. With `multi_label` 0 or 1 for each
            class, and 255 for ignored pixels, `[batch, height, width, num_classes]`, or
            the bits of the classes, see `images.bit_masks`, `[batch, height, width]`.
        y_pred: Logits, `[batch, height, width, num_classes]`, any float type; or one
            logit, of class 1 against class 0, `[batch, height, width, 1]`.
        sample_weight: One factor per image, `[batch]`, or per pixel, in the shape of
            `y_true`, at least 0; None for 1. The mean is divided by the number of
            labeled pixels, which is not weighted, so a weight of 2 doubles the
            gradient. Only losses with `pixel_weights` accept weights of pixels.

    Returns:
        float32 scalar: 0 if no pixel is labeled, NaN if a label is neither a class
        number nor `ignore_label`. With a `tf.distribute` strategy, the sum over the
        replicas is the mean of their means.

    Raises:
        UserError: Unknown or wrong options, shapes or weights.

    Example:
        model.compile("sgd", loss=losses.CLASS(ignore_label=255))
        model.fit(images, labels)
    """

    function: Callable

    def __init__(
        self, *, name: str | None = None, multi_label: bool = False, **options: Any
    ):
        defaults = _options(self.function)
        unknown = sorted(set(options) - set(defaults))
        if unknown:
            raise errors.UserError(
                f"{type(self).__name__} has no option `{'`, `'.join(unknown)}`. It has "
                f"{', '.join(defaults)}."
            )
        # The base class converts labels to this type; bfloat16 is exact up to 256 only.
        super().__init__(name=name or self.function.__name__, dtype="float32")
        self.options = _plain({**defaults, **options})
        self.multi_label = multi_label

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Computes the mean loss per labeled pixel; see the class."""
        # The base class would multiply the mean by the weights, so they go to `call`.
        pair = (y_true,) if sample_weight is None else (y_true, sample_weight)
        return super().__call__([ops.convert_to_tensor(x) for x in pair], y_pred)

    def call(self, y_true, y_pred):
        """Returns the mean as `[1]`, for the reduction of the base class.

        Args:
            y_true: List of the labels and, if given, the weights, float32.
            y_pred: Logits.
        """
        labels, *weights = map(pixels.without_channel, y_true)
        labels = pixels.class_numbers(labels)
        total, count = self._weighted_sums(labels, y_pred, *weights)
        return ops.reshape(losses.mean(total, count), (1,))

    def sums(self, labels, logits, **more):
        """Returns the total of the loss and the number of labeled pixels.

        Args:
            labels: See the class, of an integer type.
            logits: See the class.
            **more: `pixel_weights`, if the function has them.
        """
        if not self.multi_label:
            return self.function(labels, logits, **self.options, **more)
        options = dict(self.options)
        weights = options.pop("class_weights", None)
        loss = losses.multi_label(self.function, logits.shape[-1], weights)
        return loss(labels, logits, **options, **more)

    def _weighted_sums(self, labels, logits, weights=None):
        if weights is None:
            return self.sums(labels, logits)
        if len(weights.shape) == 1:
            # A loss is a sum over the images.
            totals, counts = ops.vectorized_map(
                lambda x: self.sums(x[0][None], x[1][None]),
                (labels, logits),
            )
            return ops.sum(totals * weights), ops.sum(counts)
        if len(weights.shape) == 3 and _has_pixel_weights(self.function):
            return self.sums(labels, logits, pixel_weights=weights)
        raise errors.UserError(
            f"`sample_weight` of {self.name} must be one number for each image, "
            f"[batch]{self._or_pixel()}, got shape {tuple(weights.shape)}. The option "
            "`class_weights` of crossentropy weights classes."
        )

    def _or_pixel(self):
        if _has_pixel_weights(self.function):
            return ", or for each pixel, [batch, height, width]"
        return ", because it is not a sum over pixels"

    def get_config(self):
        """Returns the name and all options."""
        more = {"multi_label": True} if self.multi_label else {}
        return {"name": self.name, **self.options, **more}


@keras.saving.register_keras_serializable("kerasseg")
class WeightedSum(KerasLoss):
    """Averages a weighted sum of registered losses over the labeled pixels of a batch.

    Of a list of losses for one output, Keras uses the first only.

    Args:
        weights: Factor of each loss, above 0, by its name in `losses.LOSSES`.
        name: Name of the loss; None for "weighted_sum".
        multi_label: See `CrossEntropy`.
        **options: Options of the losses. Each is passed to all losses that have it.

    Call arguments and returned value: see `CrossEntropy`.

    Raises:
        UserError: See `losses.weighted_sum`; wrong shapes or weights.

    Example:
        loss = losses.WeightedSum({"crossentropy": 1, "dice": 0.5}, ignore_label=255)
        model.compile("sgd", loss)
        model.fit(images, labels)
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        name: str | None = None,
        multi_label: bool = False,
        **options: Any,
    ):
        self.function = losses.weighted_sum(weights, **options)
        if multi_label and "class_weights" in options:
            raise errors.UserError(
                "`class_weights` of a weighted sum cannot be combined with "
                "`multi_label`. Give them to a single loss, such as CrossEntropy."
            )
        super().__init__(name=name or "weighted_sum", multi_label=multi_label)
        self._config = {"weights": dict(weights), **_plain(options)}

    def get_config(self):
        """Returns the arguments of the constructor."""
        return super().get_config() | self._config


def make_class(function: Callable, class_name: str) -> type[KerasLoss]:
    """Returns the Keras class of a loss, registered as "kerasseg>CLASS_NAME".

    Args:
        function: A loss, see `losses.register`.
        class_name: Name of the class.
    """
    usage = inspect.cleandoc(KerasLoss.__doc__ or "").replace("CLASS", class_name)
    usage = usage.replace("a registered loss", f"`{function.__name__}`")
    attributes = {
        "function": staticmethod(function),
        "__module__": losses.__name__,
        "__doc__": f"{usage}\n\nThe function `{function.__name__}`:\n\n"
        f"{inspect.getdoc(function)}",
        "__signature__": _signature(function),
    }
    loss_class = type(class_name, (KerasLoss,), attributes)
    return keras.saving.register_keras_serializable("kerasseg")(loss_class)


def _plain(options):
    """Returns options that JSON can hold: lists in place of arrays."""
    return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in options.items()}


def _options(function):
    """Returns the defaults of the options by name."""
    return {
        p.name: p.default
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name != "pixel_weights"
    }


def _signature(function):
    options = {**_options(function), "name": None, "multi_label": False}
    return inspect.Signature(
        [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default)
            for key, default in options.items()
        ]
    )


def _has_pixel_weights(function):
    return "pixel_weights" in inspect.signature(function).parameters
