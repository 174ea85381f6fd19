r"""Trains a segmentation network, or resumes a run.

python -m kerasseg.train --flagfile=experiments/camvid/NAME.flags \
    --records_dir=DIR --workdir=DIR

A flag file in experiments/ is a complete recipe; flags after it override its values.
kerasseg recipes lists those that are installed; no copy of the file is needed.
Validations are printed, and checkpoints and the best model are written into --workdir.
Run the same command again to resume an interrupted run. See docs/training.md.
"""

import contextlib
import os
import sys
from collections.abc import Sequence

from absl import flags

from kerasseg import cli, weights
from kerasseg.cli import networks
from kerasseg.distribution import names
from kerasseg.system import lock, path_checks, registry, runtime
from kerasseg.training import augmentation_options, few_labels, recipe
from kerasseg.workdir import fingerprint, flag_file, layout

_EVAL_SPLIT = flags.DEFINE_string(
    "eval_split",
    "val",
    "Split of the records that validations evaluate. The best model is the one with "
    "the highest mean IoU on it, or mask AP for a network that detects objects.",
)
_UNLABELED_SPLIT = flags.DEFINE_string(
    "unlabeled_split",
    "train",
    "Split of --unlabeled_records_dir. Without that folder, the images without labels "
    "are those of --train_split that its list of labeled images does not name.",
)
_INITIAL_CHECKPOINT = flags.DEFINE_string(
    "initial_checkpoint",
    None,
    "Weights that a new run starts from: a workdir, a .keras file or the name of "
    "published weights. Layers with other shapes, such as the last layer for other "
    "classes, keep their initial weights and are listed. Without --model, the "
    "architecture and its options are those of the weights.",
)
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    "auto",
    names.STRATEGIES,
    "Devices to train on: one, a single GPU or the CPU; mirrored, all GPUs of this "
    "machine; multi_worker, all machines in the environment variable TF_CONFIG; "
    "parameter_server, asynchronous workers, also in TF_CONFIG; auto, the strategy "
    "that TF_CONFIG describes, or else all GPUs. See docs/distributed.md.",
)
_CHANGE_FLAGS = flags.DEFINE_list(
    "change_flags",
    [],
    "Comma-separated names of flags whose values may differ from those that the run "
    "was started with. With records_dir, the records may differ.",
)
_CLUSTER_TIMEOUT = flags.DEFINE_float(
    "cluster_timeout",
    300.0,
    "Seconds to wait at the start for the other workers in TF_CONFIG.",
)
for _name in (
    *("recipe", "model", "model_option", "dataset", "records_dir", "workdir", "seed"),
    *("labeled_list", "unlabeled_records_dir", "min_confidence", "train_split"),
):
    flags.declare_key_flag(_name)
cli.define_fields(recipe.Recipe)
cli.define_fields(augmentation_options.AugmentationOptions)
cli.define_fields(few_labels.FewLabels)

# A run may always be resumed with other values of these.
_MAY_CHANGE = (
    *(
        "records_dir",
        "unlabeled_records_dir",
        "workdir",
        "strategy",
        "cluster_timeout",
        "change_flags",
    ),
    *("jit_compile", "profile", "startup_delay_steps"),
)


def main(argv: Sequence[str]) -> None:
    """Turns flags into arguments of `training.train`."""
    del argv
    if cli.MODEL.value is None and _INITIAL_CHECKPOINT.value is not None:
        networks.use_network_of(_INITIAL_CHECKPOINT.value)
    name, records_dir, workdir = cli.required(
        model=cli.MODEL.value,
        records_dir=cli.RECORDS_DIR.value,
        workdir=cli.WORKDIR.value,
    )
    chosen = cli.read_fields(recipe.Recipe)
    images = cli.read_fields(augmentation_options.AugmentationOptions)
    least = cli.MIN_CONFIDENCE.value
    few = cli.read_fields(few_labels.FewLabels, min_confidence=least)
    _check_input(name, chosen, few, records_dir, workdir)
    runtime.start_tensorflow()
    from kerasseg import distribution, training

    try:
        best = _train(name, chosen, images, few, records_dir, workdir)
    except training.Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        sys.exit(interrupted.status)
    except distribution.WorkerLostError as lost:
        print(f"Error: {lost}", file=sys.stderr)
        sys.exit(1)
    if best:
        task, folder = training.task_of(name, few), os.path.join(workdir, "best")
        score = f"{task.shown[task.score]} {best['scores'][task.score]:.4f}"
        print(f"Best model: {score} at step {best['step']}, in {folder}.")


def _train(name, chosen, images, few, records_dir, workdir):
    from kerasseg import distribution, models, training

    timeout = _CLUSTER_TIMEOUT.value
    if distribution.serve_if_assigned(_STRATEGY.value, cluster_timeout=timeout):
        return None
    strategy = distribution.strategy(_STRATEGY.value, cluster_timeout=timeout)
    writes = distribution.WorkerGroup(strategy).is_chief
    options = cli.model_options(models.metadata(name).builder, cli.MODEL_OPTION.value)
    with _locked(workdir) if writes else contextlib.nullcontext():
        keep_flags(workdir, _CHANGE_FLAGS.value, writes=writes)
        return training.train(
            training.Builder(name, options),
            training.Data(
                records_dir=records_dir,
                train_split=cli.TRAIN_SPLIT.value,
                eval_split=_EVAL_SPLIT.value,
                dataset=cli.DATASET.value,
                allow_others="records_dir" in _CHANGE_FLAGS.value,
                labeled_list=cli.LABELED_LIST.value,
                unlabeled_records_dir=cli.UNLABELED_RECORDS_DIR.value,
                unlabeled_split=_UNLABELED_SPLIT.value,
            ),
            chosen,
            images.augmentation(),
            workdir=workdir,
            seed=cli.SEED.value,
            strategy=strategy,
            initial_checkpoint=_INITIAL_CHECKPOINT.value,
            few_labels=few,
        )


def _check_input(name, chosen, few, records_dir, workdir):
    """Checks what can be checked without TensorFlow."""
    cli.check_choice("model", name, registry.names_in("kerasseg.models"))
    for loss in chosen.loss_weights():
        cli.check_choice("loss", loss, registry.names_in("kerasseg.losses"))
    methods = registry.names_in("kerasseg.training.few_labels")
    cli.check_choice("semi", few.semi, [few_labels.NO_METHOD, *methods])
    few_labels.check_activation(few, chosen.activation)
    _check_paths(records_dir, workdir)
    cli.check_exists(records_dir=records_dir)
    cli.check_exists(
        labeled_list=cli.LABELED_LIST.value,
        unlabeled_records_dir=cli.UNLABELED_RECORDS_DIR.value,
    )
    if not os.path.exists(os.path.join(workdir, layout.CHECKPOINTS)):
        _check_initial(_INITIAL_CHECKPOINT.value)
    fingerprint.check_apart(workdir, records_dir)
    keep_flags(workdir, _CHANGE_FLAGS.value, writes=False)


def _check_initial(path):
    if path is not None and not weights.is_name(path):
        cli.check_exists(initial_checkpoint=path)


def _check_paths(records_dir, workdir):
    path_checks.check_model(workdir, "workdir")
    path_checks.check_text(workdir, "workdir")
    path_checks.check_text(records_dir, "records_dir")
    if _INITIAL_CHECKPOINT.value is not None:
        path_checks.check_text(_INITIAL_CHECKPOINT.value, _INITIAL_CHECKPOINT.name)


def _locked(workdir):
    """Refuses a second run, such as the same command given twice."""
    os.makedirs(workdir, exist_ok=True)
    return lock.hold(workdir)


def keep_flags(
    workdir: str | os.PathLike, allowed: Sequence[str] = (), *, writes: bool = True
) -> None:
    """Writes the flags of the run, or compares them; see `flag_file.keep`.

    Args:
        workdir: Folder of the run.
        allowed: Names of flags that may differ.
        writes: Whether to write, which one of several workers does.

    Raises:
        absl.app.UsageError: A name in `allowed` is not a flag.
        errors.UserError: The run in the workdir was started with other flags.
    """
    cli.check_flag_names(_CHANGE_FLAGS.name, allowed)
    changing = f"--{_CHANGE_FLAGS.name}="
    lines = [line for line in cli.as_flagfile() if not line.startswith(changing)]
    flag_file.keep(
        workdir,
        lines,
        defaults=cli.default_lines(),
        may_change=[*_MAY_CHANGE, *allowed],
        writes=writes,
    )


if __name__ == "__main__":
    cli.run(main)
