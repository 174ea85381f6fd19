"""The ground truth of instances in a split of records."""

import numpy as np

from kerasseg import errors, images, records
from kerasseg.evaluation.instances import DetectedImage


class RecordObjects:
    """The instances of a split.

    Args:
        split: `records.Split`, whose records have instances.

    Attributes:
        split: The same.
    """

    def __init__(self, split: records.Split):
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def targets(self) -> list[tuple[str, tuple[int, int]]]:
        """Returns name, and height and width, of each image."""
        examples = (self._parse(i) for i in range(len(self)))
        return [(each["name"], (each["height"], each["width"])) for each in examples]

    def read(
        self, index: int
    ) -> tuple[np.ndarray, np.ndarray | None, records.Objects, str]:
        """Reads an image.

        Returns:
            Image, RGB uint8 `[height, width, 3]`; label, uint8 `[height, width]`, or
            None if the record has none; the instances; and the name.

        Raises:
            records.RecordError: The record is damaged, has no instances, or a label is
                out of range. The message names shard, record and image.
        """
        example = self._parse(index)
        where = f"{self.split.locate(index)}, image {example['name']}"
        try:
            image = records.decode_image(example["image"])
            size = image.shape[:2]
            label = None
            if example["label"] is not None:
                label = records.decode_label(example["label"], size)
                images.check_label_range(label, self.split.spec.num_classes, name=where)
            known = np.zeros(size, np.uint8) if label is None else label
            objects = records.decode_objects(example, known)
        except records.RecordError:
            raise
        except ValueError as error:
            raise records.RecordError(f"{where}: {error}") from error
        return image, label, objects, example["name"]

    def sample(self, index: int, detections: images.Detections) -> DetectedImage:
        """Returns an image with its detections; see `read`."""
        image, label, objects, name = self.read(index)
        return DetectedImage(index, name, objects, detections, label, image)

    def _parse(self, index):
        try:
            return records.parse_example(self.split.read(index))
        except errors.UserError as error:
            where = self.split.locate(index)
            raise records.RecordError(f"{where}: {error}") from error
