"""A TFLite file of `kerasseg.export`, run by LiteRT: TensorFlow is not imported."""

import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from kerasseg import errors, runtime
from kerasseg.inference import memory_estimate, options, palettes, tiles
from kerasseg.system import files, memory, processes

_SUFFIX = ".tflite"
_METADATA = "metadata.json"  # In the folder of the version.
_TILE_SIZES = (2048, 1024, 512, 256)
_DTYPES: dict[str, list] = {
    "classes": [np.uint8],
    "confident_classes": [np.uint8, np.float32],
    "probabilities": [np.float32],
}


def is_file(path: str | os.PathLike) -> bool:
    """Returns whether a path is a TFLite file, by its ending."""
    return os.fspath(path).endswith(_SUFFIX) and os.path.isfile(path)


class TFLiteModel:
    """The network of a TFLite file.

    Args:
        path: The file.

    Attributes:
        path: The file.
        name: Its name.
        num_classes: Number of classes.

    Raises:
        errors.MissingPackageError: LiteRT is not installed.
        errors.UserError: The file is damaged, or its network does not segment images.
    """

    def __init__(self, path: str | os.PathLike):
        try:
            from ai_edge_litert import interpreter
        except ImportError as error:
            raise errors.MissingPackageError(
                f"{path} cannot be loaded ({error}): pip install 'kerasseg[tflite]'"
            ) from error
        self.path, self.name = pathlib.Path(path), os.path.basename(path)
        content = files.read_bytes(path)
        try:
            with runtime.silent_stderr():
                loaded = interpreter.Interpreter(
                    model_content=content, num_threads=processes.num_cores()
                )
                loaded.allocate_tensors()  # Creates its threads, and logs that.
                self._run = loaded.get_signature_runner()
            details = self._run.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise errors.UserError(
                f"{path} is not a TFLite file of python -m kerasseg.export, or is "
                f"damaged ({str(error).strip()}). Export the model again."
            ) from error
        if "logits" not in details:
            raise errors.UserError(
                f"{path} returns {', '.join(sorted(details))}, and not the logits of "
                f"each pixel. Networks that detect objects are predicted from a "
                f"SavedModel or the workdir of a run."
            )
        self.num_classes = int(details["logits"]["shape"][-1])

    def logits(self, image: np.ndarray) -> np.ndarray:
        """Runs the network on one image.

        Args:
            image: RGB, uint8 `[height, width, 3]`.

        Returns:
            float32 `[height, width, num_classes]`.

        Raises:
            MemoryError: LiteRT cannot allocate its tensors.
        """
        try:
            return self._run(image=image[np.newaxis].astype(np.float32))["logits"][0]
        except RuntimeError as error:  # LiteRT has no type for it.
            raise MemoryError(str(error).strip()) from error


def classes(model: TFLiteModel) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns names and colors of the classes, which stand beside the file.

    Raises:
        errors.UserError: metadata.json is damaged, or of another network.
    """
    path = model.path.with_name(_METADATA)
    if not path.exists():
        return palettes.numbered(f"{path} is missing", model.num_classes)
    try:
        entries = files.read_json(path)["classes"]
        names = tuple(str(entry["name"]) for entry in entries)
        colors = np.array([entry["color"] for entry in entries], np.uint8)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise errors.UserError(
            f"{path} is damaged ({error!r}). Export the model again, or copy the "
            f"TFLite file into another folder: its classes are then numbered."
        ) from error
    if len(names) != model.num_classes or colors.shape != (len(names), 3):
        raise errors.UserError(
            f"{path} lists {len(names)} classes, and {model.path} has "
            f"{model.num_classes}. Both must be of one export."
        )
    return names, colors


class TFLitePredictor:
    """Runs a TFLite file on images of any size; the methods are those of `Predictor`.

    Args:
        model: The network.
        scales: Only 1.0; other scales and flipping need TensorFlow.
        flip: Only false.
        fusion: See `Predictor`; without effect.
        tile_size: See `Predictor`.

    Raises:
        errors.UserError: An argument is out of range.
    """

    def __init__(
        self,
        model: TFLiteModel,
        *,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        fusion: str = "mean",
        tile_size: int = 0,
    ):
        options.check_predictor(scales, fusion, tile_size)
        if tuple(scales) != (1.0,) or flip:
            given = ",".join(f"{scale:g}" for scale in scales)
            raise errors.UserError(
                f"`scales={given}` and `flip={flip}`: a TFLite file is predicted at "
                f"one scale, without flipping. Leave them out, or give a SavedModel or "
                f"the workdir of a run."
            )
        self._model, self._tile_size = model, tile_size

    def classes(self, images: np.ndarray, *, names: Sequence[str] = ()) -> np.ndarray:
        """Predicts the class of each pixel; see `Predictor.classes`."""
        return self._predict(images, "classes", names)[0]

    def confident_classes(
        self, images: np.ndarray, *, names: Sequence[str] = ()
    ) -> list[np.ndarray]:
        """Predicts classes with probabilities; see `Predictor.confident_classes`."""
        return self._predict(images, "confident_classes", names)

    def probabilities(
        self, images: np.ndarray, *, names: Sequence[str] = ()
    ) -> np.ndarray:
        """Predicts the probability of each class; see `Predictor.probabilities`."""
        return self._predict(images, "probabilities", names)[0]

    def _predict(self, images, result, names):
        images = np.asarray(images)
        shape = images.shape[:3]
        if result == "probabilities":
            shape = (*shape, self._model.num_classes)
        arrays = [tiles.allocate(shape, dtype) for dtype in _DTYPES[result]]
        for i, image in enumerate(images):
            tile_size = self._tile_size or _fitting_side(image.shape[:2])
            for rows, columns, scores in self._regions(image, tile_size, result, names):
                parts = _results(scores, result)
                for array, part in zip(arrays, parts, strict=True):
                    array[i, rows, columns] = part
        return arrays

    def _regions(self, image, tile_size, result, names) -> Iterator[tuple]:
        """Yields rows, columns and probabilities, or logits if they suffice."""
        every = slice(None)

        def logits(rows, columns):
            found = self._model.logits(image[rows, columns])
            if np.isnan(found).any():
                of = f" of image {names[0]}" if len(names) == 1 else ""
                raise errors.UserError(
                    f"The network's logits{of} are NaN. Its weights are damaged, or "
                    f"its training diverged; train it again with a lower learning rate."
                )
            return found

        def probabilities(rows, columns):
            return _softmax(logits(rows, columns))

        if max(image.shape[:2]) > tile_size:
            yield from tiles.blend(image.shape[:2], tile_size, probabilities)
        elif result == "classes":  # The argmax needs no softmax.
            yield every, every, logits(every, every)
        else:
            yield every, every, probabilities(every, every)


def _fitting_side(size):
    """Returns the longest side that fits into memory, of the image or of a tile."""
    pixels = memory.available() / 2 / memory_estimate.HIDDEN_BYTES
    if size[0] * size[1] <= pixels:
        return max(size)
    return next((s for s in _TILE_SIZES if s * s <= pixels), tiles.SMALLEST)


def _softmax(logits):
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)


def _results(scores, result):
    """Returns what `TFLitePredictor` returns of a region."""
    if result == "probabilities":
        return [scores]
    mask = scores.argmax(-1).astype(np.uint8)
    return [mask] if result == "classes" else [mask, scores.max(-1)]
