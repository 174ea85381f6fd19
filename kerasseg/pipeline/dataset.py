"""A split of records as a data set: single images, and batches for Keras' fit."""

import dataclasses
import os
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from kerasseg import datasets, errors, records
from kerasseg.pipeline import batches
from kerasseg.pipeline.augment import Augmentation
from kerasseg.pipeline.reading import ImageReader

_MAX_SHOWN = 6  # Classes in the text of a data set.


class Dataset:
    """The images and masks of a split of records, as a sequence.

    `dataset[i]` is image, uint8 RGB `[height, width, 3]` unless the images have other
    channels or another type, mask, uint8 class numbers
    `[height, width]` with 255 for ignored pixels, and the name of the image.

    Args:
        records_dir: Folder of the records.
        split: Name of the split.
        dataset: Name of the data set, where the records have no dataset.json.

    Attributes:
        records_dir: The folder.
        name: Name of the split.
        dataset: The argument.

    Raises:
        errors.MissingFileError: The folder or the split is missing.
        errors.UserError: The records are damaged, or of another data set.
    """

    def __init__(
        self,
        records_dir: str | os.PathLike,
        split: str = "train",
        *,
        dataset: str | None = None,
    ):
        self.records_dir = os.path.abspath(records_dir)
        self.name, self.dataset = split, dataset
        self._reader = ImageReader(
            records.open_split(self.records_dir, split, dataset=dataset)
        )

    @property
    def spec(self) -> datasets.DatasetSpec:
        """Classes, their colors, and the source of the images."""
        return self._reader.split.spec

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of their numbers."""
        return self.spec.class_names

    @property
    def has_info(self) -> bool:
        """Whether the folder has a dataset.json, which lists its splits."""
        return os.path.exists(os.path.join(self.records_dir, records.INFO_FILE))

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits in the folder; only this one without dataset.json."""
        if not self.has_info:
            return (self.name,)
        return tuple(sorted(records.read_info(self.records_dir).splits))

    def split(self, name: str) -> "Dataset":
        """Opens another split of the same records; see the class for errors."""
        return Dataset(self.records_dir, name, dataset=self.dataset)

    def __len__(self):
        return len(self._reader.split)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, str]:
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"Image {index} of {size}.")
        return self._reader.read(index % size)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
        return map(self.__getitem__, range(len(self)))

    def __repr__(self):
        names = self.classes[:_MAX_SHOWN]
        more = len(self.classes) - len(names)
        shown = ", ".join(names) + (f" and {more} more" if more else "")
        others = [name for name in self.splits if name != self.name]
        return (
            f"<kerasseg.data.Dataset {self.spec.name or 'images'}, split {self.name}: "
            f"{len(self):,} images, {len(self.classes)} classes ({shown}); other "
            f"splits: {', '.join(others) or 'none'}; records: {self.records_dir}>"
        )

    def batches(
        self,
        augmentation: Augmentation | None = None,
        *,
        batch_size: int = 8,
        seed: int = 1,
        transform: Callable | None = None,
    ) -> tf.data.Dataset:
        """Returns batches of images and masks, for `model.fit` and `model.evaluate`.

        With an augmentation, the batches are those of a training of kerasseg: shuffled
        in each epoch, and without end, so `model.fit` needs `steps_per_epoch`, and
        `shuffle=False`. They depend on the seed only. Without one, each image comes
        once at its own size, in batches of equal sizes, which may have fewer images.

        Args:
            augmentation: Crop, scales, flips and so on; None for images as they are.
            batch_size: Images per batch, at least 1.
            seed: Seed of order and augmentation.
            transform: The user's own augmentation of a crop, called last: a function of
                image and mask that returns both, and may take a
                `numpy.random.Generator` as a third argument; or an albumentations
                Compose. Sizes and types must stay, and labels in range.

        Returns:
            Dataset of pairs: uint8 `[batch, height, width, 3]`, and uint8 `[batch,
            height, width]` with 255 for ignored pixels.

        Raises:
            errors.UserError: There is a transform without an augmentation, or it is not
                callable. An error of an image while batches are read is raised by
                TensorFlow, with the text of a `UserError` that names the image.
        """
        if batch_size < 1:
            raise errors.UserError(
                f"`batch_size` must be at least 1, got {batch_size}."
            )
        if augmentation is None:
            if transform is not None:
                raise errors.UserError(
                    "`transform` is called on augmented crops. Give an `augmentation`, "
                    "such as kerasseg.data.Augmentation(crop_size=(256, 256))."
                )
            dataset = batches.evaluation_dataset(self._reader, batch_size=batch_size)
        else:
            if transform is not None:
                augmentation = dataclasses.replace(augmentation, transform=transform)
            dataset = batches.training_dataset(
                self._reader, augmentation, batch_size=batch_size, seed=seed
            )
        return dataset.map(lambda batch: (batch["image"], batch["label"]))
