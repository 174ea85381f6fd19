"""The header of the page: what was evaluated, and the main scores."""

from collections.abc import Mapping

import numpy as np

from kerasseg import metrics
from kerasseg.datasets import DatasetSpec
from kerasseg.report import markup
from kerasseg.report.markup import joined, name, tag

_MEANS = {  # Names of scores by their key.
    "mean_iou_without_background": "mean IoU without background",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "frequency_weighted_iou": "frequency-weighted IoU",
}
_ALMOST_ALL = 0.99


def title(spec: DatasetSpec, settings: Mapping) -> str:
    """Returns the title: the model and the data."""
    model = settings.get("model") or "Masks"
    data = [part for part in (spec.name, settings.get("split")) if part]
    return f"{model} on {', '.join(map(str, data))}" if data else str(model)


def header(evaluation, spec: DatasetSpec, settings: Mapping) -> markup.Markup:
    """Returns the heading, the mean IoU, other means, and the settings."""
    return tag(
        "header",
        tag("p", "Evaluation", class_="kicker"),
        tag("h1", title(spec, settings)),
        tag(
            "div",
            _mean_iou(evaluation.scores),
            _means(evaluation.scores),
            class_="scores",
        ),
        difference(
            (evaluation.scores.get("difference") or {}).get("mean_iou"),
            "mean IoU",
            settings,
        ),
        _remarks(evaluation, spec),
        _settings(evaluation, spec, settings),
    )


def _mean_iou(scores):
    interval = scores.get("interval") or {}
    ends = interval.get("mean_iou")
    note = None
    if ends:
        note = tag(
            "p",
            f"{interval['level']:.0%} confidence interval {markup.interval(ends)} %, "
            f"from {interval['resamples']:,} bootstrap samples of "
            f"{markup.plural(interval['pictures'], 'image')}",
        )
    value = tag("strong", markup.percent(scores["mean_iou"]), tag("small", " %"))
    return tag("div", tag("p", "mean IoU"), tag("p", value), note, class_="main")


def _means(scores):
    titles = dict(_MEANS)
    for measure in metrics.MEASURES.values():
        titles.update(measure.titles)
    parts = [
        tag("div", tag("dt", text), tag("dd", f"{markup.percent(scores[key])} %"))
        for key, text in titles.items()
        if scores.get(key) is not None
    ]
    return tag("dl", *parts, class_="means")


def difference(
    ends: Mapping | None, score: str, settings: Mapping
) -> markup.Markup | None:
    """Returns the difference from the run to compare with, or None without one.

    Args:
        ends: The difference with its interval, as of `metrics.paired_interval`.
        score: Name of the score.
        settings: Settings of the evaluation; "compared_with" is the other run.
    """
    if not ends:
        return None
    significant = ends["low"] > 0 or ends["high"] < 0
    return tag(
        "p",
        "Compared with ",
        name(settings.get("compared_with", "another run")),
        ": ",
        tag("strong", f"{markup.points(ends['value'])} points"),
        f" of {score} (confidence interval {markup.interval(ends, markup.points)}; "
        f"above 0 in {ends['above_zero']:.1%} of the bootstrap samples). ",
        "The interval does not contain 0."
        if significant
        else "The interval contains 0: the two may be equally good.",
        class_="difference",
    )


def _remarks(evaluation, spec):
    """Lists what a reader should know before trusting the means."""
    _, labeled, predicted = evaluation.counts.sum(axis=0)
    names, total = np.array(spec.class_names, object), max(int(predicted.sum()), 1)
    kinds = {
        "Neither labeled nor predicted, and left out of the means": (
            (labeled == 0) & (predicted == 0)
        ),
        "Predicted but never labeled, IoU 0": (labeled == 0) & (predicted > 0),
        "Labeled but never predicted, IoU 0": (labeled > 0) & (predicted == 0),
        "Predicted for almost every pixel": predicted / total > _ALMOST_ALL,
    }
    remarks = [
        joined([f"{text}: ", *_listed(names[which]), "."])
        for text, which in kinds.items()
        if which.any() and len(names) > 1
    ]
    empty = int((evaluation.counts[:, 1].sum(axis=-1) == 0).sum())
    if empty:
        images = markup.plural(empty, "image")
        remarks.append(joined([f"Without a labeled pixel: {images}."]))
    if len(evaluation.names) == 1:
        remarks.append(joined(["With a single image, the interval has no meaning."]))
    if not remarks:
        return None
    return tag("ul", *(tag("li", remark) for remark in remarks), class_="remarks")


def _listed(names):
    """Returns names separated by commas."""
    parts = [name(value) for value in names]
    return [part for pair in parts for part in (", ", pair)][1:]


def _settings(evaluation, spec, settings):
    values = {"data set": spec.name, **settings}
    if not spec.image_kind.is_rgb:
        values["channels"] = str(spec.image_kind)
        values["shown as"] = _view(spec.image_kind)
    values["images"] = f"{len(evaluation.names):,}"
    values["labeled pixels"] = f"{int(evaluation.counts[:, 1].sum()):,}"
    values["command"] = values.pop("command", None)  # The longest is last.
    return settings_list(values)


def _view(kind):
    """Returns how images are drawn in the report."""
    if kind.num_colors == 1:
        text = "channel 1 as gray"
    else:
        text = "channels 1, 2 and 3 as red, green and blue"
    if kind.dtype == "uint8":
        return text
    ranges = (f"{low:g} to {high:g}" for low, high in kind.ranges[: kind.num_colors])
    return f"{text}, from their used ranges ({', '.join(ranges)})"


def settings_list(values: Mapping) -> markup.Markup:
    """Returns a list of settings by name, without those that are None or empty."""
    parts = [
        tag("div", tag("dt", key.replace("_", " ")), tag("dd", _value(key, value)))
        for key, value in values.items()
        if value is not None and value != ""
    ]
    return tag("dl", *parts, class_="settings")


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
