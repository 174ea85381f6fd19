"""The method Check of gRPC's health protocol, for probes and load balancers.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md. Its two
messages are defined here, so that no further package is needed. Watch is UNIMPLEMENTED,
which the protocol allows: a watcher would occupy one of the calls that are limited.
"""

import typing
from collections.abc import Callable, Collection

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from kerasseg.serve import wire

SERVICE = "grpc.health.v1.Health"
SERVING, NOT_SERVING = 1, 2
_PACKAGE, _, _ = SERVICE.rpartition(".")
_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


def _messages():
    file = descriptor_pb2.FileDescriptorProto(
        name="kerasseg/health.proto", package=_PACKAGE, syntax="proto3"
    )
    request = file.message_type.add(name="HealthCheckRequest")
    string, enum = (
        getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind}")
        for kind in ("STRING", "ENUM")
    )
    request.field.add(name="service", number=1, type=string, label=1)
    response = file.message_type.add(name="HealthCheckResponse")
    statuses = response.enum_type.add(name="ServingStatus")
    for number, name in enumerate(_STATUSES):
        statuses.value.add(name=name, number=number)
    type_name = f".{_PACKAGE}.HealthCheckResponse.ServingStatus"
    response.field.add(name="status", number=1, type=enum, label=1, type_name=type_name)
    pool = descriptor_pool.DescriptorPool()  # Separate: others may define them, too.
    pool.Add(file)
    return [
        message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{_PACKAGE}.{each.name}")
        )
        for each in file.message_type
    ]


HealthCheckRequest, HealthCheckResponse = _messages()


def handler(
    is_ready: Callable[[], bool], services: Collection[str]
) -> grpc.GenericRpcHandler:
    """Returns the handler of the service.

    Args:
        is_ready: Whether requests are served now.
        services: Names of the services of the server.
    """

    async def check(request, context):
        if request is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "malformed request")
        if request.service not in ("", SERVICE, *services):
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return HealthCheckResponse(status=SERVING if is_ready() else NOT_SERVING)

    method = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=lenient(HealthCheckRequest),
        response_serializer=HealthCheckResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"Check": method})


def lenient(message: typing.Any) -> Callable:
    """Returns a function of bytes to a message; None if malformed or of many fields.

    gRPC would log a traceback for each malformed message.
    """

    def parse(data):
        if not wire.is_small(data, message.DESCRIPTOR):
            return None
        try:
            return message.FromString(data)
        except Exception:
            return None

    return parse
