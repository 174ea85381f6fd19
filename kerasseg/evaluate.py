r"""Scores the best model of a run on a split; prints a table, writes metrics.json.

python -m kerasseg.evaluate --workdir=DIR --split=val
python -m kerasseg.evaluate --workdir=DIR --split=val --output_stride=8 --crf

The records are those that the run was trained on, unless --records_dir names others of
the same classes. Every picture counts at its own size.
"""

import json
import math
import os

from absl import flags

from kerasseg import (
    checkpoints,
    common_flags,
    durable,
    evaluation,
    inference_flags,
    metrics,
    pipeline,
    records,
)

_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 1, "Pictures of equal size at once.", lower_bound=1
)
for _name in ("workdir", "records_dir", "dataset", "split"):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into plain arguments, and nothing more."""
    del argv
    (workdir,) = common_flags.required(workdir=common_flags.WORKDIR.value)
    options = common_flags.read_fields(inference_flags.InferenceFlags)
    facts = checkpoints.read_best_facts(workdir)
    reader = open_records(
        workdir,
        common_flags.SPLIT.value,
        records_dir=common_flags.RECORDS_DIR.value,
        dataset=common_flags.DATASET.value,
    )
    with options.refiner() as refine:
        model = checkpoints.load_best(workdir, output_stride=options.output_stride)
        scores = evaluation.evaluate(
            model, reader, batch_size=_BATCH_SIZE.value, refine=refine
        )
    print(metrics.table(scores))
    setting = {
        "split": common_flags.SPLIT.value,
        "pictures": len(reader.split),
        "model": facts["model"],
        "step": facts["step"],
        "output_stride": options.output_stride or facts["options"].get("output_stride"),
        "crf": options.crf_settings(),
        "superpixels": options.superpixels or None,
    }
    write_metrics(workdir, {**scores, **setting})


def open_records(workdir, split, *, records_dir=None, dataset=None):
    """Opens what a run is scored on.

    Args:
        workdir: Of the run.
        split: Name of the split.
        records_dir: Folder of the records; None for that of the run.
        dataset: Name of the data set; None for that of the run.

    Returns:
        `pipeline.PictureReader`.

    Raises:
        FileNotFoundError: The records, or the run's own files, are not there.
        ValueError: Nothing names the records, or their classes are not those of the
            run.
    """
    path = os.path.join(workdir, "flags.txt")
    used = common_flags.read_flagfile(path) if os.path.exists(path) else {}
    records_dir = records_dir or used.get("records_dir")
    if records_dir is None:
        raise ValueError(
            f"{path} does not name the records of the run. Give --records_dir."
        )
    opened = records.open_split(
        records_dir, split, dataset=dataset or used.get("dataset")
    )
    trained = checkpoints.read_spec(workdir)
    if opened.spec.class_names != trained.class_names:
        raise ValueError(
            f"{records_dir} holds the classes {', '.join(opened.spec.class_names)}; "
            f"{workdir} was trained on {', '.join(trained.class_names)}. Give the "
            f"--records_dir of the same classes in the same order."
        )
    return pipeline.PictureReader(opened)


def write_metrics(workdir, found) -> None:
    """Writes metrics.json, whole or not at all; a score that is NaN becomes null.

    Args:
        workdir: Of the run.
        found: Scores of `metrics.scores`, and how they were found.
    """
    plain = {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in found.items()
    }
    text = json.dumps(plain, indent=2, allow_nan=False) + "\n"
    durable.write_bytes(os.path.join(workdir, "metrics.json"), text.encode())


if __name__ == "__main__":
    common_flags.run(main)
