"""IoU counts of every image and setting, in a file that survives a kill."""

import fcntl
import json
import os
import pathlib
from collections.abc import Iterable

import numpy as np

from kerasseg import errors
from kerasseg.crf.tuning.grid import Setting


class Scores:
    """IoU counts, one line for each image and setting; a context manager.

    Args:
        path: File of JSON lines. An incomplete last line is dropped.

    Raises:
        errors.UserError: Another program writes the file, or it is damaged.
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
                    f"{path} is being written by another program. Wait for it to end, "
                    f"or give another `output_dir`."
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
                f"{self._path} is damaged ({error}). Delete it: its scores are "
                f"computed again."
            ) from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def has(self, index: int, setting: Setting | None) -> bool:
        """Returns whether an image was scored with a setting; None is no CRF."""
        return (index, setting) in self._counts

    def add(self, index: int, counts: dict) -> None:
        """Adds counts of an image, and waits until they are on the disk.

        Args:
            index: Index of the image.
            counts: int64 `[3, num_classes]` by setting, see `metrics.iou_counts`; the
                setting None is no CRF.
        """
        lines = [json.dumps([index, s, array.tolist()]) for s, array in counts.items()]
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._counts |= {(index, setting): array for setting, array in counts.items()}

    def of(self, setting: Setting | None, indices: Iterable[int]) -> np.ndarray:
        """Returns the counts of images, int64 `[images, 3, num_classes]`."""
        return np.stack([self._counts[index, setting] for index in indices])
