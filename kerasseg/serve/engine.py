"""One version of an exported model, loaded with plain TensorFlow."""

import json
import os
import pathlib

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from kerasseg.exporting import warm_up
from kerasseg.serve.refusals import Refusal

_WARM_UP_SIDES = ((64, 64), (65, 97))
_STATUSES = {  # As TensorFlow Serving translates them.
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
    """One version of an exported model. Its methods may be called from any thread.

    Args:
        path: Folder of the version, `<export_dir>/<number>`.

    Attributes:
        number: Of the version.
        class_names: In the order of the class numbers.
        palette: RGB of each class, uint8 `[num_classes, 3]`.
        inputs: NumPy type and shape of each input by signature and name; a side of any
            length is None.
        metadata: Every SignatureDef by name, as TensorFlow Serving writes it in JSON.

    Raises:
        Exception: The folder holds no whole export, whatever TensorFlow calls that.
    """

    def __init__(self, path: str | os.PathLike):
        path = pathlib.Path(path)
        classes = json.loads((path / "assets/classes.json").read_text("utf-8"))
        self.number, self._path = int(path.name), path
        self.class_names = tuple(classes["class_names"])
        self.palette = np.array(classes["palette"], np.uint8).reshape(-1, 3)
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
        tensor = self._signatures["tensor"]

        # Of the outputs only this one, as small as it goes: the rest is left out.
        def classes_of(image):
            picture = tf.cast(image, tf.float32)
            return tf.cast(tensor(image=picture)["classes"], tf.uint8)

        picture = tf.TensorSpec([None, None, None, 3], tf.uint8)
        self._classes_of = tf.function(
            classes_of, autograph=False, input_signature=[picture]
        ).get_concrete_function()

    def masks(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        """Segments pictures of one size.

        Args:
            pictures: RGB, uint8 `[height, width, 3]` each.

        Returns:
            Class numbers, uint8 `[height, width]` each.

        Raises:
            Refusal: TensorFlow refuses, for want of memory for example.
        """
        with _Translated():
            return list(self._classes_of(tf.constant(np.stack(pictures))).numpy())

    def call(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        """Calls a signature of the SavedModel.

        Args:
            signature: One of `inputs`.
            inputs: NumPy arrays by name, of the types and shapes in `inputs`.

        Returns:
            NumPy arrays by name; strings are bytes.

        Raises:
            Refusal: With the status that TensorFlow Serving would give.
        """
        with _Translated():
            tensors = {name: tf.constant(value) for name, value in inputs.items()}
            outputs = self._signatures[signature](**tensors)
        return {name: outputs[name].numpy() for name in sorted(outputs)}

    def warm_up(self) -> None:
        """Segments two grey pictures, and answers the requests that the export holds.

        The first request then finds all prepared.

        Raises:
            ValueError: The export's file of requests is damaged or too long.
            Refusal: A request of it fails.
        """
        for sides in _WARM_UP_SIDES:
            self.masks([np.full((*sides, 3), 128, np.uint8)])
        for signature, inputs in warm_up.read(self._path):
            self.call(signature, inputs)


class _Translated:
    """Turns the errors of TensorFlow into refusals."""

    def __enter__(self):
        return self

    def __exit__(self, _, error, __):
        if isinstance(error, tf.errors.OpError):
            status = _STATUSES.get(error.error_code, 500)
            raise Refusal(status, _reason(error.message or "")) from error


def _reason(message):
    """Picks out of TensorFlow's report, which names every node, what was wrong."""
    noise = ("Graph execution error", "Detected at node", "<stack traces", "[[")
    lines = (line.strip() for line in message.splitlines())
    told = [line for line in lines if line and not line.startswith(noise)]
    return told[0] if told else "TensorFlow gives no reason"


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
