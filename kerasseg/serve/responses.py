"""HTTP responses, and content negotiation."""

import dataclasses
import json
from collections.abc import Callable

from kerasseg.serve.request_errors import RequestError

JSON, PNG, JPEG = "application/json", "image/png", "image/jpeg"

_SAFE = (  # No content sniffing, no caching.
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)


@dataclasses.dataclass(frozen=True)
class Response:
    """One response.

    Attributes:
        body: Its bytes.
        content_type: Content type of the body.
        status: HTTP status.
        headers: Further headers, with names in lower case.
    """

    body: bytes
    content_type: str = JSON
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)

    async def send(self, send: Callable) -> None:
        """Sends the response through ASGI's `send`, until the client has read it."""
        own = {
            "content-type": self.content_type,
            "content-length": str(len(self.body)),
            **self.headers,
        }
        head = [(name.encode(), value.encode("latin-1")) for name, value in own.items()]
        await send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": [*head, *_SAFE],
            }
        )
        # The second call waits until the bytes of the first one have been sent.
        body = {"type": "http.response.body", "body": self.body}
        if self.body:
            await send({**body, "more_body": True})
        await send({**body, "body": b"", "more_body": False})


def as_json(value, status: int = 200, headers: dict | None = None) -> Response:
    """Returns a JSON response."""
    return Response(json.dumps(value).encode(), JSON, status, headers or {})


def as_error(error: RequestError) -> Response:
    """Returns the response for an error, in TensorFlow Serving's format."""
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.close or error.status == 408:  # The rest may still arrive.
        headers["connection"] = "close"
    return as_json({"error": str(error)}, error.status, headers)


def preferred(accept: str, offered: tuple[str, ...]) -> str:
    """Returns the content type that a client prefers.

    Args:
        accept: The header `Accept`; empty accepts everything.
        offered: The available content types, the default one first.

    Raises:
        RequestError: 406, the client accepts none.
    """
    best, best_weight = "", 0.0
    accepted = [_weighted(part) for part in (accept or "*/*").split(",")]
    for content_type in offered:
        main = content_type.split("/")[0]
        for pattern in (content_type, f"{main}/*", "*/*"):
            weights = [weight for name, weight in accepted if name == pattern]
            if weights:
                if max(weights) > best_weight:
                    best, best_weight = content_type, max(weights)
                break
    if not best:
        raise RequestError(406, f"Accept must include one of {', '.join(offered)}.")
    return best


def _weighted(part):
    name, *parameters = (text.strip().lower() for text in part.split(";"))
    weight = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                weight = float(parameter[2:])
            except ValueError:
                weight = 0.0
    return name, weight
