"""The structure of the code: layers of imports, sizes, names, documentation."""

import ast
import collections
import os
import pathlib
import re
import subprocess
import sys

import pytest

import kerasseg
from kerasseg.system import runtime

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("kerasseg", "tfrecords_tools")
    for path in (ROOT / folder).rglob("*.py")
)
TREES = {path: ast.parse(path.read_text()) for path in SOURCES}

# An import goes to the same layer or a lower one.
LAYERS = (
    {"datasets", "errors", "system"},
    {"blocks", "images", "instances", "losses", "metrics", "records", "weights"},
    {"backbones", "crf", "pipeline"},
    {"distribution", "models", "workdir"},
    {"evaluation", "inference", "report", "training"},
    {"exporting", "serve"},
    {"trained"},
)
LAYER_OF = {part: layer for layer, parts in enumerate(LAYERS) for part in parts}
KERAS_ONLY = {"backbones", "blocks", "instances", "losses", "metrics", "models"}
MAX_ROOT_ENTRIES = 34  # Without the mark of a typed package, py.typed.


def name_of(path):
    return str(path.relative_to(ROOT))


def part_of(path):
    """The package or module below kerasseg that a file belongs to."""
    return path.relative_to(ROOT / "kerasseg").parts[0].removesuffix(".py")


def is_entry_point(path):
    return 'if __name__ == "__main__"' in path.read_text()


def imports(path):
    """Yields the full names that a file imports, at any depth."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def library():
    """Yields the files of kerasseg that are neither entry points nor `cli`."""
    for path in SOURCES:
        if not path.is_relative_to(ROOT / "kerasseg") or is_entry_point(path):
            continue
        if part_of(path) not in ("__init__", "cli"):
            yield path


def edges():
    """Yields pairs of parts, and the import that connects them."""
    for path in library():
        for name in imports(path):
            if name.startswith("kerasseg."):
                used = name.split(".")[1]
                if used != part_of(path):
                    yield part_of(path), used, f"{name_of(path)} imports {name}"


def test_imports_go_to_the_same_layer_or_a_lower_one():
    assert {part_of(path) for path in library()} <= set(LAYER_OF)
    above = len(LAYERS)
    wrong = [
        text
        for part, used, text in edges()
        if LAYER_OF.get(used, above) > LAYER_OF[part]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", ["kerasseg", "tfrecords_tools"])
def test_no_packages_import_each_other_in_a_circle(package):
    graph = collections.defaultdict(set)
    for path in SOURCES:
        if not path.is_relative_to(ROOT / package) or is_entry_point(path):
            continue
        part = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        for name in imports(path):
            if name.startswith(f"{package}."):
                graph[part].add(name.split(".")[1])
        graph[part].discard(part)

    def reachable(part):
        found, todo = set(), [part]
        while todo:
            for used in graph[todo.pop()] - found:
                found.add(used)
                todo.append(used)
        return found

    circles = sorted(part for part in list(graph) if part in reachable(part))
    assert not circles


def test_the_root_of_kerasseg_stays_small():
    others = "__pycache__", "py.typed"
    entries = [p for p in (ROOT / "kerasseg").iterdir() if p.name not in others]
    assert len(entries) <= MAX_ROOT_ENTRIES


def test_only_entry_points_and_cli_import_absl():
    wrong = [
        name_of(path)
        for path in SOURCES
        if "cli" not in path.parts
        and not is_entry_point(path)
        and any(name.split(".")[0] == "absl" for name in imports(path))
    ]
    assert not wrong


def test_networks_losses_and_metrics_run_on_any_keras_backend():
    wrong = [
        name_of(path)
        for path in library()
        if part_of(path) in KERAS_ONLY
        for node in TREES[path].body
        if isinstance(node, ast.Import)
        and any(alias.name.startswith("tensorflow") for alias in node.names)
    ]
    assert not wrong


def functions():
    for path in SOURCES:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.FunctionDef):
                yield f"{name_of(path)}: {node.name}", path, node


def length_of(node):
    """Lines of a function's body, without its docstring and inner functions."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    if not body:
        return 0
    inner = sum(
        child.end_lineno - child.lineno + 1
        for child in body
        if isinstance(child, ast.FunctionDef)
    )
    return node.end_lineno - body[0].lineno + 1 - inner


# Stories that are read from top to bottom, like an example.
LONG = {"run.py: _train": 120, "loop.py: train_loop": 60}


def test_functions_stay_small():
    wrong = []
    for name, path, node in functions():
        builder = any("register" in ast.unparse(d) for d in node.decorator_list)
        limit = LONG.get(f"{path.name}: {node.name}", 60 if builder else 40)
        if length_of(node) > limit:
            wrong.append(f"{name}: {length_of(node)} lines")
    assert not wrong


def test_more_than_seven_arguments_are_given_by_name():
    wrong = []
    for name, _, node in functions():
        positional = {argument.arg for argument in node.args.args} - {"self", "cls"}
        total = len(positional) + len(node.args.kwonlyargs)
        if total > 7 and len(positional) > 4:
            wrong.append(f"{name}: {total} arguments")
    assert not wrong


def test_the_library_has_no_assert():
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    assert not wrong


def test_no_file_has_a_name_that_says_nothing():
    names = {path.name for path in SOURCES}
    assert not names & {"utils.py", "misc.py", "helpers.py", "common.py"}


# What Keras defines, Keras documents.
KERAS_METHODS = {
    *("build", "call", "compute_output_shape", "compute_output_spec", "get_config"),
}


def test_every_public_name_is_documented():
    wrong = []
    for path, tree in TREES.items():
        nodes = [tree, *tree.body]
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                nodes += node.body
        for node in nodes:
            if not isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
                continue
            name = getattr(node, "name", path.name)
            public = not name.startswith("_") or isinstance(node, ast.Module)
            if public and name not in KERAS_METHODS and not ast.get_docstring(node):
                wrong.append(f"{name_of(path)}: {name}")
    assert not wrong


def texts(tree):
    """Yields the string constants of a file that are not docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and ast.get_docstring(node, clean=False) is not None
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node


def raised(tree):
    """Yields the expressions that are raised, or returned as errors."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            yield node.exc
            continue
        value = node.value if isinstance(node, ast.Return) else None
        if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("Error"):
            yield value


def test_no_error_of_the_library_names_a_flag():
    """Errors name options in backticks; commands print them as flags."""
    wrong = [
        f"{name_of(path)}:{text.lineno}: {text.value}"
        for path, tree in TREES.items()
        if "cli" not in path.parts and not is_entry_point(path)
        for error in raised(tree)
        for text in texts(error)
        if re.search(r"(^|[\s(`'\"])--[a-z]", text.value)
    ]
    assert not wrong, "\n".join(wrong)


def test_wrong_input_raises_a_user_error():
    """The exit status of a command follows the type; see `errors`."""
    plain = re.compile(r"^(ValueError|FileNotFoundError|ImportError)\(")
    wrong = [
        f"{name_of(path)}:{error.lineno}"
        for path, tree in TREES.items()
        for error in raised(tree)
        if plain.match(ast.unparse(error)) and not _is_caught(tree, error)
    ]
    assert not wrong, "\n".join(wrong)


def _is_caught(tree, error):
    """Whether the raise lies in a `try` of the same function that catches it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            lines = range(node.body[0].lineno, node.body[-1].end_lineno + 1)
            handlers = " ".join(
                ast.unparse(h.type) for h in node.handlers if h.type is not None
            )
            if error.lineno in lines and "ValueError" in handlers:
                return True
    return False


@pytest.mark.parametrize("name", ["kerasseg", "kerasseg.launch"])
def test_what_computes_nothing_starts_no_tensorflow(name):
    code = f"import {name}, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_environment_of_the_user_is_left_alone(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    runtime.prepare()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


def test_unknown_public_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kerasseg.nothing
