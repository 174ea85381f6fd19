"""Exported models, each run by the runtime of its format, in this or a worker process.

A process that runs a TFLite or ONNX file does not import TensorFlow.
"""

import functools
import time

import numpy as np

from kerasseg.exporting import formats


class ExportedModel:
    """An exported model, loaded again.

    Args:
        path: A file `.tflite`, `.onnx` or `.keras`, or the folder of a SavedModel.

    Raises:
        errors.MissingPackageError: The runtime is not installed.
        errors.UserError: There is no runtime for such a file.
    """

    def __init__(self, path: str):
        self._loaded = formats.load(path)

    def __call__(self, images: np.ndarray) -> dict:
        """Runs the model.

        Args:
            images: float32 `[1, height, width, channels]`; by default RGB, 0 to 255.

        Returns:
            Arrays by name: "logits", float32 `[1, height, width, num_classes]`, or
            detections, see `signatures.named`; of a SavedModel all outputs of its
            signature `tensor`.
        """
        return self._loaded.tensor(images)

    def predict(self, image: np.ndarray, file: bytes) -> dict:
        """Runs the model on one image.

        Args:
            image: RGB, uint8 `[height, width, 3]`; or of the kind that the model takes.
            file: The same image as a JPEG or PNG file; not used for other kinds.

        Returns:
            "logits", float32 `[height, width, num_classes]`; of a SavedModel also
            "classes", integers `[height, width]`, and "mask", the PNG file that its
            signature `serving_default` returns for `file`. Of a network that detects
            objects: all outputs; of a SavedModel also "serving", a dict of those of
            `serving_default`.
        """
        outputs = self(image[np.newaxis].astype(np.float32))
        serving = self._loaded.serving
        if "boxes" in outputs:
            arrays = {name: np.asarray(value)[0] for name, value in outputs.items()}
            if serving is None:
                return arrays
            of_file = {name: value[0] for name, value in serving([file]).items()}
            return {**arrays, "serving": of_file}
        if serving is None:
            names = [name for name in ("logits", "classes") if name in outputs]
            return {name: np.asarray(outputs[name])[0] for name in names}
        arrays = {name: outputs[name].numpy()[0] for name in ("logits", "classes")}
        return {**arrays, "mask": serving([file])["mask_png_bytes"][0]}


_load = functools.cache(ExportedModel)


def predict(path: str, image: np.ndarray, file: bytes) -> dict:
    """Runs a model on one image, and keeps it loaded; see `ExportedModel.predict`."""
    return _load(path).predict(image, file)


def seconds(path: str, image: np.ndarray, runs: int = 5) -> float:
    """Measures the latency of an exported model, and keeps it loaded.

    Args:
        path: See `ExportedModel`.
        image: RGB, uint8 `[height, width, 3]`, or a batch of images.
        runs: Number of calls, after one that is not counted.

    Returns:
        Median time of a call in seconds, including the transfer of the logits.
    """
    batch = image if image.ndim == 4 else image[np.newaxis]
    batch = batch.astype(np.float32)
    function, times = _load(path), []
    for _ in range(runs + 1):
        start = time.perf_counter()
        np.asarray(function(batch)["logits"])
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))
