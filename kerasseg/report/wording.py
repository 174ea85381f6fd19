"""Numbers as people read them."""

import math

NOTHING = "\N{EN DASH}"  # Where there is no number.


def missing(value) -> bool:
    """Tells whether a score is None or NaN."""
    return value is None or math.isnan(value)


def percent(value, digits: int = 2) -> str:
    """Writes a share from 0 to 1 as a number of percent, without the sign."""
    return NOTHING if missing(value) else f"{100 * value:.{digits}f}"


def points(value, digits: int = 2) -> str:
    """Writes a difference of two shares in percentage points, with its sign."""
    if missing(value):
        return NOTHING
    return f"{100 * value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def ends(found, write=percent) -> str:
    """Writes both ends of an interval, as `metrics.interval` describes it."""
    if found is None:
        return NOTHING
    return f"{write(found['low'])} to {write(found['high'])}"


def pixels(number: int) -> str:
    """Writes a number of pixels."""
    return f"{number:,} px"


def plural(number: int, noun: str) -> str:
    """Writes a number of things."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def share(part: int, whole: int) -> str:
    """Writes a part of a whole in percent, small parts as such."""
    if not whole:
        return NOTHING
    value = 100 * part / whole
    return "<0.1 %" if 0 < value < 0.05 else f"{value:.1f} %"
