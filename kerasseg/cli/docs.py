"""Prints a page of the documentation, or lists the pages.

kerasseg docs [NAME]

NAME is the name of a page, such as training. A path such as docs/training.md is also
accepted.
"""

import re
from collections.abc import Sequence

from absl import app

from kerasseg import cli
from kerasseg.system import packaged


def listing() -> str:
    """Returns a line for each page: its name and its title."""
    pages = packaged.pages()
    width = max(map(len, pages), default=0)
    return "\n".join(f"{name:<{width}}  {_title(pages[name])}" for name in pages)


def _title(path):
    match = re.search(r"^# (.*)$", path.read_text("utf-8"), re.M)
    return match[1] if match else ""


def page(name: str) -> str:
    """Returns the Markdown text of a page.

    Args:
        name: Such as "training", "training.md" or "docs/training.md".

    Raises:
        errors.UserError: There is no such page.
    """
    plain = name.removeprefix(f"{packaged.DOCS}/").removesuffix(".md")
    path = packaged.find("page", plain, packaged.pages(), "kerasseg docs")
    return path.read_text("utf-8").rstrip("\n")


def main(argv: Sequence[str]) -> None:
    """Prints the page, or the list."""
    names = argv[1:]
    if len(names) > 1:
        raise app.UsageError(f"One page at a time is printed, got {names}.")
    print(page(names[0]) if names else listing())


if __name__ == "__main__":
    cli.run(main, accepts_arguments=True)
