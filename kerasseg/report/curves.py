"""The sections of boundaries and of calibration."""

from kerasseg.report import charts, wording
from kerasseg.report.markup import section, tag


def boundaries(scores: dict):
    """Writes the trimap curve; None where it was not measured."""
    if "trimap" not in scores:
        return None
    curve, whole = scores["trimap"], scores["mean_iou"]
    near, far = wording.percent(curve["mean_iou"][0]), wording.percent(whole)
    rows = zip(curve["width"], curve["mean_iou"], curve["pixels"], strict=True)
    return section(
        "boundaries",
        "Boundaries",
        tag(
            "p",
            "Mean IoU of the pixels within so many pixels of a boundary of the labels "
            "(trimap). The dashed line is that of all pixels. A curve that starts far "
            "below it tells of regions that are found but drawn inexactly.",
            class_="note",
        ),
        charts.curve(
            curve["width"],
            curve["mean_iou"],
            whole,
            label=f"Mean IoU by distance to a boundary: {near} % within one pixel, "
            f"{far} % of all pixels. The numbers follow.",
        ),
        _numbers(
            ("pixels from a boundary", "mean IoU, %", "labelled pixels"),
            [(width, wording.percent(value), f"{n:,}") for width, value, n in rows],
        ),
    )


def calibration(scores: dict):
    """Writes the reliability diagram; None where it was not measured."""
    if "reliability" not in scores:
        return None
    found, error = scores["reliability"], scores["expected_calibration_error"]
    total = max(sum(found["pixels"]), 1)
    rows = zip(found["confidence"], found["accuracy"], found["pixels"], strict=True)
    return section(
        "calibration",
        "Calibration",
        tag(
            "p",
            "How often the network is right where it says so with some confidence: "
            "bars below the dashed line are too sure of themselves, bars above it too "
            "shy. Dots are larger where there are more pixels. The expected "
            f"calibration error is {wording.percent(error)} %.",
            class_="note",
        ),
        charts.reliability(
            found,
            label=f"Share of right pixels by confidence; expected calibration error "
            f"{wording.percent(error)} %. The numbers follow.",
        ),
        _numbers(
            ("confidence, %", "right, %", "share of pixels"),
            [
                (wording.percent(c), wording.percent(a), wording.share(n, total))
                for c, a, n in rows
                if n
            ],
        ),
    )


def _numbers(titles, rows):
    """Writes the numbers of a drawing, folded."""
    head = tag("tr", *(tag("th", title, scope="col") for title in titles))
    lines = [
        tag("tr", *(tag("td", cell, class_="number") for cell in row)) for row in rows
    ]
    table = tag("table", tag("thead", head), tag("tbody", *lines))
    return tag("details", tag("summary", "The numbers"), table)
