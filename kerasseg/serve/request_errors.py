"""Errors of single requests, with their HTTP status."""

_MAX_CHARACTERS = 1000


class RequestError(Exception):
    """A request that fails; the message says why and what to do.

    Attributes:
        status: HTTP status from 400 to 505. 429: the deadline passed before the
            computation began; 503: the server is overloaded; 504: the deadline passed
            during the computation.
        retry_after: Seconds after which to retry; None if a retry would not help.
        close: Whether the connection is closed, because where the next request begins
            is not known.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        retry_after: int | None = None,
        close: bool = False,
    ):
        if len(message) > _MAX_CHARACTERS:  # It may repeat parts of the request.
            message = f"{message[:_MAX_CHARACTERS]}..."
        super().__init__(status, message)  # So that it can be pickled.
        self.status = status
        self.retry_after, self.close = retry_after, close

    def __str__(self):
        return self.args[1]
