"""fit.json: what `kerasseg fit` was asked for in a workdir, and what is complete."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from kerasseg import errors
from kerasseg.system import files
from kerasseg.workdir import layout


@dataclasses.dataclass
class RunFile:
    """The state of a run.

    Attributes:
        workdir: Folder of the run.
        source: The flags that give the data, as lines.
        minutes: Minutes that the plan was asked to take.
        image_scale: Factor by which images are reduced; 0 until it is chosen.
        reason: Why this factor.
        seconds: How long each complete stage took, by its name.
        costs: Seconds that the plan was computed from, see `budget.Costs`.
        version: Path of the exported version; "" until there is one.
    """

    workdir: pathlib.Path
    source: list[str]
    minutes: float
    image_scale: float = 0.0
    reason: str = ""
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    costs: dict[str, float] = dataclasses.field(default_factory=dict)
    version: str = ""

    @property
    def plan(self) -> pathlib.Path:
        """Path of the plan."""
        return self.workdir / layout.PLAN

    @property
    def records_dir(self) -> str:
        """Folder of the records."""
        return os.fspath(self.workdir / layout.FIT_RECORDS)

    @property
    def export_dir(self) -> str:
        """Folder of the exported versions."""
        return os.fspath(self.workdir / layout.FIT_EXPORT)

    def write(self) -> None:
        """Writes the file."""
        values = dataclasses.asdict(self)
        del values["workdir"]
        self.workdir.mkdir(parents=True, exist_ok=True)
        text = json.dumps(values, indent=2) + "\n"
        files.write_bytes(self.workdir / layout.FIT, text.encode())

    def finish(self, stage: str, seconds: float) -> None:
        """Notes that a stage is complete."""
        self.seconds[stage] = round(seconds, 1)
        self.write()


def open_run(
    workdir: str | os.PathLike, source: Sequence[str], minutes: float
) -> RunFile:
    """Opens the run of a workdir, or a new one, which is not written yet.

    Args:
        workdir: Folder of the run.
        source: The flags that give the data, as lines.
        minutes: Minutes of the whole command.

    Raises:
        errors.UserError: The workdir holds a run of other data, minutes or another
            command, or the file is damaged.
    """
    folder = pathlib.Path(workdir)
    path = folder / layout.FIT
    if not path.exists():
        _check_free(folder)
        return RunFile(folder, list(source), minutes)
    found = RunFile(folder, **_read(path))
    if found.source != list(source):
        there = " ".join(line for line in found.source if line not in source)
        here = " ".join(line for line in source if line not in found.source)
        raise errors.UserError(
            f"{folder} holds a run on other data: {there or 'no such flag'} there, "
            f"{here or 'no such flag'} here. Give the same flags to continue it, or "
            "another `workdir`."
        )
    if not found.plan.exists():  # It was removed, or is to be written.
        found.minutes = minutes
        found.seconds.pop("plan", None)
    if found.minutes != minutes:
        raise errors.UserError(
            f"{folder} holds a run that was planned for {found.minutes:g} minutes. "
            f"Give `minutes={found.minutes:g}` to continue it, or another `workdir` "
            f"for `minutes={minutes:g}`."
        )
    return found


def _check_free(folder):
    """Refuses the folder of a run of another command."""
    written = [n for n in (layout.FLAGS, layout.CHECKPOINTS) if (folder / n).exists()]
    if written:
        raise errors.UserError(
            f"{folder} holds a run that kerasseg fit did not start: {written[0]} is "
            "there. Give another `workdir`, or resume it with kerasseg train."
        )


def _read(path):
    known = {field.name: field for field in dataclasses.fields(RunFile)}
    try:
        values: dict[str, Any] = files.read_json(path)
        if not {"source", "minutes"} <= values.keys() <= known.keys() - {"workdir"}:
            raise ValueError("its entries are not those of this version")
    except (ValueError, AttributeError) as error:
        raise errors.UserError(
            f"{path} is damaged ({error}). Give another `workdir`, or remove the file "
            "and the other results in it to start again."
        ) from error
    return values
