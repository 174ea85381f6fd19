"""The file of requests that a server answers before a new model takes over.

It is TensorFlow Serving's: `assets.extra/tf_serving_warmup_requests` in a SavedModel,
a TFRecord of the message PredictionLog, a thousand at most. Only what is needed of that
message is declared here, in a descriptor pool of its own, so that nothing clashes with
the package tensorflow-serving-api; the bytes are the same.

Source: tensorflow_serving/apis/{prediction_log,predict,model}.proto,
tensorflow_serving/servables/tensorflow/saved_model_warmup_util.cc.
"""

import os
from collections.abc import Iterator

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

_FIELDS = {  # Of each message: name, number and type of the fields.
    "PredictionLog": [("predict_log", 6, "PredictLog")],
    "PredictLog": [("request", 1, "PredictRequest")],
    "PredictRequest": [("model_spec", 1, "ModelSpec"), ("inputs", 2, "Input")],
    "ModelSpec": [("signature_name", 3, "string")],
    # An entry of a map; a message within a message looks as its bytes do.
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


def write(folder: str | os.PathLike, requests) -> None:
    """Writes the file.

    Args:
        folder: Of the SavedModel.
        requests: Pairs of a signature's name and a dict of its inputs, arrays.
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
    """Yields the requests of the file, none where there is no file.

    Args:
        folder: Of the SavedModel.

    Yields:
        Name of a signature, and arrays by name.

    Raises:
        ValueError: The file is damaged, or there are more than a thousand requests.
    """
    path = os.path.join(folder, FILE)
    if not os.path.exists(path):
        return
    for number, record in enumerate(_records(path), start=1):
        if number > MOST_REQUESTS:
            raise errors.UserError(
                f"{path} holds more than {MOST_REQUESTS} requests, which TensorFlow "
                f"Serving refuses too. Keep the first ones, or export again."
            )
        try:
            request = _PredictionLog.FromString(record).predict_log.request
            inputs = {entry.key: _array(entry.value) for entry in request.inputs}
        except (message.DecodeError, ValueError, TypeError) as error:
            raise errors.UserError(
                f"{path}: request {number} is no PredictionLog of a Predict request "
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
