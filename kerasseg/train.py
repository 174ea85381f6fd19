r"""Trains a segmentation network; started again with the same flags it goes on.

python -m kerasseg.train --flagfile=experiments/camvid/NAME.flags \
    --records_dir=DIR --workdir=DIR
"""

import contextlib
import os
import sys

from absl import flags

from kerasseg import cli, distribution, errors, models, training
from kerasseg.system import files, lock

_TRAIN_SPLIT = flags.DEFINE_string("train_split", "train", "Split to train on.")
_EVAL_SPLIT = flags.DEFINE_string("eval_split", "val", "Split of the validations.")
_INITIAL_CHECKPOINT = flags.DEFINE_string(
    "initial_checkpoint",
    None,
    "Workdir or .keras file whose weights the run starts from; heads of another "
    "number of classes are left out and named.",
)
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    "auto",
    distribution.STRATEGIES,
    "Devices: one; mirrored over all GPUs; multi_worker over the machines of "
    "TF_CONFIG; parameter_server, its workers at their own pace. auto: what TF_CONFIG "
    "names, the last where it has the job ps, else mirrored where there are several "
    "GPUs.",
)
_CHANGE_FLAGS = flags.DEFINE_list(
    "change_flags",
    [],
    "Flags of which a run may go on with other values; records_dir: other records.",
)
_CLUSTER_TIMEOUT = flags.DEFINE_float(
    "cluster_timeout", 300.0, "Seconds to wait for other machines at the start."
)
for _name in ("model", "model_option", "dataset", "records_dir", "workdir", "seed"):
    flags.declare_key_flag(_name)
cli.define_fields(training.Recipe)
cli.define_fields(training.AugmentationFlags)

# A run may go on with other values of these.
_MAY_CHANGE = (
    *("records_dir", "workdir", "strategy", "cluster_timeout", "change_flags"),
    *("jit_compile", "profile", "startup_delay_steps"),
)


def main(argv):
    """Turns flags into plain arguments, and nothing more."""
    del argv
    name, records_dir, workdir = cli.required(
        model=cli.MODEL.value,
        records_dir=cli.RECORDS_DIR.value,
        workdir=cli.WORKDIR.value,
    )
    timeout = _CLUSTER_TIMEOUT.value
    try:
        if distribution.serve_if_assigned(_STRATEGY.value, cluster_timeout=timeout):
            return
        facts = _train(name, records_dir, workdir)
    except training.Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        sys.exit(interrupted.status)
    except distribution.WorkerLostError as lost:
        print(f"Error: {lost}", file=sys.stderr)
        sys.exit(1)
    if facts:
        print(
            f"Best model: mean IoU {facts['scores']['mean_iou']:.4f} at step "
            f"{facts['step']}, in {os.path.join(workdir, 'best')}."
        )


def _train(name, records_dir, workdir):
    recipe = cli.read_fields(training.Recipe)
    pictures = cli.read_fields(training.AugmentationFlags)
    crop_size = cli.crop_size(pictures.train_crop_size)
    data = training.Data(
        records_dir=records_dir,
        train_split=_TRAIN_SPLIT.value,
        eval_split=_EVAL_SPLIT.value,
        dataset=cli.DATASET.value,
        allow_others="records_dir" in _CHANGE_FLAGS.value,
    )
    strategy = distribution.strategy(
        _STRATEGY.value, cluster_timeout=_CLUSTER_TIMEOUT.value
    )
    writes = distribution.WorkerGroup(strategy).is_chief
    with _locked(workdir) if writes else contextlib.nullcontext():
        keep_flags(workdir, _CHANGE_FLAGS.value, writes=writes)
        return training.train(
            _network(name),
            data,
            recipe,
            pictures.augmentation(crop_size),
            workdir=workdir,
            seed=cli.SEED.value,
            strategy=strategy,
        )


def _locked(workdir):
    """Keeps a second run out, such as the same command given twice."""
    os.makedirs(workdir, exist_ok=True)
    return lock.hold(workdir)


def _network(name):
    return training.Network(
        name=name,
        options=cli.model_options(
            models.metadata(name).builder, cli.MODEL_OPTION.value
        ),
        initial_checkpoint=_INITIAL_CHECKPOINT.value,
    )


def keep_flags(workdir, allowed=(), *, writes=True) -> None:
    """Writes flags.txt into the workdir, or compares with what is there.

    A run that never came to a checkpoint binds nobody to its flags.

    Args:
        workdir: Folder of the run.
        allowed: Names of flags that may differ.
        writes: Whether to write, which one of several workers does.

    Raises:
        ValueError: The run in the workdir had other flags, or there is no such flag.
    """
    unknown = [name for name in allowed if name not in flags.FLAGS]
    if unknown:
        raise errors.UserError(
            f"`change_flags={','.join(allowed)}`: no flag is called "
            f"{', '.join(unknown)}. Names of flags are wanted, without -- and values."
        )
    path = os.path.join(workdir, "flags.txt")
    lines = [
        line
        for line in cli.as_flagfile()
        if not line.startswith(f"--{_CHANGE_FLAGS.name}=")
    ]
    if os.path.exists(path) and os.path.exists(os.path.join(workdir, "checkpoints")):
        with open(path, encoding="utf-8") as file:
            before = file.read().splitlines()
        known = set(lines).difference(cli.missing_defaults(before))
        changed = [
            line
            for line in sorted(known.symmetric_difference(before))
            if not _named(line).intersection({*_MAY_CHANGE, *allowed})
        ]
        if changed:
            was = [line for line in changed if line in before]
            now = [line for line in changed if line in lines]
            raise errors.UserError(
                f"{workdir} holds a run with other flags: {' '.join(was) or 'none'} "
                f"there, {' '.join(now) or 'none'} here. Give the same flags to go "
                f"on, or another `workdir` to start anew, or `change_flags=NAME,NAME` "
                f"to go on with these."
            )
    if not writes:
        return
    os.makedirs(workdir, exist_ok=True)
    files.write_bytes(path, ("\n".join(lines) + "\n").encode())


def _named(line):
    """Returns what flag a line may be of: --noise may be noise, or ise switched off."""
    name = line.partition("=")[0].removeprefix("--")
    return {name, name.removeprefix("no")}


if __name__ == "__main__":
    cli.run(main)
