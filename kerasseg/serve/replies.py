"""Answers, and which kind a client likes best."""

import dataclasses
import json

from kerasseg.serve.refusals import Refusal

JSON, PNG, JPEG = "application/json", "image/png", "image/jpeg"

_SAFE = (  # What is answered is shown as what it is said to be, and kept nowhere.
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)


@dataclasses.dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        body: Its bytes.
        content_type: Of the body.
        status: Of HTTP.
        headers: More of them, names in lower case.
    """

    body: bytes
    content_type: str = JSON
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)

    async def send(self, send) -> None:
        """Sends it through ASGI's `send`."""
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
        await send({"type": "http.response.body", "body": self.body})


def as_json(value, status: int = 200, headers: dict | None = None) -> Reply:
    """Makes an answer of plain values."""
    return Reply(json.dumps(value).encode(), JSON, status, headers or {})


def as_error(refusal: Refusal) -> Reply:
    """Makes an answer of a refusal, of the form that TensorFlow Serving has."""
    headers = {}
    if refusal.retry_after is not None:
        headers["retry-after"] = str(refusal.retry_after)
    if refusal.status == 408:  # Nobody knows what else comes over that line.
        headers["connection"] = "close"
    return as_json({"error": str(refusal)}, refusal.status, headers)


def preferred(accept: str, offered: tuple[str, ...]) -> str:
    """Chooses what a client likes best of what is offered.

    Args:
        accept: Its header `Accept`; empty for anything.
        offered: Content types, the usual one first.

    Raises:
        Refusal: 406, it likes none.
    """
    best, best_weight = "", 0.0
    likes = [_weighted(part) for part in (accept or "*/*").split(",")]
    for content_type in offered:
        main = content_type.split("/")[0]
        for pattern in (content_type, f"{main}/*", "*/*"):
            weights = [weight for name, weight in likes if name == pattern]
            if weights:
                if max(weights) > best_weight:
                    best, best_weight = content_type, max(weights)
                break
    if not best:
        raise Refusal(406, f"Accept names none of {', '.join(offered)}; name one.")
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
