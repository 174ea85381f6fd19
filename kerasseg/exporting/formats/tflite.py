"""The TFLite formats, for phones and embedded devices."""

import functools
import pathlib
import re
import tempfile
import warnings
from collections.abc import Iterable

import numpy as np

from kerasseg import errors
from kerasseg.exporting import formats
from kerasseg.system import processes

_USAGE = """\
    import cv2
    from ai_edge_litert.interpreter import Interpreter

    image = cv2.imread("image.jpg", cv2.IMREAD_COLOR_RGB)[None].astype("float32")
    run = Interpreter("{path}/{file}").get_signature_runner()
    mask = run(image=image)["logits"][0]{to_mask}
"""
_DETECTION_USAGE = """\
    import cv2
    from ai_edge_litert.interpreter import Interpreter

    image = cv2.imread("image.jpg", cv2.IMREAD_COLOR_RGB)[None].astype("float32")
    found = Interpreter("{path}/{file}").get_signature_runner()(image=image)
"""
_DETECTION_DESCRIPTION = """\
The TFLite file takes `image`, float32 [1, height, width, 3], RGB from 0 to 255, of any
size, and returns `boxes`, float32 [1, {num_detections}, 4] (y1, x1, y2, x2 in pixels),
`scores`, float32, `classes`, int32, and `valid`, bool, [1, {num_detections}], and
`mask_probabilities`, float32 [1, {num_detections}, {cells}, {cells}], in the boxes.
"""


def write(source: formats.Source, path: str, *, dtype: str) -> None:
    """Converts the folded model; see `convert`."""
    images = source.calibration_images if dtype == "int8" else ()
    pathlib.Path(path).write_bytes(convert(source.folded, dtype, images))


def load(path: str) -> formats.Loaded:
    """Loads a file with LiteRT, the current name of the TFLite interpreter."""
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise formats.missing_package("tflite", path, error) from error
    loaded = interpreter.Interpreter(path, num_threads=processes.num_cores())
    runner = loaded.get_signature_runner()
    return formats.Loaded(lambda images: runner(image=images))


def convert(model, dtype: str, images: Iterable[np.ndarray] = ()) -> bytes:
    """Converts a model to TFLite operations.

    The only signature of the file has the input `image`, float32
    `[1, height, width, channels]`, of any size, and the outputs of `signatures.named`.

    Args:
        model: Model of float32 images, RGB from 0 to 255, to logits or detections.
        dtype: "float32"; "float16" for weights of half the size; or "int8" for weights
            and activations of 8 bits, where TFLite supports them.
        images: Calibration images for "int8": RGB, uint8 `[height, width, 3]`.

    Raises:
        errors.UserError: The network has an operation that TFLite lacks, or there is
            no calibration image for "int8".
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        _save(model, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        return _converted(converter, model.name, dtype, images)


def _save(model, folder):
    """Writes a SavedModel, from which the converter needs less than half the memory."""
    import tensorflow as tf

    from kerasseg.exporting import signatures

    large = signatures.large_variables(model, signatures.LARGE)
    network = signatures.with_variables(model, large)
    shape = [1, *signatures.image_shape(model)[1:]]
    specification = tf.TensorSpec(shape, tf.float32, name="image")
    function = signatures.traced(
        lambda image: signatures.named(network(image)), specification
    )
    module = tf.Module()
    module.large = list(function.variables)
    tf.saved_model.save(module, folder, signatures=function)


def _converted(converter, name, dtype, images):
    import tensorflow as tf

    if dtype != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if dtype == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if dtype == "int8":
        converter.representative_dataset = _calibration(images)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Deprecations within TensorFlow.
            return converter.convert()
    except Exception as error:  # The converter has no specific error type.
        raise errors.UserError(
            f"{name} cannot be converted to TFLite {dtype}: {_reason(error)}. Nothing "
            f"was exported; leave tflite_{dtype} out of `format`."
        ) from error


def _calibration(images):
    images = list(images)
    if not images:
        raise errors.UserError(
            "tflite_int8 needs calibration images. Give `records_dir` and "
            "`calibration_images` of at least 1, or leave tflite_int8 out of `format`."
        )
    return lambda: ([image[np.newaxis].astype(np.float32)] for image in images)


def _reason(error):
    """Returns the operations that TFLite lacks, or the error's first line."""
    missing = re.findall(r"(?:TF|tf)\.(\w+)\(", str(error))
    if missing:
        return f"TFLite has no {', '.join(sorted(set(missing)))}"
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _format(dtype, tolerance, **options):
    return formats.Format(
        name=f"tflite_{dtype}",
        file=f"model_{dtype}.tflite",
        write=functools.partial(write, dtype=dtype),
        load=load,
        usage=_USAGE,
        tolerance=tolerance,
        group="tflite",
        extra="tflite",
        packages=("ai_edge_litert",),
        **options,
    )


FORMATS = [
    _format(
        "float32",
        1e-4,
        detection_usage=_DETECTION_USAGE,
        detection_description=_DETECTION_DESCRIPTION,
    ),
    # Neither holds a detector: rounding moves boxes, and chooses others.
    _format("float16", 0.05),
    # Single logits may be far off in 8 bits: the mean IoU decides.
    _format("int8", 1.0, iou_tolerance=0.02, needs_samples=True),
]
