"""The head of the page: what was scored, and how well it did."""

from collections.abc import Mapping

import numpy as np

from kerasseg import metrics
from kerasseg.report import wording
from kerasseg.report.markup import joined, name, tag

_MEANS = {  # Key of the scores -> what it is called.
    "mean_iou_without_background": "mean IoU without background",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
}
_ALMOST_ALL = 0.99


def title(spec, setting: Mapping) -> str:
    """Says what was scored on what."""
    what = setting.get("model") or "Masks"
    where = [part for part in (spec.name, setting.get("split")) if part]
    return f"{what} on {', '.join(map(str, where))}" if where else str(what)


def head(found, spec, setting: Mapping):
    """Writes the heading, the mean IoU, the other means and the settings."""
    return tag(
        "header",
        tag("p", "Evaluation", class_="kicker"),
        tag("h1", title(spec, setting)),
        tag("div", _mean_iou(found.scores), _means(found.scores), class_="scores"),
        _difference(found.scores, setting),
        _remarks(found, spec),
        _settings(found, spec, setting),
    )


def _mean_iou(scores):
    interval = scores.get("interval") or {}
    drawn = interval.get("mean_iou")
    said = None
    if drawn:
        said = tag(
            "p",
            f"{interval['level']:.0%} interval {wording.ends(drawn)} %, by "
            f"{interval['resamples']:,} draws of "
            f"{wording.plural(interval['pictures'], 'picture')}",
        )
    value = tag("strong", wording.percent(scores["mean_iou"]), tag("small", " %"))
    return tag("div", tag("p", "mean IoU"), tag("p", value), said, class_="main")


def _means(scores):
    titles = dict(_MEANS)
    for measure in metrics.MEASURES.values():
        titles.update(measure.titles)
    known = {key: said for key, said in titles.items() if scores.get(key) is not None}
    parts = [
        tag("div", tag("dt", said), tag("dd", f"{wording.percent(scores[key])} %"))
        for key, said in known.items()
    ]
    return tag("dl", *parts, class_="means")


def _difference(scores, setting):
    found = (scores.get("difference") or {}).get("mean_iou")
    if not found:
        return None
    clear = found["low"] > 0 or found["high"] < 0
    return tag(
        "p",
        "Compared with ",
        name(setting.get("compared_with", "another run")),
        ": ",
        tag("strong", f"{wording.points(found['value'])} points"),
        f" of mean IoU (interval {wording.ends(found, wording.points)}; above 0 in "
        f"{found['above_zero']:.1%} of the draws). ",
        "The interval leaves 0 out."
        if clear
        else "The interval holds 0: the two may be equally good.",
        class_="difference",
    )


def _remarks(found, spec):
    """Lists what a reader should know before trusting the means."""
    _, labelled, predicted = found.counts.sum(axis=0)
    names, total = np.array(spec.class_names, object), max(int(predicted.sum()), 1)
    kinds = {
        "Never labelled nor predicted, and left out of the means": (
            (labelled == 0) & (predicted == 0)
        ),
        "Predicted but never labelled, IoU 0": (labelled == 0) & (predicted > 0),
        "Labelled but never predicted, IoU 0": (labelled > 0) & (predicted == 0),
        "Predicted for almost every pixel": predicted / total > _ALMOST_ALL,
    }
    remarks = [
        joined([f"{said}: ", *_listed(names[which]), "."])
        for said, which in kinds.items()
        if which.any() and len(names) > 1
    ]
    empty = int((found.counts[:, 1].sum(axis=-1) == 0).sum())
    if empty:
        said = wording.plural(empty, "picture")
        remarks.append(joined([f"Without a labelled pixel: {said}."]))
    if len(found.names) == 1:
        remarks.append(joined(["Of one picture the interval says nothing."]))
    if not remarks:
        return None
    return tag("ul", *(tag("li", remark) for remark in remarks), class_="remarks")


def _listed(names):
    """Returns names with commas between them."""
    parts = [name(value) for value in names]
    return [part for pair in parts for part in (", ", pair)][1:]


def _settings(found, spec, setting):
    facts = {"data set": spec.name, **setting}
    facts["pictures"] = f"{len(found.names):,}"
    facts["labelled pixels"] = f"{int(found.counts[:, 1].sum()):,}"
    facts["command"] = facts.pop("command", None)  # The longest last.
    parts = [
        tag("div", tag("dt", key.replace("_", " ")), tag("dd", _value(key, value)))
        for key, value in facts.items()
        if value is not None and value != ""
    ]
    return tag("dl", *parts, class_="facts")


def _value(key, value):
    if key == "command":
        return tag("code", value)
    return name(_plain(value))


def _plain(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        known = ((k, v) for k, v in value.items() if v is not None)
        return ", ".join(f"{k}={_plain(v)}" for k, v in known)
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
