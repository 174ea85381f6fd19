"""Losses for labels with ignored pixels, as a total and a number of labeled pixels.

A loss is a function `(labels, logits, *, ...options) -> (total, count)`. Every module
of this package registers the losses it defines. They are attributes of the package, as
in `losses.dice`. So is the Keras class of each, for `model.compile`, as in
`losses.Dice`; `CLASSES` holds all of them.

The trainer adds up totals and counts over replicas and gradient accumulation steps and
divides once, so a replica whose pixels are mostly ignored does not weigh more. All
losses count the same pixels, those with a label. A loss with one value per image, such
as Dice, multiplies it by the number of labeled pixels of the image. So the result does
not depend on how images are batched, and a weighted sum of losses is the weighted sum
of their totals over one count.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras import ops

from kerasseg import errors
from kerasseg.losses import keras_losses, pixels
from kerasseg.losses.keras_losses import WeightedSum as WeightedSum
from kerasseg.system import registry

LOSSES: registry.Registry[Callable] = registry.Registry("loss", __name__)
CLASSES: dict[str, type[keras_losses.KerasLoss]] = {}  # By the name of the class.
_TEST_OPTIONS: dict[str, list[dict[str, Any]]] = {}


def register(
    *,
    test_options: Sequence[Mapping[str, Any]] = (),
    class_name: str | None = None,
) -> Callable:
    """Returns a decorator that registers a loss under its own name.

    Args:
        test_options: Options with which the tests check the loss, besides its defaults.
            They have three classes.
        class_name: Name of its Keras class; None for its own in camel case, `HardPixel`
            for `hard_pixel`.

    Raises:
        UserError: A loss of that name is already registered.
    """

    def decorate(loss):
        LOSSES.add(loss.__name__, loss)
        name = class_name or loss.__name__.title().replace("_", "")
        CLASSES[name] = keras_losses.make_class(loss, name)
        _TEST_OPTIONS[loss.__name__] = [{}, *map(dict, test_options)]
        return loss

    return decorate


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        if name in LOSSES:
            return LOSSES[name]
        if name in CLASSES:
            return CLASSES[name]
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *LOSSES, *CLASSES])


def mean(total, count):
    """Returns the mean loss per labeled pixel.

    Args:
        total: First value that a loss returns.
        count: Second value that a loss returns.

    Returns:
        `total / count`, 0 for a count of 0, and NaN for a NaN.
    """
    return total / ops.maximum(count, 1.0)


def get(name: str) -> Callable:
    """Returns the loss called `name`, a key of `LOSSES`.

    Raises:
        UserError: There is no loss of that name.
    """
    return LOSSES.lookup(name)


def class_of(name: str) -> type[keras_losses.KerasLoss]:
    """Returns the Keras class of the loss called `name`, a key of `LOSSES`.

    Raises:
        UserError: There is no loss of that name.
    """
    function = get(name)
    return next(each for each in CLASSES.values() if each.function is function)


def test_options(name: str) -> list[dict[str, Any]]:
    """Returns the options with which a loss is tested, first of all none."""
    get(name)
    return _TEST_OPTIONS[name]


def multi_label(loss: Callable, num_classes: int, class_weights=None) -> Callable:
    """Returns a loss of independent classes: the mean of that of each logit.

    Args:
        loss: A loss of one logit, of class 1 against class 0.
        num_classes: Number of classes.
        class_weights: One factor per class, or None for 1.

    Returns:
        Function `(labels, logits, **options)` to `(total, count)`, where labels have
        the bits of the classes, see `images.bit_masks`, and logits are `[batch, height,
        width, num_classes]`. `count` is the number of labeled pixels.
    """
    weights = [1.0] * num_classes if class_weights is None else list(class_weights)

    def losses_of_classes(labels, logits, **options):
        total, count = 0.0, 0.0
        for k, weight in enumerate(weights):
            binary = pixels.of_class(labels, k, num_classes)
            part, count = loss(binary, logits[..., k : k + 1], **options)
            total += weight * part / num_classes
        return total, count

    return losses_of_classes


def weighted_sum(weights: Mapping[str, float], **options) -> Callable:
    """Returns a weighted sum of losses as one loss.

    Args:
        weights: Factor of each loss, above 0, by its name in `LOSSES`.
        **options: Options of the losses. Each is passed to all losses that have it.

    Returns:
        Function `(labels, logits, *, pixel_weights=None)` to `(total, count)`: the
        weighted sum of the totals, and the number of labeled pixels. It raises
        `UserError` for pixel weights if a loss does not accept them.

    Raises:
        UserError: Unknown loss, no loss, a factor that is not above 0 and finite, or
            an option that none of the losses has.
    """
    if not weights:
        raise errors.UserError("A weighted sum needs at least one loss, got none.")
    for name, weight in weights.items():
        if not 0 < weight < math.inf:
            raise errors.UserError(
                f"The factor of {name} must be above 0 and finite, got {weight}. Leave "
                "out a loss that should not count."
            )
    known = {name: _options(get(name)) for name in weights}
    for option in options:
        if not any(option in names for names in known.values()):
            accepted = "; ".join(f"{k}: {', '.join(v)}" for k, v in known.items())
            raise errors.UserError(
                f"None of the losses has an option `{option}`. They have {accepted}."
            )

    def loss(labels, logits, *, pixel_weights=None):
        totals = []
        for name, weight in weights.items():
            own = {k: v for k, v in options.items() if k in known[name]}
            if pixel_weights is not None:
                if "pixel_weights" not in known[name]:
                    raise errors.UserError(
                        f"{name} is not a sum over pixels and has no `pixel_weights`. "
                        "Leave them out, or choose crossentropy."
                    )
                own["pixel_weights"] = pixel_weights
            total, count = LOSSES[name](labels, logits, **own)
            totals.append(weight * total)
        return sum(totals), count

    return loss


def _options(loss):
    parameters = inspect.signature(loss).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


# All modules are imported, so that Keras finds the classes of a saved model.
tuple(LOSSES)
