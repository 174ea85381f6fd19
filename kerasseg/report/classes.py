"""The table of classes, a line each."""

from kerasseg import metrics
from kerasseg.report import wording
from kerasseg.report.markup import Markup, joined, name, scrolled, section, tag


def swatch(color) -> Markup:
    """Shows a class's colour, RGB from 0 to 255."""
    red, green, blue = (int(value) for value in color)
    style = f"background:rgb({red} {green} {blue})"
    return tag("span", class_="swatch", style=style, aria_hidden="true")


def table(found, spec):
    """Writes the scores of each class, and of their means."""
    columns = _columns(found.scores)
    head = [
        tag("th", said, scope="col", class_=None if i == 0 else "number")
        for i, said in enumerate(["class", *(column[0] for column in columns)])
    ]
    rows = [
        tag(
            "tr",
            tag("th", swatch(color), name(label), scope="row", data_value=place),
            *(write(label) for _, write, _ in columns),
        )
        for place, (label, color) in enumerate(
            zip(spec.class_names, spec.palette, strict=True)
        )
    ]
    means = [tag("td", mean, class_="number") for _, _, mean in columns]
    body = tag(
        "table",
        tag("thead", tag("tr", *head)),
        tag("tbody", *rows),
        tag("tfoot", tag("tr", tag("th", "mean", scope="row"), *means)),
        class_="sortable",
    )
    return section(
        "classes",
        "Classes",
        tag("p", _explained(found.scores), class_="note"),
        scrolled("Scores of the classes", body),
    )


def _explained(scores):
    text = "All in percent. IoU: the pixels that are right, of those labelled or "
    text += "predicted as the class. Accuracy: of those labelled. "
    if "interval" in scores:
        text += "The thin line in a bar is the interval of the IoU. "
    for score in _measured(scores):
        text += f"{score.note} " if score.note else ""
    return text + "Share: of all labelled pixels."


def _measured(scores):
    """Lists the scores of the classes by the measures that were evaluated."""
    return [
        score
        for measure in metrics.MEASURES.values()
        for score in measure.class_scores
        if score.key in scores
    ]


def _columns(scores):
    """Returns title, function of a class to its cell, and the cell of the means."""
    total = max(sum(scores["pixels"].values()), 1)
    intervals = (scores.get("interval") or {}).get("iou", {})
    differences = (scores.get("difference") or {}).get("iou", {})

    def of(key):
        return lambda label: _cell(scores[key][label])

    columns = [
        (
            "IoU",
            lambda label: _bar(scores["iou"][label], intervals.get(label)),
            wording.percent(scores["mean_iou"]),
        )
    ]
    if intervals:
        whole = wording.ends(scores["interval"]["mean_iou"])
        columns.append(("interval", lambda x: _interval(intervals[x]), whole))
    if differences:
        change = (scores["difference"]["mean_iou"] or {}).get("value")
        write = lambda label: _changed(differences[label])  # noqa: E731
        columns.append(("change", write, wording.points(change)))
    accuracy = metrics.ClassScore("accuracy", "accuracy", "mean_accuracy")
    for title, key, mean, _ in (*_measured(scores), accuracy):
        columns.append((title, of(key), wording.percent(scores[mean])))
    shares = {key: pixels / total for key, pixels in scores["pixels"].items()}
    return [*columns, ("share", lambda label: _cell(shares[label]), "")]


def _cell(value, shown=None):
    order = -1 if value is None else round(value, 9)
    shown = wording.percent(value) if shown is None else shown
    return tag("td", shown, class_="number", data_value=order)


def _bar(value, interval):
    if value is None:
        return _cell(value)
    ends = ""
    if interval:
        ends = f";--low:{100 * interval['low']:.2f};--high:{100 * interval['high']:.2f}"
    style = f"--value:{100 * value:.2f}{ends}"
    inner = tag("span") if interval else None
    bar = tag("span", inner, class_="bar", style=style, aria_hidden="true")
    shown = tag("span", wording.percent(value))
    return _cell(value, tag("span", bar, shown, class_="barred"))


def _interval(found):
    width = None if found is None else found["high"] - found["low"]
    return _cell(width, wording.ends(found))


def _changed(found):
    if found is None:
        return _cell(None)
    said = (
        f"{wording.ends(found, wording.points)}; above 0 in {found['above_zero']:.1%}"
    )
    sure = "sure" if found["low"] > 0 or found["high"] < 0 else None
    shown = tag("span", wording.points(found["value"]), title=said, class_=sure)
    return _cell(found["value"], joined([shown]))
