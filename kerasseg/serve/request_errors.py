"""Errors of single requests, with their HTTP status."""


class RequestError(Exception):
    """A request that fails; the message says why and what to do.

    Attributes:
        status: HTTP status from 400 to 504. 429: the deadline passed before the
            computation began; 503: the server is overloaded; 504: the deadline passed
            during the computation.
        retry_after: Seconds after which to retry; None if a retry would not help.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None):
        super().__init__(status, message)  # So that it can be pickled.
        self.status = status
        self.retry_after = retry_after

    def __str__(self):
        return self.args[1]
