"""What the packages import is declared in setup.py, and the other way around."""

import ast
import collections
import pathlib
import re
import sys

import pytest
from packaging import requirements, utils, version

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = "kerasseg", "tfrecords_tools"
SETUP = {
    node.targets[0].id: ast.literal_eval(node.value)
    for node in ast.parse((ROOT / "setup.py").read_text("utf-8")).body
    if isinstance(node, ast.Assign) and node.targets[0].id in ("REQUIRES", "EXTRAS")
}
TOOLS = {
    "dev",
    "docs",
    "notebooks",
    "parity",
}  # No module of the packages imports them.
EXTRAS = {name: texts for name, texts in SETUP["EXTRAS"].items() if name not in TOOLS}
LOWEST = dict(
    line.split("==")
    for line in (ROOT / "constraints/lowest.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
)
# Distributions whose modules have other names.
DISTRIBUTIONS = {
    "absl": "absl-py",
    "cv2": "opencv-python-headless",
    "google.protobuf": "protobuf",
    "grpc": "grpcio",
    "PIL": "pillow",
    "pydensecrf": "pydensecrf2",
    "skimage": "scikit-image",
    "tensorflow_serving": "tensorflow-serving-api",
    "yaml": "pyyaml",
}
# tensorboard shows the events that TensorFlow writes; imagecodecs decodes for tifffile.
NOT_IMPORTED = {"imagecodecs", "tensorboard"}
NOT_IN_LOWEST = {"beam", "crf", "gpu", "grpc", "ray"}  # Not tested at the lowest.


def distributions(texts):
    return {utils.canonicalize_name(requirements.Requirement(t).name) for t in texts}


CORE = distributions(SETUP["REQUIRES"])
OPTIONAL = set().union(*map(distributions, EXTRAS.values())) - CORE


def modules(path):
    """Yields the modules that a file imports, and whether its import needs them."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in tree.body
        elif isinstance(node, ast.ImportFrom):
            yield node.module, node in tree.body
        elif isinstance(node, ast.Call) and isinstance(node.args[:1], list):
            dynamic = ast.unparse(node.func).endswith("import_module")
            if dynamic and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value, False


def imported():
    """Returns pairs of a file and whether its start needs it, by distribution."""
    found = collections.defaultdict(set)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for module, at_start in modules(path):
                top = module.partition(".")[0]
                if top in sys.stdlib_module_names or top in PACKAGES:
                    continue
                name = ".".join(module.split(".")[:2]) if top == "google" else top
                name = utils.canonicalize_name(DISTRIBUTIONS.get(name, name))
                found[name].add((str(path.relative_to(ROOT)), at_start))
    return found


IMPORTED = imported()


def test_every_import_is_declared():
    assert len(IMPORTED) > 20
    undeclared = {name: IMPORTED[name] for name in {*IMPORTED} - CORE - OPTIONAL}
    assert not undeclared


def test_every_requirement_is_imported():
    assert {*IMPORTED} | NOT_IMPORTED >= CORE | OPTIONAL


# Modules that are imported only where their extra is used.
OF_EXTRAS = {
    "kerasseg/crf/pydensecrf_engine.py",
    "kerasseg/inference/ray_engine.py",
    "kerasseg/serve/grpc_access.py",
    "kerasseg/serve/grpc_api.py",
    "kerasseg/serve/grpc_health.py",
    "kerasseg/serve/metrics.py",
    "kerasseg/serve/process_metrics.py",
    "kerasseg/serve/protocol.py",
    "kerasseg/serve/server.py",
    "tfrecords_tools/converters/tfds.py",
    "tfrecords_tools/writing/beam_engine.py",
}


def test_modules_start_without_the_extras():
    needing = {path for name in OPTIONAL for path, start in IMPORTED[name] if start}
    assert needing <= OF_EXTRAS


def test_the_compiler_is_needed_by_no_other_extra():
    users = {name for name, texts in EXTRAS.items() if "pydensecrf2" in str(texts)}
    assert users == {"crf"}
    (text,) = EXTRAS["crf"]
    marker = requirements.Requirement(text).marker
    runs = {v: marker.evaluate({"python_version": v}) for v in ("3.11", "3.12", "3.13")}
    assert runs == {"3.11": True, "3.12": True, "3.13": False}
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (target,) = re.findall(r"^\$\(VENV\)/\.quickstart:.*\n(?:\t.*\n)+", makefile, re.M)
    assert "crf" not in target and ".[lite0]" in target


@pytest.mark.parametrize(
    "text",
    [
        *SETUP["REQUIRES"],
        *(
            t
            for name, texts in EXTRAS.items()
            if name not in NOT_IN_LOWEST
            for t in texts
        ),
    ],
)
def test_the_lowest_versions_are_those_of_the_constraints(text):
    given = requirements.Requirement(text)
    (specifier,) = given.specifier
    assert specifier.operator == ">="
    lowest = version.Version(LOWEST[given.name])
    # A bound of x.y is tested with the first release x.y.z that has files.
    bound = version.Version(specifier.version).release
    assert lowest.release[: len(bound)] == bound
