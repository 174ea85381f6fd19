"""Options that pretrained weights of an encoder need."""

from collections.abc import Mapping
from typing import Any

from kerasseg import errors
from kerasseg.weights import Network, open_weights


def options_for(
    weights: str, backbone: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns options with which an encoder computes what its weights were trained for.

    Args:
        weights: Name or file of weights of another program; see
            `weights.open_weights`.
        backbone: Name of the encoder.
        given: Options that are given; None for those that are not.

    Returns:
        The options of the backbone, `normalization`, and `batch_norm_epsilon` of
        encoders with batch normalization.

    Raises:
        errors.UserError: The weights are of another encoder, or need another value of
            an option that is given.
    """
    opened = open_weights(weights, kind="encoder")
    network = opened.network
    if network.model != backbone:
        raise errors.UserError(
            f"`backbone_weights={weights}` are those of '{network.model}', and the "
            f"encoder is '{backbone}'. Set `backbone={network.model}`, or give other "
            "weights."
        )
    needed = dict(network.options)
    if not callable(network.epsilon) and _has_batch_norm(network, opened.arrays):
        needed["batch_norm_epsilon"] = network.epsilon
    for option, value in needed.items():
        if given.get(option) is not None and given[option] != value:
            raise errors.UserError(
                f"`{option}={given[option]}`, but `backbone_weights={weights}` need "
                f"`{option}={value}`. Set this value, or leave `{option}` out."
            )
    return needed


def _has_batch_norm(network: Network, arrays) -> bool:
    ending = network.layout.names.get("moving_variance", "moving_variance")
    return any(name.endswith(network.layout.separator + ending) for name in arrays)
