"""Writes the documentation as a static site: the pages, and the API from docstrings.

make docs

writes build/site: docs/*.html, made from the Markdown pages, and api/*.html, made by
pdoc from the docstrings of kerasseg and tfrecords_tools. A module that cannot be
imported, a link without a target and any warning is an error.
"""

import html
import importlib
import importlib.util
import pathlib
import pkgutil
import re
import shutil
import sys
import warnings

import markdown2

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = "kerasseg", "tfrecords_tools"
# In the layout of the repository, so that the links between them stay.
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
    *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")),
]
_EXTRAS = ["fenced-code-blocks", "header-ids", "tables", "break-on-newline-off"]
_TEMPLATE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 1rem auto;
  padding: 0 1rem; }}
pre, code {{ background: #f3f3f3; font-size: 14px; }}
pre {{ padding: .6rem; overflow-x: auto; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
td, th {{ border: 1px solid #ccc; padding: .2rem .5rem; text-align: left; }}
img {{ max-width: 100%; }}
</style>
<nav><a href="{up}docs/index.html">kerasseg</a> · <a href="{up}api/index.html">API</a>
</nav>
{body}
</html>
"""


def page(text: str, up: str = "") -> str:
    """Converts a page to HTML.

    Args:
        text: Its Markdown text.
        up: Path from its folder to the root of the site.
    """
    title = re.search(r"^# (.*)$", text, re.M)
    body = str(markdown2.markdown(text, extras=_EXTRAS))
    return _TEMPLATE.format(
        title=html.escape(title[1] if title else ""), body=body, up=up
    )


def with_links(text: str, source: pathlib.Path, pages: set[pathlib.Path]) -> str:
    """Lets the links of a page lead to HTML pages.

    Args:
        text: HTML of the page.
        source: Its Markdown file.
        pages: Markdown files that become pages.

    Raises:
        ValueError: A link has no target in the repository.
    """

    def replace(match):
        target, _, anchor = match[1].partition("#")
        if not target or re.match(r"\w+:", target) or target.endswith("index.html"):
            return match[0]
        path = (source.parent / target).resolve()
        if not path.exists():
            raise ValueError(f"{source.name} links to {target}, which does not exist.")
        anchor = f"#{anchor}" if anchor else ""
        if path in pages:
            return f'href="{target.removesuffix(".md")}.html{anchor}"'
        return f'title="{html.escape(target)}"'  # A file of the repository.

    return re.sub(r'href="([^"]*)"', replace, text)


def check_anchors(folder: pathlib.Path) -> None:
    """Checks that every link to a heading has one.

    Raises:
        ValueError: Lists the links that lead nowhere.
    """
    texts = {p.resolve(): p.read_text("utf-8") for p in folder.rglob("*.html")}
    ids = {p: set(re.findall(r'id="([^"]+)"', text)) for p, text in texts.items()}
    broken = []
    for path, text in texts.items():
        if path.parent.name == "api":
            continue
        for target, anchor in re.findall(r'href="([^":#]*)#([^"]+)"', text):
            goal = (path.parent / target).resolve() if target else path
            if anchor not in ids.get(goal, set()):
                broken.append(f"{path.name}: {target}#{anchor}")
    if broken:
        raise ValueError(f"Links without a target: {', '.join(sorted(set(broken)))}.")


def write_pages(site: pathlib.Path) -> None:
    """Writes the pages and their images."""
    sources = {(ROOT / name).resolve() for name in PAGES if (ROOT / name).exists()}
    for source in sorted(sources):
        name = source.relative_to(ROOT).with_suffix(".html")
        text = page(source.read_text("utf-8"), "../" * (len(name.parts) - 1))
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(with_links(text, source, sources), "utf-8")
    shutil.copytree(ROOT / "docs/pictures", site / "docs/pictures")
    (site / "index.html").write_text(
        '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">'
    )


def _import_all():
    """Imports all modules, and the names that packages import on first use."""
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        found = pkgutil.walk_packages(path, f"{package}.")
        for name in [package, *(each.name for each in found)]:
            if name.endswith("__main__"):
                continue
            module = importlib.import_module(name)
            for attribute in getattr(module, "__all__", ()):
                setattr(module, attribute, getattr(module, attribute))


def write_api(folder: pathlib.Path) -> None:
    """Writes a page for each module, from its docstrings."""
    import pdoc

    from kerasseg.system import runtime

    runtime.start_tensorflow()
    _import_all()
    pdoc.render.configure(docformat="google", show_source=False, footer_text="kerasseg")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Of pdoc.
        pdoc.pdoc(*PACKAGES, r"!kerasseg\.packaged", output_directory=folder)


def main(site: pathlib.Path, *, with_api: bool = True) -> None:
    """Writes the site.

    Args:
        site: Its folder, whose content is replaced.
        with_api: Whether to write the API reference, too.
    """
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    write_pages(site)
    check_anchors(site)
    if with_api:
        if importlib.util.find_spec("pdoc") is None:
            sys.exit("pdoc is not installed: pip install 'kerasseg[docs]'")
        write_api(site / "api")
    count = len(list(site.rglob("*.html")))
    print(f"{count} pages are in {site}; open {site / 'index.html'}.")


if __name__ == "__main__":
    main(ROOT / "build/site")
