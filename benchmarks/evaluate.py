r"""Time of evaluating a split, compared with that of the network alone.

python benchmarks/evaluate.py --workdir=DIR [--records_dir=DIR --split=val]

"scores_s" is the time of kerasseg.evaluate from records to the confusion matrix,
"all_s" that with all other measures, and "forward_s" that of the same network on the
same images, decoded before. They are measured alternately in one process, after one
round to warm up. Prints the medians and their ratios to "forward_s" as one JSON line.
"""

import json
import statistics
import time

from absl import app, flags

from kerasseg import cli, evaluation, inference
from kerasseg.workdir import best_model, run_records

_ROUNDS = flags.DEFINE_integer(
    "rounds", 3, "Number of runs of each, after one to warm up."
)


def main(argv):
    """Measures all alternately."""
    del argv
    (workdir,) = cli.required(workdir=cli.WORKDIR.value)
    reader = run_records.open_records(
        workdir,
        cli.SPLIT.value,
        records_dir=cli.RECORDS_DIR.value,
        dataset=cli.DATASET.value,
    )
    predictor = inference.Predictor(best_model.load_best(workdir))
    decoded = [reader.read(i)[0][None] for i in range(len(reader.split))]
    measures = list(evaluation.MEASURE_NAMES)
    sides = {
        "forward_s": lambda: [predictor.classes(image) for image in decoded],
        "scores_s": lambda: evaluation.evaluate(predictor, reader),
        "all_s": lambda: evaluation.evaluate(predictor, reader, measures=measures),
    }
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(1 + _ROUNDS.value):
        for side, function in sides.items():
            start = time.perf_counter()
            function()
            times[side].append(time.perf_counter() - start)
    report = {side: statistics.median(runs[1:]) for side, runs in times.items()}
    for side in ("scores", "all"):
        report[f"{side}_to_forward"] = report[f"{side}_s"] / report["forward_s"]
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
