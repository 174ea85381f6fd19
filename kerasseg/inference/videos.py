"""Reading and writing videos frame by frame."""

import contextlib
import errno
import itertools
import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from kerasseg import images
from kerasseg.inference import outputs, reading, video_reader
from kerasseg.system import files, names, processes

_SECONDS = 60.0  # For opening a video, and for each frame.
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
        images.ImageError: OpenCV cannot read the file, the frames are too large, or
            reading takes too long or too much memory.
    """

    def __init__(self, path: pathlib.Path, *, max_pixels: int):
        self._text, self._failed = names.printable(path), False
        # One process, which holds the open video: it may crash its reader.
        self._process = processes.Processes(video_reader.call, 1, seconds=_SECONDS)
        try:
            rate, count = self._call(video_reader.start, path, max_pixels)
        except BaseException:
            self.close()
            raise
        self.rate = rate if rate > 0 and math.isfinite(rate) else _DEFAULT_RATE
        self.count = count if count > 0 else None
        self.number = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields RGB, uint8 `[height, width, 3]`."""
        for good, frame in processes.in_order(
            lambda _: self._read(), itertools.count(), num_threads=1
        ):
            if not good:
                break
            self.number += 1
            yield frame
        if not self.number:
            raise images.ImageError(f"{self._text}: no frame can be read")

    def _read(self):
        if self._failed:  # Another frame was requested ahead.
            return False, None
        self._failed = True
        frame = self._call(video_reader.next_frame)
        self._failed = False
        return frame is not None, frame

    def _call(self, function, *arguments):
        try:
            return self._process(function, *arguments)
        except reading.FAILURES as error:
            text = reading.reason(error, self._text, _SECONDS)
            raise images.ImageError(text) from error

    @property
    def missing(self) -> str:
        """Message about frames that could not be read; "" if there are few or none."""
        spare = max(_SPARE_FRAMES, _SPARE_SHARE * (self.count or 0))
        if self.count is None or self.number >= self.count - spare:
            return ""
        return (
            f"{self._text}: only {self.number} of {self.count} frames could be read "
            f"and were predicted; the file is damaged or truncated"
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Ends the process that reads the video."""
        self._process.__exit__(None, None, None)


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
            kind: outputs.partial_path(path, name, kind)
            for kind, path in self._paths.items()
        }
        self._links = contextlib.ExitStack()

    def add(self, prediction: outputs.Prediction) -> None:
        """Adds a frame; the first frame determines the size of the videos."""
        for kind, part in self._parts.items():
            if kind in outputs.MOVING:
                image = outputs.MOVING[kind](prediction)
                self._writer(kind, part, image).write(image[..., ::-1])
            else:
                path = part / f"{self._number:06d}{outputs.suffix(kind)}"
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "wb") as file:
                    outputs.writer(kind)(file, prediction)
        self._number += 1

    def _writer(self, kind, part, image):
        if kind not in self._writers:
            part.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter.fourcc(*"mp4v")
            size = image.shape[1], image.shape[0]
            path = self._links.enter_context(_utf8_path(part))
            writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, code, self._rate, size)
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
        self._links.close()
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
        with _utf8_path(part) as path:
            capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
            number = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            count = int(number) if capture.isOpened() else 0
            capture.release()
        if count != self._number:
            _remove(self._parts.values())
            free = shutil.disk_usage(part.parent).free
            raise OSError(
                errno.EIO,
                f"{part} could not be written completely: it has {count} of "
                f"{self._number} frames, and {free:,} bytes are free",
            )


@contextlib.contextmanager
def _utf8_path(path: pathlib.Path) -> Iterator[str]:
    """Yields a path of the same file that OpenCV takes: it must be UTF-8."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = pathlib.Path(folder, "link")
            link.symlink_to(path.parent.absolute())
            yield os.fspath(link / path.name)
    else:
        yield os.fspath(path)


def _remove(paths):
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
