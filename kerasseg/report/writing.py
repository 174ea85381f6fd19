"""From an evaluation to the file of its page."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from kerasseg import errors
from kerasseg.report import (
    classes,
    closeups,
    confusions,
    crops,
    curves,
    encoding,
    first,
    gallery,
    page,
    ranking,
    summary,
    views,
)
from kerasseg.report.markup import Markup, joined
from kerasseg.system import files, progress

MOST_PICTURE_BYTES = 8_000_000  # Of the page; its text comes besides.
_MOST_LOOKS = 12  # At pictures for the sake of their confusions alone.


class _Shown:
    """Draws what the page shows of pictures, each looked at once."""

    def __init__(self, found, spec, look):
        self._found, self._spec, self._look = found, spec, look
        self.album = encoding.Album(MOST_PICTURE_BYTES)
        self.rows: dict[int, Markup | None] = {}
        self.thumbs: dict[int, Markup | None] = {}
        self.mistakes: dict[crops.Mistake, Markup | None] = {}

    def draw(self, rows, thumbs, mistakes):
        """Draws rows and thumbs, numbers of pictures, and close-ups of mistakes."""
        self.mistakes = dict.fromkeys(mistakes)  # Keeps their order.
        shown = [mistake.index for mistake in mistakes]
        indices = list(dict.fromkeys([*rows, *thumbs, *shown]))
        with progress.track(len(indices), unit="picture", text="report") as bar:
            for i in indices:
                near = [mistake for mistake in mistakes if mistake.index == i]
                self._draw(i, i in rows, i in thumbs, near)
                bar.update()

    def _draw(self, i, row, thumb, near):
        found, spec, album = self._found, self._spec, self.album
        look = views.cleaned(self._look(i), spec.num_classes)
        title = found.names[i]
        if row:
            drawn = gallery.row(look, title, spec, album)
            self.rows[i] = drawn and joined([drawn, gallery.legend(look, spec)])
        if thumb:
            self.thumbs[i] = gallery.thumb(look, title, album)
        for mistake in near:
            drawn = closeups.draw(look, mistake, found, spec, album)
            self.mistakes[mistake] = drawn


def write(
    path: str | os.PathLike,
    found,
    spec,
    setting: Mapping[str, Any],
    look: Callable,
    *,
    num_pictures: int = 8,
) -> None:
    """Writes a page about an evaluation, whole or not at all.

    Its pictures stay below 8 MB, whatever their size and number; what does not fit is
    left out, and the page says so.

    Args:
        path: An HTML file; it is replaced.
        found: `evaluation.Evaluation`; its scores may hold "interval" and
            "difference", see `metrics.table`.
        spec: `datasets.DatasetSpec`.
        setting: How it was found, for people; "model", "split", "compared_with" and
            "command" are known by name.
        look: Function of a picture's number in the split to an `evaluation.Sample`.
            Called for the pictures that are shown only, one at a time.
        num_pictures: The worst pictures that are shown, at most; of the best, half as
            many. 0: no picture at all, and none is looked at.

    Raises:
        ValueError: `num_pictures` is negative.
    """
    if num_pictures < 0:
        raise errors.UserError(f"num_pictures is a number from 0, got {num_pictures}.")
    ranked = ranking.order(found)
    worst, best = ranking.extremes(found, num_pictures)
    thumbs = [item.index for item in ranked[:num_pictures] if item.cost > 0]
    shown = _Shown(found, spec, look)
    if num_pictures:
        mistakes = crops.choose(found, [*worst, *best, *thumbs], _MOST_LOOKS)
        shown.draw([*worst, *best], thumbs, mistakes)
    sections = {
        "classes": classes.table(found, spec),
        "confusions": confusions.confusions(found, spec),
        "boundaries": curves.boundaries(found.scores),
        "calibration": curves.calibration(found.scores),
        "first": first.look_first(ranked, found, spec, shown.rows, shown.thumbs),
        "worst": gallery.worst(worst, shown.rows, found),
        "best": gallery.best(best, shown.rows, found),
        "closeups": closeups.closeups(found, spec, shown.mistakes),
    }
    head = summary.head(found, spec, setting)
    title = summary.title(spec, setting)
    text = page.document(title, head, sections, full=shown.album.full)
    files.write_bytes(path, text.encode())
