"""What a Keras model of another program needs to segment images."""

import logging
import os

import keras

from kerasseg import errors, models
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.images import class_rules
from kerasseg.workdir import class_names

_SIZE = 64, 96  # Of an image whose logits must have its size.


def check(model: keras.Model, path: str | os.PathLike) -> None:
    """Checks that a model takes images and returns logits of their size.

    A model of another program is reported with what is assumed about it.

    Args:
        model: The model.
        path: Its file, for messages.

    Raises:
        errors.UserError: Lists what the model lacks.
    """
    lacks = list(_lacks(model))
    if lacks:
        raise errors.UserError(
            f"{path} is not a segmentation network. It lacks {'; '.join(lacks)}. Give "
            f"a model of images [batch, height, width, 3] to logits [batch, height, "
            f"width, classes], or the workdir of a run."
        )
    if model.name not in models.list_models():
        logits = _logits(model)
        logging.warning(
            "%s is not an architecture of kerasseg: the %d channels of its output %s "
            "are used as the logits of %d classes, and its input is RGB from 0 to 255, "
            "without normalization.",
            path,
            logits.shape[-1],
            logits.name,
            class_rules.num_classes(logits.shape[-1]),
        )


def _lacks(model):
    if not hasattr(model, "output") or len(model.inputs) != 1:
        yield f"a single input (it has {len(getattr(model, 'inputs', None) or [])})"
        return
    image, logits = model.inputs[0], _logits(model)
    channels = class_names.image_kind_of(model).channels
    if len(image.shape) != 4 or image.shape[-1] != channels:
        yield f"an input of RGB images (its shape is {_text(image.shape)})"
    if logits is None:
        names = sorted(model.output) if isinstance(model.output, dict) else "several"
        yield f'a single output, or one named "logits" (its outputs: {names})'
    elif len(logits.shape) != 4:
        yield f"logits of each pixel (the shape of its output is {_text(logits.shape)})"
    elif not 1 <= (logits.shape[-1] or 0) <= IGNORE_LABEL:
        count = logits.shape[-1]
        yield f"1 to {IGNORE_LABEL} classes (its output has {count} channels)"
    elif logits.shape[-1] == 1 and _is_sigmoid(logits):
        yield "a logit (its last layer is a sigmoid: build it without that activation)"
    elif len(image.shape) == 4 and (size := _output_size(model, image)):
        yield "logits of the size of the image ({} x {} become {} x {})".format(*size)


def _is_sigmoid(logits):
    activation = getattr(logits._keras_history.operation, "activation", None)
    return activation is keras.activations.sigmoid


def _output_size(model, image):
    """Returns the sizes of an image and its logits if they differ, else None."""
    sides = [known or side for known, side in zip(image.shape[1:3], _SIZE, strict=True)]
    shapes = model.compute_output_shape((1, *sides, image.shape[-1]))
    shape = shapes["logits"] if isinstance(shapes, dict) else shapes
    found = list(shape[1:3])
    return None if None in found or found == sides else (*sides, *found)


def _logits(model):
    output = model.output
    if isinstance(output, dict):
        return output.get("logits")
    if isinstance(output, list | tuple):
        return output[0] if len(output) == 1 else None
    return output


def _text(shape):
    return "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"
