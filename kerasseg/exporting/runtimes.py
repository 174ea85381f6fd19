"""Exported models, each run by the runtime that it is made for.

Whoever only wants to run a file needs nothing of TensorFlow for TFLite or ONNX: a
process of its own imports what the file at hand takes, and no more.
"""

import functools
import os
import pathlib
import time

import numpy as np

from kerasseg import errors
from kerasseg.system import processes


class Artefact:
    """An exported model, loaded.

    Args:
        path: A file `.tflite`, `.onnx` or `.keras`, or the folder of a SavedModel.

    Raises:
        ImportError: The runtime is not installed.
        ValueError: There is no runtime for such a file.
    """

    def __init__(self, path: str):
        self._masks = None
        loaders = {".tflite": _tflite, ".onnx": _onnx, ".keras": _keras}
        kind = pathlib.Path(path).suffix
        if kind in loaders:
            self._function = loaders[kind](path)
        elif os.path.isdir(path):
            self._function, self._masks = _saved_model(path)
        else:
            raise errors.UserError(
                f"{path} is no exported model; {', '.join(loaders)} or the folder of a "
                f"SavedModel is wanted."
            )

    def __call__(self, images: np.ndarray) -> dict:
        """Runs the model.

        Args:
            images: RGB, float32 `[1, height, width, 3]`, from 0 to 255.

        Returns:
            Arrays by name: "logits", float32 `[1, height, width, num_classes]`; of a
            SavedModel also what else its signature `tensor` gives.
        """
        return self._function(images)

    def look(self, image: np.ndarray, file: bytes) -> dict:
        """Runs the model on one picture.

        Args:
            image: RGB, uint8 `[height, width, 3]`.
            file: The same picture as a JPEG or PNG file.

        Returns:
            "logits", float32 `[height, width, num_classes]`; of a SavedModel also
            "classes", integers `[height, width]`, and "mask", the PNG file that its
            signature `serving_default` makes of `file`.
        """
        found = self(image[np.newaxis].astype(np.float32))
        if self._masks is None:
            return {"logits": np.asarray(found["logits"])[0]}
        answer = {name: found[name].numpy()[0] for name in ("logits", "classes")}
        return {**answer, "mask": self._masks([file])[0]}


_kept = functools.cache(Artefact)


def look(path: str, image: np.ndarray, file: bytes) -> dict:
    """Looks at a picture in a process that keeps what it loaded; see `Artefact`."""
    return _kept(path).look(image, file)


def seconds(path: str, image: np.ndarray, runs: int = 5) -> float:
    """Measures an exported model.

    Args:
        path: See `Artefact`. It is kept loaded.
        image: RGB, uint8 `[height, width, 3]`, or a batch of such.
        runs: How often it is called, after one call that does not count.

    Returns:
        Median of the seconds that a call takes, until its logits can be read.
    """
    batch = image if image.ndim == 4 else image[np.newaxis]
    batch = batch.astype(np.float32)
    function, times = _kept(path), []
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
    loaded = interpreter.Interpreter(path, num_threads=processes.num_cores())
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
    return errors.MissingPackageError(
        f"{path} cannot be run here ({error}): pip install 'kerasseg[{extra}]'"
    )


def _keras(path):
    import tensorflow as tf

    from kerasseg.workdir import best_model

    model = best_model.load_file(path)

    def logits(images):
        outputs = model(images, training=False)
        return {"logits": outputs["logits"] if isinstance(outputs, dict) else outputs}

    picture = tf.TensorSpec([None, None, None, 3], tf.float32)
    return tf.function(logits, input_signature=[picture])


def _saved_model(path):
    import tensorflow as tf

    signatures = tf.saved_model.load(path).signatures

    def tensor(images):
        return signatures["tensor"](image=tf.constant(images))

    def masks(files):
        found = signatures["serving_default"](image_bytes=tf.constant(files))
        return found["mask_png_bytes"].numpy()

    return tensor, masks
