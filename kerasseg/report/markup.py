"""HTML and the formatting of numbers. Plain text is escaped, markup is not."""

import html
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

NO_VALUE = "\N{EN DASH}"  # Shown in place of a missing number.

_VOID = frozenset({"img", "meta"})
# Elements that start on a new line, so that the file can be read.
_BLOCKS = frozenset({"article", "figure", "img", "li", "p", "section", "tr", "ul"})
# Characters that HTML forbids, and lone surrogates, which file names may contain.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


def text(value: Any) -> Markup:
    """Escapes plain text; returns markup unchanged."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(_UNPRINTABLE.sub("\ufffd", str(value))))


def joined(parts: Iterable) -> Markup:
    """Concatenates texts and markup; None is skipped."""
    return Markup("".join(text(part) for part in parts if part is not None))


def tag(name: str, /, *parts, **attributes) -> Markup:
    """Returns an element.

    Args:
        name: Name of the element.
        *parts: Its content, texts and markup; None is skipped.
        **attributes: Its attributes; `class_` is "class", and `aria_label` is
            "aria-label". An attribute that is True has no value, one that is None or
            False is left out.
    """
    opening = ["\n<" + name if name in _BLOCKS else "<" + name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        opening.append(key if value is True else f'{key}="{text(value)}"')
    if name in _VOID:
        return Markup(f"{' '.join(opening)}>")
    return Markup(f"{' '.join(opening)}>{joined(parts)}</{name}>")


def name(value: Any) -> Markup:
    """Returns a name given by the user, isolated from the direction of other text."""
    return tag("bdi", value)


def section(identifier: str, title: str, *parts) -> Markup:
    """Returns a section with a heading that links can point to."""
    heading = f"{identifier}-title"
    return tag(
        "section",
        tag("h2", title, id=heading),
        *parts,
        id=identifier,
        aria_labelledby=heading,
    )


def scrolled(label: str, *parts) -> Markup:
    """Returns a region that scrolls, also by keyboard, if it is wider than the page."""
    return tag(
        "div", *parts, class_="scrolled", role="region", aria_label=label, tabindex=0
    )


def swatch(color: Iterable[int]) -> Markup:
    """Returns a box in the color of a class, RGB from 0 to 255."""
    red, green, blue = (int(value) for value in color)
    style = f"background:rgb({red} {green} {blue})"
    return tag("span", class_="swatch", style=style, aria_hidden="true")


def is_missing(value: float | None) -> bool:
    """Returns whether a score is None or NaN."""
    return value is None or math.isnan(value)


def percent(value: float | None, digits: int = 2) -> str:
    """Formats a fraction from 0 to 1 in percent, without the percent sign."""
    if value is None or is_missing(value):
        return NO_VALUE
    return f"{100 * value:.{digits}f}"


def points(value: float | None, digits: int = 2) -> str:
    """Formats a difference of two fractions in percentage points, with its sign."""
    if value is None or is_missing(value):
        return NO_VALUE
    return f"{100 * value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(ends: Mapping[str, float] | None, format_: Callable = percent) -> str:
    """Formats both ends of an interval of `metrics.interval`."""
    if ends is None:
        return NO_VALUE
    return f"{format_(ends['low'])} to {format_(ends['high'])}"


def pixels(number: int) -> str:
    """Formats a number of pixels."""
    return f"{number:,} px"


def plural(number: int, noun: str) -> str:
    """Formats a number with a noun, as in "1 image" and "2 images"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def share(part: int, whole: int) -> str:
    """Formats a part of a whole in percent; tiny parts are "<0.1 %"."""
    if not whole:
        return NO_VALUE
    value = 100 * part / whole
    return "<0.1 %" if 0 < value < 0.05 else f"{value:.1f} %"
