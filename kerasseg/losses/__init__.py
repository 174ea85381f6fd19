"""Losses of labelled pictures, as a sum and the number of labelled pixels.

A trainer adds both up over replicas and gradient-accumulation steps and divides once,
so that a replica whose pixels are mostly ignored does not weigh more. Every loss
counts the same pixels, all that have a label. So those of whole regions, which have
one value a picture, weigh it with the picture's labelled pixels, as hard-pixel
cross-entropy does with its mean over the pixels kept: the result is a mean over
pictures in which a pixel counts the same in each, it does not depend on how pictures
are dealt to batches, and a weighted sum of losses is the sum of their totals over one
count, exactly.
"""

import inspect
import math

from keras import ops

from kerasseg import errors
from kerasseg.losses.crossentropies import (
    crossentropy,
    focal,
    hard_pixel_crossentropy,
)
from kerasseg.losses.regions import dice, jaccard, lovasz_softmax, tversky

LOSSES = {
    loss.__name__: loss
    for loss in (
        crossentropy,
        dice,
        focal,
        hard_pixel_crossentropy,
        jaccard,
        lovasz_softmax,
        tversky,
    )
}

__all__ = ["LOSSES", "get", "mean", "weighted_sum", *LOSSES]


def mean(total, count):
    """Returns `total` for each pixel of `count`, 0 of no pixels, NaN of a NaN."""
    return total / ops.maximum(count, 1.0)


def get(name: str):
    """Returns the loss called `name`, a key of `LOSSES`.

    Raises:
        ValueError: No loss has that name.
    """
    if name not in LOSSES:
        known = ", ".join(sorted(LOSSES))
        raise errors.UserError(f"No loss is called {name!r}. Choose one of: {known}.")
    return LOSSES[name]


def weighted_sum(weights, **options):
    """Makes one loss of several.

    Args:
        weights: Factor of each loss, above 0, by its name in `LOSSES`.
        **options: Of the losses; each goes to all those that have it.

    Returns:
        Function `(labels, logits, *, pixel_weights=None)` to `(total, count)`: the
        weighted sum of the totals, and the number of labelled pixels.

    Raises:
        ValueError: An unknown name, no loss, a factor that is none, or an option that
            none of the losses has; and, from the function, pixel weights for a loss
            that takes none.
    """
    if not weights:
        raise errors.UserError("A weighted sum is of one loss or more, got none.")
    for name, weight in weights.items():
        if not 0 < weight < math.inf:
            raise errors.UserError(
                f"The factor of {name} is above 0 and finite, got {weight}; leave out "
                "a loss that does not count."
            )
    known = {name: _options(get(name)) for name in weights}
    for option in options:
        if not any(option in names for names in known.values()):
            takes = "; ".join(f"{k}: {', '.join(v)}" for k, v in known.items())
            raise errors.UserError(f"No loss here has the option {option!r}. {takes}.")

    def loss(labels, logits, *, pixel_weights=None):
        sums = []
        for name, weight in weights.items():
            given = {k: v for k, v in options.items() if k in known[name]}
            if pixel_weights is not None:
                if "pixel_weights" not in known[name]:
                    raise errors.UserError(
                        f"{name} is no sum over pixels and takes no pixel_weights: "
                        "leave them out, or choose crossentropy."
                    )
                given["pixel_weights"] = pixel_weights
            total, count = LOSSES[name](labels, logits, **given)
            sums.append(weight * total)
        return sum(sums), count

    return loss


def _options(loss):
    parameters = inspect.signature(loss).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
