"""Loading of versions: the newest complete one replaces the current one."""

import dataclasses
import gc
import logging
import os
import pathlib
import re
import threading
import time
import weakref
from collections.abc import Callable

from kerasseg import errors
from kerasseg.serve import deadlines
from kerasseg.serve.request_errors import RequestError

_LOG = logging.getLogger(__name__)
_SCAN_SECONDS = 10.0  # Of one folder.
_MAX_KNOWN = 100  # Versions in the status.


@dataclasses.dataclass
class _Known:
    """A known version, with its state as in TensorFlow Serving."""

    state: str = "START"
    error: str = ""
    fingerprint: tuple = ()  # Names, sizes and times of the files at the last check.
    failed_at: float | None = None  # Time of the last failure to load it.
    failed_fingerprint: tuple = ()


class Versions:
    """Watches an export folder and keeps its newest version loaded.

    A version is a folder whose name is a number, which holds a `saved_model.pb`, and
    which did not change between two checks, so that it is not still being copied. If it
    cannot be loaded, loading is retried when it changes, or after a while. Until then
    the previous version stays loaded, even if its folder is removed.

    Args:
        export_dir: Folder of the versions.
        model_name: Name of the model in the API's URLs.
        load: Function of the path of a version to an `Engine`; raises if it is broken.
        poll_seconds: Time between two checks.
        retry_seconds: Time after which loading a broken version is retried.
        load_seconds: Time after which a version that is being loaded counts as broken.
    """

    def __init__(
        self,
        export_dir: str | os.PathLike,
        model_name: str,
        load: Callable,
        *,
        poll_seconds: float = 1.0,
        retry_seconds: float = 60.0,
        load_seconds: float = 300.0,
    ):
        self._folder, self._load = pathlib.Path(export_dir), load
        self.model_name = model_name
        self._poll_seconds, self._retry_seconds = poll_seconds, retry_seconds
        self._load_seconds = load_seconds
        self._deadlines = deadlines.Deadlines()
        self._last_scan = time.monotonic()
        self._known: dict[int, _Known] = {}
        self._current = None
        self._retired: list[weakref.ref] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def current(self):
        """The current engine; None before the first one is loaded."""
        return self._current

    @property
    def seconds_since_last_scan(self) -> float:
        """Seconds since the last complete check of the folder, or since the start."""
        return time.monotonic() - self._last_scan

    def get(self, number: int | None = None):
        """Returns the engine of a version; None is the newest.

        Raises:
            RequestError: 404, the version is not loaded; 503, none is loaded yet.
        """
        engine = self._current
        if engine is None and number is None:
            raise RequestError(
                503, f"No version of {self.model_name} is loaded yet.", retry_after=1
            )
        if engine is None or number not in (None, engine.number):
            raise RequestError(
                404,
                f"Servable not found for request: Specific({self.model_name}, "
                f"{number})",
            )
        return engine

    def status(self, number: int | None = None) -> list[dict]:
        """Returns the known versions in TensorFlow Serving's format, newest first.

        Raises:
            RequestError: 404, the version is unknown.
        """
        with self._lock:
            known = {
                key: (value.state, value.error)
                for key, value in self._known.items()
                if number in (None, key)
            }
        if not known:
            what = "any versions" if number is None else f"version {number}"
            raise RequestError(404, f"Could not find {what} of model {self.model_name}")
        return [
            {
                "version": str(key),
                "state": state,
                "status": {
                    "error_code": "UNKNOWN" if error else "OK",
                    "error_message": error,
                },
            }
            for key, (state, error) in sorted(known.items(), reverse=True)
        ]

    def start(self) -> None:
        """Starts a thread that watches the folder."""
        self._thread.start()

    def stop(self) -> None:
        """Stops watching; the current version stays loaded."""
        self._stopping.set()

    def _watch(self):
        while not self._stopping.is_set():
            try:
                self.poll()
            except Exception:  # Such as errors of the disk: keep watching.
                _LOG.exception("Checking for versions in %s failed.", self._folder)
            self._stopping.wait(self._poll_seconds)

    def poll(self) -> None:
        """Checks the folder once, and loads a newer complete version."""
        fingerprints = self._scan()
        for number in sorted(fingerprints, reverse=True):
            if self._current is not None and number == self._current.number:
                break
            if self._is_due(number, fingerprints[number]) and self._try(number):
                break
        self._forget(fingerprints)
        self._collect()
        self._last_scan = time.monotonic()

    def _collect(self):
        """Frees unused versions: TensorFlow's objects are reference cycles.

        They outlive an engine, so that a collection is due after it has gone.
        """
        if self._retired:
            gc.collect()
        self._retired = [engine for engine in self._retired if engine() is not None]

    def _scan(self):
        fingerprints = {}
        for name in self._deadlines.call(
            "", lambda: os.listdir(self._folder), _SCAN_SECONDS
        ):
            if not re.fullmatch("[0-9]{1,18}", name):
                continue
            try:
                fingerprint = self._deadlines.call(
                    name,
                    lambda name=name: _fingerprint(self._folder / name),
                    _SCAN_SECONDS,
                )
            except TimeoutError as error:
                _LOG.warning("Version %s cannot be read: %s.", name, error)
                continue
            if any(file == "saved_model.pb" for file, *_ in fingerprint):
                fingerprints[int(name)] = fingerprint
        return fingerprints

    def _is_due(self, number, fingerprint):
        with self._lock:
            known = self._known.setdefault(number, _Known())
            unchanged = known.fingerprint == fingerprint
            known.fingerprint = fingerprint
        if not unchanged or known.failed_at is None:
            return unchanged
        waited = time.monotonic() - known.failed_at
        changed = fingerprint != known.failed_fingerprint
        return changed or waited >= self._retry_seconds

    def _try(self, number):
        self._set(number, "LOADING")
        try:
            engine = self._deadlines.call(
                number, lambda: self._load_version(number), self._load_seconds
            )
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).split(chr(10))[0]}"
            _LOG.error("Version %d cannot be loaded: %s", number, reason)
            self._set(number, "END", reason)
            return False
        old, self._current = self._current, engine
        self._set(number, "AVAILABLE")
        if old is not None:
            self._set(old.number, "END")
            self._retired.append(weakref.ref(old))
        _LOG.info("Version %d of %s is now served.", number, self.model_name)
        return True

    def _load_version(self, number):
        path = self._path(number)
        _check_regular(path)
        engine = self._load(path)
        engine.warm_up()
        return engine

    def _path(self, number):
        names = (p for p in self._folder.iterdir() if p.name.isdecimal())
        return next(path for path in names if int(path.name) == number)

    def _set(self, number, state, error=""):
        with self._lock:
            known = self._known.setdefault(number, _Known())
            known.state, known.error = state, error
            known.failed_at = time.monotonic() if error else None
            known.failed_fingerprint = known.fingerprint if error else ()

    def _forget(self, existing):
        """Drops removed versions, and the oldest ones beyond the limit."""
        current = self._current.number if self._current else None
        with self._lock:
            for number in [
                n for n in self._known if n not in existing and n != current
            ]:
                if self._known[number].state != "END" or self._known[number].error:
                    del self._known[number]
            for number in sorted(self._known)[:-_MAX_KNOWN]:
                if number != current:
                    del self._known[number]


def _check_regular(folder):
    """Raises an error for a FIFO or a device, which may block or have no end."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if not os.path.isfile(os.path.join(parent, name)):
                raise errors.UserError(
                    f"{name} is not a regular file. Export the model again."
                )


def _fingerprint(folder):
    """Returns path, size and modification time of every file, sorted."""
    files = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            try:
                stat = os.stat(path)
            except OSError:  # Removed meanwhile: the next check has another result.
                continue
            files.append(
                (os.path.relpath(path, folder), stat.st_size, stat.st_mtime_ns)
            )
    return tuple(sorted(files))
