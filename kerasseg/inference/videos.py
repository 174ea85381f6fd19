"""Reading and writing videos frame by frame."""

import errno
import itertools
import os
import pathlib
import shutil
import threading
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from kerasseg import images
from kerasseg.inference import outputs
from kerasseg.system import files, processes

_DEFAULT_RATE = 25.0  # Frames per second, if the file does not state it.
# Some files state, or OpenCV estimates, a few more frames than there are.
_SPARE_FRAMES, _SPARE_SHARE = 2, 0.05


class Frames:
    """Iterates over the frames of a video, one frame ahead; a context manager.

    Args:
        path: The file.
        max_pixels: Upper limit for the pixels of a frame.

    Attributes:
        rate: Frames per second.
        count: Number of frames as the file states it, or None.
        number: Number of frames that were read so far.

    Raises:
        images.ImageError: OpenCV cannot read the file, or the frames are too large.
    """

    def __init__(self, path: pathlib.Path, *, max_pixels: int):
        self._path = path
        self._capture = cv2.VideoCapture(os.fspath(path))
        self._lock = threading.Lock()
        if not self._capture.isOpened():
            raise images.ImageError(
                f"{path} is damaged, or not a video that OpenCV can read. Get the file "
                f"again, or convert it to MP4"
            )
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or _DEFAULT_RATE
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None
        self.number = 0
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > max_pixels:
            raise images.ImageError(
                f"{path} has frames of {width} x {height} = {width * height:,} pixels, "
                f"the limit is {max_pixels:,}. Resize it, or raise max_pixels"
            )

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields RGB, uint8 `[height, width, 3]`."""
        for good, frame in processes.in_order(
            lambda _: self._read(), itertools.count(), num_threads=1
        ):
            if not good:
                break
            self.number += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        if not self.number:
            raise images.ImageError(f"{self._path}: no frame can be read")

    def _read(self):
        with self._lock:
            return self._capture.read()

    @property
    def missing(self) -> str:
        """Message about frames that could not be read; "" if there are few or none."""
        spare = max(_SPARE_FRAMES, _SPARE_SHARE * (self.count or 0))
        if self.count is None or self.number >= self.count - spare:
            return ""
        return (
            f"{self._path}: only {self.number} of {self.count} frames could be read "
            f"and were predicted; the file is damaged or truncated"
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._lock:  # Another thread may be reading a frame.
            self._capture.release()


class Results:
    """Writes the results of a video's frames; a context manager.

    Kinds in `outputs.MOVING` become videos, the others folders with a file per frame.
    They get their names when the block ends without an error.

    Args:
        output_dir: Folder of the results.
        name: Name of the result, see `inputs.find_images`.
        kinds: Keys of `outputs.KINDS`.
        frames: The `Frames`.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        name: str,
        kinds: Iterable[str],
        frames: Frames,
    ):
        self._rate = frames.rate
        self._number = 0
        self._writers: dict[str, cv2.VideoWriter] = {}
        self._paths = outputs.video_paths(output_dir, name, kinds)
        self._parts = {
            kind: path.with_name(f".{path.stem}.part{path.suffix}")
            for kind, path in self._paths.items()
        }

    def add(self, prediction: outputs.Prediction) -> None:
        """Adds a frame; the first frame determines the size of the videos."""
        for kind, part in self._parts.items():
            if kind in outputs.MOVING:
                image = outputs.MOVING[kind](prediction)
                self._writer(kind, part, image).write(image[..., ::-1])
            else:
                path = part / f"{self._number:06d}{outputs.KINDS[kind][0]}"
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "wb") as file:
                    outputs.KINDS[kind][1](file, prediction)
        self._number += 1

    def _writer(self, kind, part, image):
        if kind not in self._writers:
            part.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter.fourcc(*"mp4v")
            size = image.shape[1], image.shape[0]
            writer = cv2.VideoWriter(os.fspath(part), code, self._rate, size)
            if not writer.isOpened():
                raise OSError(
                    f"OpenCV cannot write {part}. Check that its folder exists."
                )
            self._writers[kind] = writer
        return self._writers[kind]

    def __enter__(self):
        _remove(self._parts.values())
        return self

    def __exit__(self, kind, *_):
        for writer in self._writers.values():
            writer.release()
        if kind is not None:
            _remove(self._parts.values())
            return
        for kind in self._writers:
            self._check_frames(self._parts[kind])
        for part, path in zip(self._parts.values(), self._paths.values(), strict=True):
            for file in part.iterdir() if part.is_dir() else ():
                files.sync(file)
            files.sync(part)
            _remove([path])
            os.replace(part, path)
            files.sync(path.parent)

    def _check_frames(self, part):
        """Counts the frames in the file: OpenCV does not report failed writes."""
        capture = cv2.VideoCapture(os.fspath(part))
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if count != self._number:
            _remove(self._parts.values())
            free = shutil.disk_usage(part.parent).free
            raise OSError(
                errno.EIO,
                f"{part} could not be written completely: it has {count} of "
                f"{self._number} frames, and {free:,} bytes are free",
            )


def _remove(paths):
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
