"""Names of published weights where a command takes the workdir of a run."""

import os
from typing import Any

from absl import flags

from kerasseg import errors, weights
from kerasseg.system import runtime


def resolve_workdir(workdir: str, *, writes: bool = False) -> str:
    """Returns the workdir of a network, which is created for published weights.

    Args:
        workdir: Value of --workdir: an existing path, which has precedence, or the name
            of published weights, which are downloaded and converted once.
        writes: Whether the command writes results into the workdir unless --output_dir
            is given.

    Raises:
        errors.UserError: There are no weights of this name, or results of a name need
            --output_dir.
        OSError: The weights cannot be downloaded.
    """
    if os.path.exists(workdir) or not weights.is_name(workdir):
        return workdir
    if writes and not flags.FLAGS.output_dir:
        raise errors.UserError(
            f"`workdir={workdir}` is the name of published weights, so the results "
            "need a folder. Give `output_dir`."
        )
    runtime.start_tensorflow()
    from kerasseg.workdir import imported

    path = imported.path_of(workdir)
    flags.FLAGS["workdir"].value = path
    return path


def use_network_of(initial_checkpoint: str) -> None:
    """Sets --model and --model_option to those of an initial checkpoint.

    Values of --model_option that the user gave have precedence.

    Args:
        initial_checkpoint: Workdir of a run, or the name of published weights.

    Raises:
        errors.UserError: It is a file, which does not state the architecture, or see
            `resolve_workdir`.
        errors.MissingFileError: There is no such network.
    """
    path = initial_checkpoint
    if not os.path.exists(path) and weights.is_name(path):
        runtime.start_tensorflow()
        from kerasseg.workdir import imported

        path = imported.path_of(path)
    if os.path.isfile(path):
        raise errors.UserError(
            f"`initial_checkpoint={path}` is a file, which does not state the options "
            "of its architecture. Give `model` and its `model_option`."
        )
    from kerasseg.workdir import metadata

    trained = metadata.read_metadata(path)
    options = {**trained["options"], "backbone_weights": None}
    lines = [f"{name}={_text(value)}" for name, value in options.items()]
    flags.FLAGS["model"].value = trained["model"]
    flags.FLAGS["model_option"].value = [*lines, *flags.FLAGS.model_option]


def _text(value: Any) -> str:
    """Returns the value of an option as --model_option takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return str(value)
