"""One version of an exported model, loaded with plain TensorFlow."""

import json
import math
import os
import pathlib
import time

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from kerasseg.exporting import warm_up
from kerasseg.images import ImageKind
from kerasseg.images.class_rules import ClassRule
from kerasseg.pipeline import augment
from kerasseg.serve import costs
from kerasseg.serve.found import OUTPUTS, Found
from kerasseg.serve.request_errors import RequestError

_WARM_UP_SIDES = ((64, 64), (65, 97))
_REPETITIONS, _LONG_SECONDS = 3, 3.0  # Once, if that takes long.
_STATUSES = {  # As in TensorFlow Serving.
    tf.errors.INVALID_ARGUMENT: 400,
    tf.errors.FAILED_PRECONDITION: 400,
    tf.errors.OUT_OF_RANGE: 400,
    tf.errors.UNAUTHENTICATED: 401,
    tf.errors.PERMISSION_DENIED: 403,
    tf.errors.NOT_FOUND: 404,
    tf.errors.ALREADY_EXISTS: 409,
    tf.errors.ABORTED: 409,
    tf.errors.RESOURCE_EXHAUSTED: 429,
    tf.errors.CANCELLED: 499,
    tf.errors.UNIMPLEMENTED: 501,
    tf.errors.UNAVAILABLE: 503,
    tf.errors.DEADLINE_EXCEEDED: 504,
}


class Engine:
    """One version of an exported model. Its methods are thread-safe.

    Args:
        path: Folder of the version, `<export_dir>/<number>`.
        tile_size: Side of the image with which `warm_up` measures the cost.

    Attributes:
        number: Number of the version.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
        rule: How probabilities become masks.
        inputs: NumPy dtype and shape of each input by signature and name; the length of
            a dynamic axis is None.
        metadata: SignatureDefs by name, in TensorFlow Serving's JSON format.
        detects_objects: Whether it detects objects, or else segments pixels.
        image_kind: Channels and type of its images.
        cost: A `costs.Cost`, which `warm_up` and each call of `masks` and
            `probabilities` measure.

    Raises:
        Exception: The folder does not hold a complete export; the type depends on
            TensorFlow.
    """

    def __init__(self, path: str | os.PathLike, *, tile_size: int = 512):
        path = pathlib.Path(path)
        classes = json.loads((path / "assets/classes.json").read_text("utf-8"))
        self.number, self._path = int(path.name), path
        self._tile_size = tile_size
        self.class_names = tuple(classes["class_names"])
        self.palette = np.array(classes["palette"], np.uint8).reshape(-1, 3)
        self.image_kind = ImageKind.from_json(classes.get("images", {}))
        self.rule = ClassRule.from_json(classes)
        self.metadata = _signature_defs(path)
        self._loaded = tf.saved_model.load(os.fspath(path))
        self._signatures = dict(self._loaded.signatures)
        self.inputs = {
            name: {
                key: (spec.dtype.as_numpy_dtype, tuple(spec.shape))
                for key, spec in signature.structured_input_signature[1].items()
            }
            for name, signature in self._signatures.items()
        }
        self.cost = costs.Cost()
        outputs = self._signatures["tensor"].structured_outputs
        self.detects_objects = "boxes" in outputs
        self._sides = _sides(path)
        if self.detects_objects:
            self._detections = self._outputs(
                {name: outputs[name].dtype for name in OUTPUTS}
            )
        else:
            self._masks = self._outputs({"classes": tf.as_dtype(self.rule.mask_dtype)})
            self._probabilities = self._outputs({"probabilities": tf.float32})

    def _outputs(self, dtypes):
        """Returns a function of images to a list of outputs of the network."""
        tensor = self._signatures["tensor"]

        # TensorFlow prunes the other outputs.
        def call(images):
            outputs = tensor(image=tf.cast(images, tf.float32))
            return [tf.cast(outputs[name], dtype) for name, dtype in dtypes.items()]

        channels, dtype = self.image_kind.channels, self.image_kind.dtype
        signature = [tf.TensorSpec([None, None, None, channels], dtype)]
        function = tf.function(call, autograph=False, input_signature=signature)
        return function.get_concrete_function()

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size of an image in the network, which decides about its cost.

        An export of a network that detects objects may resize its images.

        Args:
            height: Rows of the image.
            width: Columns of the image.
        """
        factor = augment.resize_factor(height, width, *self._sides)
        return max(1, round(factor * height)), max(1, round(factor * width))

    def masks(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Predicts the masks of images of one size.

        Args:
            images: RGB, uint8 `[height, width, 3]` each, or of `image_kind`.

        Returns:
            Class numbers, uint8 `[height, width]` each.

        Raises:
            RequestError: TensorFlow fails, for example because of too little memory.
        """
        return list(self._measured(self._masks, np.stack(images))[0])

    def detections(self, images: list[np.ndarray]) -> list[Found]:
        """Detects the objects of images of one size, if the network does.

        Args:
            images: RGB, uint8 `[height, width, 3]` each, or of `image_kind`.

        Returns:
            The objects of each.

        Raises:
            RequestError: TensorFlow fails, for example because of too little memory.
        """
        arrays = self._measured(self._detections, np.stack(images))
        return [
            Found(dict(zip(OUTPUTS, values, strict=True)), images[0].shape[:2])
            for values in zip(*arrays, strict=True)
        ]

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Predicts the probabilities of an image or a tile.

        Args:
            image: RGB, uint8 `[height, width, 3]`, or of `image_kind`.

        Returns:
            float32 `[height, width, num_classes]`.

        Raises:
            RequestError: TensorFlow fails, for example because of too little memory.
        """
        return self._measured(self._probabilities, image[np.newaxis])[0][0]

    def _measured(self, function, images):
        began = time.monotonic()
        with _TranslateErrors():
            result = [array.numpy() for array in function(tf.constant(images))]
        num_pixels = len(images) * math.prod(self.network_size(*images.shape[1:3]))
        self.cost.observe(num_pixels, time.monotonic() - began)
        return result

    def call(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        """Calls a signature of the SavedModel.

        Args:
            signature: A key of `inputs`.
            inputs: NumPy arrays by name, with the dtypes and shapes of `inputs`.

        Returns:
            NumPy arrays by name; strings are bytes.

        Raises:
            RequestError: TensorFlow fails; with TensorFlow Serving's status.
        """
        with _TranslateErrors():
            tensors = {name: tf.constant(value) for name, value in inputs.items()}
            outputs = self._signatures[signature](**tensors)
        return {name: outputs[name].numpy() for name in sorted(outputs)}

    def warm_up(self) -> None:
        """Runs gray images and the warm-up requests of the export; measures the cost.

        Raises:
            errors.UserError: The file of requests is damaged or has too many.
            RequestError: A request fails.
        """
        predict = self.detections if self.detects_objects else self.masks
        for sides in _WARM_UP_SIDES:
            predict([self._gray(*sides)])
        for signature, inputs in warm_up.read(self._path):
            self.call(signature, inputs)
        self.cost = self._measure()

    def _gray(self, height, width):
        """Returns an image without contrast."""
        kind = self.image_kind
        values = [128] * 3 if kind.is_rgb else kind.padding
        return np.full((height, width, kind.channels), values, kind.dtype)

    def _measure(self):
        """Measures the cost of an image; also warms up the function of tiles.

        Masks of detected objects, of the size of the image, are part of the memory.
        """
        image = self._gray(self._tile_size, self._tile_size)
        peak = costs.PeakMemory()
        seconds = math.inf
        for _ in range(_REPETITIONS):
            began = time.monotonic()
            if self.detects_objects:
                self.call("tensor", {"image": image[np.newaxis].astype(np.float32)})
            else:
                self.probabilities(image)
            seconds = min(seconds, time.monotonic() - began)
            if seconds > _LONG_SECONDS:
                break
        num_pixels = math.prod(self.network_size(self._tile_size, self._tile_size))
        return costs.Cost(seconds / num_pixels, peak.growth() / num_pixels)


class _TranslateErrors:
    """Turns TensorFlow's errors into `RequestError`s."""

    def __enter__(self):
        return self

    def __exit__(self, _, error, __):
        if isinstance(error, tf.errors.OpError):
            status = _STATUSES.get(error.error_code, 500)
            raise RequestError(status, _reason(error.message or "")) from error


def _reason(message):
    """Returns the relevant line of TensorFlow's message, which lists every node."""
    noise = ("Graph execution error", "Detected at node", "<stack traces", "[[")
    lines = (line.strip() for line in message.splitlines())
    relevant = [line for line in lines if line and not line.startswith(noise)]
    return relevant[0] if relevant else "TensorFlow failed without a message"


def _sides(path):
    """Returns the sides to which an export resizes images, see `DetectionOptions`."""
    file = path / "metadata.json"
    metadata = json.loads(file.read_text("utf-8")) if file.exists() else {}
    detections = metadata.get("detections", {})
    return detections.get("min_side"), detections.get("max_side")


def _signature_defs(path):
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((path / "saved_model.pb").read_bytes())
    return {
        name: json_format.MessageToDict(
            signature,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        for name, signature in saved.meta_graphs[0].signature_def.items()
    }
