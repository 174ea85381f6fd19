"""The shape of the house: ways of imports, sizes, names, what is documented."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("kerasseg", "tfrecords_tools")
    for path in (ROOT / folder).rglob("*.py")
)

# What each part may import of ours, besides itself. A folder is one part.
ALLOWED = {
    "runtime": set(),
    "datasets": set(),
    "blocks": set(),
    "complexity": set(),
    "durable": set(),
    "progress": set(),
    "schedules": set(),
    "losses": set(),
    "metrics": set(),
    "visualize": {"datasets"},
    "images": {"datasets"},
    "crf": {"blocks", "free_memory"},
    "free_memory": set(),
    "superpixels": set(),
    "lock": set(),
    "received": set(),
    "supervisor": {"received"},
    "distribution": {"received"},
    "workers": set(),
    "inference_flags": {"cli", "crf", "superpixels", "workers"},
    "records": {"datasets", "durable"},
    "augment": {"datasets"},
    "borders": set(),
    "statistics": {"datasets"},
    "pipeline": {"datasets", "records", "augment"},
    "backbones": {"blocks"},
    "models": {"blocks", "backbones"},
    "checkpoints": {"datasets", "durable", "models"},
    "evaluation": {
        *("datasets", "durable", "images", "metrics", "pipeline", "progress"),
        *("records", "workers"),
    },
    "crf_tuning": {"crf", "durable", "metrics", "progress", "workers"},
    "report": {"datasets", "durable", "images", "metrics", "progress"},
    "predictor_flags": {"cli"},
    "prediction": {"inference", "inference_flags"},
    "ray_engine": {"progress"},
    "run_records": {"checkpoints", "cli", "pipeline", "records"},
    "training": {
        *("augment", "backbones", "checkpoints", "datasets", "durable", "evaluation"),
        *("losses", "models", "pipeline", "progress", "records", "schedules"),
        *("blocks", "borders", "distribution", "inference", "received"),
        *("free_memory", "statistics", "visualize"),
    },
    "inference": {
        *("checkpoints", "datasets", "durable", "free_memory", "images", "progress"),
        *("visualize", "workers"),
    },
    "exporting": {
        *("artefacts", "blocks", "checkpoints", "crf", "datasets", "durable"),
        *("images", "inference", "metrics", "warm_up", "workers"),
    },
    "artefacts": {"checkpoints", "workers"},
    "warm_up": set(),
    # A server knows no architecture: it runs what was exported.
    "serve": {"durable", "images", "visualize", "warm_up", "workers"},
    "cli": {"images"},
}
KERAS_ONLY = ("blocks", "backbones", "complexity", "models", "losses", "metrics")


def part_of(path):
    return path.relative_to(ROOT / "kerasseg").parts[0].removesuffix(".py")


def imports(path):
    """Yields the full names that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def entry_points():
    return [path for path in SOURCES if 'if __name__ == "__main__"' in path.read_text()]


def own_parts(path):
    return {
        name.split(".")[1]
        for name in imports(path)
        if name.startswith("kerasseg.") and name.count(".")
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    if "kerasseg" not in path.relative_to(ROOT).parts[0]:
        return
    entries = {part_of(p) for p in entry_points() if p.parent.name == "kerasseg"}
    part, used = part_of(path), own_parts(path)
    if part == "__init__" or path in entry_points():
        assert not (used & entries) - {part}, "an entry point imports an entry point"
        return
    assert used <= ALLOWED[part] | {part}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_flags_are_touched_at_the_edge_only(path):
    if path not in entry_points() and "cli" not in path.parts:
        assert not any(name.startswith("absl") for name in imports(path))


@pytest.mark.parametrize("part", KERAS_ONLY)
def test_networks_are_written_for_any_keras_backend(part):
    for path in SOURCES:
        if path.is_relative_to(ROOT / "kerasseg") and part_of(path) == part:
            top = [n for n in ast.parse(path.read_text()).body]
            names = [
                alias.name
                for node in top
                if isinstance(node, ast.Import)
                for alias in node.names
            ]
            assert "tensorflow" not in names, path


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_functions_and_nesting_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= 250, "a file of more than 250 lines becomes a folder"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = node.end_lineno - body[0].lineno + 1 if body else 0
            builder = any("register" in ast.unparse(d) for d in node.decorator_list)
            assert length <= (60 if builder else 40), f"{node.name}: {length} lines"
        assert not isinstance(node, ast.Assert), "no assert in library code"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_more_than_seven_arguments_are_given_by_name(path):
    """Papers have many parameters; nobody should have to count them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            named = [argument.arg for argument in node.args.args]
            positional = len(set(named) - {"self", "cls"})
            total = positional + len(node.args.kwonlyargs)
            assert total <= 7 or positional <= 2, f"{node.name}: {total} arguments"


def test_no_file_has_a_name_that_says_nothing():
    names = {path.name for path in SOURCES}
    assert not names & {"utils.py", "misc.py", "helpers.py", "common.py"}


def public(path):
    """Yields the public functions, classes and methods of a file."""
    tree = ast.parse(path.read_text())
    yield path.name, tree
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_"):
            continue
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name[0] != "_":
                    yield f"{node.name}.{inner.name}", inner


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_public_name_is_documented(path):
    missing = [
        name
        for name, node in public(path)
        if not ast.get_docstring(node)
        # What Keras defines, Keras documents.
        and name.split(".")[-1]
        not in (
            "call",
            "build",
            "compute_output_shape",
            "compute_output_spec",
            "get_config",
        )
    ]
    assert not missing


@pytest.mark.parametrize("name", ["kerasseg", "kerasseg.launch"])
def test_what_computes_nothing_starts_no_tensorflow(name):
    code = f"import {name}, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_environment_of_the_user_is_left_alone(monkeypatch):
    from kerasseg import runtime

    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    runtime.prepare()
    import os

    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


def test_unknown_public_names_are_attribute_errors():
    import kerasseg

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kerasseg.nothing
