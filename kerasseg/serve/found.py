"""The objects that a network detects in an image, as answers of the server."""

import functools
from collections.abc import Mapping

import numpy as np

from kerasseg import images
from kerasseg.inference import detector

_PADDED = ("boxes", "scores", "classes", "valid")
OUTPUTS = (*_PADDED, "mask_probabilities")  # Of the signature `tensor`.


class Found:
    """The detected objects of an image.

    Args:
        outputs: `OUTPUTS` by name, with their padding.
        size: Height and width of the image.

    Attributes:
        detections: All of them, without padding and with masks.
    """

    def __init__(self, outputs: Mapping[str, np.ndarray], size: tuple[int, int]):
        self._outputs, self._size = outputs, size
        self.detections = detector.without_padding(
            {**outputs, "masks": outputs["mask_probabilities"]}, size
        )

    @functools.cached_property
    def _ids(self):
        return self.detections.above(images.MIN_SCORE).id_map(self._size)

    def class_map(self) -> np.ndarray:
        """Returns the class of the best object at each pixel, uint8; 0 for none.

        Scores below `images.MIN_SCORE` do not count.
        """
        classes = np.concatenate([[0], self.detections.classes]).astype(np.uint8)
        return classes[self._ids]

    def files(self) -> dict:
        """Returns the outputs of the signature `serving_default` for the image."""
        return {
            **{name: self._outputs[name] for name in _PADDED},
            "mask_png_bytes": images.encode_label(self.class_map()),
            "instance_png_bytes": images.encode_label(self._ids),
        }

    def annotations(self) -> list[dict]:
        """Returns all detections like annotations of COCO.

        Returns:
            Dicts, by descending score, of "id", the pixel value in
            `instance_png_bytes`; "category_id", the class number; "score"; "bbox" (x,
            y, width, height in pixels); "segmentation", the uncompressed runs of the
            mask, see `runs`, and its "size"; and "area" in pixels.
        """
        return [self._annotation(i) for i in range(len(self.detections))]

    def _annotation(self, i):
        every = self.detections
        y1, x1, y2, x2 = map(float, every.boxes[i])
        mask = every.masks[i]
        return {
            "id": i + 1,
            "category_id": int(every.classes[i]),
            "score": float(every.scores[i]),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "segmentation": {"size": list(self._size), "counts": runs(mask)},
            "area": int(np.count_nonzero(mask)),
        }


def runs(mask: np.ndarray) -> list[int]:
    """Returns the lengths of the runs of a mask, column by column, zeros first.

    Args:
        mask: bool `[height, width]`.

    Source: https://cocodataset.org/#format-data, uncompressed RLE.
    """
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
