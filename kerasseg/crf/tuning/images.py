"""What a network says of some pictures: asked once, kept on disk."""

import pathlib
import shutil
from collections.abc import Callable

import numpy as np

from kerasseg import crf, metrics
from kerasseg.crf.tuning import cache
from kerasseg.system import files, progress


class Pictures:
    """Pictures of a split that settings are tried on.

    Args:
        reader: `pipeline.ImageReader` of the split.
        indices: Which of its pictures.
        folder: For their files, 2 bytes a pixel and likely class and 4 a pixel; it is
            made when it is needed.
        make_predictor: Makes the `inference.Predictor`; called when it is needed.
    """

    def __init__(self, reader, indices, folder, make_predictor: Callable):
        self._reader, self.indices = reader, list(indices)
        self._folder = pathlib.Path(folder)
        self._make_predictor = make_predictor
        self.spec = reader.split.spec
        self._confusion = metrics.Confusion(self.spec.num_classes)

    def path(self, index: int) -> pathlib.Path:
        """Names the file of a picture."""
        return self._folder / f"{index}.npz"

    def prepare(self, indices, scores) -> None:
        """Has the network look at those pictures that have no file.

        Args:
            indices: Of the pictures.
            scores: `Scores`, which is told what the network alone scores.

        Raises:
            ValueError: A record is damaged, a label is out of range, or what the
                network says of a picture is no number.
        """
        missing = [index for index in indices if not self.path(index).exists()]
        if not missing:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        predictor = self._make_predictor()
        with progress.track(len(missing), unit="picture", text="looking") as bar:
            for index in missing:
                image, label, name = self._reader.read(index)
                (found,) = predictor.probabilities(image[np.newaxis], names=[name])
                if not scores.has(index, None):
                    scores.add(index, {None: self._count(label, found.argmax(axis=-1))})
                with files.open_file(self.path(index)) as file:
                    cache.keep(file, crf.prune(image, found), label)
                bar.update()

    def counts(self, index: int, classes) -> np.ndarray:
        """Counts one of several class maps of a prepared picture.

        Args:
            index: Of the picture.
            classes: uint8 `[height, width]`.

        Returns:
            int64 `[3, num_classes]`, see `metrics.iou_counts`.
        """
        return self._count(cache.read_label(self.path(index)), classes)

    def _count(self, label, classes):
        return metrics.iou_counts(self._confusion.measure(label, classes, None))

    def remove(self) -> None:
        """Removes the files."""
        shutil.rmtree(self._folder, ignore_errors=True)
