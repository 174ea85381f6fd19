"""Counts of every picture under every setting, in a file that a kill does not harm."""

import fcntl
import json
import os
import pathlib

import numpy as np

from kerasseg import errors
from kerasseg.crf.tuning.grid import Setting


class Scores:
    """What was counted, a line a picture and setting; a context manager.

    Args:
        path: File of JSON lines. A last line that is not whole is dropped.

    Raises:
        ValueError: Another program writes it, or it is damaged.
    """

    def __init__(self, path: str | os.PathLike):
        self._path = pathlib.Path(path)
        self._file = open(path, "a+b")  # noqa: SIM115 - closed by __exit__.
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._counts = self._read()
        except BaseException as error:
            self._file.close()
            if isinstance(error, BlockingIOError):
                raise errors.UserError(
                    f"{path} is being written by another program. Wait for it, or "
                    "give another `output_dir`."
                ) from None
            raise

    def _read(self):
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        self._file.truncate(whole)
        try:
            lines = [json.loads(line) for line in data[:whole].splitlines()]
            return {
                (index, setting and Setting(*setting)): np.array(counts, np.int64)
                for index, setting, counts in lines
            }
        except (ValueError, TypeError) as error:
            raise errors.UserError(
                f"{self._path} is damaged ({error}). Delete it: what it holds is "
                "counted again."
            ) from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def has(self, index: int, setting: Setting | None) -> bool:
        """Tells whether a picture was counted under a setting; None is no CRF."""
        return (index, setting) in self._counts

    def add(self, index: int, counts: dict) -> None:
        """Keeps counts of a picture; they are on the disk afterwards.

        Args:
            index: Of the picture.
            counts: By setting, None for no CRF: int64 `[3, num_classes]`, see
                `metrics.iou_counts`.
        """
        lines = [json.dumps([index, s, found.tolist()]) for s, found in counts.items()]
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._counts |= {(index, setting): found for setting, found in counts.items()}

    def of(self, setting: Setting | None, indices) -> np.ndarray:
        """Returns the counts of pictures, int64 `[pictures, 3, num_classes]`."""
        return np.stack([self._counts[index, setting] for index in indices])
