"""A TFLite file of `kerasseg.export`, run by LiteRT: TensorFlow is not imported."""

import os
import pathlib
import types
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from kerasseg import errors, images
from kerasseg.images import class_rules, palettes
from kerasseg.images.class_rules import DEFAULT_RULE, ClassRule
from kerasseg.inference import memory_estimate, options, tiles
from kerasseg.system import files, memory, processes, runtime

_SUFFIX = ".tflite"
_METADATA = "metadata.json"  # In the folder of the version.
_TILE_SIZES = (2048, 1024, 512, 256)


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
        channels: Number of channels of the images.

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
            inputs = self._run.get_input_details()
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
        num_logits = int(details["logits"]["shape"][-1])
        self.num_classes = class_rules.num_classes(num_logits)
        self.channels = int(inputs["image"]["shape"][-1])

    def logits(self, image: np.ndarray) -> np.ndarray:
        """Runs the network on one image.

        Args:
            image: Pixels `[height, width, channels]`, RGB from 0 to 255.

        Returns:
            float32 `[height, width, num_classes]`, see `class_rules.class_logits`.

        Raises:
            MemoryError: LiteRT cannot allocate its tensors.
        """
        try:
            found = self._run(image=image[np.newaxis].astype(np.float32))["logits"][0]
            return class_rules.class_logits(found)
        except RuntimeError as error:  # LiteRT has no type for it.
            raise MemoryError(str(error).strip()) from error


class Description(NamedTuple):
    """What the file itself does not hold; see `Segmenter`."""

    class_names: tuple[str, ...]
    palette: np.ndarray
    rule: ClassRule = DEFAULT_RULE
    image_kind: images.ImageKind = images.RGB


def describe(model: TFLiteModel) -> Description:
    """Reads the classes and the kind of images from metadata.json beside the file.

    Raises:
        errors.UserError: metadata.json is damaged, or of another network.
    """
    path = model.path.with_name(_METADATA)
    if not path.exists():
        numbered = palettes.numbered(f"{path} is missing", model.num_classes)
        return Description(*numbered, image_kind=images.ImageKind(model.channels))
    try:
        content = files.read_json(path)
        names = tuple(str(entry["name"]) for entry in content["classes"])
        colors = [entry["color"] for entry in content["classes"]]
        found = Description(
            names,
            np.array(colors, np.uint8),
            ClassRule.from_json(content),
            images.ImageKind.from_json(content.get("images", {})),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise errors.UserError(
            f"{path} is damaged ({error!r}). Export the model again, or copy the "
            f"TFLite file into another folder: its classes are then numbered."
        ) from error
    if len(names) != model.num_classes or found.palette.shape != (len(names), 3):
        raise errors.UserError(
            f"{path} lists {len(names)} classes, and {model.path} has "
            f"{model.num_classes}. Both must be of one export."
        )
    return found


class TFLitePredictor:
    """Runs a TFLite file on images of any size; the methods are those of `Predictor`.

    Args:
        model: The network.
        scales: Only 1.0; other scales and flipping need TensorFlow.
        flip: Only false.
        rule: How the logits become a mask.
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
        rule: ClassRule = DEFAULT_RULE,
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
        self.rule = rule

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
        arrays = [tiles.allocate(shape, dtype) for dtype in self._dtypes(result)]
        for i, image in enumerate(images):
            tile_size = self._tile_size or _fitting_side(image.shape[:2])
            for rows, columns, scores in self._regions(image, tile_size, result, names):
                parts = self._results(scores, result)
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
            return self.rule.probabilities(logits(rows, columns), _OPS)

        if max(image.shape[:2]) > tile_size:
            yield from tiles.blend(image.shape[:2], tile_size, probabilities)
        elif result == "classes" and self.rule == DEFAULT_RULE:
            # The argmax needs no softmax.
            yield every, every, logits(every, every)
        else:
            yield every, every, probabilities(every, every)

    def _dtypes(self, result):
        if result == "probabilities":
            return [np.float32]
        mask = self.rule.mask_dtype
        return [mask] if result == "classes" else [mask, np.float32]

    def _results(self, scores, result):
        """Returns the arrays of `_dtypes` of a region."""
        if result == "probabilities":
            return [scores]
        mask = self.rule.mask(scores)
        return [mask] if result == "classes" else [mask, self.rule.confidence(scores)]


def _fitting_side(size):
    """Returns the longest side that fits into memory, of the image or of a tile."""
    pixels = memory.available() / 2 / memory_estimate.HIDDEN_BYTES
    if size[0] * size[1] <= pixels:
        return max(size)
    return next((s for s in _TILE_SIZES if s * s <= pixels), tiles.SMALLEST)


def _softmax(logits):
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)


def _sigmoid(logits):
    return 0.5 + 0.5 * np.tanh(0.5 * logits)  # Does not overflow.


_OPS = types.SimpleNamespace(softmax=_softmax, sigmoid=_sigmoid)
