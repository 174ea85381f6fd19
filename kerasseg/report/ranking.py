"""The images to check first: a ranking of the split, and its section."""

import dataclasses
from typing import NamedTuple

import numpy as np

from kerasseg import metrics
from kerasseg.datasets import DatasetSpec
from kerasseg.report import markup
from kerasseg.report.markup import Markup, joined, name, section, swatch, tag

_LISTED, _OPEN = 100, 12


class Confusion(NamedTuple):
    """Pixels that are labeled as one class and predicted as another.

    Attributes:
        label: Class index of the label.
        predicted: Class index of the prediction.
        pixels: Number of pixels.
    """

    label: int
    predicted: int
    pixels: int


@dataclasses.dataclass(frozen=True)
class RankedImage:
    """An image and the effect of its errors.

    Attributes:
        index: Index in the split.
        cost: How much the mean IoU of the split would gain if this image were correct,
            as a fraction.
        best_class: The class whose IoU would gain most, or None without errors.
        gain: How much the IoU of this class would gain.
        confusion: The largest confusion of the image that involves this class, or None
            without errors.
    """

    index: int
    cost: float
    best_class: int | None = None
    gain: float = 0.0
    confusion: Confusion | None = None


def rank_images(evaluation) -> list[RankedImage]:
    """Ranks the images of a split by the cost of their errors, highest first.

    The cost of an image is the gain of the split's mean IoU if all of its labeled
    pixels were correct and everything else stayed the same. So it depends both on how
    many pixels are wrong and on how rare their classes are. A class that would then
    neither be labeled nor predicted counts as the mean of the others, from which it
    would be left out.

    Args:
        evaluation: `evaluation.Evaluation`.

    Returns:
        All images; those of equal cost are in the order of the split.
    """
    total = evaluation.counts.sum(axis=0)
    labeled = evaluation.counts[:, 1:2]
    # All three counts are those of the labels where an image is correct.
    corrected = total - evaluation.counts + labeled
    after, means = metrics.iou(corrected), metrics.mean_iou(corrected)
    after = np.where(np.isnan(after), means[:, None], after)
    # A class whose IoU is NaN does not occur and has nothing to gain.
    gains = np.nan_to_num(after - metrics.iou(total))
    costs = np.nan_to_num(means - metrics.mean_iou(total))
    order = np.argsort(-np.maximum(costs, 0), kind="stable")
    return [_ranked(evaluation, int(i), float(costs[i]), gains[i]) for i in order]


def _ranked(evaluation, index, cost, gains):
    misclassified = evaluation.misclassified[index]
    if not len(misclassified):
        return RankedImage(index, 0.0)
    best_class = int(np.argmax(gains))
    involved = misclassified[(misclassified[:, :2] == best_class).any(axis=1)]
    largest = (involved if len(involved) else misclassified)[0]
    confusion = Confusion(*largest.tolist())
    return RankedImage(index, cost, best_class, float(gains[best_class]), confusion)


def worst_and_best(evaluation, count: int) -> tuple[list[int], list[int]]:
    """Returns the images with the lowest and the highest mean IoU.

    Args:
        evaluation: `evaluation.Evaluation`.
        count: Maximum number of images of each kind. An image is never in both, and
            images without a labeled pixel are in neither.

    Returns:
        Indices in the split, the worst first, and the best first.
    """
    means = metrics.mean_iou(evaluation.counts)
    order = [int(i) for i in np.argsort(means, kind="stable") if not np.isnan(means[i])]
    best = order[::-1][: min(count, len(order) // 2)]
    return order[: min(count, len(order) - len(best))], best


def ranking_section(ranked, evaluation, spec: DatasetSpec, shown, thumbnails) -> Markup:
    """Returns the section of the images to check first.

    Args:
        ranked: The list of `rank_images`.
        evaluation: `evaluation.Evaluation`.
        spec: The data set.
        shown: Indices of the images that the page shows, to be linked.
        thumbnails: Thumbnails by index.
    """
    costly = [image for image in ranked if image.cost > 0][:_LISTED]
    title = "Images to check first"
    if not costly:
        text = "No image would improve the mean IoU if it were correct."
        return section("first", title, tag("p", text))
    means = metrics.mean_iou(evaluation.counts)
    lines = [
        _line(
            rank,
            image,
            evaluation.names[image.index],
            spec,
            means[image.index],
            link=image.index in shown,
            thumbnail=thumbnails.get(image.index),
        )
        for rank, image in enumerate(costly, 1)
    ]
    rest = lines[_OPEN:]
    return section(
        "first",
        title,
        tag(
            "p",
            "Images are ranked by how much the mean IoU of the whole split would gain "
            "if the image were correct, in percentage points. Either the network or "
            "the label is wrong there. Each line names the class that would gain most, "
            f"and its largest confusion in the image. "
            f"{markup.plural(len(costly), 'image')} of {len(evaluation.names):,}.",
            class_="note",
        ),
        tag("ol", *lines[:_OPEN], class_="first"),
        tag(
            "details",
            tag("summary", f"Show {len(rest)} more"),
            tag("ol", *rest, class_="first", start=_OPEN + 1),
        )
        if rest
        else None,
    )


def _line(rank, image, title, spec, mean_iou, *, link, thumbnail):
    title = name(title)
    if link:
        title = tag("a", title, href=f"#image-{image.index}")
    return tag(
        "li",
        tag("span", rank, class_="rank", aria_hidden="true"),
        thumbnail,
        tag(
            "div",
            tag("p", title, class_="title"),
            tag("p", _reason(image, spec), class_="reason"),
        ),
        tag(
            "p",
            tag("strong", markup.points(image.cost, 3)),
            tag("small", f"mean IoU of the image {markup.percent(mean_iou, 1)} %"),
            class_="cost",
        ),
    )


def _reason(image, spec):
    return joined(
        [
            _class(image.best_class, spec),
            f" would gain {markup.points(image.gain)}: ",
            f"{markup.pixels(image.confusion.pixels)} of ",
            _class(image.confusion.label, spec),
            " predicted as ",
            _class(image.confusion.predicted, spec),
        ]
    )


def _class(index, spec):
    return joined([swatch(spec.palette[index]), name(spec.class_names[index])])
