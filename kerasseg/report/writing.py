"""Writes the page of an evaluation as one file without external resources."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from kerasseg import errors
from kerasseg.datasets import DatasetSpec
from kerasseg.report import (
    charts,
    closeups,
    combinations,
    encoding,
    few_labels,
    gallery,
    page,
    ranking,
    summary,
    tables,
)
from kerasseg.report.markup import Markup, joined
from kerasseg.system import files, progress

MAX_IMAGE_BYTES = 8_000_000  # Of all images of a page; the text is not included.
_MAX_CLOSEUP_IMAGES = 12  # Images that are predicted only for close-ups.
_TITLES = {  # Titles of the sections in the navigation.
    "classes": "Classes",
    "confusions": "Confusion matrix",
    "boundaries": "Boundaries",
    "calibration": "Calibration",
    "first": "Check first",
    "worst": "Worst",
    "best": "Best",
    "closeups": "Close-ups",
    "pseudo-labels": "Pseudo-labels",
    "generated": "Generated images",
}


def write(
    path: str | os.PathLike,
    evaluation,
    spec: DatasetSpec,
    settings: Mapping[str, Any],
    get_sample: Callable,
    *,
    num_images: int = 8,
    training: few_labels.FewLabels | None = None,
) -> None:
    """Writes the page of an evaluation, as a whole or not at all.

    The images of the page stay below 8 MB in total, whatever their size and number.
    Images beyond that are left out, which the page mentions.

    Args:
        path: An HTML file; it is replaced.
        evaluation: `evaluation.Evaluation`; its scores may have "interval" and
            "difference", see `metrics.table`.
        spec: The data set.
        settings: Settings of the evaluation, which the page lists. "model", "split",
            "compared_with" and "command" have a place of their own.
        get_sample: Function of an image's index in the split that returns its
            `evaluation.Sample`. It is called once for each image that is shown.
        num_images: Maximum number of the worst images that are shown, and of the best
            ones. 0 for a page without images.
        training: What the training on few labels adds; None for nothing.

    Raises:
        errors.UserError: `num_images` is negative.
    """
    if num_images < 0:
        raise errors.UserError(f"`num_images` must be at least 0, got {num_images}.")
    ranked = ranking.rank_images(evaluation)
    worst, best = ranking.worst_and_best(evaluation, num_images)
    thumbnails = [image.index for image in ranked[:num_images] if image.cost > 0]
    content = _Images(evaluation, spec, get_sample)
    if num_images:
        shown, chosen = [*worst, *best], []
        if not spec.multi_label:
            chosen = closeups.choose_closeups(
                evaluation, [*shown, *thumbnails], _MAX_CLOSEUP_IMAGES
            )
        content.add(shown, thumbnails, chosen)
    rows, training = content.rows, training or few_labels.FewLabels()
    sections = {
        "classes": tables.class_table(evaluation, spec),
        "confusions": _confusions(evaluation, spec),
        "boundaries": charts.boundary_section(evaluation.scores),
        "calibration": charts.calibration_section(evaluation.scores),
        "first": ranking.ranking_section(
            ranked, evaluation, spec, rows, content.thumbnails
        ),
        "worst": gallery.worst_section(worst, rows, evaluation),
        "best": gallery.best_section(best, rows, evaluation),
        "closeups": closeups.closeup_section(evaluation, spec, content.closeups),
        "pseudo-labels": few_labels.pseudo_label_section(training, spec),
        "generated": few_labels.generated_section(training, content.budget),
    }
    if spec.multi_label:  # One class does not replace another.
        sections["first"] = sections["closeups"] = None
    text = page.document(
        summary.title(spec, settings),
        summary.header(evaluation, spec, settings),
        sections,
        _TITLES,
        incomplete=content.budget.exceeded,
    )
    files.write_bytes(path, text.encode())


def _confusions(evaluation, spec):
    if spec.multi_label:
        return None
    return tables.confusion_matrix(evaluation, spec)


class _Images:
    """The images of a page, for which each sample is requested once."""

    def __init__(self, evaluation, spec, get_sample):
        self._names, self._spec = evaluation.names, spec
        self._get_sample = get_sample
        self.budget = encoding.ImageBudget(MAX_IMAGE_BYTES)
        self.rows: dict[int, Markup | None] = {}
        self.thumbnails: dict[int, Markup | None] = {}
        self.closeups: dict[closeups.Closeup, Markup | None] = {}

    def add(self, rows, thumbnails, chosen):
        """Adds rows and thumbnails, by index of the image, and close-ups."""
        self.closeups = dict.fromkeys(chosen)  # Keeps their order.
        indices = list(
            dict.fromkeys([*rows, *thumbnails, *(each.index for each in chosen)])
        )
        with progress.track(len(indices), unit="image", text="report") as bar:
            for i in indices:
                in_image = [each for each in chosen if each.index == i]
                self._add(i, i in rows, i in thumbnails, in_image)
                bar.update()

    def _add(self, i, row, thumbnail, chosen):
        name, spec, budget = self._names[i], self._spec, self.budget
        sample = self._get_sample(i)
        if spec.multi_label:
            sample, spec = combinations.as_exclusive(sample, spec)
        else:
            sample = gallery.replace_unknown_classes(sample, spec.num_classes)
        if row:
            views = gallery.row(sample, name, spec, budget)
            self.rows[i] = views and joined([views, gallery.legend(sample, spec)])
        if thumbnail:
            self.thumbnails[i] = gallery.thumbnail(sample, name, budget)
        for closeup in chosen:
            figure = closeups.figure(sample, closeup, name, spec, budget)
            self.closeups[closeup] = figure
