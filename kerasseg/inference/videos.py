"""Videos in and out, frame by frame."""

import errno
import itertools
import os
import pathlib
import shutil
import threading
from collections.abc import Iterator

import cv2
import numpy as np

from kerasseg import images
from kerasseg.inference import outputs
from kerasseg.system import files, processes

_USUAL_RATE = 25.0  # Frames a second, where a file does not say.
# Some files say, or OpenCV guesses, a few frames more than there are.
_SPARE_FRAMES, _SPARE_SHARE = 2, 0.05


class Frames:
    """The frames of a video, read ahead while the last ones are worked on.

    Args:
        path: The file.
        max_pixels: Larger frames are refused.

    Attributes:
        rate: Frames a second.
        count: Number of frames as the file says it, or None.
        number: Of those that were read so far.

    Raises:
        images.ImageError: OpenCV cannot read it, or the frames are too large.
    """

    def __init__(self, path: pathlib.Path, *, max_pixels: int):
        self._path = path
        self._capture = cv2.VideoCapture(os.fspath(path))
        self._lock = threading.Lock()
        if not self._capture.isOpened():
            raise images.ImageError(
                f"{path} is no video that OpenCV can read, or it is damaged. Get the "
                "file again, or convert it to MP4"
            )
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or _USUAL_RATE
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None
        self.number = 0
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > max_pixels:
            raise images.ImageError(
                f"{path} has frames of {width} x {height} = {width * height:,} pixels, "
                f"wanted are at most {max_pixels:,}. Shrink it, or raise max_pixels"
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
            raise images.ImageError(f"{self._path}: no frame of the video can be read")

    def _read(self):
        with self._lock:
            return self._capture.read()

    @property
    def missing(self) -> str:
        """Says how many frames could not be read; "" where that are few or none."""
        spare = max(_SPARE_FRAMES, _SPARE_SHARE * (self.count or 0))
        if self.count is None or self.number >= self.count - spare:
            return ""
        return (
            f"{self._path}: only {self.number} of its {self.count} frames can be read, "
            f"and these are done; the file is damaged or cut"
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._lock:  # A frame may be on its way still.
            self._capture.release()


class Results:
    """Writes what is said of frames: videos of pictures, and a file a frame of others.

    They stand under their names when the block ends without an error.

    Args:
        output_dir: Folder; `outputs.KINDS` are its sub-folders.
        name: Of the results.
        kinds: Of `outputs.KINDS`.
        frames: `Frames`.
    """

    def __init__(self, output_dir, name: str, kinds, frames: Frames):
        self._rate = frames.rate
        self._number = 0
        self._writers: dict[str, cv2.VideoWriter] = {}
        self._paths = outputs.video_paths(output_dir, name, kinds)
        self._parts = {
            kind: path.with_name(f".{path.stem}.part{path.suffix}")
            for kind, path in self._paths.items()
        }

    def add(self, seen: outputs.Prediction) -> None:
        """Adds a frame; the first one says how large all are."""
        for kind, part in self._parts.items():
            if kind in outputs.MOVING:
                shown = outputs.MOVING[kind](seen)
                self._writer(kind, part, shown).write(shown[..., ::-1])
            else:
                path = part / f"{self._number:06d}{outputs.KINDS[kind][0]}"
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "wb") as file:
                    outputs.KINDS[kind][1](file, seen)
        self._number += 1

    def _writer(self, kind, part, shown):
        if kind not in self._writers:
            part.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter.fourcc(*"mp4v")
            size = shown.shape[1], shown.shape[0]
            writer = cv2.VideoWriter(os.fspath(part), code, self._rate, size)
            if not writer.isOpened():
                raise OSError(f"OpenCV cannot write {part}; its folder must be there.")
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
            self._check_whole(self._parts[kind])
        for part, path in zip(self._parts.values(), self._paths.values(), strict=True):
            for file in part.iterdir() if part.is_dir() else ():
                files.sync(file)
            files.sync(part)
            _remove([path])
            os.replace(part, path)
            files.sync(path.parent)

    def _check_whole(self, part):
        """Reads it again, as OpenCV does not say when it could not write."""
        capture = cv2.VideoCapture(os.fspath(part))
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if count != self._number:
            _remove(self._parts.values())
            free = shutil.disk_usage(part.parent).free
            raise OSError(
                errno.EIO,
                f"{part} could not be written whole: {count} of {self._number} frames "
                f"are there, and {free:,} bytes are free",
            )


def _remove(paths):
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
