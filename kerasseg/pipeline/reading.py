"""Reads single images of a split: decoded, with a checked label."""

import contextlib
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import tensorflow as tf

from kerasseg import errors, images, records
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.pipeline import augment


class ImageReader:
    """Reads images of a split by index, and checks their labels.

    Args:
        split: An open `records.Split`.
        skip_bad: Maximum number of damaged records that are replaced by an image whose
            pixels are all ignored, so that the order of the others does not change.

    Attributes:
        error: The first error that stopped the pipeline, or None; see `reraise_errors`.
        bad: Messages of the records that were replaced, by index.
    """

    def __init__(self, split: records.Split, *, skip_bad: int = 0):
        self.split = split
        self.skip_bad = skip_bad
        self.error: Exception | None = None
        self.bad: dict[int, str] = {}
        self._lock = threading.Lock()
        cv2.setNumThreads(0)  # One image per thread: tf.data has the threads.

    def read(self, index: int, *, instances: bool = False) -> tuple:
        """Reads and decodes one image.

        Returns:
            Image, uint8 `[height, width, 3]`, label, uint8 `[height, width]`, and name;
            with `instances=True` also instance ids, uint16 `[height, width]`.

        Raises:
            records.RecordError: The record is damaged, or a label is out of range. The
                message names shard, record and image.
        """
        return self._guarded(index, _instances if instances else None)

    def read_objects(self, index: int) -> tuple:
        """Reads and decodes one image with its instances.

        Returns:
            Image, label and name, see `read`, and `records.Objects`.

        Raises:
            records.RecordError: See `read`; or the record has no instances, or they
                are damaged or of an unknown class.
        """
        return self._guarded(index, records.decode_objects)

    def _guarded(self, index, more):
        """Reads an image, or replaces it if it is damaged; see `_read`."""
        index = int(index)
        try:
            return self._read(index, more)
        except (ValueError, OSError) as error:
            with self._lock:
                self.bad[index] = str(error)
                if len(self.bad) <= self.skip_bad:
                    return _ignored_image(more)
                self.error = self.error or error
            raise

    def _read(self, index, more):
        """Reads an image, and what the function `more` of record and label returns."""
        where = self.split.locate(index)
        serialized = self.split.read(index)
        try:
            example = records.parse_example(serialized)
            where = f"{where}, image {example['name']}"
            image = records.decode_image(example["image"])
            if example["label"] is None:
                raise errors.UserError("the record has no label")
            label = records.decode_label(example["label"], image.shape[:2])
            rest = [more(example, label)] if more else []
            if more is records.decode_objects:
                _check_classes(rest[0], self.split.spec.num_classes)
        except ValueError as error:
            raise records.RecordError(f"{where}: {error}") from error
        try:
            images.check_label_range(label, self.split.spec.num_classes, name=where)
        except images.ImageError as error:
            raise records.RecordError(str(error)) from error
        return image, label, example["name"], *rest

    @contextlib.contextmanager
    def reraise_errors(self) -> Iterator[None]:
        """Replaces TensorFlow's error of a failed read by the original one."""
        try:
            yield
        except tf.errors.OpError:
            if self.error is not None:
                raise self.error from None
            raise


def _instances(example, label):
    if example["instance"] is None:
        raise errors.UserError(
            "the record has no instance ids, from which border weights are computed; "
            "train without `border_weights`, or build records with instances"
        )
    return records.decode_instances(example["instance"], label.shape)


def _check_classes(objects, num_classes):
    highest = objects.classes.max(initial=0)
    if highest >= num_classes:
        raise errors.UserError(
            f"an instance has the class {highest}, expected 1 to {num_classes - 1}. "
            "Check that `dataset` is the data set of these records"
        )


def _ignored_image(more):
    """Returns an image of one pixel, which is ignored, without instances."""
    image = np.full((1, 1, 3), augment.PADDING_COLOR, np.uint8)
    label, none = np.full((1, 1), IGNORE_LABEL, np.uint8), np.zeros((1, 1), np.uint16)
    if more is None:
        return image, label, ""
    return (
        image,
        label,
        "",
        none if more is _instances else records.from_instances(none, label),
    )
