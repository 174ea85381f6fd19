"""Commands, flags, links and tables of the docs and the flag files are valid."""

import importlib
import importlib.util
import inspect
import pathlib
import re
import shlex

import pytest
from absl import flags

from kerasseg import __main__ as program
from kerasseg import cli, losses, models, training
from kerasseg.system import packaged
from kerasseg.training import augmentation_options, recipe, schedules

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]
FLAGFILES = sorted(ROOT.glob("experiments/*/*.flags"))
ENTRY_POINTS = [
    *("kerasseg.train", "kerasseg.evaluate", "kerasseg.predict", "kerasseg.export"),
    *("tfrecords_tools.build", "tfrecords_tools.inspect", "tfrecords_tools.extract"),
    *("kerasseg.serve", "kerasseg.tune_crf", "kerasseg.launch"),
    "tfrecords_tools.pseudo",
    "tfrecords_tools.seeds",
    "kerasseg.import_weights",
    "kerasseg.label_next",
    *("kerasseg.cli.docs", "kerasseg.cli.fit", "kerasseg.cli.recipes"),
]


def load_update():
    """Imports docs/update.py, which writes the tables."""
    spec = importlib.util.spec_from_file_location("update", ROOT / "docs/update.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def every_flag():
    for name in ENTRY_POINTS:
        if hasattr(importlib.import_module(name), "__path__"):
            importlib.import_module(f"{name}.__main__")


def commands(text):
    """Yields the commands of a page: lines of a block, those that go on joined."""
    for line in re.sub(r"\\\n[# ]*", "", text).splitlines():
        match = re.match(
            r"^#?(?:\s+(?:\$ )?(?=python|make)|\s{3,}(?:\$ )?(?=kerasseg))"
            r"((?:python -m|make|python|kerasseg) [^`]*)$",
            line,
        )
        if match:
            yield match[1]


def check_flags(program, arguments):
    """Parses `--name=value` arguments without changing a flag."""
    module = importlib.import_module(program)
    if hasattr(module, "__path__"):
        program += ".__main__"
    own = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(program)}
    shared = flags.FLAGS.flags_by_module_dict()["kerasseg.cli"]
    foreign = {flag.name for flag in shared} - own
    for argument in arguments:
        name, separator, value = argument.removeprefix("--").partition("=")
        if name in ("recipe", "copy"):
            assert value in packaged.recipes(), f"{value} is no recipe"
        if name not in flags.FLAGS and name.startswith("no"):
            name = name.removeprefix("no")
            assert flags.FLAGS[name].boolean
        if name == "flagfile":
            written = value.startswith("run/")  # By a command on the page.
            assert written or (ROOT / value).exists(), f"{value} does not exist"
            continue
        assert name in flags.FLAGS, f"--{name} is no flag"
        assert name not in foreign, f"{program} does not take --{name}"
        if separator:
            flags.FLAGS[name].parser.parse(value)


@pytest.mark.parametrize("page", [*PAGES, *FLAGFILES], ids=lambda p: p.name)
def test_every_command_exists_and_its_flags_parse(page):
    for command in commands(page.read_text()):
        words = shlex.split(command)
        if words[0] == "kerasseg" and words[1] in ("--help", "--version"):
            continue
        if words[0] == "kerasseg":
            words = ["python", "-m", program.commands()[words[1]].module, *words[2:]]
        if words[0] == "make":
            assert re.search(f"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M)
        elif words[1] == "-m":
            assert words[2] in (*ENTRY_POINTS, "kerasseg.models"), words[2]
            own = words[3 : words.index("--")] if "--" in words else words[3:]
            positional = words[2] == "kerasseg.cli.docs"
            check_flags(words[2], [] if positional else own)
        else:
            assert (ROOT / words[1]).exists()


def test_the_pages_hold_commands():
    found = [c for page in [*PAGES, *FLAGFILES] for c in commands(page.read_text())]
    assert len(found) > 12


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda p: p.name)
def test_a_flagfile_is_a_whole_run(path):
    lines = [x for x in path.read_text().splitlines() if x and x[0] != "#"]
    check_flags("kerasseg.train", lines)
    values = dict(line.removeprefix("--").partition("=")[::2] for line in lines)
    builder = models.metadata(values["model"]).builder
    given = [x.split("=", 1)[1] for x in lines if x.startswith("--model_option=")]
    options = cli.model_options(builder, given)
    known = set(builder.__kwdefaults__)
    assert set(options) <= known
    assert "training_number_of_steps" in values and "base_learning_rate" in values
    augmentation_options.crop_size(values["train_crop_size"])
    keys = ("loss", "output_weights")
    recipe.Recipe(**{key: values[key] for key in keys if key in values})
    text = path.read_text()
    assert f"--flagfile=experiments/{path.parent.name}/{path.name}" in text
    assert re.search(r"^# (Measured|Not (measured|trained))", text, re.M)


@pytest.mark.parametrize("cls", [training.Recipe, training.AugmentationOptions])
def test_flags_and_fields_have_one_default(cls):
    fresh = cls()
    read = cli.read_fields(cls)
    assert read == fresh


def test_the_tables_are_up_to_date():
    text = (ROOT / "docs" / "architectures.md").read_text()
    assert load_update().updated(text) == text, "run: python docs/update.py"


def test_every_loss_is_in_the_table_with_its_options():
    text = (ROOT / "docs" / "training.md").read_text()
    table = text.partition("| loss | options |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*)\|$", table, re.M)
    listed = [(name, set(re.findall(r"`--(\w+)`", options))) for name, options in rows]
    flag_names = {
        **recipe.LOSS_OPTION_FLAGS,
        "class_weights": "class_weights",
        "pixel_weights": "border_weights",
    }
    expected = []
    for name, loss in sorted(losses.LOSSES.items()):
        options = [o for o in flag_names if o in inspect.signature(loss).parameters]
        expected.append((name, {flag_names[option] for option in options}))
    assert listed == expected  # The rows to write in docs/training.md.


def test_every_schedule_is_named():
    text = (ROOT / "docs" / "training.md").read_text()
    missing = [name for name in schedules.POLICIES if f"`{name}`" not in text]
    assert not missing  # Add them to docs/training.md.


def test_readme_repeats_results_that_flag_files_report():
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| \[`(\w+)`\]\((\S+)\) \| (\S+) \| (\d+) \|$", text, re.M)
    assert rows and set(rows) <= set(load_update().results())


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_code_compiles(page):
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        compile(code, page.name, "exec")


def anchors(text):
    """Returns the anchors of a page's headings, as GitHub writes them."""
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_no_figure_is_missing(page):
    assert not re.search(r"[A-Z]+_RE(SULT|TIO)", page.read_text())
