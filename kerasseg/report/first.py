"""The list of pictures in the order in which they should be looked at."""

from kerasseg import metrics
from kerasseg.report import wording
from kerasseg.report.classes import swatch
from kerasseg.report.markup import joined, name, section, tag

_LISTED, _OPEN = 100, 12


def look_first(ranked, found, spec, shown, thumbs):
    """Writes the list.

    Args:
        ranked: What `ranking.order` returned.
        found: `evaluation.Evaluation`.
        spec: `datasets.DatasetSpec`.
        shown: Numbers of the pictures that the page shows.
        thumbs: Small pictures by number.
    """
    costly = [item for item in ranked if item.cost > 0][:_LISTED]
    title = "What to look at first"
    if not costly:
        return section("first", title, tag("p", "No picture costs any mean IoU."))
    means = metrics.mean_iou(found.counts)
    lines = [
        _line(rank, item, found, spec, means[item.index], item.index in shown, thumbs)
        for rank, item in enumerate(costly, 1)
    ]
    rest = lines[_OPEN:]
    return section(
        "first",
        title,
        tag(
            "p",
            "The costliest pictures come first: by what the mean IoU of the whole "
            "split would gain if the picture were right, in percentage points. That "
            "is either an error of the network or one of the label. Beside it, the "
            f"class that would gain most, and its largest confusion there. "
            f"{wording.plural(len(costly), 'picture')} of {len(found.names):,}.",
            class_="note",
        ),
        tag("ol", *lines[:_OPEN], class_="first"),
        tag(
            "details",
            tag("summary", f"The next {len(rest)}"),
            tag("ol", *rest, class_="first", start=_OPEN + 1),
        )
        if rest
        else None,
    )


def _line(rank, item, found, spec, mean, linked, thumbs):
    title = name(found.names[item.index])
    if linked:
        title = tag("a", title, href=f"#picture-{item.index}")
    return tag(
        "li",
        tag("span", rank, class_="rank", aria_hidden="true"),
        thumbs.get(item.index),
        tag(
            "div",
            tag("p", title, class_="title"),
            tag("p", _why(item, spec), class_="why"),
        ),
        tag(
            "p",
            tag("strong", wording.points(item.cost, 3)),
            tag("small", f"own mean IoU {wording.percent(mean, 1)} %"),
            class_="cost",
        ),
    )


def _why(item, spec):
    truth, taken, pixels = item.mistake
    return joined(
        [
            _class(item.number, spec),
            f" would gain {wording.points(item.gain)}: {wording.pixels(pixels)} of ",
            _class(truth, spec),
            " taken for ",
            _class(taken, spec),
        ]
    )


def _class(number, spec):
    label = name(spec.class_names[number])
    return joined([swatch(spec.palette[number]), label])
