"""Networks whose encoder is frozen: neither its weights nor its batch norm change."""

import dataclasses
from collections.abc import Callable, Collection

import keras

from kerasseg import errors
from kerasseg.training.network import Builder


@dataclasses.dataclass(frozen=True)
class FrozenEncoder(Builder):
    """A registered architecture whose encoder keeps its weights."""

    def __call__(self, num_classes, **changes):
        """Builds the model; see `Builder`."""
        model = super().__call__(num_classes, **changes)
        freeze(model, self.encoder_layers)
        return model


def freeze(model: keras.Model, names: Collection[str]) -> None:
    """Freezes layers, with their batch norm, which then uses its moving averages.

    Args:
        model: The network; its layers change.
        names: Names of its layers.

    Raises:
        errors.UserError: There is no layer of a name, or no name.
    """
    known = {layer.name: layer for layer in model.layers}
    unknown = sorted(set(names) - set(known))
    if unknown or not names:
        raise errors.UserError(
            f"`freeze_encoder` names {', '.join(unknown) or 'no layer'}. Give names of "
            f"layers of {model.name}, such as {', '.join(list(known)[1:4])}."
        )
    for name in names:
        known[name].trainable = False


def with_frozen(
    model: Builder | keras.Model | Callable, layers: bool | Collection[str]
) -> Builder | keras.Model | Callable:
    """Returns a network, or what builds it, with a frozen encoder.

    Args:
        model: See `run.train`.
        layers: Names of the layers to freeze; or True for those that the builder names
            as its encoder.

    Raises:
        errors.UserError: The network does not name the layers of its encoder.
    """
    if isinstance(model, Builder) and layers is True:
        return FrozenEncoder(model.name, model.options)
    if layers is True:
        layers = getattr(model, "encoder_layers", ())
        if not layers:
            raise errors.UserError(
                "`freeze_encoder` needs the name of an architecture, or a builder "
                "with an attribute encoder_layers. Give the names of the layers to "
                "freeze."
            )
    names = frozenset(layers or ())
    if isinstance(model, keras.Model):
        freeze(model, names)
        return model

    def build(num_classes):
        built = model(num_classes)
        freeze(built, names)
        return built

    return build
