"""The frame of a page: title, navigation, style and script."""

import base64
import functools
import hashlib
import importlib.resources
from collections.abc import Mapping

from kerasseg.report.markup import Markup, tag


def document(
    title: str,
    header: Markup,
    sections: Mapping[str, Markup | None],
    titles: Mapping[str, str],
    *,
    incomplete: bool,
) -> str:
    """Returns the file of a page, which loads nothing.

    Args:
        title: Title of the window.
        header: Content before the sections.
        sections: Sections by identifier, in order; those that are None are left out.
        titles: Title of each section in the navigation, by identifier.
        incomplete: Whether images were left out to limit the size of the page.
    """
    present = {key: section for key, section in sections.items() if section is not None}
    text = "More images were left out to limit the size of this page."
    note = tag("p", text, class_="incomplete") if incomplete else None
    links = [
        tag("li", tag("a", titles[identifier], href=f"#{identifier}"))
        for identifier in present
    ]
    body = tag(
        "body",
        tag("a", "Skip to the scores", href="#classes", class_="skip"),
        header,
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag("main", note, *present.values()),
        tag("footer", tag("p", "Written by kerasseg.evaluate.")),
        tag("script", Markup(_resource("page.js"))),
    )
    return f"<!DOCTYPE html>\n{tag('html', _head(title), body, lang='en')}\n"


def _head(title):
    digest = hashlib.sha256(_resource("page.js").encode()).digest()
    script_hash = base64.b64encode(digest).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{script_hash}'; base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(_resource("page.css"))),
    )


@functools.cache
def _resource(name):
    return importlib.resources.files(__package__).joinpath(name).read_text("utf-8")
