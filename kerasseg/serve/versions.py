"""Which version answers: the newest whole one, and the old one until that is ready."""

import dataclasses
import gc
import logging
import os
import pathlib
import re
import threading
import time
import weakref

from kerasseg.serve.refusals import Refusal

_LOG = logging.getLogger(__name__)
_MAX_KNOWN = 100  # Versions that the status remembers.


@dataclasses.dataclass
class _Known:
    """What is known of a version: its state as TensorFlow Serving names it."""

    state: str = "START"
    error: str = ""
    seen: tuple = ()  # Names, sizes and times of the files, when last looked at.
    tried: float | None = None  # When loading it failed last.
    tried_seen: tuple = ()


class Versions:
    """Watches an export folder and keeps its newest version loaded.

    A folder counts when its name is a number, it holds a `saved_model.pb`, and nothing
    in it changed between two looks: what is still being copied is left alone. One that
    cannot be loaded is tried again when it changes, or after a while; meanwhile the
    version before it answers, even if its folder is gone.

    Args:
        export_dir: Folder of the versions.
        model_name: What clients call the model.
        load: Takes the path of a version to an `Engine`, raises for a broken one.
        poll_seconds: Time between two looks.
        retry_seconds: Time after which a broken version is tried again.
    """

    def __init__(
        self, export_dir, model_name: str, load, *, poll_seconds=1.0, retry_seconds=60.0
    ):
        self._folder, self._load = pathlib.Path(export_dir), load
        self.model_name = model_name
        self._poll_seconds, self._retry_seconds = poll_seconds, retry_seconds
        self._known: dict[int, _Known] = {}
        self._current = None
        self._retired: list[weakref.ref] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def current(self):
        """The engine that answers, None before the first one is ready."""
        return self._current

    def get(self, number: int | None = None):
        """Returns the engine of a version, of the newest one for None.

        Raises:
            Refusal: 404, no such version is loaded; 503, none is yet.
        """
        engine = self._current
        if engine is None and number is None:
            raise Refusal(
                503, f"No version of {self.model_name} is loaded yet.", retry_after=1
            )
        if engine is None or number not in (None, engine.number):
            raise Refusal(
                404,
                f"Servable not found for request: Specific({self.model_name}, "
                f"{number})",
            )
        return engine

    def status(self, number: int | None = None) -> list[dict]:
        """Lists the versions known, the newest first, as TensorFlow Serving does.

        Raises:
            Refusal: 404, no such version is known.
        """
        with self._lock:
            known = {
                key: (value.state, value.error)
                for key, value in self._known.items()
                if number in (None, key)
            }
        if not known:
            what = "any versions" if number is None else f"version {number}"
            raise Refusal(404, f"Could not find {what} of model {self.model_name}")
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
        """Watches in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the watching; what is loaded stays."""
        self._stopping.set()

    def _watch(self):
        while not self._stopping.is_set():
            try:
                self.poll()
            except Exception:  # Whatever the disk says, the watch goes on.
                _LOG.exception("Looking for versions in %s failed.", self._folder)
            self._stopping.wait(self._poll_seconds)

    def poll(self) -> None:
        """Looks once, and loads a newer version if there is a whole one."""
        found = self._look()
        for number in sorted(found, reverse=True):
            if self._current is not None and number == self._current.number:
                break
            if self._is_due(number, found[number]) and self._try(number):
                break
        self._forget(found)
        self._collect()

    def _collect(self):
        """Frees versions that nobody uses any more: TensorFlow makes circles."""
        self._retired = [engine for engine in self._retired if engine() is not None]
        if self._retired:
            gc.collect()

    def _look(self):
        found = {}
        for entry in os.scandir(self._folder):
            if re.fullmatch("[0-9]{1,18}", entry.name) and entry.is_dir():
                seen = _fingerprint(entry.path)
                if any(name == "saved_model.pb" for name, *_ in seen):
                    found[int(entry.name)] = seen
        return found

    def _is_due(self, number, seen):
        with self._lock:
            known = self._known.setdefault(number, _Known())
            settled, known.seen = known.seen == seen, seen
        if not settled or known.tried is None:
            return settled
        waited = time.monotonic() - known.tried
        return seen != known.tried_seen or waited >= self._retry_seconds

    def _try(self, number):
        self._set(number, "LOADING")
        try:
            engine = self._load(self._path(number))
            engine.warm_up()
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
        _LOG.warning("Version %d of %s answers now.", number, self.model_name)
        return True

    def _path(self, number):
        names = (p for p in self._folder.iterdir() if p.name.isdecimal())
        return next(path for path in names if int(path.name) == number)

    def _set(self, number, state, error=""):
        with self._lock:
            known = self._known.setdefault(number, _Known())
            known.state, known.error = state, error
            known.tried = time.monotonic() if error else None
            known.tried_seen = known.seen if error else ()

    def _forget(self, found):
        """Drops versions that are gone, and the oldest of very many."""
        current = self._current.number if self._current else None
        with self._lock:
            for number in [n for n in self._known if n not in found and n != current]:
                if self._known[number].state != "END" or self._known[number].error:
                    del self._known[number]
            for number in sorted(self._known)[:-_MAX_KNOWN]:
                if number != current:
                    del self._known[number]


def _fingerprint(folder):
    """Lists path, size and time of change of every file, sorted."""
    seen = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            try:
                facts = os.stat(path)
            except OSError:  # Gone since: the next look sees another list.
                continue
            seen.append(
                (os.path.relpath(path, folder), facts.st_size, facts.st_mtime_ns)
            )
    return tuple(sorted(seen))
