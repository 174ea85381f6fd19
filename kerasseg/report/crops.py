"""The largest confusions of each class, and a piece of a picture where each is seen."""

import dataclasses
import math

import cv2
import numpy as np

from kerasseg import metrics

MOST_CLASSES = 20  # That are shown, those with the lowest IoU.
_PER_CLASS = 3
_MOST_PIXELS = 2**24  # Of a mask whose regions are looked for.
_CONTEXT = 1.6  # Side of a piece to that of the region in it.
_SMALLEST = 96  # Pixels; side of a piece, where the picture is as large.


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A confusion and the picture that shows it.

    Attributes:
        truth: Class number.
        taken: What it was taken for.
        index: The picture's number in the split.
        pixels: How many of that picture.
    """

    truth: int
    taken: int
    index: int
    pixels: int


def choose(found, looked, most_looks: int) -> list[Mistake]:
    """Chooses the worst confusions of each class, each in the picture with most of it.

    Args:
        found: `evaluation.Evaluation`.
        looked: Numbers of the pictures that are looked at anyway.
        most_looks: Pictures that may be looked at besides. Where there are more, a
            confusion is shown in one of the others, or not at all.

    Returns:
        At most three of a class, those of the class with the lowest IoU first.
    """
    sizes = [len(mistakes) for mistakes in found.mistakes]
    pictures = np.repeat(np.arange(len(sizes)), sizes)
    mistakes = np.concatenate(found.mistakes)
    looked, room = set(looked), most_looks
    chosen = []
    for place, truth, taken in _pairs(found):
        rows = (mistakes[:, :2] == (truth, taken)).all(axis=1)
        there, pixels = pictures[rows], mistakes[rows, 2]
        if not room:
            known = np.isin(there, list(looked))
            there, pixels = there[known], pixels[known]
        if not len(there):
            continue
        index = int(there[np.argmax(pixels)])
        room -= index not in looked
        looked.add(index)
        chosen.append((place, Mistake(truth, taken, index, int(pixels.max()))))
    return [mistake for _, mistake in sorted(chosen, key=lambda item: item[0])]


def _pairs(found):
    """Returns place on the page, true and taken class: each class's worst first."""
    iou = metrics.iou(found.counts.sum(axis=0))
    classes = [int(c) for c in np.argsort(iou, kind="stable") if not np.isnan(iou[c])]
    wrong = found.confusion.copy()
    np.fill_diagonal(wrong, 0)
    pairs = []
    for place, truth in enumerate(classes[:MOST_CLASSES]):
        largest = np.argsort(-wrong[truth], kind="stable")[:_PER_CLASS].tolist()
        pairs += [
            ((place, rank), truth, taken)
            for rank, taken in enumerate(largest)
            if wrong[truth, taken]
        ]
    return sorted(pairs, key=lambda pair: pair[0][::-1])


def piece(look, mistake: Mistake) -> tuple[slice, slice]:
    """Finds rows and columns around the largest region of a confusion in its picture.

    Args:
        look: `evaluation.Sample` at the picture, which holds the confusion.
        mistake: The confusion.
    """
    left, top, width, height = _largest(marked(look, mistake))
    side = max(round(_CONTEXT * max(width, height)), _SMALLEST)
    rows = _around(top + height / 2, side, look.label.shape[0])
    return rows, _around(left + width / 2, side, look.label.shape[1])


def marked(look, mistake: Mistake) -> np.ndarray:
    """Returns where a picture has a confusion, uint8 `[height, width]` of 0 and 1."""
    wrong = (look.label == mistake.truth) & (look.prediction == mistake.taken)
    return wrong.view(np.uint8)


def _largest(mask):
    """Returns left, top, width and height of the largest connected region."""
    left, top, width, height = cv2.boundingRect(mask)
    inside = mask[top : top + height, left : left + width]
    step = math.ceil(math.sqrt(inside.size / _MOST_PIXELS))
    inside = np.ascontiguousarray(inside[::step, ::step])
    _, _, found, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    if len(found) == 1:  # Only what is around: so thin that every step missed it.
        return left, top, width, height
    best = found[1 + np.argmax(found[1:, cv2.CC_STAT_AREA])]
    x, y, width, height = (int(value) * step for value in best[:4])
    return left + x, top + y, width, height


def _around(middle, side, length):
    start = int(np.clip(round(middle - side / 2), 0, max(length - side, 0)))
    return slice(start, min(start + side, length))
