"""Commands, packages and flags that messages anywhere propose: they exist.

tests/tfrecords_tools/test_remedies.py runs those of build and inspect.
"""

import ast
import importlib
import re
import shlex

import pytest
from absl import flags

from kerasseg import __main__ as program
from kerasseg.system import packaged
from tests.support import remedies

FOUND = list(remedies.templates("kerasseg", "tfrecords_tools"))
SETUP = ast.parse((remedies.ROOT / "setup.py").read_text())
EXTRAS = next(
    ast.literal_eval(node.value)
    for node in SETUP.body
    if isinstance(node, ast.Assign) and node.targets[0].id == "EXTRAS"
)
LITERAL = re.compile(r"(?<![\w-])(?:`|--)([a-z_]+)=([^\0`\s]+?)(?=[`,;.)]*(?:\s|`|$))")


def test_the_programs_that_messages_name_can_be_started():
    names = {
        m for _, _, t in FOUND for m in re.findall(r"python -m (\w+\.[\w.]*\w)", t)
    }
    assert {"kerasseg.train", "tfrecords_tools.build"} <= names
    for name in names:
        path = remedies.ROOT.joinpath(*name.split("."))
        files = path.with_suffix(".py"), path / "__main__.py"
        (text,) = [file.read_text() for file in files if file.exists()]
        assert 'if __name__ == "__main__"' in text, name


def test_the_commands_that_messages_name_exist():
    pattern = re.compile(r"\bkerasseg ([a-z][\w-]*) (?:lists|prints)")
    names = [
        name
        for path in (remedies.ROOT / "kerasseg").rglob("*.py")
        for name in pattern.findall(path.read_text("utf-8"))
    ]
    assert {"docs", "recipes"} <= {*names} <= {*program.commands()}


def test_the_pages_and_recipes_that_messages_name_are_installed():
    named = set()
    for package in ("kerasseg", "tfrecords_tools"):
        for path in (remedies.ROOT / package).rglob("*.py"):
            text = path.read_text("utf-8")
            named |= {*re.findall(r"\bdocs/\w+\.md|\bexperiments/\w+/\w+\.flags", text)}
            assert not re.search(r"\bmake (quickstart|test|lint)|docs/update\.py", text)
    pages = {f"docs/{name}.md" for name in packaged.pages()}
    recipes = {f"experiments/{name}.flags" for name in packaged.recipes()}
    placeholders = {"experiments/camvid/NAME.flags"}
    assert named - placeholders <= pages | recipes
    assert {"docs/data.md", "docs/distributed.md"} <= named


def test_the_packages_that_messages_name_are_extras_in_quotes():
    texts = [t for _, _, t in FOUND if "pip install" in t and "kerasseg[" in t]
    assert len(texts) > 8
    for text in texts:
        words = shlex.split(re.search(r"pip install ('[^']*'|\S+)", text)[1])
        assert f"pip install '{words[0]}'" in text, text  # zsh expands brackets.
        extra = words[0].removeprefix("kerasseg[").removesuffix("]")
        assert extra in EXTRAS or extra == "\0", text


@pytest.fixture(scope="module")
def known():
    """The flags of all commands."""
    for name in (
        "train",
        "evaluate",
        "predict",
        "export",
        "launch",
        "tune_crf",
        "label_next",
        "import_weights",
    ):
        importlib.import_module(f"kerasseg.{name}")
    for name in ("build", "inspect", "extract"):
        importlib.import_module(f"tfrecords_tools.{name}")
    return flags.FLAGS


def options_of_models():
    """Names of the arguments of functions that build networks."""
    for folder in ("models", "backbones"):
        for path in (remedies.ROOT / "kerasseg" / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.arg):
                    yield node.arg


def parses(flag, value):
    try:
        flag.parser.parse(value)
    except ValueError:
        return False
    return True


def test_the_values_that_messages_propose_can_be_parsed(known):
    options = {*options_of_models()}
    checked = 0
    for path, line, text in FOUND:
        for name, value in LITERAL.findall(text):
            where = f"{path}:{line}: {name}={value}"
            if name not in known:
                assert name in options or "python -m" in text or "Flink" in text, where
                continue
            names = {name, f"crf_{name}"} & {*known}  # Prefixed by `errors.renamed`.
            assert any(parses(known[each], value.strip("'\"")) for each in names), where
            checked += 1
    assert checked > 20
