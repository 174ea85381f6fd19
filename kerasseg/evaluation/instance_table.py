"""Scores of instances as text."""

from collections.abc import Mapping
from typing import Any

from kerasseg.metrics import instance_errors

_COLUMNS = (
    ("mask AP %", "mask", "ap"),
    ("AP50 %", "mask", "ap50"),
    ("AP75 %", "mask", "ap75"),
    ("box AP %", "box", "ap"),
    ("box AP50 %", "box", "ap50"),
)
_COMPARED = {
    "mask_ap": "mask AP",
    "mask_ap50": "mask AP50",
    "box_ap": "box AP",
    "box_ap50": "box AP50",
}
_ROWS = (
    ("AP", "ap"),
    ("AP of small, medium, large", "ap_small ap_medium ap_large"),
    ("AR of 1, 10, 100 detections", "ar_1 ar_10 ar_100"),
    ("AR of small, medium, large", "ar_small ar_medium ar_large"),
)


def table(scores: Mapping[str, Any]) -> str:
    """Formats scores as text: a line per class, the means, then the other scores.

    Args:
        scores: Scores of an `InstanceEvaluation`; "difference", if present, is that of
            `instance_comparison.compare`.
    """
    columns = [each for each in _COLUMNS if f"{each[1]}_ap" in scores]
    rows = [
        (
            name,
            *(
                _percent(scores[f"{kind}_classes"][key][name])
                for _, kind, key in columns
            ),
            f"{count:,}",
        )
        for name, count in scores["instances"].items()
    ]
    means = [_percent(scores[f"{kind}_{key}"]) for _, kind, key in columns]
    total = f"{sum(scores['instances'].values()):,}"
    width = max(len(name) for name in ("mean of classes", *scores["instances"]))
    titles = [title for title, _, _ in columns]
    lines = [
        f"{name:<{width}}" + "".join(f"{cell:>12}" for cell in cells)
        for name, *cells in (
            ("class", *titles, "instances"),
            *rows,
            ("mean of classes", *means, total),
        )
    ]
    rule = "-" * len(lines[0])
    return "\n".join([*lines[:-1], rule, lines[-1], *_others(scores)])


def _percent(value):
    return "-" if value is None else f"{100 * value:.2f}"


def _others(scores):
    """Yields a line for each score that does not have a column."""
    interval = scores["interval"]
    for kind in ("mask", "box"):
        for title, keys in _ROWS:
            if f"{kind}_ap" not in scores:
                continue
            values = [scores[f"{kind}_{key}"] for key in keys.split()]
            text = ", ".join("-" if v is None else f"{v:.4f}" for v in values)
            ends = interval[f"{kind}_ap"]
            if keys == "ap" and ends is not None:
                text += f" [{ends['low']:.4f}, {ends['high']:.4f}], "
                text += (
                    f"{interval['level']:.0%} interval of {interval['resamples']:,} "
                )
                text += f"resamples of {interval['pictures']:,} images"
            yield f"{kind + ' ' + title:<34}{text}"
    yield from _differences(scores.get("difference", {}))
    mean_iou = scores.get("mean_iou")
    if mean_iou is not None:
        yield f"{'mean IoU of the pasted masks':<34}{mean_iou:.4f}"
    counts = [
        f"{scores[kind]:,} {kind.replace('_', ' ')}" for kind in instance_errors.KINDS
    ]
    yield f"{'detections at IoU 0.5':<34}{', '.join(counts)}"


def _differences(difference):
    """Yields a line for each difference between two runs."""
    for key, title in _COMPARED.items():
        if key not in difference:  # One of the runs has no masks.
            continue
        ends = difference[key]
        text = "-"
        if ends is not None:
            text = f"{ends['value']:.4f} [{ends['low']:.4f}, {ends['high']:.4f}], "
            text += f"above 0 in {ends['above_zero']:.1%} of them"
        yield f"{'difference of ' + title:<34}{text}"
