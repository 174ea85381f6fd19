"""HTML from plain text: whatever is not markup already is escaped."""

import html
import re

_VOID = frozenset({"img", "meta"})
# Begin a line of the file, which somebody may want to read.
_BLOCKS = frozenset({"article", "figure", "img", "li", "p", "section", "tr", "ul"})
# What HTML cannot hold, and halves of characters, which names of files may have.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


def text(value) -> Markup:
    """Escapes plain text, and leaves markup as it is."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(_UNPRINTABLE.sub("\ufffd", str(value))))


def joined(parts) -> Markup:
    """Sets texts and markup one after the other; None is nothing."""
    return Markup("".join(text(part) for part in parts if part is not None))


def tag(name: str, /, *parts, **attributes) -> Markup:
    """Writes an element.

    Args:
        name: Of the element.
        *parts: What it holds, texts and markup; None is nothing.
        **attributes: `class_` is "class", and `aria_label` is "aria-label". One that
            is True has no value, one that is None or False is left out.
    """
    opened = ["\n<" + name if name in _BLOCKS else "<" + name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        opened.append(key if value is True else f'{key}="{text(value)}"')
    if name in _VOID:
        return Markup(f"{' '.join(opened)}>")
    return Markup(f"{' '.join(opened)}>{joined(parts)}</{name}>")


def name(value) -> Markup:
    """Writes a name that somebody gave, whatever way its letters run."""
    return tag("bdi", value)


def section(identifier: str, title: str, *parts) -> Markup:
    """Writes a section with its heading, which links may lead to."""
    heading = f"{identifier}-title"
    return tag(
        "section",
        tag("h2", title, id=heading),
        *parts,
        id=identifier,
        aria_labelledby=heading,
    )


def scrolled(label: str, *parts) -> Markup:
    """Writes what may be wider than the page, to be moved by keys, too."""
    return tag(
        "div", *parts, class_="scrolled", role="region", aria_label=label, tabindex=0
    )
