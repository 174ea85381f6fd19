r"""Time of scoring a split, beside that of the network alone.

python benchmarks/evaluate.py --workdir=DIR [--records_dir=DIR --split=val]

"scores_s" is kerasseg.evaluate's way from records to a confusion matrix, "all_s" that
with every other measure, "forward_s" the same network on the same pictures, decoded
before. All are taken in turn in one process, after a round that does not count. The
medians, and the ratios to "forward_s", are printed as one JSON line.
"""

import json
import statistics
import time

from absl import app, flags

from kerasseg import cli, evaluation, inference
from kerasseg.workdir import best_model, run_records

_ROUNDS = flags.DEFINE_integer("rounds", 3, "Runs of each, after one more.")


def main(argv):
    """Times each in turn."""
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
    every = list(evaluation.MEASURES)
    sides = {
        "forward_s": lambda: [predictor.classes(image) for image in decoded],
        "scores_s": lambda: evaluation.evaluate(predictor, reader),
        "all_s": lambda: evaluation.evaluate(predictor, reader, measures=every),
    }
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(1 + _ROUNDS.value):
        for side, function in sides.items():
            start = time.perf_counter()
            function()
            times[side].append(time.perf_counter() - start)
    report = {side: statistics.median(found[1:]) for side, found in times.items()}
    for side in ("scores", "all"):
        report[f"{side}_to_forward"] = report[f"{side}_s"] / report["forward_s"]
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
