"""What a run that was trained on few labels adds to its report."""

import os
import pathlib
import re
from typing import Any

from kerasseg import errors, images, records, report
from kerasseg.datasets import DatasetSpec
from kerasseg.system import files, json_values, progress
from kerasseg.workdir import flag_file, layout

_GENERATED = re.compile(r"(\d+)_generated\.png")
_MAX = 2**63 - 1  # Largest number of images or pixels.


def read(workdir: str | os.PathLike, spec: DatasetSpec) -> report.FewLabels:
    """Reads the images that a generator made last, and the numbers of pseudo-labels.

    Files that cannot be used are named in a warning and left out.

    Args:
        workdir: Folder of the run.
        spec: The data set.
    """
    step, generated = _generated(pathlib.Path(workdir, layout.IMAGES))
    return report.FewLabels(generated, step, _pseudo_labels(workdir, spec))


def _generated(folder):
    """Returns the step and the images in a row; 0 and None without any."""
    found = [_GENERATED.fullmatch(path.name) for path in folder.glob("*_generated.png")]
    steps = {int(match[1]): match[0] for match in found if match}
    if not steps:
        return 0, None
    step = max(steps)
    try:
        return step, images.read_image(folder / steps[step])
    except (OSError, errors.UserError) as error:
        progress.log(f"The report has no generated images: {error}.")
        return 0, None


def _pseudo_labels(workdir, spec):
    records_dir = flag_file.read(workdir).get("records_dir")
    path = pathlib.Path(records_dir or "", records.PSEUDO_LABELS_FILE)
    if records_dir is None or not path.is_file():
        return None
    try:
        return _checked(files.read_json(path), spec)
    except (OSError, errors.UserError) as error:
        progress.log(f"The report has no pseudo-labels: {path}: {error}.")
        return None


def _checked(content: Any, spec: DatasetSpec) -> dict:
    """Checks the values that the report shows, of `Counts.to_json`."""
    classes = json_values.get(content, "classes", dict, "it")
    for key in ("images", "compared_images", "pixels"):
        json_values.integer(json_values.get(content, key, int, "it"), key, high=_MAX)
    for each in spec.class_names:
        values = json_values.get(classes, each, dict, '"classes"')
        key = "predicted_pixels"
        count = json_values.get(values, key, int, each)
        json_values.integer(count, f"{key} of {each}", high=content["pixels"])
        _check_fractions(values, each)
    _check_fractions(content, "all pixels")
    return content


def _check_fractions(values, of):
    for key in ("coverage", "precision"):
        value = values.get(key)
        is_number = isinstance(value, float | int) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value <= 1):
            raise errors.UserError(
                f"{key} of {of} is {json_values.shorten(value)}, expected a fraction "
                "from 0 to 1"
            )
