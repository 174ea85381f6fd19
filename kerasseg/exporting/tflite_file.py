"""A network as a TFLite file, for phones and small computers."""

import re
import tempfile
import warnings

import numpy as np
import tensorflow as tf

from kerasseg import errors
from kerasseg.exporting import signatures


def convert(model, numbers: str, images=()) -> bytes:
    """Writes a network in TFLite's own operations.

    Its one signature takes `image`, float32 `[1, height, width, 3]`, of any size, to
    `logits`, float32, whatever the numbers inside.

    Args:
        model: Takes float32 pictures, RGB, 0..255, to logits.
        numbers: "float32"; "float16", weights of half the size; or "int8", weights and
            what goes from layer to layer in 8 bits, where TFLite has that.
        images: Pictures that show how large numbers get, for "int8": RGB, uint8
            `[height, width, 3]`.

    Returns:
        The file.

    Raises:
        ValueError: The network holds an operation that TFLite lacks, or there is no
            picture for "int8".
    """
    with tempfile.TemporaryDirectory() as folder:
        _save(model, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        return _converted(converter, model.name, numbers, images)


def _save(model, folder):
    """Writes a SavedModel: from it, the converter needs less than half the memory."""
    large = signatures.large_variables(model, signatures.LARGE)
    logits = signatures.with_variables(model, large)
    picture = tf.TensorSpec([1, None, None, 3], tf.float32, name="image")
    function = signatures.traced(lambda image: {"logits": logits(image)}, picture)
    module = tf.Module()
    module.large = list(function.variables)
    tf.saved_model.save(module, folder, signatures=function)


def _converted(converter, name, numbers, images):
    if numbers != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if numbers == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if numbers == "int8":
        converter.representative_dataset = _calibration(images)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of TensorFlow's own old ways.
            return converter.convert()
    except Exception as error:  # The converter raises what its parts raise.
        raise errors.UserError(
            f"{name} cannot be written as TFLite {numbers}: {_reason(error)}. "
            f"Nothing was exported; leave tflite_{numbers} out of the formats."
        ) from error


def _calibration(images):
    pictures = list(images)
    if not pictures:
        raise errors.UserError(
            "TFLite int8 was asked for and no picture that shows how large its numbers "
            "get; give `records_dir` and at least one of `calibration_pictures`, or "
            "leave tflite_int8 out of the formats."
        )
    return lambda: ([image[np.newaxis].astype(np.float32)] for image in pictures)


def _reason(error):
    """Names the operations that TFLite lacks, or tells the error's first line."""
    missing = re.findall(r"(?:TF|tf)\.(\w+)\(", str(error))
    if missing:
        return f"it has no {', '.join(sorted(set(missing)))}"
    return str(error).strip().partition("\n")[0] or type(error).__name__
