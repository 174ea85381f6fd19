"""Arguments of an evaluation, checked before TensorFlow starts."""

import dataclasses
import importlib.util
import math
import os
from collections.abc import Sequence

from kerasseg import datasets, errors, images, records
from kerasseg.system import registry
from kerasseg.workdir import layout, metadata

# Names of `evaluation.MEASURES`; importing its classes would import Keras.
MEASURE_NAMES = tuple(registry.names_in("kerasseg.metrics"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """Where the results of an evaluation are written.

    Attributes:
        folder: Folder of the results, see `python -m kerasseg.evaluate --help`.
        compare_workdir: Folder with the results of another evaluation, to compare
            with: pictures.csv, or instances.npz of detected instances; or None.
        write_report: Whether to write report.html, for which some images are predicted
            again.
        command: Command line that report.html shows, or None.
    """

    folder: str | os.PathLike
    compare_workdir: str | os.PathLike | None = None
    write_report: bool = True
    command: str | None = None


def check_inputs(
    *,
    workdir: str | os.PathLike | None = None,
    records_dir: str | os.PathLike | None = None,
    split: str = "val",
    dataset: str | None = None,
    predictions_dir: str | os.PathLike | None = None,
    labels_dir: str | os.PathLike | None = None,
    compare_workdir: str | os.PathLike | None = None,
    measures: Sequence[str] | None = None,
) -> None:
    """Checks that the folders exist and that names are known.

    See `evaluate_run` and, where `predictions_dir` is given, `evaluate_masks` for the
    arguments.

    Raises:
        errors.MissingFileError: A folder or file does not exist.
        errors.UserError: An argument is missing or unknown, or does not match the
            records.
    """
    if predictions_dir is None:
        labels_dir = None
    if dataset is not None:
        datasets.get(dataset)
    folders = {"predictions_dir": predictions_dir, "labels_dir": labels_dir}
    if labels_dir is None:
        folders |= {"workdir": workdir, "records_dir": records_dir}
    elif dataset is None:  # The classes are those of one of the two.
        folders |= {"workdir": workdir} if workdir else {"records_dir": records_dir}
    for name, folder in folders.items():
        if folder is not None and not os.path.isdir(folder):
            raise errors.MissingFileError(
                f"`{name}={folder}` is not an existing folder. Correct the path."
            )
    if workdir is not None and predictions_dir is None:
        metadata.read_metadata(workdir)  # There is a best model.
    if records_dir is not None and labels_dir is None:
        records.check_split(records_dir, split)
    if predictions_dir is not None:
        _check_labels(workdir, records_dir, dataset, labels_dir)
    if compare_workdir is not None:
        # The kind of a run's network is not known before TensorFlow starts.
        kinds = _COMPARED if predictions_dir is None else (layout.IMAGE_COUNTS,)
        paths = [os.path.join(compare_workdir, kind) for kind in kinds]
        if not any(map(os.path.exists, paths)):
            check_evaluated(paths[0])
    check_measures(measures or (), has_probabilities=predictions_dir is None)


def check_results(
    predictions_json: str | os.PathLike,
    *,
    workdir: str | os.PathLike | None = None,
    records_dir: str | os.PathLike | None = None,
    split: str = "val",
    dataset: str | None = None,
    annotations_json: str | os.PathLike | None = None,
    compare_workdir: str | os.PathLike | None = None,
    min_score: float = images.MIN_SCORE,
) -> None:
    """Checks the arguments of `evaluate_results`, which see.

    Raises:
        errors.MissingFileError: A file or folder does not exist, or the results to
            compare with do not.
        errors.MissingPackageError: pycocotools is not installed.
        errors.UserError: The records are not given, a name is unknown, or `min_score`
            is not finite.
    """
    if dataset is not None:
        datasets.get(dataset)
    if not math.isfinite(min_score):
        raise errors.UserError(
            f"`min_score={min_score}`: expected a finite number, such as 0.5."
        )
    if workdir is None and records_dir is None:
        raise errors.UserError(
            "`predictions_json` needs instances to be scored against. Give "
            "`records_dir`, or the `workdir` of a run on these records."
        )
    paths = {
        "predictions_json": predictions_json,
        "annotations_json": annotations_json,
        "workdir": workdir,
        "records_dir": records_dir,
    }
    for name, path in paths.items():
        if path is not None and not os.path.exists(path):
            raise errors.MissingFileError(
                f"`{name}={path}` does not exist. Correct the path."
            )
    if records_dir is not None:
        records.check_split(records_dir, split)
    if compare_workdir is not None:
        check_evaluated(os.path.join(compare_workdir, layout.INSTANCE_MATCHES))
    if importlib.util.find_spec("pycocotools") is None:
        raise errors.MissingPackageError(
            "`predictions_json` is scored by pycocotools. It is not installed: pip "
            "install 'kerasseg[datasets]'."
        )


def _check_labels(workdir, records_dir, dataset, labels_dir):
    if labels_dir is None and workdir is None and records_dir is None:
        raise errors.UserError(
            "`predictions_dir` needs labels to be scored against. Give `records_dir`, "
            "`labels_dir`, or the `workdir` of a run on these records."
        )
    if labels_dir is not None and dataset is None and not (workdir or records_dir):
        raise errors.UserError(
            "`labels_dir` does not name the classes. Give `dataset`, or the `workdir` "
            "or `records_dir` of a data set of your own."
        )


_COMPARED = {  # Files that runs are compared by, and what their networks do.
    layout.IMAGE_COUNTS: "predicts the class of each pixel",
    layout.INSTANCE_MATCHES: "detects objects",
}


def check_evaluated(path: str | os.PathLike) -> None:
    """Checks that a run to compare with was evaluated, and is of the same kind.

    Args:
        path: Its pictures.csv, or its instances.npz for detected instances.

    Raises:
        errors.MissingFileError: It was not evaluated.
        errors.UserError: Its network is of the other kind.
    """
    if os.path.exists(path):
        return
    folder, own = os.path.split(path)
    workdir = folder or "."
    for name, text in _COMPARED.items():
        if name != own and os.path.exists(os.path.join(workdir, name)):
            raise errors.UserError(
                f"`compare_workdir={workdir}` was evaluated with a network that {text}"
                f", and this one {_COMPARED[own]}. Their scores cannot be compared: "
                "give the evaluation of a network of the same kind."
            )
    raise errors.MissingFileError(
        f"{path} does not exist. Evaluate the run of {workdir} first, with python "
        f"-m kerasseg.evaluate `workdir={workdir}`"
    )


def check_measures(names: Sequence[str], *, has_probabilities: bool = True) -> None:
    """Checks the names of measures.

    Args:
        names: Names of `MEASURE_NAMES`.
        has_probabilities: Whether "calibration" can be measured.

    Raises:
        errors.UserError: A name is unknown, or its measure needs probabilities.
    """
    unknown = [name for name in names if name not in MEASURE_NAMES]
    if unknown:
        raise errors.UserError(
            f"Unknown measures: {', '.join(unknown)}. Choose from "
            f"{', '.join(MEASURE_NAMES)}."
        )
    if "calibration" in names and not has_probabilities:
        raise errors.UserError(
            "The measure calibration needs the network's probabilities, and masks have "
            "none: neither those in a folder nor those that a CRF or superpixels "
            "refine. Leave calibration out of `measures`, or evaluate the network "
            "without refinement."
        )


def check_multi_label(names: Sequence[str]) -> None:
    """Checks that a multi-label network has the measures.

    Raises:
        errors.UserError: It has none besides the confusion matrices of its classes.
    """
    if names:
        raise errors.UserError(
            f"`measures={','.join(names)}` are of classes that exclude each other, and "
            "these labels are multi-label. Leave them out."
        )
