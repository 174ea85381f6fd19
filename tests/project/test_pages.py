"""The index, troubleshooting, glossary, migrating, CITATION.cff and the site."""

import ast
import importlib.util
import pathlib
import re

import pytest
import yaml

import kerasseg

ROOT = pathlib.Path(__file__).parents[2]


def read(name):
    return (ROOT / name).read_text("utf-8")


def texts():
    """Returns every string of the packages, with \\0 for what is filled in."""
    found = []
    for package in ("kerasseg", "tfrecords_tools"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = (getattr(part, "value", "\0") for part in node.values)
                    found.append(
                        "".join(p if isinstance(p, str) else "\0" for p in parts)
                    )
    return "\n".join(found)


def test_the_index_has_one_line_for_every_page():
    listed = re.findall(
        r"^- \[[^]]+\]\((\w+)\.md\): [^\n]+\.$", read("docs/index.md"), re.M
    )
    pages = {path.stem for path in ROOT.glob("docs/*.md")} - {"index"}
    assert sorted(listed) == sorted(pages)


def test_troubleshooting_quotes_messages_that_exist():
    rows = re.findall(r"^\| (.*?) \|", read("docs/troubleshooting.md"), re.M)
    quoted = [m for row in rows for m in re.findall(r"`([^`]* [^`]*)`", row)]
    assert len(quoted) > 8
    known = texts()
    assert [message for message in quoted if message not in known] == []


def test_the_glossary_is_sorted_and_has_each_term_once():
    terms = re.findall(r"^\| (?!term|---)(.*?) \|", read("docs/glossary.md"), re.M)
    assert len(terms) > 20
    assert terms == sorted(set(terms), key=str.lower)


def test_migrating_names_what_kerasseg_has():
    text = read("docs/migrating.md")
    names = set(re.findall(r"(?<![\w-])kerasseg\.(\w+)[.(]", text))
    assert {"build_model", "fit", "load"} <= names <= {*kerasseg.__all__}
    for name in re.findall(r"kerasseg\.(?:losses|metrics|data)\.\w+", text):
        _, module, attribute = name.split(".")
        assert hasattr(getattr(kerasseg, module), attribute), name


def test_the_citation_is_that_of_this_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == kerasseg.__version__
    assert citation["license"] == "Apache-2.0"
    # What the schema of the Citation File Format 1.2.0 requires.
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert all(
        isinstance(value, str) for key, value in citation.items() if key[0] == "c"
    )


@pytest.fixture
def build_site():
    pytest.importorskip("markdown2")
    path = ROOT / "docs/build_site.py"
    spec = importlib.util.spec_from_file_location("build_site", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_site_has_every_page_and_no_broken_link(build_site, tmp_path):
    site = tmp_path / "site"
    build_site.main(site, with_api=False)
    pages = {path.stem for path in ROOT.glob("docs/*.md")}
    assert {path.stem for path in site.glob("docs/*.html")} == pages
    assert "<table>" in (site / "docs/glossary.html").read_text("utf-8")


def test_a_broken_link_is_an_error(build_site, tmp_path):
    source = ROOT / "docs/index.md"
    with pytest.raises(
        ValueError, match=r"index\.md links to none\.md, which does not"
    ):
        build_site.with_links('<a href="none.md">', source, set())
    (tmp_path / "one.html").write_text('<a href="#none">', "utf-8")
    with pytest.raises(ValueError, match=r"one\.html: #none"):
        build_site.check_anchors(tmp_path)
