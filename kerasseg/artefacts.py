"""Exported models, each run by the runtime that it is made for.

Whoever only wants to run a file needs nothing of TensorFlow for TFLite or ONNX: a
process of its own imports what the file at hand takes, and no more.
"""

import functools
import os
import pathlib
import time
from collections.abc import Callable

import numpy as np

from kerasseg import workers


@functools.cache
def load(path: str) -> Callable:
    """Loads an exported model.

    Args:
        path: A file `.tflite`, `.onnx` or `.keras`, or the folder of a SavedModel.

    Returns:
        Function of float32 pictures `[1, height, width, 3]`, RGB from 0 to 255, to a
        dict of arrays: "logits", float32 `[1, height, width, num_classes]`; of a
        SavedModel also what else its signature `tensor` gives.

    Raises:
        ImportError: The runtime is not installed.
        ValueError: There is no runtime for such a file.
    """
    loaders = {".tflite": _tflite, ".onnx": _onnx, ".keras": _keras}
    kind = pathlib.Path(path).suffix
    if kind in loaders:
        return loaders[kind](path)
    if os.path.isdir(path):
        return _saved_model(path)
    raise ValueError(
        f"{path} is no exported model; {', '.join(loaders)} or the folder of a "
        f"SavedModel is wanted."
    )


def look(path: str, image: np.ndarray, file: bytes) -> dict:
    """Runs an exported model on one picture; loads it the first time.

    Args:
        path: See `load`.
        image: RGB, uint8 `[height, width, 3]`.
        file: The same picture as a JPEG or PNG file.

    Returns:
        "logits", float32 `[height, width, num_classes]`; of a SavedModel also
        "classes", integers `[height, width]`, and "mask", the PNG file that its
        signature `serving_default` makes of `file`.
    """
    found = load(path)(image[np.newaxis].astype(np.float32))
    names = ("logits", "classes") if os.path.isdir(path) else ("logits",)
    answer = {name: np.asarray(found[name])[0] for name in names}
    if os.path.isdir(path):
        answer["mask"] = _mask(path, file)
    return answer


def seconds(path: str, image: np.ndarray, runs: int = 5) -> float:
    """Measures an exported model.

    Args:
        path: See `load`.
        image: RGB, uint8 `[height, width, 3]`, or a batch of such.
        runs: How often it is called, after one call that does not count.

    Returns:
        Median of the seconds that a call takes, until its logits can be read.
    """
    batch = image if image.ndim == 4 else image[np.newaxis]
    batch = batch.astype(np.float32)
    function, times = load(path), []
    for _ in range(runs + 1):
        start = time.perf_counter()
        np.asarray(function(batch)["logits"])
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def _tflite(path):
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise _missing("tflite", path, error) from error
    loaded = interpreter.Interpreter(path, num_threads=workers.num_cores())
    runner = loaded.get_signature_runner()
    return lambda images: runner(image=images)


def _onnx(path):
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing("onnx", path, error) from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: {"logits": session.run(["logits"], {"image": images})[0]}


def _missing(extra, path, error):
    return ImportError(
        f"{path} cannot be run here ({error}): pip install 'kerasseg[{extra}]'"
    )


def _keras(path):
    import tensorflow as tf

    from kerasseg import checkpoints

    model = checkpoints.load_file(path)

    def logits(images):
        outputs = model(images, training=False)
        return {"logits": outputs["logits"] if isinstance(outputs, dict) else outputs}

    picture = tf.TensorSpec([None, None, None, 3], tf.float32)
    return tf.function(logits, input_signature=[picture])


@functools.cache
def _loaded(path):
    import tensorflow as tf

    return tf.saved_model.load(path)


def _saved_model(path):
    import tensorflow as tf

    tensor = _loaded(path).signatures["tensor"]
    return lambda images: tensor(image=tf.constant(images))


def _mask(path, file):
    import tensorflow as tf

    signature = _loaded(path).signatures["serving_default"]
    return signature(image_bytes=tf.constant([file]))["mask_png_bytes"].numpy()[0]
