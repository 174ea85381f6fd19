"""Requests that get no result, with the status that HTTP has for the reason."""


class Refusal(Exception):  # noqa: N818 - an answer, no fault of the server.
    """A request that gets no result; the text says why and what to do.

    Attributes:
        status: Of HTTP, 400 to 504. 429: the time was up before the work began; 503:
            too much to do; 504: the time was up while the work was done.
        retry_after: Seconds after which to try again; None where that would not help.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None):
        super().__init__(status, message)  # As pickle calls it in another process.
        self.status = status
        self.retry_after = retry_after

    def __str__(self):
        return self.args[1]
