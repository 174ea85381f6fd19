"""One picture of a split by its number, decoded, with its label checked."""

import contextlib
import threading

import cv2
import numpy as np
import tensorflow as tf

from kerasseg import errors, records
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.pipeline import augment


class ImageReader:
    """Reads one picture of a split by its number, with its label checked.

    Args:
        split: An open `records.Split`.
        skip_bad: How many damaged records may be replaced by a picture whose pixels
            are all ignored, so that the order of the others stays.

    Attributes:
        error: What stopped the reading first, or None; see `errors_named`.
        bad: Messages of the records replaced so far.
    """

    def __init__(self, split, *, skip_bad=0):
        self.split = split
        self.skip_bad = skip_bad
        self.error: Exception | None = None
        self.bad: dict[int, str] = {}
        self._lock = threading.Lock()
        cv2.setNumThreads(0)  # One picture a thread: tf.data supplies the threads.

    def read(self, index, *, instances=False):
        """Returns uint8 image `[height, width, 3]`, uint8 label, and the name.

        With `instances=True` uint16 instance numbers come last.

        Raises:
            ValueError: The record is damaged, or a label is out of range. The message
                names shard, record and picture.
        """
        index = int(index)
        try:
            return self._read(index, instances)
        except (ValueError, OSError) as error:
            with self._lock:
                self.bad[index] = str(error)
                if len(self.bad) <= self.skip_bad:
                    return _nothing(instances)
                self.error = self.error or error
            raise

    def _read(self, index, instances):
        where = self.split.locate(index)
        serialized = self.split.read(index)
        try:
            example = records.parse_example(serialized)
            image = records.decode_image(example["image"])
            if example["label"] is None:
                raise errors.UserError("it holds no label")
            maps = {"label": records.decode_label(example["label"])}
            if instances:
                maps["instance map"] = _instances(example)
        except ValueError as error:
            raise records.RecordError(f"{where}: {error}") from error
        name = example["name"]
        for kind, pixels in maps.items():
            if pixels.shape != image.shape[:2]:
                raise records.RecordError(
                    f"{where}, picture {name}: the {kind} is {pixels.shape[1]}x"
                    f"{pixels.shape[0]}, the picture {image.shape[1]}x{image.shape[0]}."
                )
        label, *rest = maps.values()
        check_label(label, self.split.spec.num_classes, f"{where}, picture {name}")
        return image, label, name, *rest

    @contextlib.contextmanager
    def errors_named(self):
        """Turns TensorFlow's error of a failed reading into the reader's own."""
        try:
            yield
        except tf.errors.OpError:
            if self.error is not None:
                raise self.error from None
            raise


def _instances(example):
    if example["instance"] is None:
        raise errors.UserError(
            "it holds no instance numbers, which the weights of borders are made of; "
            "train without `border_weights`, or build records that hold them"
        )
    return records.decode_instances(example["instance"])


def _nothing(instances):
    """A picture of which every pixel is ignored."""
    image = np.full((1, 1, 3), augment.PADDING_COLOR, np.uint8)
    picture = image, np.full((1, 1), IGNORE_LABEL, np.uint8), ""
    return (*picture, np.zeros((1, 1), np.uint16)) if instances else picture


def check_label(label, num_classes, where) -> None:
    """Raises ValueError that lists the labels out of range, with their pixels."""
    # In uint8 the ignore label plus one is 0: one quick look for the good case.
    if (label + np.uint8(1)).max(initial=0) <= num_classes:
        return
    counts = np.bincount(label.ravel(), minlength=256)
    wrong = [int(k) for k in np.flatnonzero(counts[:IGNORE_LABEL]) if k >= num_classes]
    if wrong:
        listed = ", ".join(f"{k} ({counts[k]} pixels)" for k in wrong)
        raise records.RecordError(
            f"{where}: labels out of range: {listed}. Labels are 0 to "
            f"{num_classes - 1}, or {IGNORE_LABEL} for ignored pixels. Is `dataset` "
            f"the one that the records were built for?"
        )
