"""TensorFlow Serving's gRPC API of one model, with its messages.

Predict and GetModelMetadata of PredictionService, and GetModelStatus of ModelService;
their other methods are UNIMPLEMENTED. Arrays are sent as bytes, not as text: a float32
image has a quarter of the size of its JSON.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from kerasseg.serve import (
    access_log,
    admission,
    grpc_access,
    grpc_health,
    tensor_outputs,
    wire,
)
from kerasseg.serve.model_api import ModelApi
from kerasseg.serve.request_errors import RequestError
from kerasseg.serve.settings import Settings

_LOG = logging.getLogger(__name__)
_DEFAULT_SIGNATURE = "serving_default"
_FIELD = "signature_def"  # The only metadata field.
_MAX_DETAILS = 2000  # Bytes of an error's text.
_MAX_RANK = 64  # Of NumPy's arrays.
_COPIES = 2  # Of a response: the message and its bytes.
_MAX_MESSAGE = 2**31 - 1  # Bytes; a limit of Protocol Buffers.
_OVERHEAD = 2**20  # Bytes for names and shapes.
_SERVICES = {
    "tensorflow.serving.PredictionService": {
        "Predict": predict_pb2.PredictRequest,
        "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    },
    "tensorflow.serving.ModelService": {
        "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
    },
}
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata.

    Args:
        settings: A `settings.Settings`.
        model_api: A `model_api.ModelApi`.
        gate: An `admission.Admission`.
        count: Called with route, status and seconds of each call.
    """

    def __init__(
        self,
        settings: Settings,
        model_api: ModelApi,
        gate: admission.Admission,
        count: Callable,
    ):
        self._settings, self._api = settings, model_api
        self._admission, self._count = gate, count

    async def Predict(self, request, context):  # noqa: N802 - the name in the stubs.
        """Calls a signature with tensors."""
        began = time.monotonic()
        status = 499  # Cancelled, unless it ends otherwise.
        try:
            response = await self._predict(request, context)
            status = 200
            return response
        except RequestError as error:
            status = error.status
            return await _abort(context, error)
        except Exception:
            _LOG.exception("A call failed.")
            status = 500
            failed = RequestError(
                status, "Internal server error; see the server's log."
            )
            return await _abort(context, failed)
        finally:
            self._count("grpc", status, time.monotonic() - began)

    async def GetModelMetadata(self, request, context):  # noqa: N802
        """Returns the signatures."""
        try:
            return self._metadata(request)
        except RequestError as error:
            return await _abort(context, error)

    async def _predict(self, request, context):
        _check_parsed(request)
        engine = self._api.loaded(*_model(request.model_spec))
        name = request.model_spec.signature_name or _DEFAULT_SIGNATURE
        if name not in engine.inputs:
            reason = f'Serving signature name: "{name}" not found in signature def'
            raise RequestError(400, reason)
        expected = engine.inputs[name]
        if set(request.inputs) != set(expected):
            raise RequestError(
                400,
                f"inputs are {sorted(request.inputs)}, expected {sorted(expected)}",
            )
        left = min(self._settings.request_seconds, context.time_remaining() or math.inf)
        client = admission.client_of(grpc_access.address(context))
        deadline = asyncio.get_running_loop().time() + left
        budget = admission.Budget(self._admission, client, deadline)
        with self._admission.holding(client) as hold, self._admission.enter(client):
            hold(request.ByteSize())
            arrays = await self._arrays(request, expected, budget)
            outputs = await self._api.compute(engine, name, arrays, budget=budget)
        if budget.tiled:
            tile_size = str(self._settings.tile_side)
            context.set_trailing_metadata([("x-tile-size", tile_size)])
        outputs = _filtered(request.output_filter, outputs)
        self._hold_until_sent(outputs, context, budget)
        return await asyncio.to_thread(_response, request, engine, name, outputs)

    def _hold_until_sent(self, outputs, context, budget):
        """Counts a response, which waits for as long as the client does not read."""
        num_bytes = sum(map(tensor_outputs.num_bytes, outputs.values()))
        held = contextlib.ExitStack()
        held.enter_context(budget.holding(_COPIES * num_bytes))
        context.add_done_callback(lambda _: held.close())

    async def _arrays(self, request, expected, budget):
        stated = {
            key: self._stated_size(key, request.inputs[key], kind)
            for key, (kind, _) in expected.items()
        }
        num_bytes = sum(
            size * np.dtype(expected[key][0]).itemsize for key, size in stated.items()
        )
        with budget.holding(num_bytes):
            return {
                key: await asyncio.to_thread(_array, key, request.inputs[key])
                for key in expected
            }

    def _stated_size(self, name, tensor, kind):
        """Returns the numbers that a shape states, which cannot be trusted."""
        settings = self._settings
        # A short message may state a large shape: its last value is then repeated.
        limit = settings.max_bytes // np.dtype(kind).itemsize
        limit = min(3 * settings.max_pixels, limit)
        if kind is object:
            limit = len(tensor.string_val)
        return _checked_size(name, tensor, kind, limit)

    def _metadata(self, request):
        _check_parsed(request)
        engine = self._api.loaded(*_model(request.model_spec))
        if set(request.metadata_field) != {_FIELD}:
            raise RequestError(
                400, f"metadata_field must be {_FIELD}, and nothing else"
            )
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = engine.number
        signatures = get_model_metadata_pb2.SignatureDefMap()
        json_format.ParseDict({_FIELD: engine.metadata}, signatures)
        response.metadata[_FIELD].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus.

    Args:
        model_api: A `model_api.ModelApi`.
    """

    def __init__(self, model_api: ModelApi):
        self._api = model_api

    async def GetModelStatus(self, request, context):  # noqa: N802
        """Returns the states of the versions."""
        try:
            _check_parsed(request)
            status = self._api.status(*_model(request.model_spec))
        except RequestError as error:
            return await _abort(context, error)
        response = get_model_status_pb2.GetModelStatusResponse()
        return json_format.ParseDict(status, response)


async def _abort(context, error):
    """Ends a call with the gRPC status of an error."""
    code = _CODES.get(error.status, grpc.StatusCode.INTERNAL)
    # Details are a header, in which other characters than ASCII take 3 bytes for each
    # of their bytes; clients reject more than 8 KiB of headers.
    details = str(error).encode()[:_MAX_DETAILS].decode("utf-8", "ignore")
    await context.abort(code, details)


def _check_parsed(request):
    """Raises `RequestError` for a message that was not parsed."""
    if request is None:
        raise RequestError(
            400,
            f"The message is malformed, or has more than {wire.MAX_FIELDS:,} fields; "
            f"use the stubs of the API, or send fewer images.",
        )


def _model(spec):
    """Returns name and version; None is the newest."""
    if spec.HasField("version_label"):
        label = spec.version_label
        raise RequestError(400, f"Unrecognized servable version label: {label}")
    return spec.name, spec.version.value if spec.HasField("version") else None


def _checked_size(name, tensor, kind, limit):
    expected = tf.dtypes.as_dtype(kind)
    if tensor.dtype != expected.as_datatype_enum:
        raise RequestError(
            400,
            f"input {name} has dtype {tensor.dtype}, expected "
            f"{expected.as_datatype_enum}, {expected.name}",
        )
    sides = [side.size for side in tensor.tensor_shape.dim]
    if len(sides) > _MAX_RANK:  # Their product could have millions of digits.
        raise RequestError(
            400, f"input {name} has {len(sides):,} axes, the limit is {_MAX_RANK}"
        )
    if min(sides, default=0) < 0 or math.prod(sides) > limit:
        raise RequestError(
            413,
            f"input {name} has shape {sides}, the limit is {limit:,} numbers; send a "
            f"smaller image",
        )
    return math.prod(sides)


def _array(name, tensor):
    try:
        return tf.make_ndarray(tensor)
    except (ValueError, TypeError) as error:
        reason = f"input {name} does not match its shape ({error})"
        raise RequestError(400, reason) from error


def _filtered(names, outputs):
    """Returns the outputs with some names, all if there are none, that fit a message.

    Raises:
        RequestError: 400, an unknown name; 413, the message would be too large.
    """
    unknown = sorted(set(names) - set(outputs))
    if unknown:
        raise RequestError(
            400, f"output_filter has {unknown}, expected {list(outputs)}"
        )
    filtered = {name: outputs[name] for name in dict.fromkeys(names or outputs)}
    sizes = {name: tensor_outputs.num_bytes(x) for name, x in filtered.items()}
    if sum(sizes.values()) > _MAX_MESSAGE - _OVERHEAD:
        raise RequestError(
            413,
            f"The outputs have {sum(sizes.values()):,} bytes, the limit is "
            f"{_MAX_MESSAGE:,}; send a smaller image, or leave out "
            f"{max(sizes, key=sizes.__getitem__)} by an output_filter.",
        )
    return filtered


def _response(request, engine, signature, outputs):
    response = predict_pb2.PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = engine.number
    response.model_spec.signature_name = signature
    for key, value in outputs.items():
        response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
    return response


def _handler(service, servicer, write):
    """Returns the handler of a service, with methods of one request and response."""
    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            grpc_access.observed(f"/{service}/{name}", getattr(servicer, name), write),
            request_deserializer=grpc_health.lenient(request),
            response_serializer=lambda response: response.SerializeToString(),
        )
        for name, request in _SERVICES[service].items()
    }
    return grpc.method_handlers_generic_handler(service, methods)


async def start(
    settings: Settings,
    model_api: ModelApi,
    gate: admission.Admission,
    count: Callable,
    write: access_log.Write = lambda *_: None,
    is_ready: Callable[[], bool] = lambda: True,
) -> tuple[grpc.aio.Server, int]:
    """Starts to listen at the gRPC port.

    Args:
        settings: A `settings.Settings`.
        model_api: A `model_api.ModelApi`.
        gate: An `admission.Admission`.
        count: As in `PredictionService`.
        write: Called with the level and the fields of each finished call.
        is_ready: Whether requests are served now, for probes.

    Returns:
        The server, which `stop(seconds)` stops, and its port.

    Raises:
        OSError: The port is not available.
    """
    # An incomplete message has no deadline, but its connection has a maximum age, with
    # time for regular calls to complete. Clients reconnect automatically.
    age = round(1000 * (settings.body_seconds + settings.request_seconds))
    server = grpc.aio.server(
        # Messages are in memory before they are counted.
        maximum_concurrent_rpcs=2 * settings.max_requests,
        options=[
            ("grpc.max_receive_message_length", settings.max_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_allowed_incoming_connections", settings.max_connections),
            ("grpc.so_reuseport", 0),
            ("grpc.max_connection_age_ms", age),
            ("grpc.max_connection_age_grace_ms", age),
        ],
    )
    prediction = PredictionService(settings, model_api, gate, count)
    servicers = prediction, ModelService(model_api)
    server.add_generic_rpc_handlers(
        [
            *[
                _handler(*each, write)
                for each in zip(_SERVICES, servicers, strict=True)
            ],
            grpc_health.handler(is_ready, _SERVICES),
        ]
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        port = server.add_insecure_port(f"{host}:{settings.grpc_port}")
    except RuntimeError as error:
        raise OSError(
            0,
            f"Cannot listen on `host={settings.host}` "
            f"`grpc_port={settings.grpc_port}`. Choose another port, or stop the "
            f"program that uses it.",
        ) from error
    await server.start()
    return server, port
