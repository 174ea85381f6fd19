r"""Makes masks of images whose image-level classes are known (CAM seeds).

python -m tfrecords_tools.seeds --workdir=RUN --output_dir=DIR \
    [--seed_threshold=0.3] [--eval_scales=0.5,1 --flip] [--crf]

RUN was trained with --semi=cam. Of each image of the split --train_split whose classes
are known, the logits of these classes become a mask, OUTPUT_DIR/NAME.png: class
numbers, 0 for the background, 255 where undecided. With --crf, the masks are aligned
with edges of the image. python -m tfrecords_tools.pseudo --labels_dir=OUTPUT_DIR makes
records of them. Labels of the records are only read to print how good the masks are.
See docs/few_labels.md.
"""

from absl import flags

from kerasseg import cli, errors
from kerasseg.cli import inference_flags, networks
from kerasseg.system import runtime

_THRESHOLD = flags.DEFINE_float(
    "seed_threshold",
    0.3,
    "Fraction of the highest logit of a class, above 0 and at most 1, from which on a "
    "pixel gets the class.",
)
_BACKGROUND_THRESHOLD = flags.DEFINE_float(
    "seed_background_threshold",
    None,
    "Fraction of the highest logit of each class below which a pixel is background; "
    "pixels between it and --seed_threshold are undecided. Default: --seed_threshold.",
)
for _name in (
    *("workdir", "records_dir", "dataset", "train_split", "output_dir"),
    *("eval_scales", "flip", "crf"),
):
    flags.declare_key_flag(_name)


def main(argv: list[str]) -> None:
    """Writes the masks, and prints their number and their scores."""
    del argv
    workdir, output_dir = cli.required(
        workdir=cli.WORKDIR.value, output_dir=cli.OUTPUT_DIR.value
    )
    workdir = networks.resolve_workdir(workdir)
    predictor = inference_flags.read_predictor_options().arguments()
    refinement = inference_flags.read_inference_options()
    if refinement.superpixels or refinement.output_stride:
        raise errors.UserError(
            "Seeds are not refined by superpixels, and `output_stride` is that of the "
            "training. Leave out `superpixels` and `output_stride`."
        )
    cli.check_exists(workdir=workdir, records_dir=cli.RECORDS_DIR.value)
    runtime.start_tensorflow()
    from tfrecords_tools.writing import seed_masks

    options = seed_masks.SeedOptions(
        threshold=_THRESHOLD.value,
        background_threshold=_BACKGROUND_THRESHOLD.value,
        scales=predictor["scales"],
        flip=predictor["flip"],
        crf_settings=refinement.crf_settings(),
    )
    with errors.renamed(
        {
            "threshold": "seed_threshold",
            "background_threshold": "seed_background_threshold",
            "split": "train_split",
        }
    ):
        result = seed_masks.write(
            workdir,
            output_dir,
            options,
            split=cli.TRAIN_SPLIT.value,
            records_dir=cli.RECORDS_DIR.value,
            dataset=cli.DATASET.value,
        )
    print(seed_masks.describe(result, output_dir))


if __name__ == "__main__":
    cli.run(main)
