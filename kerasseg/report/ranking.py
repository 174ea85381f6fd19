"""Which pictures to look at first, and why."""

import dataclasses

import numpy as np

from kerasseg import metrics


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A picture and what its errors cost.

    Attributes:
        index: Its number in the split.
        cost: What the split's mean IoU would gain were this picture right, from 0.
        number: The class that gains most, or None where nothing is to gain.
        gain: What its IoU would gain.
        mistake: True class, what it was taken for, and pixels: the picture's largest
            confusion that this class has part in. None where nothing is to gain.
    """

    index: int
    cost: float
    number: int | None = None
    gain: float = 0.0
    mistake: tuple[int, int, int] | None = None


def order(found) -> list[Ranked]:
    """Orders the pictures of a split by what their errors cost, the costliest first.

    The cost of a picture is what the mean IoU of the split would gain if all of its
    labelled pixels were right and all else stayed as it is. So both count: how wrong a
    picture is, and how rare the classes are that it has wrong. A class that would then
    never be predicted nor labelled counts as the mean of the others, since it would be
    left out of it.

    Args:
        found: `evaluation.Evaluation`.

    Returns:
        Every picture once; in the order of the split where they cost the same.
    """
    total = found.counts.sum(axis=0)
    labelled = found.counts[:, 1:2]
    corrected = total - found.counts + labelled  # All three counts, broadcast.
    after, means = metrics.iou(corrected), metrics.mean_iou(corrected)
    after = np.where(np.isnan(after), means[:, None], after)
    # NaN before is a class that never occurs: nothing is to gain from it.
    gains = np.nan_to_num(after - metrics.iou(total))
    costs = np.nan_to_num(means - metrics.mean_iou(total))
    places = np.argsort(-np.maximum(costs, 0), kind="stable")
    return [_ranked(found, int(i), float(costs[i]), gains[i]) for i in places]


def _ranked(found, index, cost, gains):
    mistakes = found.mistakes[index]
    if not len(mistakes):
        return Ranked(index, 0.0)
    number = int(np.argmax(gains))
    with_part = mistakes[(mistakes[:, :2] == number).any(axis=1)]
    mistake = tuple((with_part if len(with_part) else mistakes)[0].tolist())
    return Ranked(index, cost, number, float(gains[number]), mistake)


def extremes(found, number: int) -> tuple[list[int], list[int]]:
    """Finds the worst and the best pictures, each by the mean IoU of its own.

    Args:
        found: `evaluation.Evaluation`.
        number: Of pictures, of each kind, at most; a picture is of one kind only, and
            one without a labelled pixel of none.

    Returns:
        Numbers in the split, the worst first, and the best first.
    """
    means = metrics.mean_iou(found.counts)
    places = [
        int(i) for i in np.argsort(means, kind="stable") if not np.isnan(means[i])
    ]
    best = places[::-1][: min(number, len(places) // 2)]
    return places[: min(number, len(places) - len(best))], best
