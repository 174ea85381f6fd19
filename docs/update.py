"""Rewrites the tables of docs/architectures.md; run `python docs/update.py`.

The first comes from what the architectures register, the second from the heads of the
flag files. Each stands between two comments, <!-- NAME --> and <!-- /NAME -->.
"""

import pathlib
import re

from kerasseg.models import __main__ as architectures

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architectures.md"
# The line in the head of a flag file that reports the result of its run.
MEASURED = re.compile(
    r"^# Measured: val mIoU (0\.\d{3}) after (\d+) minutes on 2 cores", re.M
)


def results() -> list[tuple[str, str, str, str]]:
    """Lists the measured runs, best first: name, path, mean IoU, minutes."""
    found = [
        (path.stem, path.relative_to(ROOT).as_posix(), *match.groups())
        for path in sorted(ROOT.glob("experiments/*/*.flags"))
        if (match := MEASURED.search(path.read_text("utf-8")))
    ]
    return sorted(found, key=lambda row: row[2], reverse=True)


def results_table() -> str:
    """Returns the table of the measured runs."""
    lines = ["| flag file | val mIoU | minutes |", "| --- | ---: | ---: |"]
    for name, path, mean_iou, minutes in results():
        lines.append(f"| [`{name}`](../{path}) | {mean_iou} | {minutes} |")
    return "\n".join(lines)


def updated(text: str) -> str:
    """Returns a page with its tables replaced."""
    tables = {"architectures": architectures.markdown(), "results": results_table()}
    for name, table in tables.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(start)
        after = rest.partition(end)[2]
        text = f"{before}{start}\n{table}\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
