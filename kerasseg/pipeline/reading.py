"""Reads single images of a split: decoded, with a checked label."""

import contextlib
import threading
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import tensorflow as tf

from kerasseg import errors, images, records
from kerasseg.datasets import IGNORE_LABEL

_BACKGROUND = "background"


class _UnlabeledError(errors.UserError):
    """A label is to be read, but the record has none."""


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

    @property
    def kind(self) -> images.ImageKind:
        """Channels, type and statistics of the images."""
        return self.split.spec.image_kind

    def read(self, index: int, *, instances: bool = False) -> tuple:
        """Reads and decodes one image.

        Returns:
            Image, `[height, width, channels]` of the type of the records (RGB and uint8
            by default), label, uint8 `[height, width]`, or uint16 if it has the bits of
            several classes, see `images.bit_masks`; and name; with `instances=True`
            also instance ids, uint16 `[height, width]`.

        Raises:
            records.RecordError: The record is damaged or has no label, or a label is
                out of range. The message names shard, record and image.
        """
        more = _instances if instances else None
        return self._guarded(
            index, lambda i: self._read(i, more), lambda: self._ignored(more)
        )

    def read_objects(self, index: int) -> tuple:
        """Reads and decodes one image with its instances.

        Returns:
            Image, label and name, see `read`, and `records.Objects`.

        Raises:
            records.RecordError: See `read`; or the record has no instances, or they
                are damaged or of an unknown class.
        """
        more = records.decode_objects
        return self._guarded(
            index, lambda i: self._read(i, more), lambda: self._ignored(more)
        )

    def read_image(self, index: int) -> tuple[np.ndarray, str]:
        """Reads and decodes one image without its label, which is not even checked.

        Returns:
            Image, see `read`, and name.

        Raises:
            records.RecordError: The record is damaged. The message names shard, record
                and image.
        """
        return self._guarded(
            index, self._read_image, lambda: (self._ignored(None)[0], "")
        )

    def read_tags(self, index: int) -> np.ndarray | None:
        """Reads the image-level classes of one image, without decoding it.

        Returns:
            Whether the image shows each class, bool `[num_classes]`; class 0 is False
            if it is named background. None if the classes are not known, also for a
            damaged record that is skipped.

        Raises:
            records.RecordError: The record is damaged, or a class is out of range. The
                message names shard, record and image.
        """
        return self._guarded(index, self._read_tags, lambda: None)

    def _guarded(self, index, read, replacement):
        """Calls `read` for a record, or `replacement` if the record is damaged."""
        index = int(index)
        try:
            return read(index)
        except (ValueError, OSError) as error:
            # A record without a label is not damaged, but in the wrong place.
            is_damaged = not isinstance(error.__cause__, _UnlabeledError)
            with self._lock:
                if is_damaged:
                    self.bad[index] = str(error)
                    if len(self.bad) <= self.skip_bad:
                        return replacement()
                self.error = self.error or error
            raise

    @contextlib.contextmanager
    def _named_record(self, index):
        """Yields a parsed record; errors in the block name shard, record and image."""
        where = self.split.locate(index)
        serialized = self.split.read(index)
        try:
            example = records.parse_example(serialized)
            where = f"{where}, image {example['name']}"
            yield example
        except ValueError as error:
            raise records.RecordError(f"{where}: {error}") from error

    def _read(self, index, more):
        """Reads an image, and what the function `more` of record and label returns."""
        with self._named_record(index) as example:
            if example["label"] is None:
                raise _UnlabeledError(
                    "the record has no label. Give records without labels as "
                    "`unlabeled_records_dir`, and records with labels as `records_dir`"
                )
            image = self._decode(example)
            label = records.decode_label(
                example["label"],
                image.shape[:2],
                multi_label=self.split.spec.multi_label,
            )
            rest = [more(example, label)] if more else []
            if more is records.decode_objects:
                _check_classes(rest[0], self.split.spec.num_classes)
        where = f"{self.split.locate(index)}, image {example['name']}"
        try:
            images.check_label_range(
                label,
                self.split.spec.num_classes,
                name=where,
                multi_label=self.split.spec.multi_label,
            )
        except images.ImageError as error:
            raise records.RecordError(str(error)) from error
        return image, label, example["name"], *rest

    def _read_image(self, index):
        with self._named_record(index) as example:
            return self._decode(example), example["name"]

    def _decode(self, example):
        image = records.decode_image(example["image"])
        self.kind.check(image, "the image")
        return image

    def _ignored(self, more):
        return _ignored_image(more, self.split.spec)

    def _read_tags(self, index):
        names = self.split.spec.class_names
        with self._named_record(index) as example:
            present = example["present_classes"]
            if present is None:
                return None
            if not {*present} <= {*range(len(names))}:
                raise errors.UserError(
                    f"its image-level classes are {list(present)}, expected 0 to "
                    f"{len(names) - 1}. Check that `dataset` is the data set of these "
                    "records"
                )
        tags = np.zeros(len(names), bool)
        tags[list(present)] = True
        tags[0] &= names[0] != _BACKGROUND
        return tags

    @contextlib.contextmanager
    def noted_errors(self) -> Iterator[None]:
        """Notes an error of the block for `reraise_errors`, and raises it."""
        try:
            yield
        except errors.UserError as error:
            with self._lock:
                self.error = self.error or error
            raise

    @contextlib.contextmanager
    def reraise_errors(self) -> Iterator[None]:
        """Replaces TensorFlow's error of a failed read by the original one."""
        try:
            yield
        except tf.errors.OpError:
            if self.error is not None:
                raise self.error from None
            raise


def labeled_order(
    reader: ImageReader, order: Sequence[int] | np.ndarray | None = None
) -> np.ndarray | None:
    """Returns the record indices of an epoch whose labels are used.

    Args:
        reader: Reader of the split, see `records.Split.labeled`.
        order: Record indices of an epoch, such as those of `oversample`; None for each
            record once.

    Returns:
        The indices of `order` that are labeled, int64, in its order; None for all
        records once.

    Raises:
        errors.UserError: No label is used, or the list of labeled images does not fit
            the records.
    """
    labeled = reader.split.labeled
    if labeled is None:
        return None if order is None else np.asarray(order)
    chosen = labeled if order is None else np.asarray(order)
    chosen = chosen[np.isin(chosen, labeled)]
    if not len(chosen):
        raise errors.UserError(
            f"No image of the split '{reader.split.name}' has a label that is used. "
            "Give records with labels as `records_dir`; those without labels are for "
            "`unlabeled_records_dir`."
        )
    return chosen


def unlabeled_order(reader: ImageReader) -> np.ndarray:
    """Returns the indices of the records whose labels are missing or not used.

    Args:
        reader: Reader of the split, see `records.Split.labeled`.

    Returns:
        int64 record indices, sorted.

    Raises:
        errors.UserError: There is none, or the list of labeled images does not fit the
            records.
    """
    split = reader.split
    everything, labeled = np.arange(len(split)), split.labeled
    unlabeled = np.setdiff1d(everything, everything if labeled is None else labeled)
    if not len(unlabeled):
        raise errors.UserError(
            f"All {len(split):,} images of the split '{split.name}' are labeled, so "
            "none is unlabeled. Give a list of the labeled images with `labeled_list`, "
            "or records without labels with `unlabeled_records_dir`."
        )
    return unlabeled


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


def _ignored_image(more, spec):
    """Returns an image of one pixel, which is ignored, without instances."""
    kind, dtype = spec.image_kind, spec.label_dtype
    image = np.full((1, 1, kind.channels), kind.padding, kind.dtype)
    label, none = np.full((1, 1), IGNORE_LABEL, dtype), np.zeros((1, 1), np.uint16)
    if more is None:
        return image, label, ""
    return (
        image,
        label,
        "",
        none if more is _instances else records.from_instances(none, label),
    )
