"""Builds the network of a file of weights of another program."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from kerasseg import backbones, models
from kerasseg.weights import filling
from kerasseg.weights.networks import Network


def build(
    arrays: Mapping[str, np.ndarray],
    network: Network,
    image_size: Sequence[int | None] = (None, None),
) -> keras.Model:
    """Builds a network, with its weights and the epsilons of its batch normalizations.

    Args:
        arrays: Arrays by name; see `weights.files.read`.
        network: What they are of; see `weights.families.recognize`.
        image_size: See `models.build_model`.

    Returns:
        A model from images to logits; of an encoder, from normalized images to the maps
        "c1" to "c5".

    Raises:
        errors.UserError: The arrays are not those of the network.
    """
    if network.kind == "encoder":
        options = {k: v for k, v in network.options.items() if k != "normalization"}
        image = keras.Input((*image_size, 3))
        model = keras.Model(image, backbones.build(network.model, image, **options))
    else:
        model = models.build_model(
            network.model,
            network.num_classes,
            image_size=image_size,
            **network.options,
        )
    filling.fill(model, arrays, network)
    return model
