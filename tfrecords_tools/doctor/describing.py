"""What the doctor says: findings with their files, and the command that builds."""

import dataclasses
import shlex

from tfrecords_tools import doctor, texts
from tfrecords_tools.cli import label_flags
from tfrecords_tools.converters import own_data
from tfrecords_tools.doctor import findings

_MAX_FILES = 3


def describe(examined: "doctor.Examination") -> str:
    """Returns the findings as lines of text."""
    counts = ", ".join(f"{split} {n}" for split, n in examined.num_pairs.items())
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(examined.kinds.items()))
    lines = [f"{sum(examined.num_pairs.values())} pairs: {counts}. Masks: {kinds}."]
    for i, finding in enumerate(examined.found, start=1):
        lines += ["", f"{i}. {_title(finding)}", *_indented(finding.text)]
        if finding.files:
            lines += [f"     {text}" for text in _files(finding.files)]
        if finding.flags:
            lines += [f"   {' '.join(as_flags(finding.flags))}"]
        if finding.leave_out:
            lines += [f"   --leave_out: {texts.some(finding.leave_out, _MAX_FILES)}"]
    if not examined.found:
        lines += ["", "Nothing was found."]
    return "\n".join(lines)


def _title(finding):
    return f"{finding.kind[0].upper()}{finding.kind[1:]}" + (
        " (nothing to do)" if finding.is_note else ""
    )


def _indented(text, width=80):
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
    """Writes flags as a shell takes them."""
    return [
        f"--{name}" if value is True else f"--{name}={shlex.quote(str(value))}"
        for name, value in values.items()
    ]


def command(examined: "doctor.Examination", seed: int = 1) -> str:
    """Returns the build's command with every flag that it needs, in several lines."""
    values = {**_given(examined.own), **_given(examined.reading)}
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


def _given(flags: own_data.OwnData | label_flags.LabelFlags):
    return {
        field.name: getattr(flags, field.name)
        for field in dataclasses.fields(flags)
        if "help" in field.metadata and getattr(flags, field.name) != field.default
    }


def leave_out_file(examined: "doctor.Examination", earlier: str = "") -> str:
    """Returns the file for --leave_out: earlier lines, then new ones with reasons."""
    reasons: dict[str, list[str]] = {}
    for finding in examined.found:
        for line in finding.leave_out:
            reasons.setdefault(line, []).append(finding.kind)
    lines = [f"{line} # {', '.join(kinds)}" for line, kinds in reasons.items()]
    return "".join(f"{line}\n" for line in [*earlier.splitlines(), *lines])


def summary(found: list[findings.Finding]) -> str:
    """Says in one line what is to be settled, and by whom."""
    kinds = ", ".join(finding.kind for finding in found)
    open_ones = [finding.kind for finding in found if not finding.is_settled]
    if open_ones:
        return (
            f"{len(found)} things were found ({kinds}), and no flag settles "
            f"{', '.join(open_ones)}: correct the files, or give the flags that are "
            "named there, and look again"
        )
    return (
        f"{len(found)} things were found ({kinds}). Build with the command above, or "
        "correct the files and look again"
    )
