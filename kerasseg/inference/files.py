"""Folders of pictures to folders of results."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from kerasseg import images
from kerasseg.inference import outputs, videos
from kerasseg.inference.inputs import is_video
from kerasseg.system import processes, progress

_READ = images.read_image  # In a process of its own: a picture may kill its reader.
_TRIES = 2
_ROWS = 256  # Of probabilities, at a time.
_WRONG = (ValueError, MemoryError, ChildProcessError, tf.errors.ResourceExhaustedError)


@dataclasses.dataclass
class _Item:
    """A picture on its way: either `reason` says why it failed, or it is there."""

    name: str
    path: pathlib.Path
    image: Any = None
    label: Any = None
    probabilities: Any = None
    reason: str = ""


def predict_files(
    segmenter,
    pictures: dict[str, pathlib.Path],
    output_dir,
    *,
    kinds=("index", "overlay"),
    refine=None,
    max_pixels=images.DEFAULT_MAX_PIXELS,
    batch_size=1,
) -> list[str]:
    """Writes results of pictures, each at its own size, and of videos.

    Reading, the network, and what comes after it work side by side. A picture that
    kills its reader is tried twice. What stood there of a picture that fails now is
    removed.

    Args:
        segmenter: `Segmenter`.
        pictures: What `find_images` returned.
        output_dir: Folder; `outputs.KINDS` are its sub-folders.
        kinds: Of `outputs.KINDS`.
        refine: See `evaluation.evaluate`; or None.
        max_pixels: Larger pictures are not decoded.
        batch_size: Pictures of equal size, one after the other, that go through the
            network at once.

    Returns:
        What could not be predicted, "NAME: reason" each.

    Raises:
        ValueError: There is no such kind.
        OSError: A result cannot be written.
    """
    outputs.check(kinds)
    say = _Network(segmenter, kinds, refine)
    failures = []

    def finish(item):
        if not item.reason:
            item = say.last_word(item)
        if item.reason:
            outputs.remove(output_dir, item.name)
        else:
            outputs.write(output_dir, item.name, kinds, say.seen(item))
        return item.reason

    still = {name: path for name, path in pictures.items() if not is_video(path)}
    with progress.track(len(still), unit="picture", text="predicting") as bar:
        read = _read(still, max_pixels)
        answered = (item for batch in _batches(read, batch_size) for item in say(batch))
        for reason in processes.in_order(
            finish, answered, num_threads=processes.num_cores()
        ):
            failures += [reason] if reason else []
            bar.update()
    for name, path in pictures.items():
        if is_video(path):
            failures += _video(say, name, path, output_dir, max_pixels, batch_size)
    return failures


class _Network:
    """What the network says, in the form that the wanted results need."""

    def __init__(self, segmenter, kinds, refine):
        self._segmenter, self._refine = segmenter, refine
        self.kinds = kinds
        self._kept = refine is not None or "probabilities" in kinds

    def __call__(self, batch) -> list[_Item]:
        """Answers pictures of one size; one that fails does not fail the others."""
        if batch[0].reason:
            return batch
        stacked = np.stack([item.image for item in batch])
        names = [str(item.path) for item in batch]
        try:
            if self._kept:
                found = self._segmenter.predictor.probabilities(stacked, names=names)
                for item, part in zip(batch, found, strict=True):
                    item.probabilities = part
            else:
                found = self._segmenter.predictor.classes(stacked, names=names)
                for item, part in zip(batch, found, strict=True):
                    item.label = part
        except _WRONG as error:
            if len(batch) > 1:
                return [answer for item in batch for answer in self([item])]
            batch[0].reason = _reason(batch[0], error)
        return batch

    def last_word(self, item) -> _Item:
        """Adds the label, where probabilities are still to be turned into one."""
        if item.label is not None:
            return item
        try:
            if self._refine is not None:
                item.label = self._refine(item.image, item.probabilities)
            else:
                item.label = _best(item.probabilities)
        except _WRONG as error:
            item.reason = _reason(item, error)
        return item

    def seen(self, item) -> outputs.Prediction:
        """Returns what results are made of."""
        return outputs.Prediction(
            item.path.name,
            item.image,
            item.label,
            item.probabilities,
            self._segmenter.class_names,
            self._segmenter.palette,
        )


def _best(probabilities):
    """Finds the largest, some rows at a time: their numbers are of 8 bytes each."""
    starts = range(0, len(probabilities), _ROWS)
    parts = [probabilities[i : i + _ROWS].argmax(-1).astype(np.uint8) for i in starts]
    return np.concatenate(parts)


def _reason(item, error):
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        height, width, _ = item.image.shape
        return f"{item.path}: {width} x {height} pixels need too much memory"
    return f"{item.path}: {error}"


def _read(pictures, max_pixels) -> Iterator[_Item]:
    function = functools.partial(_READ, max_pixels=max_pixels)
    with processes.Processes(function, processes.num_cores()) as read:

        def load(entry):
            item = _Item(*entry)
            for _ in range(_TRIES):
                try:
                    item.image, item.reason = read(item.path), ""
                    break
                except images.ImageError as error:
                    item.reason = str(error)
                    break
                except ChildProcessError:
                    item.reason = f"{item.path}: it kills what reads it; tried twice"
                except OSError as error:
                    item.reason = f"{item.path}: {error.strerror or error}"
                except (MemoryError, cv2.error):
                    item.reason = f"{item.path}: it takes too much memory to be read"
                    break
            return item

        yield from processes.in_order(
            load, pictures.items(), num_threads=processes.num_cores()
        )


def _batches(items: Iterable[_Item], batch_size) -> Iterator[list[_Item]]:
    """Yields pictures of one size together, and each failure alone."""
    batch: list[_Item] = []
    for item in items:
        if item.reason:
            yield [item]
            continue
        if batch and batch[0].image.shape != item.image.shape:
            yield batch
            batch = []
        batch.append(item)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _video(say, name, path, output_dir, max_pixels, batch_size):
    """Returns the reason why a video failed, or nothing."""
    try:
        with (
            videos.Frames(path, max_pixels=max_pixels) as frames,
            videos.Results(output_dir, name, say.kinds, frames) as results,
            progress.track(frames.count, unit="frame", text=path.name) as bar,
        ):
            items = (_Item(name, path, frame) for frame in frames)
            answered = (item for b in _batches(items, batch_size) for item in say(b))
            for item in processes.in_order(
                lambda item: item if item.reason else say.last_word(item),
                answered,
                num_threads=processes.num_cores(),
            ):
                if item.reason:
                    raise images.ImageError(item.reason)
                results.add(say.seen(item))
                bar.update()
            missing = frames.missing
    except images.ImageError as error:
        outputs.remove(output_dir, name)
        return [str(error)]
    return [missing] if missing else []
