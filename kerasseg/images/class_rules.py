"""From logits to probabilities and masks: the only place that knows the rule.

A softmax network has one logit for each of its classes, and the mask is the class with
the highest. With `activation=sigmoid` there are two more kinds:

- binary: one logit `z`, of class 1 against class 0. Since `sigmoid(z)` is the softmax
  of the logits `(0, z)`, the network is one of two classes whose first logit is 0, and
  losses, scores, fusion and CRF of two classes apply unchanged.
- multi-label: one logit for each class, independent of the others. The mask has the
  bits of the classes at each pixel, see `kerasseg.images.bit_masks`.

The functions compute with `xp`: `numpy`, or `keras.ops` for tensors.
"""

import dataclasses
from typing import Any

import numpy as np

from kerasseg import errors
from kerasseg.images import bit_masks

_ROWS = 256  # Processed at a time, to avoid copies of large probabilities.


def num_classes(num_logits: int) -> int:
    """Returns the number of classes of a network with that number of logits."""
    return 2 if num_logits == 1 else num_logits


def num_logits(num_classes: int, activation: str, *, multi_label: bool = False) -> int:
    """Returns the number of logits of a network for the classes of a data set.

    Args:
        num_classes: Number of classes.
        activation: "softmax" or "sigmoid".
        multi_label: Whether a pixel may have several classes.

    Raises:
        errors.UserError: The activation does not fit the classes.
    """
    if multi_label and activation != "sigmoid":
        raise errors.UserError(
            f"`activation={activation}` predicts one class for each pixel, and the "
            "records are multi-label: their pixels may have several. Give "
            "`activation=sigmoid`."
        )
    if multi_label and num_classes == 1:
        raise errors.UserError(
            "Multi-label records need at least 2 classes. For a single class, build "
            "records of two classes that exclude each other: background and the class."
        )
    if activation != "sigmoid" or multi_label:
        return num_classes
    if num_classes != 2:
        raise errors.UserError(
            f"`activation=sigmoid` predicts class 1 against class 0, and the records "
            f"have {num_classes} classes that exclude each other. Give "
            "`activation=softmax`, or build multi-label records, see docs/data.md."
        )
    return 1


def class_logits(logits, xp: Any = np):
    """Returns one logit for each class: `(0, z)` for the only logit `z`.

    Args:
        logits: Output of a network, `[..., num_logits]`.
        xp: `numpy` or `keras.ops`.
    """
    if logits.shape[-1] != 1:
        return logits
    return xp.concatenate([xp.zeros_like(logits), logits], axis=-1)


@dataclasses.dataclass(frozen=True)
class ClassRule:
    """How a network's probabilities become a mask.

    Attributes:
        multi_label: Whether the classes are independent of each other.
        thresholds: Probabilities above which a pixel has a class: one for each class
            of a multi-label network, that of class 1 for a binary one; () for 0.5.
            Other networks have none.

    Raises:
        errors.UserError: A threshold is not from 0 to 1.
    """

    multi_label: bool = False
    thresholds: tuple[float, ...] = ()

    def __post_init__(self):
        if not all(0 <= each < 1 for each in self.thresholds):
            raise errors.UserError(
                f"`thresholds={self.thresholds}` must be at least 0 and below 1. Give "
                "probabilities, or none for 0.5."
            )

    def check(self, num_classes: int) -> None:
        """Checks the number of thresholds.

        Args:
            num_classes: Number of classes of the network.

        Raises:
            errors.UserError: It is wrong.
        """
        expected = num_classes if self.multi_label else int(num_classes == 2)
        if len(self.thresholds) not in (0, expected):
            raise errors.UserError(
                f"`thresholds={self.thresholds}`: expected {expected} numbers for a "
                f"network of {num_classes} classes."
            )

    @property
    def mask_dtype(self) -> type[np.unsignedinteger]:
        """Type of masks: uint16 holds the bits of any number of classes."""
        return np.uint16 if self.multi_label else np.uint8

    def probabilities(self, logits, ops: Any):
        """Returns the probability of each class.

        Args:
            logits: One logit for each class, see `class_logits`, a tensor.
            ops: `keras.ops`.
        """
        return ops.sigmoid(logits) if self.multi_label else ops.softmax(logits)

    def mask(self, probabilities, xp: Any = np):
        """Returns the mask: class numbers, or the bits of the classes.

        Args:
            probabilities: `[..., num_classes]`, float.
            xp: `numpy` or `keras.ops`.

        Returns:
            Integers, `[...]`; the class with the lowest number where several have the
            highest probability. A probability that equals its threshold is below it.
        """
        if self.multi_label:
            limits = np.array(self.thresholds or 0.5, np.float32)
            bits = bit_masks.bits(probabilities.shape[-1]).astype(np.int32)
            return xp.sum(xp.where(probabilities > limits, bits, 0), axis=-1)
        if self.thresholds:
            return xp.where(probabilities[..., 1] > self.thresholds[0], 1, 0)
        return xp.argmax(probabilities, axis=-1)

    def masks(self, mask: np.ndarray, num_classes: int) -> np.ndarray:
        """Returns where a mask has each class, bool `[height, width, num_classes]`.

        Args:
            mask: Class numbers or bits of classes, `[height, width]`.
            num_classes: Number of classes.
        """
        if self.multi_label:
            return bit_masks.decode(mask, num_classes)
        return mask[..., np.newaxis] == np.arange(num_classes)

    def mask_of_rows(self, probabilities: np.ndarray) -> np.ndarray:
        """Returns the mask of one image of `mask_dtype`, computed in blocks of rows.

        Args:
            probabilities: float `[height, width, num_classes]`.
        """
        mask = np.empty(probabilities.shape[:2], self.mask_dtype)
        for top in range(0, len(mask), _ROWS):
            rows = slice(top, top + _ROWS)
            mask[rows] = self.mask(probabilities[rows])
        return mask

    def confidence(self, probabilities, xp: Any = np):
        """Returns the probability of the class in the mask, `[...]`.

        Args:
            probabilities: `[..., 2]` or more classes that exclude each other.
            xp: `numpy` or `keras.ops`.
        """
        if not self.thresholds:
            return xp.max(probabilities, axis=-1)
        is_1 = probabilities[..., 1] > self.thresholds[0]
        return xp.where(is_1, probabilities[..., 1], probabilities[..., 0])

    def to_json(self) -> dict:
        """Returns what differs from a softmax network, for JSON."""
        return {
            **({"multi_label": True} if self.multi_label else {}),
            **({"thresholds": list(self.thresholds)} if self.thresholds else {}),
        }

    @classmethod
    def from_json(cls, values: dict) -> "ClassRule":
        """Creates a rule from a dict with the entries of `to_json`, if any."""
        thresholds = tuple(float(each) for each in values.get("thresholds") or ())
        return cls(bool(values.get("multi_label", False)), thresholds)


DEFAULT_RULE = ClassRule()
