"""Prediction of files: from images and videos to folders of results."""

import dataclasses
import errno
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from kerasseg import errors, images
from kerasseg.datasets import IGNORE_LABEL
from kerasseg.images.class_rules import DEFAULT_RULE
from kerasseg.inference import outputs, reading, resuming, videos
from kerasseg.inference.inputs import is_video
from kerasseg.inference.segmenter import InstanceSegmenter, Segmenter
from kerasseg.system import names, processes, progress

_READ = reading.read  # Runs in worker processes: an image may crash its reader.
_TRIES = 2
# Failures to read an image that would occur again.
_FINAL = (errors.UserError, TimeoutError, MemoryError, cv2.error)
_SECONDS = 60.0  # For reading an image of the default size; a worker starts in two.
# What predicting an image may raise.
FAILURES = (ValueError, MemoryError, ChildProcessError)
# Errors of a result's name, which do not affect the other results.
_NAME_ERRORS = frozenset(
    {
        *(errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.ELOOP),
        *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    }
)


@dataclasses.dataclass
class Item:
    """An image on its way to results; `reason` says why it failed, if it did."""

    name: str
    path: pathlib.Path
    image: Any = None
    mask: Any = None
    confidence: Any = None
    probabilities: Any = None
    detections: Any = None
    reason: str = ""
    valid: Any = None
    place: Any = None
    source: resuming.Source | None = None

    @property
    def text(self) -> str:
        """The path in messages."""
        return names.printable(self.path)


def predict_files(
    segmenter: Segmenter | InstanceSegmenter,
    paths: Mapping[str, pathlib.Path],
    output_dir: str | os.PathLike,
    *,
    kinds: Sequence[str] = ("index", "overlay"),
    refine: Callable | None = None,
    max_pixels: int = images.DEFAULT_MAX_PIXELS,
    batch_size: int = 1,
    journal: resuming.Journal | None = None,
    min_score: float | None = None,
) -> list[str]:
    """Predicts images and videos, and writes their results at their own size.

    Reading, the network and writing run in parallel. An image that crashes its reader
    is tried twice. An image fails alone if reading it takes too long or too much
    memory, or if its result cannot have its name. Earlier results of an image that
    fails are removed.

    Args:
        segmenter: The network.
        paths: Images and videos by name, see `find_images`.
        output_dir: Folder of the results, with a folder for each kind.
        kinds: Keys of `outputs.KINDS`, or "masks".
        refine: Function of an image and its probabilities to a mask, and for the kind
            "confidence" also its probabilities, see `start_refiner`; None: no
            refinement.
        max_pixels: Larger images are not decoded.
        batch_size: Maximum number of consecutive images of equal size in a batch.
        journal: Gets an entry for each image and video that is done.
        min_score: Smallest score of the instances in masks, maps of ids and overlays,
            for a network that detects instances; None for `images.MIN_SCORE`. The kind
            "instances" has all detections.

    Returns:
        A line "PATH: reason" for each image or video that failed; for the characters
        of the path see `names.printable`.

    Raises:
        errors.UserError: There is no such kind of result, or the network does not have
            it, or no scores.
        OSError: A result cannot be written.
    """
    outputs.check(kinds, (*outputs.KINDS, outputs.MASKS))
    kinds = outputs.with_classes(kinds, segmenter.class_names)
    network = _Network(segmenter, kinds, refine, min_score)
    failures = []

    def finish(item):
        if not item.reason:
            item = network.add_mask(item)
        if not item.reason:
            _write(output_dir, item, network)
        if item.reason:
            outputs.remove(output_dir, item.name)
        elif journal is not None:
            journal.add(item.name, item.path, item.source, kinds)
        return item.reason

    still = {name: path for name, path in paths.items() if not is_video(path)}
    with progress.track(len(still), unit="image", text="predicting") as bar:
        items = read_images(still, max_pixels, segmenter.image_kind)
        for reason in processes.in_order(
            finish, network(items, batch_size), num_threads=processes.num_cores()
        ):
            failures += [reason] if reason else []
            bar.update()
    for name, path in paths.items():
        if is_video(path):
            item = Item(name, path, source=resuming.source(path))
            failed = _predict_video(network, item, output_dir, max_pixels, batch_size)
            failures += failed
            if journal is not None and not failed:
                journal.add(name, path, item.source, kinds)
    return [names.one_line(line) for line in failures]


def _write(output_dir, item, network):
    """Writes the results of an image, or sets its `reason`."""
    try:
        outputs.write(output_dir, item.name, network.kinds, network.prediction(item))
    except OSError as error:
        item.reason = _reason_of_name(item, error)


def _reason_of_name(item, error):
    """Returns why a result cannot have its name; raises any other error."""
    if error.errno not in _NAME_ERRORS:
        raise error
    return (
        f"{item.text}: its result cannot be written ({error.strerror}). Rename it, or "
        f"predict it into another folder"
    )


class _Network:
    """Predicts what the requested kinds of results need."""

    def __init__(self, segmenter, kinds, refine, min_score):
        self._segmenter, self._refine = segmenter, refine
        self._detector = None
        if isinstance(segmenter, InstanceSegmenter):
            self._detector = segmenter.detector
        self._rule = DEFAULT_RULE
        if isinstance(segmenter, Segmenter):
            self._rule = segmenter.rule
        outputs.check_network(
            kinds,
            detects_instances=self._detector is not None,
            min_score=min_score,
            multi_label=self._rule.multi_label,
        )
        self._min_score = images.MIN_SCORE if min_score is None else min_score
        if self._detector is not None and refine is not None:
            raise errors.UserError(
                "A CRF and superpixels refine the class of each pixel, and this "
                "network detects objects. Leave out `crf` and `superpixels`."
            )
        self.kinds, self._image_kind = kinds, segmenter.image_kind
        self._with_probabilities = refine is not None or "probabilities" in kinds
        self._with_confidence = "confidence" in kinds

    def __call__(self, items: Iterable[Item], batch_size: int) -> Iterator[Item]:
        """Predicts images in batches, in order."""
        for batch in _batches(items, batch_size):
            yield from self._predict(batch)

    def _predict(self, batch) -> list[Item]:
        """Predicts images of one size; if they fail, each of them again alone."""
        if batch[0].reason:
            return batch
        if self._detector is not None:
            return [self._detect(item, self._detector) for item in batch]
        stacked = np.stack([item.image for item in batch])
        texts = [item.text for item in batch]
        predictor = self._segmenter.predictor
        try:
            if self._with_probabilities:
                results = predictor.probabilities(stacked, names=texts)
                for item, probabilities in zip(batch, results, strict=True):
                    item.probabilities = probabilities
            elif self._with_confidence:
                results = predictor.confident_classes(stacked, names=texts)
                for item, *result in zip(batch, *results, strict=True):
                    item.mask, item.confidence = result
            else:
                results = predictor.classes(stacked, names=texts)
                for item, mask in zip(batch, results, strict=True):
                    item.mask = mask
        except FAILURES as error:
            if len(batch) > 1:
                return [result for item in batch for result in self._predict([item])]
            batch[0].reason = failure(batch[0], error)
        return batch

    def _detect(self, item, detector):
        try:
            item.detections = detector.detect(item.image)
        except FAILURES as error:
            item.reason = failure(item, error)
        return item

    def add_mask(self, item: Item) -> Item:
        """Computes the mask from probabilities or detections, unless it is there.

        Pixels whose values are missing get the ignore label.
        """
        if item.mask is None:
            self._add_mask(item)
        if item.valid is not None and not item.reason:
            item.mask = np.where(item.valid, item.mask, np.uint8(IGNORE_LABEL))
        return item

    def _add_mask(self, item):
        try:
            if item.detections is not None:
                confident = item.detections.above(self._min_score)
                item.mask = confident.class_map(item.image.shape[:2])
            elif self._refine is not None:
                view = self._image_kind.view(item.image)
                refined = self._refine(view, item.probabilities)
                if not self._with_confidence:
                    refined = refined, None
                item.mask, item.confidence = refined
            else:
                item.mask = self._rule.mask_of_rows(item.probabilities)
                if self._with_confidence:
                    item.confidence = self._rule.confidence(item.probabilities)
        except FAILURES as error:
            item.reason = failure(item, error)

    def check_video(self, item: Item) -> None:
        """Raises `images.ImageError` if the network does not take frames of videos."""
        if not self._image_kind.is_rgb:
            raise images.ImageError(
                f"{item.text} is a video of 8-bit RGB, and the network takes images "
                f"with {self._image_kind}. Give images"
            )

    def prediction(self, item: Item) -> outputs.Prediction:
        """Returns what the writers of results need."""
        return outputs.Prediction(
            item.path.name,
            self._image_kind.view(item.image),
            item.mask,
            item.probabilities,
            self._segmenter.class_names,
            self._segmenter.palette,
            item.detections,
            self._min_score,
            item.confidence,
            place=item.place,
            rule=self._rule,
        )


def failure(item: Item, error: Exception) -> str:
    """Returns why predicting an image failed, by one of `FAILURES`."""
    if isinstance(error, MemoryError):
        height, width, *_ = item.image.shape
        return f"{item.text}: {width} x {height} pixels need too much memory"
    return f"{item.text}: {error}"


def read_images(
    paths: Mapping[str, pathlib.Path],
    max_pixels: int,
    kind: images.ImageKind = images.RGB,
) -> Iterator[Item]:
    """Reads images in worker processes with limited memory and time, in order.

    Args:
        paths: Images by name.
        max_pixels: Larger images are not decoded.
        kind: What the images must be.

    Yields:
        An item for each image. If it cannot be read, the item has a `reason`.
    """
    function = functools.partial(_READ, max_pixels=max_pixels)
    if not kind.is_rgb:
        function = functools.partial(function, kind=kind)
    seconds = _SECONDS * max(1.0, max_pixels / images.DEFAULT_MAX_PIXELS)
    with processes.Processes(function, processes.num_cores(), seconds=seconds) as read:
        yield from processes.in_order(
            lambda entry: _load(read, Item(*entry), seconds),
            paths.items(),
            num_threads=processes.num_cores(),
        )


def _load(read, item, seconds) -> Item:
    """Reads the image of an item, or sets its `reason`."""
    item.source = resuming.source(item.path)
    for _ in range(_TRIES):
        try:
            (item.image, item.valid, item.place), item.reason = read(item.path), ""
            break
        except reading.FAILURES as error:
            item.reason = reading.reason(error, item.text, seconds)
            if isinstance(error, ChildProcessError):
                item.reason += "; tried twice"
            elif isinstance(error, _FINAL):
                break
    return item


def _batches(items: Iterable[Item], batch_size) -> Iterator[list[Item]]:
    """Groups consecutive images of one size; each failure is a separate batch."""
    batch: list[Item] = []
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


def _predict_video(network, item, output_dir, max_pixels, batch_size):
    """Returns the reasons why a video failed, wholly or in part."""
    name, path = item.name, item.path
    try:
        network.check_video(item)
        with (
            videos.Frames(path, max_pixels=max_pixels) as frames,
            videos.Results(output_dir, name, network.kinds, frames) as results,
            progress.track(
                frames.count, unit="frame", text=names.printable(path.name)
            ) as bar,
        ):
            items = (Item(name, path, frame) for frame in frames)
            for each in processes.in_order(
                lambda each: each if each.reason else network.add_mask(each),
                network(items, batch_size),
                num_threads=processes.num_cores(),
            ):
                if each.reason:
                    raise images.ImageError(each.reason)
                results.add(network.prediction(each))
                bar.update()
            missing = frames.missing
    except images.ImageError as error:
        outputs.remove(output_dir, name)
        return [str(error)]
    except OSError as error:
        reason = _reason_of_name(item, error)
        outputs.remove(output_dir, name)
        return [reason]
    return [missing] if missing else []
