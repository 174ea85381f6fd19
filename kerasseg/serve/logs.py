"""The log of the server: events and finished requests, as text or as JSON."""

import contextlib
import datetime
import json
import logging
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from kerasseg.serve import access_log, line_writer

TEXT, JSON, OFF = "text", "json", "off"
_MOST, _SECONDS = 10, 60.0
_MAX_MESSAGE, _MAX_TRACEBACK = 10_000, 30_000  # Characters.
_CLOSE_SECONDS = 1.0
_PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)
# Their warnings are about mistakes of clients, which the access log has.
_QUIET_LOGGERS = ("uvicorn.error",)


class RateLimit(logging.Filter):
    """Passes a few messages of each place in the code per minute.

    The first message of the next minute states how many were dropped.

    Args:
        most: Maximum number of messages of one place.
        seconds: Time in which they are counted.
    """

    def __init__(self, most: int = _MOST, seconds: float = _SECONDS):
        super().__init__()
        self._most, self._seconds = most, seconds
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], list] = {}  # Start and number.

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether a record is logged."""
        place = record.pathname, record.lineno
        now = time.monotonic()
        with self._lock:
            began, count = self._counts.get(place, (now, 0))
            dropped = 0
            if now - began >= self._seconds:
                dropped, began, count = max(0, count - self._most), now, 0
            self._counts[place] = [began, count + 1]
        if dropped:
            record.msg = f"{record.getMessage()} ({dropped} like this were dropped)"
            record.args = ()
        return count < self._most


class Log:
    """Where the server writes its events and its finished requests.

    Text: events are lines of standard error; the address of the server and finished
    requests are lines of standard output. JSON: each of them is an object in a line of
    standard output.

    Args:
        log_format: "text" or "json".
        access: Format of finished requests, "off", "text" or "json".
    """

    def __init__(self, log_format: str, access: str):
        self._format, self._access = log_format, access
        output, errors = line_writer.descriptors()
        self._output = line_writer.LineWriter(
            output, self._describe(access if log_format == TEXT else log_format)
        )
        self._errors = self._output
        if log_format == TEXT:
            self._errors = line_writer.LineWriter(errors, self._describe(TEXT))

    @staticmethod
    def _describe(chosen):
        def describe(count):
            message = f"{count} lines of the log could not be written."
            return entry(chosen, "warning", message, {"dropped": count})

        return describe

    def announce(self, message: str, fields: dict[str, Any]) -> None:
        """Writes the line with the address of the server."""
        if self._format == TEXT:
            self._output.put(message)
        else:
            self._output.put(entry(JSON, "info", message, fields))

    def event(self, record: logging.LogRecord) -> None:
        """Writes an event, with the id of the request that is being processed."""
        fields = {}
        if current := access_log.CURRENT.get(None):
            fields["request_id"] = current.request_id
        self._errors.put(
            entry(
                self._format,
                record.levelname.lower(),
                _message(record),
                {"logger": record.name, **fields},
                when=record.created,
                exception=_exception(record),
            )
        )

    def request(self, level: str, fields: dict[str, Any]) -> None:
        """Writes a finished request, unless the access log is off."""
        if self._access != OFF:
            self._output.put(entry(self._access, level, "request", fields))

    @property
    def num_dropped(self) -> int:
        """Number of lines that could not be written."""
        return sum(each.num_dropped for each in {self._output, self._errors})

    def close(self) -> None:
        """Writes the waiting lines, unless that takes too long."""
        for each in {self._output, self._errors}:
            each.close(_CLOSE_SECONDS)


def entry(
    chosen: str,
    level: str,
    message: str,
    fields: dict[str, Any],
    *,
    when: float | None = None,
    exception: str = "",
) -> str:
    """Formats a line of the log.

    Args:
        chosen: "json": an object with the keys `time`, `level` and `message`, the
            fields and `exception`. Otherwise text: time, level, message, and
            `name=value` for each field, where other values than words are JSON. The
            lines of the exception follow, indented.
        level: Level in lower case.
        message: What happened. Characters that cannot be printed are escaped.
        fields: Texts and numbers by name.
        when: Seconds since the epoch; None: now.
        exception: Lines of a traceback.
    """
    stamp = _stamp(time.time() if when is None else when)
    message = message[:_MAX_MESSAGE]
    if chosen == JSON:
        document = {"time": stamp, "level": level, "message": message, **fields}
        if exception:
            document["exception"] = exception
        return json.dumps({key: _encodable(each) for key, each in document.items()})
    words = [stamp, level.upper(), printable(message)]
    words += [f"{name}={_word(value)}" for name, value in fields.items()]
    lines = exception.splitlines()
    return "\n    ".join([" ".join(words), *map(printable, lines)])


def printable(text: str) -> str:
    """Escapes the characters of a text that cannot be printed, such as newlines."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode()
        for each in text
    )


def _stamp(seconds):
    when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z"


def _encodable(value):
    """Escapes surrogates, which are not valid in JSON."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def _word(value):
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(_encodable(text))


def _message(record):
    try:
        return record.getMessage()
    except Exception:  # Of arguments that do not fit.
        return str(record.msg)


def _exception(record):
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    text = "".join(traceback.format_exception(record.exc_info[1]))
    return text[-_MAX_TRACEBACK:].rstrip("\n")


class _Handler(logging.Handler):
    """Passes records to a function."""

    def __init__(self, write: Callable[[logging.LogRecord], None]):
        super().__init__()
        self._write = write

    def emit(self, record):
        self._write(record)


@contextlib.contextmanager
def opened(log_format: str, access: str) -> Iterator[Log]:
    """Sends the messages of all loggers, warnings and threads to a new `Log`.

    Args:
        log_format: See `Log`.
        access: See `Log`.
    """
    log = Log(log_format, access)
    handler = _Handler(log.event)
    handler.addFilter(RateLimit())
    root, hook = logging.getLogger(), threading.excepthook
    levels = {
        "kerasseg": logging.INFO,
        **dict.fromkeys(_QUIET_LOGGERS, logging.ERROR),
    }
    handlers, before = root.handlers[:], {x: logging.getLogger(x).level for x in levels}
    root.handlers[:] = [handler]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread
    try:
        yield log
    finally:
        threading.excepthook = hook
        logging.captureWarnings(False)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
        root.handlers[:] = handlers
        log.close()


def _log_thread(failed):
    error = failed.exc_value
    logging.getLogger(__name__).error(
        "The thread %s failed.",
        failed.thread.name if failed.thread else "",
        exc_info=(failed.exc_type, error, failed.exc_traceback),
    )
