r"""Finds the settings of the dense CRF that suit a run, by trying them on pictures.

python -m kerasseg.tune_crf --workdir=DIR --split=val
python -m kerasseg.evaluate --workdir=DIR --split=val --flagfile=DIR/crf/crf.flags

As the papers do it: the weight and the reaches in place and colour of the smoothing
among like colours are chosen by mean IoU on a hundred pictures, from a coarse grid,
then from a finer one around its best; --crf_gaussian_compat and --crf_gaussian_sxy
stay. The network looks at each picture once. All cores are used; a run that was stopped
goes on where it was. Give the flags of scales and strides that you will evaluate with.

Writes crf.flags, with --crf and its settings, and settings.csv, with the mean IoU of
each setting, into a folder crf of the workdir, or where --output_dir says.
"""

import csv
import dataclasses
import hashlib
import io
import json
import os

import numpy as np
from absl import app, flags

from kerasseg import cli, errors, inference, inference_flags, predictor_flags
from kerasseg.crf import tuning
from kerasseg.system import files
from kerasseg.workdir import best_model, run_records

_NUM_PICTURES = flags.DEFINE_integer(
    "num_pictures",
    100,
    "Settings are tried on so many pictures of the split, drawn with --seed, or on all "
    "where there are fewer.",
    lower_bound=1,
)
_AXES = {
    name: flags.DEFINE_list(
        f"try_{name}",
        [f"{value:g}" for value in values],
        f"Coarse values of --crf_{name}; those halfway between are tried then.",
    )
    for name, values in tuning.AXES.items()
}
for _name in ("workdir", "records_dir", "dataset", "split", "output_dir", "seed"):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into plain arguments, and nothing more."""
    del argv
    (workdir,) = cli.required(workdir=cli.WORKDIR.value)
    options = cli.read_fields(inference_flags.InferenceFlags)
    settings, axes = _settings(options), _axes()
    views = cli.read_fields(predictor_flags.PredictorFlags).options()
    reader = run_records.open_records(
        workdir,
        cli.SPLIT.value,
        records_dir=cli.RECORDS_DIR.value,
        dataset=cli.DATASET.value,
    )
    indices = _drawn(reader.split)

    def make_predictor():
        model = best_model.load_best(workdir, output_stride=options.output_stride)
        return inference.Predictor(model, **views)

    folder = cli.OUTPUT_DIR.value or os.path.join(workdir, "crf")
    work = _work_folder(
        folder,
        {
            "network": inference.resuming.fingerprint(workdir),
            "pictures": _fingerprint(reader.split, indices),
            "output_stride": options.output_stride,
            **views,
            **settings,
        },
    )
    pictures = tuning.Pictures(
        reader, indices, os.path.join(work, "pictures"), make_predictor
    )
    with tuning.Scores(os.path.join(work, "scores.jsonl")) as scores:
        tuned = tuning.tune(pictures, scores, axes, settings)
        pictures.remove()
    where = f"{len(indices)} pictures of {reader.split.name}"
    _write(folder, tuned, settings, where)
    _tell(folder, tuned)


def _settings(options):
    """Returns the settings of the CRF that are not tuned."""
    settings = dataclasses.replace(options, crf=True).crf_settings()
    for name in tuning.Setting._fields:
        if flags.FLAGS[f"crf_{name}"].present:
            raise app.UsageError(
                f"--crf_{name} is tuned: give what is to be tried, as in "
                f"--try_{name}={','.join(_AXES[name].default)}."
            )
        del settings[name]
    if options.superpixels:
        raise app.UsageError("--superpixels leaves no probabilities to a CRF.")
    return settings


def _axes():
    try:
        return {name: [float(x) for x in flag.value] for name, flag in _AXES.items()}
    except ValueError as error:
        raise app.UsageError(
            f"Numbers with commas between them are to be tried: {error}."
        ) from None


def _drawn(split):
    """Returns the numbers of the pictures, in the order of the split."""
    order = np.random.default_rng(cli.SEED.value).permutation(len(split))
    if not len(order):
        raise errors.UserError(
            f"Split '{split.name}' holds no record to try settings on. Choose another "
            "split, or build it again."
        )
    return sorted(order[: _NUM_PICTURES.value].tolist())


def _fingerprint(split, indices):
    """Tells drawn pictures apart: SHA-256 of their records."""
    found = hashlib.sha256()
    for index in indices:
        found.update(split.read(index))
    return found.hexdigest()


def _work_folder(folder, facts):
    """Makes the folder of what is kept between runs, one for all that it depends on."""
    text = json.dumps(facts, indent=2, sort_keys=True) + "\n"
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    work = os.path.join(folder, f"work-{name}")
    os.makedirs(work, exist_ok=True)
    files.write_bytes(os.path.join(work, "facts.json"), text.encode())
    return work


def _write(folder, tuned, settings, where):
    """Writes the flagfile, and the table of all settings."""
    values = {**settings, **tuned.best._asdict()}
    lines = [
        f"# Mean IoU {tuned.means[tuned.best]:.4f} on {where}, "
        f"{tuned.means[None]:.4f} without a CRF.",
        "--crf",
        *(f"--crf_{key}={value}" for key, value in values.items() if value is not None),
    ]
    text = "".join(f"{line}\n" for line in lines)
    files.write_bytes(os.path.join(folder, "crf.flags"), text.encode())
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*tuning.Setting._fields, "mean_iou"])
    for setting, mean in tuned.means.items():
        writer.writerow([*(setting or ["", "", ""]), f"{mean:.6f}"])
    files.write_bytes(os.path.join(folder, "settings.csv"), table.getvalue().encode())


def _tell(folder, tuned):
    best, gain = tuned.best, tuned.difference["mean_iou"]
    values = ", ".join(f"{name} {value:g}" for name, value in best._asdict().items())
    print(f"Without a CRF: mean IoU {tuned.means[None]:.4f}.")
    print(f"Best of {len(tuned.means) - 1}: {tuned.means[best]:.4f}, {values}.")
    print(
        f"Difference {gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}] on "
        "the pictures that chose it."
    )
    tried = list(zip(*filter(None, tuned.means), strict=True))
    for name, value, column in zip(best._fields, best, tried, strict=True):
        if min(column) < max(column) and value in (min(column), max(column)):
            end = "smallest" if value == min(column) else "largest"
            print(f"{value:g} is the {end} {name} tried: see --try_{name} for others.")
    path = os.path.join(folder, "crf.flags")
    print(f"python -m kerasseg.evaluate takes it as --flagfile={path}")


if __name__ == "__main__":
    cli.run(main)
