r"""Tunes the dense CRF for the best model of a run by a grid search.

python -m kerasseg.tune_crf --workdir=DIR --split=val
python -m kerasseg.evaluate --workdir=DIR --split=val --flagfile=DIR/crf/crf.flags

As in the DeepLab papers, the weight and both standard deviations of the bilateral
kernel are chosen by the mean IoU on a hundred images, first on a coarse grid, then on a
finer one around its best point. The other settings of the CRF are not tuned. The
network predicts each image once; the CRF uses all cores. Run the same command again to
resume after an interruption. Pass the same --eval_scales, --flip and --output_stride as
in the later evaluation.

Writes into the folder crf of the workdir, or into --output_dir: crf.flags, a flag file
with the best setting for evaluate and predict, and settings.csv with the mean IoU of
each setting.
"""

import dataclasses
import os
import shlex

from absl import app, flags

from kerasseg import cli, errors
from kerasseg.cli import inference_flags, networks
from kerasseg.crf.tuning import grid
from kerasseg.inference import segmenter
from kerasseg.inference.options import PredictorOptions
from kerasseg.system import runtime

_NUM_IMAGES = flags.DEFINE_integer(
    "num_images",
    100,
    "Number of images of the split on which settings are evaluated, chosen at random "
    "with --seed. If the split has fewer, all are used.",
    lower_bound=1,
)
flags.DEFINE_alias("num_pictures", "num_images")
_AXES = {
    name: flags.DEFINE_list(
        f"try_{name}",
        [f"{value:g}" for value in values],
        f"Values of --crf_{name} in the coarse grid. The fine grid adds midpoints.",
    )
    for name, values in grid.AXES.items()
}
for _name in ("workdir", "records_dir", "dataset", "split", "output_dir", "seed"):
    flags.declare_key_flag(_name)


def main(argv):
    """Turns flags into arguments, and calls `inference.tune_crf`."""
    del argv
    (workdir,) = cli.required(workdir=cli.WORKDIR.value)
    workdir = networks.resolve_workdir(workdir, writes=True)
    segmenter.check_exists(workdir)
    axes, options = _axes(), _options()
    settings = options.crf_settings() or {}
    settings = {k: v for k, v in settings.items() if k not in axes}
    with errors.renamed({name: f"try_{name}" for name in axes}):
        grid.check(axes, settings)
    predictor_options = inference_flags.read_predictor_options().arguments()
    runtime.start_tensorflow()
    from kerasseg import inference

    folder = cli.OUTPUT_DIR.value or os.path.join(workdir, "crf")
    result = inference.tune_crf(
        workdir,
        folder,
        axes=axes,
        crf_settings=settings,
        predictor_options=predictor_options,
        output_stride=options.output_stride,
        split=cli.SPLIT.value,
        num_images=_NUM_IMAGES.value,
        seed=cli.SEED.value,
        records_dir=cli.RECORDS_DIR.value,
        dataset=cli.DATASET.value,
    )
    _report(result)
    print(f"Evaluate with it: {shlex.join(_evaluation(folder))}")


def _options():
    """Returns the options, with the CRF on."""
    for name in grid.Setting._fields:
        if flags.FLAGS[f"crf_{name}"].present:
            raise app.UsageError(
                f"--crf_{name} is tuned. Give the values to try, as in "
                f"--try_{name}={','.join(_AXES[name].default)}."
            )
    if flags.FLAGS["superpixels"].value:
        raise app.UsageError("--superpixels cannot be combined with a CRF.")
    return dataclasses.replace(inference_flags.read_inference_options(), crf=True)


def _axes():
    try:
        return {name: [float(x) for x in flag.value] for name, flag in _AXES.items()}
    except ValueError as error:
        raise app.UsageError(
            f"The values to try are numbers separated by commas: {error}."
        ) from None


def _report(result):
    best, gain = result.best, result.difference["mean_iou"]
    values = ", ".join(f"{name} {value:g}" for name, value in best._asdict().items())
    print(f"Without a CRF: mean IoU {result.means[None]:.4f}.")
    print(f"Best of {len(result.means) - 1}: {result.means[best]:.4f}, {values}.")
    print(
        f"Difference {gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}] on "
        "the images that chose it."
    )
    tried = list(zip(*filter(None, result.means), strict=True))
    for name, value, column in zip(best._fields, best, tried, strict=True):
        if min(column) < max(column) and value in (min(column), max(column)):
            end = "smallest" if value == min(column) else "largest"
            print(f"{value:g} is the {end} {name} tried: extend --try_{name}.")


def _evaluation(folder):
    """Returns the command that evaluates the run with the best setting."""
    names = ["workdir", "records_dir", "dataset", "split", "output_stride"]
    names += [field.name for field in dataclasses.fields(PredictorOptions)]
    known = flags.FLAGS
    lines = [known[n].serialize() for n in names if n in known and known[n].present]
    path = os.path.join(folder, "crf.flags")
    return ["python", "-m", "kerasseg.evaluate", *lines, f"--flagfile={path}"]


if __name__ == "__main__":
    cli.run(main)
