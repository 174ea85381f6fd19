"""The images of the search: predicted once, then cached on disk."""

import os
import pathlib
import shutil
from collections.abc import Callable, Iterable

import numpy as np

from kerasseg import crf, metrics
from kerasseg.crf.tuning import cache
from kerasseg.crf.tuning.scores import Scores
from kerasseg.system import files, progress


class CachedImages:
    """Images of a split, with the network's probabilities and the ground truth.

    Args:
        reader: `pipeline.ImageReader` of the split.
        indices: Indices of the images in the split.
        folder: Folder of the cache, created when needed. A file takes 2 bytes per
            pixel and class in the image, and 4 bytes per pixel.
        make_predictor: Returns the `inference.Predictor`; called when needed.
    """

    def __init__(
        self,
        reader,
        indices: Iterable[int],
        folder: str | os.PathLike,
        make_predictor: Callable,
    ):
        self._reader, self.indices = reader, list(indices)
        self._folder = pathlib.Path(folder)
        self._make_predictor = make_predictor
        self.spec = reader.split.spec
        self._confusion = metrics.Confusion(self.spec.num_classes)

    def path(self, index: int) -> pathlib.Path:
        """Returns the path of an image's file."""
        return self._folder / f"{index}.npz"

    def prepare(self, indices: Iterable[int], scores: Scores) -> None:
        """Runs the network on those images that have no file yet.

        Args:
            indices: Indices of the images.
            scores: `Scores`, to which the scores without a CRF are added.

        Raises:
            errors.UserError: A record is damaged, a label is out of range, or the
                logits are NaN.
        """
        missing = [index for index in indices if not self.path(index).exists()]
        if not missing:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        predictor = self._make_predictor()
        with progress.track(len(missing), unit="image", text="predicting") as bar:
            for index in missing:
                image, label, name = self._reader.read(index)
                (probabilities,) = predictor.probabilities(
                    image[np.newaxis], names=[name]
                )
                if not scores.has(index, None):
                    mask = probabilities.argmax(axis=-1)
                    scores.add(index, {None: self._count(label, mask)})
                with files.open_file(self.path(index)) as file:
                    cache.write(file, crf.prune(image, probabilities), label)
                bar.update()

    def counts(self, index: int, mask: np.ndarray) -> np.ndarray:
        """Scores a mask of a prepared image.

        Args:
            index: Index of the image.
            mask: Class numbers, uint8 `[height, width]`.

        Returns:
            int64 `[3, num_classes]`, see `metrics.iou_counts`.
        """
        return self._count(cache.read_label(self.path(index)), mask)

    def _count(self, label, mask):
        return metrics.iou_counts(self._confusion.measure(label, mask, None))

    def remove(self) -> None:
        """Removes the files."""
        shutil.rmtree(self._folder, ignore_errors=True)
