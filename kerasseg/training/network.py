"""The networks that can be trained: built by a function, or given as Keras models."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from kerasseg import blocks, errors, images, models
from kerasseg.images import class_rules


@dataclasses.dataclass(frozen=True)
class Builder:
    """A registered architecture with its options, as a function `num_classes -> model`.

    Attributes:
        name: Name of the architecture, see `models.list_models`.
        options: Options of its builder, see `models.build_model`; with those that
            `backbone_weights` need, so that copies without them are the same network.
    """

    name: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        """Adds the options that weights of an encoder need."""
        if self.options.get("backbone_weights") is not None:
            options = models.resolved_options(self.name, self.options)
            object.__setattr__(self, "options", options)

    def __call__(self, num_classes: int, **changes: Any) -> keras.Model:
        """Builds the model; `changes` replace options."""
        return models.build_model(self.name, num_classes, **{**self.options, **changes})

    @property
    def encoder_layers(self) -> frozenset[str]:
        """Names of the encoder's layers, see `models.encoder_layers`."""
        return models.encoder_layers(self.name, **self.options)


class Network:
    """Creates the models of a run from a builder or a Keras model.

    Args:
        model_or_builder: A function of the number of classes to a Keras model, such as
            a `Builder`; or a Keras model, which is trained itself.
        num_classes: Number of classes of the data.
        activation: "softmax" or "sigmoid", see `Recipe.activation`.
        image_kind: Channels, type and statistics of the images.
        multi_label: Whether a pixel of the data may have several classes.

    Attributes:
        num_classes: Number of classes of the network: those of the data, for objects
            without class 0, the background; or 1 logit for two classes.
        multi_label: As given.

    Raises:
        errors.UserError: The activation does not fit the data or the network.
    """

    def __init__(
        self,
        model_or_builder: keras.Model | Callable[[int], keras.Model],
        num_classes: int,
        activation: str = "softmax",
        *,
        image_kind: images.ImageKind = images.RGB,
        multi_label: bool = False,
    ):
        self._source, self._activation = model_or_builder, activation
        self._image_kind, self.multi_label = image_kind, multi_label
        if self.kind == "instance":
            _check_softmax(activation)
            self.num_classes = num_classes - 1
        else:
            self.num_classes = class_rules.num_logits(
                num_classes, activation, multi_label=multi_label
            )

    @classmethod
    def of_recipe(cls, model_or_builder, spec, recipe) -> "Network":
        """Returns the network of a recipe for the classes and images of a data set.

        Args:
            model_or_builder: As above.
            spec: The `DatasetSpec`.
            recipe: The `Recipe`.
        """
        options = {"image_kind": spec.image_kind, "multi_label": spec.multi_label}
        return cls(model_or_builder, spec.num_classes, recipe.activation, **options)

    def build(self, *, pretrained: bool = True) -> keras.Model:
        """Creates the model that is trained.

        Args:
            pretrained: Whether a builder loads pretrained weights, if its options say
                so; not needed where others replace them.

        Raises:
            errors.UserError: The model does not fit the data, or was not built in the
                scope of the strategy.
        """
        if isinstance(self._source, keras.Model):
            _check_scope(self._source)
            model = self._source
        elif isinstance(self._source, Builder):
            changes: dict[str, Any] = {} if pretrained else {"backbone_weights": None}
            if not self._image_kind.is_rgb:
                changes["image_kind"] = self._image_kind
            model = self._source(self.num_classes, **changes)
        else:
            model = self._source(self.num_classes)
        model = _as_functional(model)
        _check_channels(model, self._image_kind)
        if self.kind == "semantic":
            _check_outputs(model, self.num_classes)
            if self._activation == "sigmoid":
                _check_independent(model)
        return model

    def copy(self) -> keras.Model:
        """Creates a second model with the same layers and other variables."""
        if isinstance(self._source, keras.Model):
            return _as_functional(keras.models.clone_model(self._source))
        return self.build(pretrained=False)

    @property
    def kind(self) -> str:
        """What the network predicts, one of `models.KINDS`."""
        if isinstance(self._source, Builder):
            return models.metadata(self._source.name).kind
        return "semantic"

    @functools.cached_property
    def encoder_layers(self) -> frozenset[str]:
        """Names of the layers that learn at the base rate, not at the head's.

        Raises:
            errors.UserError: The builder does not name them.
        """
        layers = getattr(self._source, "encoder_layers", None)
        if layers is None:
            raise errors.UserError(
                "`head_learning_rate_factor` needs a network that names the layers of "
                "its encoder. Leave the factor at 1, or pass a builder with an "
                "attribute encoder_layers."
            )
        return frozenset(layers)

    @property
    def encoder(self) -> tuple[str, str | None] | None:
        """Name of the encoder and of its pretrained weights; None without a choice."""
        if not isinstance(self._source, Builder):
            return None
        builder = models.metadata(self._source.name).builder
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(builder).parameters.items()
        }
        values = {**defaults, **self._source.options}
        if not values.get("backbone"):
            return None
        return values["backbone"], values.get("backbone_weights")

    def metadata(self, model: keras.Model) -> dict[str, Any]:
        """Returns the entries of `metadata.read_metadata` about the network."""
        return {
            "model": getattr(self._source, "name", model.name),
            "num_classes": self.num_classes,
            "options": dict(getattr(self._source, "options", {})),
            **({} if self._activation == "softmax" else {"activation": "sigmoid"}),
        }


def _as_functional(model):
    """Returns a functional model, whose layers and outputs are known."""
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs, model.outputs[0], name=model.name)
    if isinstance(model, keras.Model) and hasattr(model, "output"):
        return model
    raise errors.UserError(
        f"{model!r} is not a functional Keras model. Build it with keras.Model(inputs, "
        f"outputs), or as a keras.Sequential that starts with a keras.Input."
    )


def _check_channels(model, kind):
    image = model.inputs[0]
    if image.shape[-1] not in (None, kind.channels):
        raise errors.UserError(
            f"The model {model.name} takes {image.shape[-1]} channels, and the images "
            f"are {kind}. Build it with `channels={kind.channels}`, or build the "
            "records with as many channels as the model takes."
        )


def _check_scope(model):
    strategy = tf.distribute.get_strategy()
    if not all(
        strategy.extended.variable_created_in_scope(variable.value)
        for variable in model.variables
    ):
        raise errors.UserError(
            f"The model {model.name} was not built in the scope of the strategy. Pass "
            f"the function that builds it."
        )


def _check_outputs(model, num_classes):
    outputs = (
        model.output if isinstance(model.output, dict) else {"logits": model.output}
    )
    if "logits" not in outputs:
        raise errors.UserError(
            f"The model {model.name} has the outputs {', '.join(sorted(outputs))}. "
            f"One of them must be called logits."
        )
    shape = outputs["logits"].shape
    if len(shape) != 4 or shape[-1] != num_classes:
        raise errors.UserError(
            f"The model {model.name} has logits of shape {tuple(shape)}, expected "
            f"(batch, height, width, {num_classes}): {_reason(num_classes)}. Build it "
            f"for this number of classes."
        )


def _reason(num_logits):
    if num_logits == 1:
        return "`activation=sigmoid` has one logit for two classes"
    return f"the data have {num_logits} classes"


def _check_softmax(activation):
    if activation != "softmax":
        raise errors.UserError(
            f"`activation={activation}` applies to networks that predict the class of "
            "each pixel, and this one detects objects. Leave it out."
        )


def _check_independent(model):
    """Refuses layers that take classes as exclusive, and logits that are none."""
    for layer in model.layers:
        if isinstance(layer, blocks.CrfRnn):
            raise errors.UserError(
                f"`activation=sigmoid`: the CRF of {model.name} refines classes that "
                "exclude each other, one logit for each. Give `activation=softmax`."
            )
