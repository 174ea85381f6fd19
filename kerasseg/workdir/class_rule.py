"""How the logits of a run's best model become masks, with its tuned thresholds."""

import json
import os
from collections.abc import Mapping
from typing import Any

from kerasseg import errors
from kerasseg.images.class_rules import ClassRule
from kerasseg.system import files, progress
from kerasseg.workdir import layout, metadata


def read(workdir: str | os.PathLike) -> ClassRule:
    """Returns the rule of the best model.

    Thresholds that were tuned for an earlier best model are not used; a line is logged.

    Raises:
        errors.MissingFileError: See `metadata.read_spec`.
        errors.UserError: A file is damaged.
    """
    spec, path = metadata.read_spec(workdir), os.path.join(workdir, layout.THRESHOLDS)
    if not os.path.exists(path):
        return ClassRule(multi_label=spec.multi_label)
    try:
        values = files.read_json(path)
        step, by_class = values["step"], values["thresholds"]
        rule = ClassRule(spec.multi_label, tuple(float(x) for x in by_class.values()))
        rule.check(spec.num_classes)
        if not set(by_class) <= set(spec.class_names):
            raise errors.UserError("it has other classes than the run")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"{path} is damaged ({error}). Remove it, or evaluate the run again with "
            f"`tune_thresholds`."
        ) from error
    if step != metadata.read_metadata(workdir)["step"]:
        progress.log(
            f"The thresholds in {path} are those of step {step}, which is no longer "
            "the best model, and are not used. Evaluate the run again with "
            "`tune_thresholds`."
        )
        return ClassRule(multi_label=spec.multi_label)
    return rule


def write(
    workdir: str | os.PathLike,
    thresholds: Mapping[str, float],
    details: Mapping[str, Any],
) -> None:
    """Writes the thresholds of the best model.

    Args:
        workdir: Folder of the run.
        thresholds: Threshold of each class that has one, by its name.
        details: Further entries for the reader of the file, such as "split".
    """
    step = metadata.read_metadata(workdir)["step"]
    values = {"step": step, "thresholds": dict(thresholds), **details}
    text = json.dumps(values, indent=2) + "\n"
    files.write_bytes(os.path.join(workdir, layout.THRESHOLDS), text.encode())
