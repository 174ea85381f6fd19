"""Videos in and out, frame by frame."""

import itertools
import os
import pathlib
import shutil
from collections.abc import Iterator

import cv2
import numpy as np

from kerasseg import images, workers
from kerasseg.inference import outputs

_USUAL_RATE = 25.0  # Frames a second, where a file does not say.


class Frames:
    """The frames of a video, read ahead while the last ones are worked on.

    Args:
        path: The file.
        max_pixels: Larger frames are refused.

    Attributes:
        rate: Frames a second.
        count: Number of frames as the file says it, or None.

    Raises:
        images.ImageError: OpenCV cannot read it, or the frames are too large.
    """

    def __init__(self, path: pathlib.Path, *, max_pixels: int):
        self._path = path
        self._capture = cv2.VideoCapture(os.fspath(path))
        self._ends_early = False
        if not self._capture.isOpened():
            raise images.ImageError(
                f"{path} is no video that OpenCV can read, or it is damaged. Get the "
                "file again, or convert it to MP4"
            )
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or _USUAL_RATE
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > max_pixels:
            raise images.ImageError(
                f"{path} has frames of {width} x {height} = {width * height:,} pixels, "
                f"wanted are at most {max_pixels:,}. Shrink it, or raise max_pixels"
            )

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields RGB, uint8 `[height, width, 3]`."""
        number = 0
        for good, frame in workers.in_order(
            lambda _: self._capture.read(), itertools.count(), num_threads=1
        ):
            if not good:
                break
            number += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        if not number:
            raise images.ImageError(f"{self._path}: no frame of the video can be read")

    def __enter__(self):
        return self

    def __exit__(self, *_):
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

    def add(self, seen: outputs.Seen) -> None:
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
        for part, path in zip(self._parts.values(), self._paths.values(), strict=True):
            _remove([path])
            os.replace(part, path)


def _remove(paths):
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
