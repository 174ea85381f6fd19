"""Writes an examination as text, and as the command that builds the records."""

import dataclasses
import shlex
from collections.abc import Sequence

from kerasseg.system import names
from tfrecords_tools.converters import own_data, source_files, splitting
from tfrecords_tools.doctor import examining, findings
from tfrecords_tools.writing import label_options

_MAX_FILES = 3


def describe(examination: examining.Examination) -> str:
    """Returns the findings as lines of text."""
    num_pairs = examination.num_pairs
    lines = [
        f"{source_files.count(sum(num_pairs.values()), 'pair')}{_counts(num_pairs)}."
    ]
    if examination.kinds:
        kinds = (f"{n} {kind}" for kind, n in sorted(examination.kinds.items()))
        lines[0] += f" Masks: {', '.join(kinds)}."
    if examination.num_unlabeled:
        lines[0] += f" Images without a label: {examination.num_unlabeled}."
    for i, finding in enumerate(examination.findings, start=1):
        lines += ["", f"{i}. {_title(finding)}", *_indent(finding.text)]
        if finding.files:
            lines += [f"     {text}" for text in _files(finding.files)]
        if finding.options:
            lines += [f"   {' '.join(as_flags(finding.options))}"]
        if finding.leave_out:
            left_out = source_files.shorten(finding.leave_out, _MAX_FILES)
            lines += [f"   --leave_out: {left_out}"]
    if not examination.findings:
        lines += ["", "No problems found."]
    # Names of files may have line feeds, and bytes that are not UTF-8.
    printable = (line.encode(errors="backslashreplace").decode() for line in lines)
    return "\n".join(map(names.one_line, printable))


def _counts(num_pairs):
    listed = ", ".join(f"{split} {n}" for split, n in num_pairs.items())
    return f": {listed}" if any(num_pairs.values()) else ""


def _title(finding):
    return f"{finding.kind[0].upper()}{finding.kind[1:]}" + (
        " (nothing to do)" if finding.is_note else ""
    )


def _indent(text, width=80):
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [f"   {line}" for line in lines]


def _files(files):
    more = len(files) - _MAX_FILES
    return [*files[:_MAX_FILES], *([f"and {more} more"] if more > 0 else [])]


def as_flags(values: dict) -> list[str]:
    """Writes options as flags, quoted for a shell."""
    return [
        f"--{name}" if value is True else f"--{name}={shlex.quote(str(value))}"
        for name, value in values.items()
    ]


def command(
    examination: examining.Examination, seed: int = 1, instances: bool = False
) -> str:
    """Returns the command that builds the records, with all flags, in several lines."""
    values = {**_given(examination.own), **_given(examination.options)}
    if instances:
        values["instances"] = True
    if seed != 1:
        values["seed"] = seed
    flags = [*as_flags(values), "--records_dir=DIR"]
    lines = ["python -m tfrecords_tools.build --dataset=folder"]
    for flag in flags:
        if len(lines[-1]) + len(flag) > 76:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {flag}"
    return "\n".join(f"  {line}" for line in lines)


def _given(options: own_data.OwnData | label_options.LabelOptions):
    return {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if "help" in field.metadata and getattr(options, field.name) != field.default
    }


def leave_out_file(examination: examining.Examination, earlier: str = "") -> str:
    """Returns the file for `leave_out`.

    Args:
        examination: Its images to leave out are added, with the reasons as comments.
        earlier: Contents of the file that was given.
    """
    reasons: dict[str, list[str]] = {}
    for finding in examination.findings:
        for line in finding.leave_out:
            reasons.setdefault(line, []).append(finding.kind)
    lines = [
        f"{splitting.as_line(line)} # {', '.join(kinds)}"
        for line, kinds in reasons.items()
    ]
    return "".join(f"{line}\n" for line in [*earlier.splitlines(), *lines])


def summarize(problems: Sequence[findings.Finding], *, is_complete: bool = True) -> str:
    """Returns one line about the problems, and what to do.

    Args:
        problems: The problems.
        is_complete: Whether a build command was printed, if options fix all of them.
    """
    kinds = ", ".join(finding.kind for finding in problems)
    not_fixable = [finding.kind for finding in problems if not finding.is_fixable]
    found = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} ({kinds})"
    if not_fixable:
        return (
            f"Found {found}. No option fixes {', '.join(not_fixable)}: correct the "
            "files, or give the options described above, and run the command again."
        )
    if not is_complete:
        return f"Found {found}. Give the options described above, and `classes`."
    return (
        f"Found {found}. Build with the command above, or correct the files and run "
        "this command again."
    )
