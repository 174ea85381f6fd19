"""An export tells neither secrets nor folders, and its card shows names as they are."""

import html
import json
import pathlib
import re

import hypothesis
import pytest
from hypothesis import strategies as st

from kerasseg import exporting
from kerasseg.exporting import card, redaction
from kerasseg.workdir import layout
from tests.support import levels, served


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--seed=3", "--seed=3"),
        ("--model_option=output_stride=16", "--model_option=output_stride=16"),
        ("--eval_scales=0.5,1.0", "--eval_scales=0.5,1.0"),
        ("--flagfile=experiments/a.flags", "--flagfile=experiments/a.flags"),
        ("--records_dir=/home/ann/secret/records", "--records_dir=.../records"),
        ("--records_dir=/home/ann/my data/records/", "--records_dir=.../records"),
        ("--dir=/home/ann/a.zip,/home/ann/b.zip", "--dir=.../a.zip,.../b.zip"),
        ("--workdir=/home/ann,x/run", "--workdir=.../run"),
        ("--workdir=~ann/run", "--workdir=.../run"),
        ("--workdir=../../ann/run", "--workdir=.../run"),
        (r"--workdir=C:\Users\ann\run", "--workdir=.../run"),
        ("--model_option=weights=/home/ann/w.h5", "--model_option=weights=.../w.h5"),
        ("--dataset=https://ann:secret@host/x", "--dataset=https://host/x"),
        ("--dataset=https://ann:se@cret@host/x", "--dataset=https://host/x"),
        ("--dataset=https://ann:se/cret@host/x", "--dataset=https://host/x"),
        ("--dataset=https://ann:se,cret@host/x", "--dataset=https://host/x"),
        ("--x=https://a/a,https://ann:secret@a/b", "--x=https://a/a,https://a/b"),
        ("https://host:8080/@ann/x?token=secret#a", "https://host:8080/@ann/x"),
        ("file:///home/ann/secret/x", "file://.../x"),
        ("see https://ann:secret@host/x.", "see https://host/x."),
    ],
)  # fmt: skip
def test_secrets_and_folders_are_cut(text, expected):
    assert redaction.redact({"a": [text, 3, None]}) == {"a": [expected, 3, None]}


PARTS = st.text("abc-_. ", min_size=1, max_size=6).map(lambda text: f"x{text}x")


@hypothesis.given(
    st.sampled_from(["--flag=", "--model_option=key=", ""]),
    st.lists(PARTS, min_size=1, max_size=4),
)
def test_no_folder_of_any_path_is_left(start, parts):
    path = "".join(f"/SECRET{part}" for part in parts[:-1]) + "/" + parts[-1]
    assert "SECRET" not in redaction.redact(start + path)


@hypothesis.given(st.text("ab/:@,?#=&%+-", max_size=12), st.text("ab.", max_size=5))
def test_no_password_of_any_url_is_left(noise, host):
    text = redaction.redact(f"--flag=https://ann:SECRET{noise}@h{host}/path")
    assert "SECRET" not in text


NASTY = [
    "a|b",
    "<script>alert(1)</script>",
    "![x](https://evil/x.png)",
    "[click](javascript:alert(1))",
    "`code` *bold* _it_ ~~no~~",
    "line\n# Heading\n\n- list",
    "https://evil.example and www.evil.example",
    "\u202eabc",
    "# title",
    "&lt;",
]


def shown(text):
    """Undoes the escapes, as a reader of Markdown shows the text."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text))


@pytest.mark.parametrize("name", NASTY)
def test_a_class_name_is_shown_as_it_is(name):
    metadata = {"formats": {}, "classes": [{"name": name, "color": [1, 2, 3]}]}
    text = card.card(name, metadata, 7)
    (row,) = re.findall(r"^\| 0 \|.*$", text, re.M)
    cells = re.split(r"(?<!\\)\|", row)
    assert len(cells) == 5
    expected = " ".join(name.split()).replace("\u202e", r"\u202e")
    assert shown(cells[2].strip()).replace("\\\\", "\\") == expected
    # Neither a tag, nor an image, a link or a heading.
    assert not re.search(r"<\w|(?<!\\)\[|(?<!\\)`|https?://evil|www\.evil", row)
    assert len(re.findall(r"^# ", text, re.M)) == 1


@hypothesis.given(st.text(max_size=30))
def test_an_escaped_text_is_one_line_without_active_characters(text):
    line = redaction.escape(text)
    assert len(line.splitlines()) <= 1
    assert "<" not in line and not re.search(r"(?<!\\)(\\\\)*[`*_|\[\]~]", line)


def test_an_export_of_a_run_holds_neither(tmp_path):
    folder = levels.make_workdir(tmp_path / "run", backbone_weights="/home/ann/w.h5")
    (folder / layout.FLAGS).write_text(
        "--records_dir=/home/ann/secret/records\n--dataset=https://ann:pass@host/x\n"
    )
    (folder / layout.METRICS).write_text(
        json.dumps({"mean_iou": 0.5, "predictions_dir": "/home/ann/secret/masks"})
    )
    version = served.export(tmp_path / "out", description=exporting.describe(folder))
    for name in ("README.md", "metadata.json"):
        text = pathlib.Path(version, name).read_text("utf-8")
        assert "ann" not in re.sub("scanned|annotat", "", text), name
        assert "pass@" not in text
        assert "--records_dir=.../records" in text
