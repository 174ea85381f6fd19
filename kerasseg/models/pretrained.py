"""Builds a model with the weights of a file or of the catalogue."""

import logging
from collections.abc import Mapping
from typing import Any

import keras

from kerasseg import backbones, errors, models
from kerasseg.models import imported
from kerasseg.weights import Opened, filling, open_weights

_SHOWN = 3


def build(
    weights: str,
    accept_license: bool,
    name: str,
    num_classes: int,
    given: Mapping[str, Any],
) -> keras.Model:
    """Builds a model as `models.build_model` does, with weights.

    Args:
        weights: See `weights.open_weights`.
        accept_license: See `weights.open_weights`.
        name: Name of the architecture, which must be that of the weights.
        num_classes: Number of classes. If it is not that of the weights, the variables
            whose shapes depend on it keep their initial values.
        given: The other arguments of `build_model` that are given, which go before
            those of the network of the weights.

    Raises:
        errors.UserError: The weights are of another architecture, or have no variable
            in common with the model.
    """
    opened = open_weights(weights, kind="model", accept_license=accept_license)
    network = opened.network
    if network.model != name:
        raise errors.UserError(
            f"`weights={weights}` are those of '{network.model}' with "
            f"{network.num_classes} classes, and the model is '{name}'. Build "
            f"'{network.model}', or give weights of '{name}'."
        )
    options: dict[str, Any] = {**network.options, **given}
    options.pop("backbone_weights", None)  # The network's own are in the file.
    image_size = options.pop("image_size")
    if options == network.options and num_classes == network.num_classes:
        return imported.build(opened.arrays, network, image_size)
    source = imported.build(opened.arrays, network)
    model = models.build_model(name, num_classes, image_size=image_size, **options)
    _copy(source, model, weights, opened)
    if "batch_norm_epsilon" not in given:
        filling.set_epsilon(model, network)
    return model


def _copy(source: keras.Model, model: keras.Model, weights: str, opened: Opened):
    missing = backbones.copy_weights(source, model)
    total = len(model.weights)
    if len(missing) == total:
        given = ", ".join(f"{k}={v}" for k, v in opened.network.options.items())
        raise errors.UserError(
            f"`weights={weights}` have no variable in common with {model.name} as it "
            f"is built. Leave out the options that differ from {given}."
        )
    if missing:
        logging.warning(
            "%d of %d variables of %s are not initialized by %s, which has other "
            "shapes or none for them: %s%s",
            len(missing),
            total,
            model.name,
            weights,
            ", ".join(missing[:_SHOWN]),
            ", ..." if len(missing) > _SHOWN else "",
        )
