"""The document around the sections, which asks for nothing from elsewhere."""

import base64
import functools
import hashlib
import importlib.resources
from collections.abc import Mapping

from kerasseg.report.markup import Markup, tag

_TITLES = {  # Of the sections, in the list that leads to them.
    "classes": "Classes",
    "confusions": "Confusions",
    "boundaries": "Boundaries",
    "calibration": "Calibration",
    "first": "Sample at first",
    "worst": "Worst",
    "best": "Best",
    "closeups": "From near",
}


def document(
    title: str, head: Markup, sections: Mapping[str, Markup | None], *, full: bool
) -> str:
    """Writes the whole file.

    Args:
        title: Of the window.
        head: What comes first.
        sections: By identifier, in order; those that are None are left out.
        full: Whether pictures were left out, so that the page does not grow too large.
    """
    known = {key: markup for key, markup in sections.items() if markup is not None}
    left_out = "More pictures were left out, to keep this page small."
    warning = tag("p", left_out, class_="full") if full else None
    body = tag(
        "body",
        tag("a", "To the scores", href="#classes", class_="skip"),
        head,
        tag("nav", tag("ul", *map(_link, known)), aria_label="Sections"),
        tag("main", warning, *known.values()),
        tag("footer", tag("p", "Written by kerasseg.evaluate.")),
        tag("script", Markup(_file("page.js"))),
    )
    return f"<!DOCTYPE html>\n{tag('html', _head(title), body, lang='en')}\n"


def _link(identifier):
    return tag("li", tag("a", _TITLES[identifier], href=f"#{identifier}"))


def _head(title):
    digest = hashlib.sha256(_file("page.js").encode()).digest()
    allowed = base64.b64encode(digest).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(_file("page.css"))),
    )


@functools.cache
def _file(name):
    return importlib.resources.files(__package__).joinpath(name).read_text("utf-8")
