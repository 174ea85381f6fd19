"""Words of the project's former dialect do not come back in their old sense.

Names and texts are the field's: image, label, mask, predict, expected. Where one of
these words is meant, in a name that is frozen for example, it is listed below.
"""

import ast
import io
import pathlib
import re
import tokenize

import pytest

ROOT = pathlib.Path(__file__).parents[2]

# Pattern -> what to say instead.
WORDS = {
    r"anew": "again",
    r"pictures?": "image",
    r"wanted": "expected",
    r"(is|are|was|be|been|being) told|told (what|which|how|apart|in)": "reported",
    r"lingering": "graceful close",
    r"artefacts?": "runtimes",
    r"spoil(t|s)?": "corrupt",
    r"taken for": "predicted as",
    r"last word|speaks? last": "refine",
    r"what (the|a) network says|says of (a|the|each|it)": "output, logits",
    r"(hears?|heard) (what|of|that)": "exchanges messages with",
    r"in the mirror|mirrored (too|as well)": "horizontally flipped",
    r"looked at|looks at|a look at|takes a look": "predict, sample, check",
    r"of its own": "own",
    r"deaf|mortal": "",
    r"in so many|so many (pictures|images|steps|pixels|parts)": "this number of",
    r"as many parts": "micro-batches",
    r"comes? to (an|no) end": "ends, is interrupted",
    r"for want of": "because of too little",
    r"truths?(?! (table|value))": "label, target",
    r"(un)?labelled": "labeled",
}
# Old words that are meant: frozen names, and phrases with another sense.
ALLOWED = (
    r"pictures\.csv|pictures/|/pictures|\"pictures\"|'pictures'|`pictures`",
    r"picture_|_pictures?\b|\bpictures_",  # Flags and keys with aliases or frozen.
    r"[\"'\\]picture[\"']",  # A class, a layer name, a kind of shape.
    r"kerasseg_batch_pictures",
    r"history/unlabelled|\"(un)?labelled\"",  # A variable; a column of pictures.csv.
    r"ground truth",
    r"Motion Picture|picture element",
)

PYTHON = sorted(
    path
    for folder in ("kerasseg", "tfrecords_tools", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "golden" not in path.parts and path.name != "test_language.py"
)
PAGES = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "experiments").rglob("*.flags"),
        *(ROOT / "kerasseg").rglob("*.html"),
        *(ROOT / "kerasseg").rglob("*.js"),
    ]
    if path.name != "CHANGELOG.md"
)


def words_of(name):
    """Splits an identifier into words: PictureReader, num_pictures."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return spaced.replace("_", " ").lower()


def texts(path):
    """Yields line numbers and texts of a file: names, comments, strings, or lines."""
    source = path.read_text("utf-8")
    if path.suffix != ".py":
        yield from enumerate(source.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for i, line in enumerate(token.string.splitlines()):
                yield token.start[0] + i, line
    for node in ast.walk(ast.parse(source)):
        for name in names(node):
            yield node.lineno, words_of(name)


def names(node):
    """Names that a node of the syntax tree defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
        if isinstance(node, ast.FunctionDef):
            arguments = node.args
            for argument in [*arguments.args, *arguments.kwonlyargs]:
                yield argument.arg
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id


PATTERNS = {re.compile(rf"\b({word})\b", re.I): use for word, use in WORDS.items()}
MEANT = re.compile("|".join(ALLOWED), re.I)


def faults(path):
    for number, text in texts(path):
        rest = MEANT.sub(" ", text)
        for pattern, use in PATTERNS.items():
            if match := pattern.search(rest):
                yield f"{number}: '{match[0]}' -> '{use}': {text.strip()}"


@pytest.mark.parametrize("path", PYTHON + PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_words_are_those_of_the_field(path):
    found = list(faults(path))
    assert not found, "\n".join(found[:20])


def test_old_words_are_found_and_frozen_names_are_not():
    assert words_of("PictureReader") == "picture reader"
    frozen = MEANT.sub(" ", "the pictures/ folder and num_pictures")
    assert not any(pattern.search(frozen) for pattern in PATTERNS)
    assert any(pattern.search("draws a picture anew") for pattern in PATTERNS)
