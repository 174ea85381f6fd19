"""Header, scores and errors of an evaluation of instances."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kerasseg.datasets import DatasetSpec
from kerasseg.metrics import instance_errors
from kerasseg.report import markup, summary, tables
from kerasseg.report.markup import Markup, scrolled, section, tag

_MEANS = {  # Names of scores by their key.
    "mask_ap50": "mask AP50",
    "mask_ap75": "mask AP75",
    "mask_ap_small": "mask AP, small",
    "mask_ap_medium": "mask AP, medium",
    "mask_ap_large": "mask AP, large",
    "mask_ar_100": "mask AR",
    "box_ap": "box AP",
    "box_ap50": "box AP50",
    "box_ap75": "box AP75",
    "mean_iou": "mean IoU, pasted",
}
_COLUMNS = (  # Title, kind and key.
    ("AP50", "mask", "ap50"),
    ("AP75", "mask", "ap75"),
    ("AR", "mask", "ar_100"),
    ("box AP", "box", "ap"),
    ("box AP50", "box", "ap50"),
)


def header(evaluation, spec: DatasetSpec, settings: Mapping[str, Any]) -> Markup:
    """Returns the heading, the average precision, other means, and the settings."""
    scores = evaluation.scores
    kind = main_kind(scores)
    key = f"{kind}_ap"
    interval = scores["interval"]
    note = None
    if interval[key]:
        note = tag(
            "p",
            f"{interval['level']:.0%} confidence interval "
            f"{markup.interval(interval[key])} %, from {interval['resamples']:,} "
            f"bootstrap samples of {markup.plural(interval['pictures'], 'image')}",
        )
    value = tag("strong", markup.percent(scores[key]), tag("small", " %"))
    main = tag("div", tag("p", f"{kind} AP"), tag("p", value), note, class_="main")
    means = [
        tag("div", tag("dt", text), tag("dd", f"{markup.percent(scores[key])} %"))
        for key, text in _MEANS.items()
        if scores.get(key) is not None and key != f"{kind}_ap"
    ]
    return tag(
        "header",
        tag("p", "Evaluation", class_="kicker"),
        tag("h1", summary.title(spec, settings)),
        tag("div", main, tag("dl", *means, class_="means"), class_="scores"),
        _difference(scores, settings),
        summary.settings_list(_settings(evaluation, spec, settings)),
    )


def _difference(scores, settings):
    differences = scores.get("difference") or {}
    kind = main_kind(differences)  # Masks, if both runs have them.
    return summary.difference(differences.get(f"{kind}_ap"), f"{kind} AP", settings)


def main_kind(scores: Mapping[str, Any]) -> str:
    """Returns "mask", or "box" where there are no masks."""
    return "mask" if "mask_ap" in scores else "box"


def _settings(evaluation, spec, settings):
    values = {"data set": spec.name, **settings}
    values["images"] = f"{len(evaluation.names):,}"
    for key in ("instances", "crowds", "detections"):
        values[key] = f"{sum(evaluation.scores[key].values()):,}"
    values["command"] = values.pop("command", None)  # The longest is last.
    return values


def class_table(evaluation, spec: DatasetSpec) -> Markup:
    """Returns the section with the scores of each class, and their means."""
    scores = evaluation.scores
    kind = main_kind(scores)
    columns = [each for each in _COLUMNS if f"{each[1]}_ap" in scores]
    if kind == "box":
        columns = [("AP50", "box", "ap50"), ("AP75", "box", "ap75")]
    differences = scores.get("difference") or {}
    changes = differences.get(f"{kind}_class_ap", {})
    rows = [
        _class_cells(scores, kind, columns, changes, each)
        for each in spec.class_names[1:]
    ]
    means = [
        markup.percent(scores[f"{kind}_ap"]),
        markup.interval(scores["interval"][f"{kind}_ap"]),
        *(markup.percent(scores[f"{k}_{key}"]) for _, k, key in columns),
        *(f"{sum(scores[key].values()):,}" for key in ("instances", "detections")),
    ]
    titles = [f"{kind} AP", "interval", *(title for title, _, _ in columns)]
    if changes:
        titles.insert(2, "change")
        means.insert(2, markup.points((differences[f"{kind}_ap"] or {}).get("value")))
    text = (
        "COCO's scores in percent. AP: average precision, the mean over the IoUs from "
        "0.5 to 0.95; AP50 and AP75: at an IoU of 0.5 and 0.75. AR: recall of at most "
        "100 detections of an image and class. The thin line in a bar is the "
        "confidence interval. Classes without an instance are left out of the means."
    )
    return section(
        "classes",
        "Classes",
        tag("p", text, class_="note"),
        scrolled(
            "Scores of the classes",
            _table(spec, [*titles, "instances", "detections"], rows, means, "mean"),
        ),
    )


def _class_cells(scores, kind, columns, changes, class_name):
    """Returns the cells of a class."""
    ends = scores["interval"][f"{kind}_class_ap"][class_name]
    return [
        tables.bar_cell(scores[f"{kind}_classes"]["ap"][class_name], ends),
        tables.interval_cell(ends),
        *([tables.difference_cell(changes[class_name])] if changes else []),
        *(
            tables.cell(scores[f"{k}_classes"][key][class_name])
            for _, k, key in columns
        ),
        _count(scores["instances"][class_name]),
        _count(scores["detections"][class_name]),
    ]


def error_table(evaluation, spec: DatasetSpec, min_score: float) -> Markup:
    """Returns the section with the numbers of errors of each class."""
    kinds = len(instance_errors.KINDS) - 1  # Without those that are ignored.
    counts = np.zeros((spec.num_classes, kinds), np.int64)
    for error in evaluation.errors:
        counts[error.class_number, error.kind] += 1
    instances = np.array([0, *evaluation.scores["instances"].values()])
    counts[:, instance_errors.CORRECT] = instances - counts[:, instance_errors.MISSED]
    rows = [[_count(value) for value in row] for row in counts[1:].tolist()]
    totals = [f"{total:,}" for total in counts[1:].sum(axis=0)]
    ignored = evaluation.scores["ignored"]
    text = (
        f"Numbers at an IoU of {instance_errors.MIN_IOU}, of detections with a score "
        f"of at least {min_score:g}. A duplicate overlaps an instance of its class "
        "that another detection of a higher score has found. "
        f"{markup.plural(ignored, 'detection')} of a lower score, or in a crowd, "
        f"{'is' if ignored == 1 else 'are'} ignored."
    )
    titles = ["found", "missed", "false positives", "duplicates"]
    return section(
        "errors",
        "Errors",
        tag("p", text, class_="note"),
        scrolled("Errors of the classes", _table(spec, titles, rows, totals, "total")),
    )


def _count(value):
    return tag("td", f"{value:,}", class_="number", data_value=value)


def _table(spec, titles, rows, totals, total):
    classes = list(zip(spec.class_names, spec.palette, strict=True))[1:]
    return tables.of_classes(classes, titles, rows, totals, total)
