"""The access log of gRPC calls."""

import urllib.parse
from collections.abc import Callable

import grpc

from kerasseg.serve import access_log

_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_LEVELS = {
    "INTERNAL": "error",
    "UNKNOWN": "error",
    "UNAVAILABLE": "warning",
    "DEADLINE_EXCEEDED": "warning",
}


def address(context) -> str:
    """Returns the address of a client: "ipv4:127.0.0.1:5000", "ipv6:%5B::1%5D:5000"."""
    peer = urllib.parse.unquote(context.peer()).partition(":")[2]
    return peer.rpartition(":")[0].strip("[]")


def observed(method: str, call: Callable, write: access_log.Write) -> Callable:
    """Returns a call that records each of its requests.

    The id of the request is sent as initial metadata.

    Args:
        method: Full name of the method.
        call: Coroutine function of a request and a context to a response.
        write: Called with the level and the fields of each finished request.
    """

    async def recorded(request, context):
        given = [
            value
            for key, value in context.invocation_metadata() or ()
            if key == access_log.HEADER and isinstance(value, str)
        ]
        record = access_log.Record(access_log.request_id(given))
        access_log.CURRENT.set(record)
        record.bytes_in = 0 if request is None else request.ByteSize()
        status = "CANCELLED"  # Unless it ends otherwise.
        try:
            await context.send_initial_metadata(
                [(access_log.HEADER, record.request_id)]
            )
            response = await call(request, context)
            record.bytes_out, status = response.ByteSize(), "OK"
            return response
        except grpc.aio.AbortError:
            status = _name(context.code())
            raise
        except Exception:
            status = "UNKNOWN"
            raise
        finally:
            fields = {
                "request_id": record.request_id,
                "client": address(context),
                "method": method,
                "grpc_status": status,
            }
            write(_LEVELS.get(status, "info"), {**fields, **record.fields()})

    return recorded


def _name(code):
    """Returns the name of a status code, which gRPC states as object or as number."""
    return _NAMES.get(code, str(code)) if isinstance(code, int) else code.name
