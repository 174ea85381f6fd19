"""The table of classes and the confusion matrix."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kerasseg import metrics
from kerasseg.datasets import DatasetSpec
from kerasseg.report import encoding, markup
from kerasseg.report.markup import Markup, joined, name, scrolled, section, swatch, tag

_MAX_TABLE_CLASSES = 30  # With more classes, the confusion matrix is an image.
_MAX_DECIMAL_CLASSES = 15  # With more classes, it has whole percentages.
_LISTED, _LISTED_BESIDE_IMAGE = 10, 30
_DARK = 0.8  # Strength of a cell's color above which its text is light.
_BACKGROUND, _CORRECT, _WRONG = (255, 255, 255), (20, 80, 170), (180, 40, 20)


def class_table(evaluation, spec: DatasetSpec) -> Markup:
    """Returns the section with the scores of each class, and their means."""
    columns = _columns(evaluation.scores)
    body = of_classes(
        zip(spec.class_names, spec.palette, strict=True),
        [title for title, _, _ in columns],
        [[cell(each) for _, cell, _ in columns] for each in spec.class_names],
        [mean for _, _, mean in columns],
        "mean",
    )
    return section(
        "classes",
        "Classes",
        tag("p", _explanation(evaluation.scores), class_="note"),
        scrolled("Scores of the classes", body),
    )


def of_classes(
    classes: Iterable[tuple[str, Iterable[int]]],
    titles: Sequence[str],
    rows: Iterable[Iterable[Markup]],
    totals: Iterable[str],
    total: str,
) -> Markup:
    """Returns a sortable table with a row for each class.

    Args:
        classes: Name and color of each class.
        titles: Titles of the columns after that of the class.
        rows: Cells of each class.
        totals: Texts of the last row.
        total: Title of the last row.
    """
    head = [tag("th", title, scope="col", class_="number") for title in titles]
    body = [
        tag(
            "tr",
            tag("th", swatch(color), name(class_name), scope="row", data_value=index),
            *cells,
        )
        for index, ((class_name, color), cells) in enumerate(
            zip(classes, rows, strict=True)
        )
    ]
    last = [tag("td", text, class_="number") for text in totals]
    return tag(
        "table",
        tag("thead", tag("tr", tag("th", "class", scope="col"), *head)),
        tag("tbody", *body),
        tag("tfoot", tag("tr", tag("th", total, scope="row"), *last)),
        class_="sortable",
    )


def _explanation(scores):
    text = "All values in percent. IoU: correct pixels, of those labeled or predicted "
    text += "as the class. Accuracy: correct pixels, of those labeled as the class. "
    if "interval" in scores:
        text += "The thin line in a bar is the confidence interval of the IoU. "
    for score in _measured(scores):
        text += f"{score.note} " if score.note else ""
    return text + "Share: of all labeled pixels."


def _measured(scores):
    """Lists the class scores of the measures that were evaluated."""
    return [
        score
        for measure in metrics.MEASURES.values()
        for score in measure.class_scores
        if score.key in scores
    ]


def _columns(scores):
    """Returns title, function of a class name to its cell, and text of the mean."""
    total = max(sum(scores["pixels"].values()), 1)
    intervals = (scores.get("interval") or {}).get("iou", {})
    differences = (scores.get("difference") or {}).get("iou", {})

    def cells_of(key):
        return lambda class_name: cell(scores[key][class_name])

    columns = [
        (
            "IoU",
            lambda class_name: bar_cell(
                scores["iou"][class_name], intervals.get(class_name)
            ),
            markup.percent(scores["mean_iou"]),
        )
    ]
    if intervals:
        mean = markup.interval(scores["interval"]["mean_iou"])
        columns.append(("interval", lambda name: interval_cell(intervals[name]), mean))
    if differences:
        change = (scores["difference"]["mean_iou"] or {}).get("value")
        columns.append(
            (
                "change",
                lambda class_name: difference_cell(differences[class_name]),
                markup.points(change),
            )
        )
    accuracy = metrics.ClassScore("accuracy", "accuracy", "mean_accuracy")
    for title, key, mean_key, _ in (*_measured(scores), accuracy):
        columns.append((title, cells_of(key), markup.percent(scores[mean_key])))
    shares = {key: pixels / total for key, pixels in scores["pixels"].items()}
    return [*columns, ("share", lambda class_name: cell(shares[class_name]), "")]


def cell(value: float | None, content: Any = None) -> Markup:
    """Returns a cell with a score from 0 to 1, or other content that it sorts."""
    order = -1 if value is None else round(value, 9)
    content = markup.percent(value) if content is None else content
    return tag("td", content, class_="number", data_value=order)


def bar_cell(value: float | None, interval: Mapping | None) -> Markup:
    """Returns a cell with a score and a bar, in which its interval is a line."""
    if value is None:
        return cell(value)
    ends = ""
    if interval:
        ends = f";--low:{100 * interval['low']:.2f};--high:{100 * interval['high']:.2f}"
    style = f"--value:{100 * value:.2f}{ends}"
    inner = tag("span") if interval else None
    bar = tag("span", inner, class_="bar", style=style, aria_hidden="true")
    number = tag("span", markup.percent(value))
    return cell(value, tag("span", bar, number, class_="with-bar"))


def interval_cell(ends: Mapping | None) -> Markup:
    """Returns a cell with both ends of an interval, sorted by its width."""
    width = None if ends is None else ends["high"] - ends["low"]
    return cell(width, markup.interval(ends))


def difference_cell(difference: Mapping | None) -> Markup:
    """Returns a cell with a difference, and its interval as a tooltip."""
    if difference is None:
        return cell(None)
    title = (
        f"{markup.interval(difference, markup.points)}; above 0 in "
        f"{difference['above_zero']:.1%}"
    )
    significant = difference["low"] > 0 or difference["high"] < 0
    class_ = "significant" if significant else None
    value = tag("span", markup.points(difference["value"]), title=title, class_=class_)
    return cell(difference["value"], joined([value]))


def confusion_matrix(evaluation, spec: DatasetSpec) -> Markup:
    """Returns the section of the confusion matrix and its largest entries."""
    confusion, is_table = evaluation.confusion, spec.num_classes <= _MAX_TABLE_CLASSES
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    matrix = _matrix(shares, confusion, spec) if is_table else _matrix_image(shares)
    return section(
        "confusions",
        "Confusion matrix",
        tag(
            "p",
            "Of the pixels labeled as the class of a row, the share in percent that "
            "was predicted as the class of a column. ",
            tag("span", "Correct", class_="key correct"),
            " and ",
            tag("span", "wrong", class_="key wrong"),
            "; the strength of the color is the square root of the share, so that "
            "small shares are visible.",
            class_="note",
        ),
        tag("div", matrix, tag("div", _largest(confusion, spec)), class_="beside"),
    )


def _matrix(shares, confusion, spec):
    classes = list(zip(spec.class_names, spec.palette, strict=True))
    heads = [
        tag("th", tag("span", swatch(color), name(class_name)), scope="col")
        for class_name, color in classes
    ]
    corner = tag("td", tag("span", "label"), tag("span", "prediction"))
    rows = [
        tag(
            "tr",
            tag("th", swatch(color), name(class_name), scope="row"),
            *(_matrix_cell(shares, confusion, i, j) for j in range(len(classes))),
        )
        for i, (class_name, color) in enumerate(classes)
    ]
    body = tag(
        "table",
        tag("thead", tag("tr", corner, *heads)),
        tag("tbody", *rows),
        class_="matrix",
    )
    return scrolled("Confusion matrix", body)


def _matrix_cell(shares, confusion, i, j):
    if not confusion[i].any():
        return tag("td", markup.NO_VALUE)
    if not confusion[i, j]:
        return tag("td")
    digits = 1 if len(shares) <= _MAX_DECIMAL_CLASSES else 0
    content = markup.percent(shares[i, j], digits)
    strength = float(np.sqrt(shares[i, j]))
    classes = ["correct" if i == j else "wrong", "dark" if strength > _DARK else ""]
    return tag(
        "td",
        content if float(content) else "<1" if not digits else "<.1",
        class_=" ".join(filter(None, classes)),
        style=f"--strength:{strength:.3f}",
        title=markup.pixels(int(confusion[i, j])),
    )


def _matrix_image(shares):
    """Draws the matrix as an image with a pixel for each pair of classes."""
    strength = np.sqrt(shares)[..., None]
    colors = np.where(np.eye(len(shares), dtype=bool)[..., None], _CORRECT, _WRONG)
    image = (np.array(_BACKGROUND) * (1 - strength) + colors * strength).round()
    return tag(
        "figure",
        tag(
            "img",
            src=encoding.png_url(image.astype(np.uint8)),
            alt="Confusion matrix: labeled classes from top to bottom, predicted "
            "classes from left to right. Its largest entries are listed below.",
            width=len(shares),
            height=len(shares),
            data_zoom=True,
        ),
        tag("figcaption", "Rows: label. Columns: prediction. In the table's order."),
        class_="matrix",
    )


def _largest(confusion, spec):
    is_table = spec.num_classes <= _MAX_TABLE_CLASSES
    count = _LISTED if is_table else _LISTED_BESIDE_IMAGE
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    places = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = np.stack(np.unravel_index(places, wrong.shape), axis=-1).tolist()
    items = [
        _entry(confusion, spec, label, predicted)
        for label, predicted in pairs
        if wrong[label, predicted]
    ]
    if not items:
        return tag("p", "No pixel was predicted as another class.")
    title = tag("h3", "Largest confusions" if len(items) > 1 else "The only confusion")
    return joined([title, tag("ol", *items, class_="largest")])


def _entry(confusion, spec, label, predicted):
    pixels = int(confusion[label, predicted])
    labeled, total = int(confusion[label].sum()), int(confusion.sum())
    return tag(
        "li",
        swatch(spec.palette[label]),
        tag("strong", name(spec.class_names[label])),
        " predicted as ",
        swatch(spec.palette[predicted]),
        tag("strong", name(spec.class_names[predicted])),
        tag(
            "small",
            f"{markup.pixels(pixels)}, {markup.share(pixels, labeled)} of the class, "
            f"{markup.share(pixels, total)} of all pixels",
        ),
    )
