"""Detected instances of an image, and how they are pasted into one map."""

import dataclasses
from typing import Any

import numpy as np

from kerasseg import errors

MIN_SCORE = 0.5  # Detections below it are neither pasted nor drawn by default.


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """The detected instances of one image, without padding.

    Attributes:
        boxes: float `[detections, 4]`: y1, x1, y2, x2 in pixels, where pixel i covers
            [i, i + 1).
        scores: Confidence of the class, usually from 0 to 1, float `[detections]`.
        classes: Class numbers from 1, integers `[detections]`.
        masks: One mask for each detection, bool `[detections, height, width]`, or any
            other sequence of masks; None for boxes only.

    Raises:
        errors.UserError: Wrong shapes, a number that is not finite, or class 0.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: Any = None

    def __post_init__(self):
        shapes = [np.shape(x) for x in (self.boxes, self.scores, self.classes)]
        count = len(self.scores) if np.ndim(self.scores) == 1 else -1
        num_masks = count if self.masks is None else len(self.masks)
        if shapes != [(count, 4), (count,), (count,)] or num_masks != count:
            raise errors.UserError(
                f"Detections have boxes {list(shapes[0])}, scores {list(shapes[1])}, "
                f"classes {list(shapes[2])} and {num_masks} masks; expected [n, 4], "
                "[n], [n] and n. Remove the padding with the same index from each."
            )
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise errors.UserError(
                "A box or a score of the detections is NaN or infinite. Check the "
                "network, or the file that the detections are from."
            )
        if count and np.min(self.classes) < 1:
            raise errors.UserError(
                f"A detection has the class {np.min(self.classes)}, expected numbers "
                "from 1: class 0 is no object. Remove the padding."
            )

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, min_score: float) -> "Detections":
        """Returns the detections whose score is at least `min_score`, in order."""
        kept = np.flatnonzero(np.asarray(self.scores) >= min_score)
        masks = self.masks
        if isinstance(masks, np.ndarray):
            masks = masks[kept]
        elif masks is not None:
            masks = _Selected(masks, kept)
        return Detections(
            self.boxes[kept], self.scores[kept], self.classes[kept], masks
        )

    def id_map(self, size: tuple[int, int]) -> np.ndarray:
        """Pastes the masks into one map.

        Where masks overlap, the one with the highest score wins, and of equal scores
        the first. No paper states a rule; this is the order in which COCO's evaluation
        matches detections.

        Args:
            size: Height and width of the image.

        Returns:
            uint16 `[height, width]`: index of the detection plus 1, 0 for none.

        Raises:
            errors.UserError: There are no masks, more than 65,535, or of another size.
        """
        if self.masks is None:
            raise errors.UserError(
                "The detections have boxes but no masks, which cannot be pasted."
            )
        if len(self) >= 1 << 16:
            raise errors.UserError(
                f"An image has {len(self):,} detections, a map of ids holds 65,535. "
                "Raise the minimum score."
            )
        ids = np.zeros(size, np.uint16)
        for i in np.argsort(-np.asarray(self.scores), kind="stable")[::-1]:
            ids[_checked(self.masks[i], size)] = i + 1
        return ids

    def class_map(self, size: tuple[int, int]) -> np.ndarray:
        """Pastes the masks as `id_map` does, and returns the class of each pixel.

        Returns:
            uint8 `[height, width]`; 0, the background, where there is no detection.

        Raises:
            errors.UserError: See `id_map`.
        """
        classes = np.concatenate([[0], self.classes]).astype(np.uint8)
        return classes[self.id_map(size)]


class _Selected:
    """Some masks of a sequence, each of which is read on access."""

    def __init__(self, masks, indices):
        self._masks, self._indices = masks, indices

    def __len__(self):
        return len(self._indices)

    def __getitem__(self, i):
        return self._masks[self._indices[i]]


def _checked(mask, size):
    mask = np.asarray(mask)
    if mask.shape != tuple(size) or mask.dtype != bool:
        raise errors.UserError(
            f"A mask is {mask.dtype} {list(mask.shape)}, expected bool {list(size)}, "
            "the size of the image."
        )
    return mask
