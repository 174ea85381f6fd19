"""Writes the page of an evaluation of instances as one file."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kerasseg import errors
from kerasseg.datasets import DatasetSpec
from kerasseg.metrics import instance_errors
from kerasseg.report import (
    encoding,
    gallery,
    instance_tables,
    instance_views,
    markup,
    page,
    summary,
    writing,
)
from kerasseg.report.markup import Markup, joined, section, tag
from kerasseg.system import files, progress

_MAX_MORE = 24  # Images that are predicted only for close-ups.
_PER_KIND = 12  # Close-ups of each kind of error,
_PER_IMAGE = 2  # and of these in one image.
_TITLES = {  # Titles of the sections in the navigation.
    "classes": "Classes",
    "errors": "Errors",
    "worst": "Worst",
    "best": "Best",
    "missed": "Missed",
    "false_positives": "False positives",
    "duplicates": "Duplicates",
}
_KINDS = {  # Identifier, heading and note of the section of a kind of error.
    instance_errors.MISSED: (
        "missed",
        "Missed instances",
        "Instances that no detection of their class matches, the largest first.",
    ),
    instance_errors.FALSE_POSITIVE: (
        "false_positives",
        "False positives",
        "Detections that match no instance of their class, the highest score first. "
        "Either the detection or the label is wrong.",
    ),
    instance_errors.DUPLICATE: (
        "duplicates",
        "Duplicates",
        "Further detections of an instance that was already found, the highest score "
        "first.",
    ),
}


def write_instances(
    path: str | os.PathLike,
    evaluation,
    spec: DatasetSpec,
    settings: Mapping[str, Any],
    get_sample: Callable,
    *,
    min_score: float,
    num_images: int = 8,
) -> None:
    """Writes the page of an evaluation of instances, as a whole or not at all.

    The images of the page stay below 8 MB in total; see `report.write`.

    Args:
        path: An HTML file; it is replaced.
        evaluation: `evaluation.InstanceEvaluation`.
        spec: The data set; class 0 is the background.
        settings: See `report.write`.
        get_sample: Function of an image's index in the split that returns its
            `evaluation.DetectedImage`. It is called once for each image that is shown.
        min_score: That of the evaluation, below which detections are no errors.
        num_images: Maximum number of the worst images that are shown, and of the best
            ones. 0 for a page without images.

    Raises:
        errors.UserError: `num_images` is negative.
    """
    if num_images < 0:
        raise errors.UserError(f"`num_images` must be at least 0, got {num_images}.")
    worst, best = worst_and_best(evaluation, num_images)
    closeups = choose_closeups(evaluation, [*worst, *best]) if num_images else []
    budget = encoding.ImageBudget(writing.MAX_IMAGE_BYTES)
    rows, figures = _images(
        evaluation, spec, get_sample, [*worst, *best], closeups, budget
    )
    sections = {
        "classes": instance_tables.class_table(evaluation, spec),
        "errors": instance_tables.error_table(evaluation, spec, min_score),
        "worst": _gallery("worst", "Worst images", "lowest", worst, rows, evaluation),
        "best": _gallery("best", "Best images", "highest", best, rows, evaluation),
    }
    for kind, (identifier, *_) in _KINDS.items():
        sections[identifier] = _closeup_section(kind, evaluation, figures)
    text = page.document(
        summary.title(spec, settings),
        instance_tables.header(evaluation, spec, settings),
        sections,
        _TITLES,
        incomplete=budget.exceeded,
    )
    files.write_bytes(path, text.encode())


def worst_and_best(evaluation, count: int) -> tuple[list[int], list[int]]:
    """Returns the images with the lowest and the highest F1 score.

    Of equal scores, the worst are those with most errors, and the best those with most
    correct detections.

    Args:
        evaluation: `evaluation.InstanceEvaluation`.
        count: Maximum number of images of each kind. An image is never in both.
            Images without instances and detections are in neither, those without an
            error not among the worst, and those without a correct detection not among
            the best.

    Returns:
        Indices in the split, the worst first, and the best first.
    """
    scores, counts = instance_errors.f1(evaluation.counts), evaluation.counts
    wrong = counts[:, instance_errors.MISSED : instance_errors.DUPLICATE + 1].sum(
        axis=1
    )
    correct = counts[:, instance_errors.CORRECT]
    known = ~np.isnan(scores)
    order = [i for i in np.lexsort((-correct, -scores)).tolist() if known[i]]
    best = [i for i in order if correct[i]][: min(count, (len(order) + 1) // 2)]
    order = [i for i in np.lexsort((-wrong, scores)).tolist() if known[i]]
    worst = [i for i in order if wrong[i] and i not in best]
    return worst[:count], best


def choose_closeups(evaluation, selected: list[int]) -> list[instance_errors.Error]:
    """Chooses the errors that are shown, at most two of a kind in an image.

    Args:
        evaluation: `evaluation.InstanceEvaluation`.
        selected: Indices of the images that the page shows anyway.

    Returns:
        At most 12 of each kind, in at most 24 other images.
    """
    shown, more = set(selected), _MAX_MORE
    chosen = []
    for kind in _KINDS:
        num_chosen, of_image = 0, dict.fromkeys(range(len(evaluation.names)), 0)
        for error in evaluation.errors:
            is_new = error.image not in shown
            if (
                error.kind != kind
                or num_chosen == _PER_KIND
                or of_image[error.image] == _PER_IMAGE
                or (is_new and not more)
            ):
                continue
            shown.add(error.image)
            more -= is_new
            num_chosen += 1
            of_image[error.image] += 1
            chosen.append(error)
    return chosen


def _images(evaluation, spec, get_sample, shown, closeups, budget):
    """Returns rows by index of the image, and close-ups by error."""
    rows: dict[int, Markup | None] = {}
    figures: dict[instance_errors.Error, Markup | None] = dict.fromkeys(closeups)
    indices = list(dict.fromkeys([*shown, *(error.image for error in closeups)]))
    with progress.track(len(indices), unit="image", text="report") as bar:
        for i in indices:
            sample, matches = get_sample(i), evaluation.matches[i]
            title = evaluation.names[i]
            if i in shown:
                rows[i] = instance_views.row(sample, matches, title, spec, budget)
            for error in closeups:
                if error.image == i:
                    figures[error] = instance_views.closeup(
                        sample, matches, error, title, spec, budget
                    )
            bar.update()
    return rows, figures


def _gallery(identifier, title, order, indices, rows, evaluation):
    scores = instance_errors.f1(evaluation.counts)
    titles = {
        i: (evaluation.names[i], _counts(evaluation.counts[i], scores[i]))
        for i in indices
    }
    note = (
        f"Ordered by the F1 score of the detections at an IoU of 0.5, {order} first. "
    )
    note = joined([note, instance_views.color_key()])
    return gallery.image_section(identifier, title, note, titles, rows)


def _counts(counts, score):
    found, missed, false_positives, duplicates, _ = counts.tolist()
    parts = [f"F1 {markup.percent(score, 1)} %", f"{found:,} found"]
    parts += [f"{missed:,} missed"] if missed else []
    parts += (
        [markup.plural(false_positives, "false positive")] if false_positives else []
    )
    parts += [markup.plural(duplicates, "duplicate")] if duplicates else []
    return ", ".join(parts)


def _closeup_section(kind, evaluation, figures):
    identifier, title, note = _KINDS[kind]
    shown = [f for error, f in figures.items() if error.kind == kind and f is not None]
    if not shown:
        return None
    total = sum(error.kind == kind for error in evaluation.errors)
    note = f"{note} Shown are {len(shown):,} of {total:,}."
    return section(
        identifier,
        title,
        tag("p", note, class_="note"),
        tag("div", *shown, class_="closeups"),
    )
