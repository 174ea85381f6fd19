"""Warm-up requests, which a server runs before a new model goes live.

The file is TensorFlow Serving's: `assets.extra/tf_serving_warmup_requests` in a
SavedModel, a TFRecord file of at most 1000 PredictionLog messages. The fields that are
used are declared here in a separate descriptor pool, so that they do not clash with the
package tensorflow-serving-api; the bytes are the same.

Source: tensorflow_serving/apis/{prediction_log,predict,model}.proto,
tensorflow_serving/servables/tensorflow/saved_model_warmup_util.cc.
"""

import os
from collections.abc import Iterable, Iterator

import tensorflow as tf
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message,
    message_factory,
)

from kerasseg import errors

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MOST_REQUESTS = 1000

_FIELDS = {  # Name, number and type of the fields of each message.
    "PredictionLog": [("predict_log", 6, "PredictLog")],
    "PredictLog": [("request", 1, "PredictRequest")],
    "PredictRequest": [("model_spec", 1, "ModelSpec"), ("inputs", 2, "Input")],
    "ModelSpec": [("signature_name", 3, "string")],
    # An entry of a map. A nested message has the wire format of bytes.
    "Input": [("key", 1, "string"), ("value", 2, "bytes")],
}


def _prediction_log_class():
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="kerasseg/warm_up.proto")
    file.syntax = "proto3"
    for name, fields in _FIELDS.items():
        declared = file.message_type.add(name=name)
        for field, number, kind in fields:
            added = declared.field.add(name=field, number=number)
            added.label = kinds.LABEL_OPTIONAL
            if kind in _FIELDS:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".{kind}"
            else:
                added.type = kinds.TYPE_STRING if kind == "string" else kinds.TYPE_BYTES
            if field == "inputs":
                added.label = kinds.LABEL_REPEATED
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("PredictionLog")
    return message_factory.GetMessageClass(descriptor)


_PredictionLog = _prediction_log_class()


def write(folder: str | os.PathLike, requests: Iterable[tuple[str, dict]]) -> None:
    """Writes the file.

    Args:
        folder: Folder of the SavedModel.
        requests: Pairs of a signature's name and its inputs, arrays by name.
    """
    path = os.path.join(folder, FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tf.io.TFRecordWriter(path) as file:
        for signature, inputs in requests:
            log = _PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                data = tf.make_tensor_proto(value).SerializeToString()
                request.inputs.add(key=name, value=data)
            file.write(log.SerializeToString())


def read(folder: str | os.PathLike) -> Iterator[tuple[str, dict]]:
    """Yields the requests of the file, none if there is no file.

    Args:
        folder: Folder of the SavedModel.

    Yields:
        A signature's name and its inputs, arrays by name.

    Raises:
        errors.UserError: The file is damaged, or holds more than 1000 requests.
    """
    path = os.path.join(folder, FILE)
    if not os.path.exists(path):
        return
    for number, record in enumerate(_records(path), start=1):
        if number > MOST_REQUESTS:
            raise errors.UserError(
                f"{path} holds more than {MOST_REQUESTS} requests, the limit of "
                f"TensorFlow Serving. Remove some, or export again."
            )
        try:
            request = _PredictionLog.FromString(record).predict_log.request
            inputs = {entry.key: _array(entry.value) for entry in request.inputs}
        except (message.DecodeError, ValueError, TypeError) as error:
            raise errors.UserError(
                f"{path}: request {number} is not a PredictionLog of a Predict request "
                f"({error}). Remove the file, or export again."
            ) from error
        yield request.model_spec.signature_name or "serving_default", inputs


def _records(path):
    try:
        yield from tf.data.TFRecordDataset(path).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise errors.UserError(
            f"{path} is damaged ({error.message}). Remove it, or export again."
        ) from error


def _array(data):
    proto = tf.make_tensor_proto(0)
    proto.ParseFromString(data)
    return tf.make_ndarray(proto)
