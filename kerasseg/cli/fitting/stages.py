"""Plan, training, evaluation and export: each is skipped where it is complete."""

import dataclasses
import os
import re
import shlex
import time
from collections.abc import Callable

from kerasseg import errors
from kerasseg.cli.fitting.run_file import RunFile
from kerasseg.system import files, progress, runtime
from kerasseg.training.planning import budget, design, facts, plan
from kerasseg.workdir import layout, metadata

_CHECK_IMAGES = 4  # On which the export is compared with the trained model.
_MAX_MEASUREMENTS = 2  # Designs of which steps are measured: each is traced.
_MEASURED, _MAX_MEASURED = 0.02, 8.0  # Share of the time for it, and most seconds.


def stage(run: RunFile, name: str, work: Callable[[], str]) -> None:
    """Does a stage unless it is complete, and prints a line.

    Args:
        run: The run; it is written.
        name: Name of the stage.
        work: Function that does it and returns a description.
    """
    if name in run.seconds:
        progress.log(f"{name}: complete, took {run.seconds[name]:.0f} seconds before.")
        return
    began = time.perf_counter()
    text = work()
    run.finish(name, time.perf_counter() - began)
    progress.log(f"{name}: {text} ({run.seconds[name]:.0f} seconds).")


def make_plan(run: RunFile, *, seed: int, began: float) -> str:
    """Writes the plan; returns a description.

    Args:
        run: The run, with its records.
        seed: Seed of the training.
        began: `time.time()` at the start of the command.

    Raises:
        errors.UserError: The minutes are too few, or the memory is too small.
    """
    if run.plan.exists():
        return f"{run.plan} is there"
    start = time.perf_counter()
    runtime.start_tensorflow()
    from kerasseg import training

    start = time.perf_counter() - start
    data = training.Data(records_dir=run.records_dir)
    machine = facts.machine(runtime.has_gpu())
    num_val = len(data.open("eval_split").split)
    measured = facts.measure(data.open("train_split"), num_val)
    chosen, costs = _measure(run, data, measured, machine, (began, start))
    divided = budget.budget(costs, measured, run.minutes)
    run.costs = {
        name: float(f"{value:.3g}") for name, value in dataclasses.asdict(costs).items()
    }
    listed = plan.entries(measured, machine, chosen, costs, divided)
    listed.append(plan.Entry((f"--seed={seed}",), "Of weights, order and crops."))
    text = plan.text(_title(run), listed)
    files.write_bytes(run.plan, text.encode())
    return f"{divided.steps} steps, in {run.plan}"


def _measure(run, data, measured, machine, times):
    """Returns the design that the minutes allow, and its costs."""
    from kerasseg.training.planning import measuring

    began, start = times
    listed = design.designs(measured, machine)
    tried = budget.guess(listed, machine, run.minutes)
    seconds = min(_MAX_MEASURED, 60 * run.minutes * _MEASURED)
    probe = measuring.Probe(tried.network, data, start=start)
    num_measured = 0
    while True:
        if not probe.measure(tried, seconds):
            listed = [each for each in listed if each.pixels < tried.pixels]
            if not listed:
                raise errors.UserError(
                    "No training step fits into the memory of the GPU. End other "
                    "programs that use it."
                )
            tried = listed[0]
            continue
        costs = dataclasses.replace(probe.costs, elapsed=time.time() - began)
        chosen = budget.select(listed, tried, costs, measured, run.minutes)
        num_measured += 1
        is_last = num_measured == _MAX_MEASUREMENTS
        if is_last or chosen == tried or budget.suffices(costs, measured, run.minutes):
            break
        tried = chosen
    probe.close()
    return tried, costs


def _title(run):
    folder = shlex.quote(os.fspath(run.workdir))
    scale = ""
    if run.image_scale != 1:
        scale = (
            f"\n\nThe records have images reduced by {run.image_scale:g}: {run.reason}."
        )
    return (
        f"The plan of kerasseg fit for {run.minutes:g} minutes. Lines may be changed "
        "before the\ntraining starts. This command trains with it, or resumes:\n\n"
        f"  python -m kerasseg.train --flagfile={shlex.quote(os.fspath(run.plan))} \\\n"
        f"      --records_dir={shlex.quote(run.records_dir)} --workdir={folder}{scale}"
    )


def train(run: RunFile, seed: int) -> str:
    """Trains, or resumes; returns a description.

    Raises:
        training.Interrupted: A signal came; the run can be resumed.
    """
    runtime.start_tensorflow()
    from kerasseg.training import fit

    fit.fit(None, run.records_dir, recipe=run.plan, workdir=run.workdir, seed=seed)
    best = metadata.read_metadata(run.workdir)
    score = best["scores"]["mean_iou"]
    return f"best mean IoU {score:.4f} at step {best['step']}"


def evaluate(run: RunFile) -> str:
    """Evaluates the best model on val, and writes the report."""
    runtime.start_tensorflow()
    from kerasseg import evaluation
    from kerasseg.inference import options

    folder = os.fspath(run.workdir)
    output = evaluation.Output(
        folder=folder,
        command=f"kerasseg evaluate --workdir={shlex.quote(folder)} --split=val",
    )
    evaluation.evaluate_run(folder, output, options=options.InferenceOptions())
    return f"mean IoU {_score(run):.4f}, report in {run.workdir / layout.REPORT}"


def export(run: RunFile) -> str:
    """Exports the best model as SavedModel, for images of the original size."""
    from kerasseg import exporting
    from kerasseg.exporting.options import TestTimeOptions

    scaled = run.image_scale != 1
    run.version = exporting.export_run(
        run.workdir,
        run.export_dir,
        # The images of the records are reduced already.
        check_images=0 if scaled else _CHECK_IMAGES,
        test_time_options=TestTimeOptions(scales=(run.image_scale,))
        if scaled
        else None,
    )
    return run.version


def summary(run: RunFile, images: str | None) -> str:
    """Returns the score, where the results are, and the commands that use them.

    Args:
        run: The complete run.
        images: Folder or pattern of images, for the example; None for any.
    """
    example = shlex.quote(_folder(images) if images else "image.jpg")
    folder = shlex.quote(os.fspath(run.workdir))
    name = re.sub(r"\W+", "_", run.workdir.resolve().name).strip("_") or "fit"
    scale = f" --eval_scales={run.image_scale:g}" if run.image_scale != 1 else ""
    return (
        f"Mean IoU on val: {_score(run):.4f}\n"
        f"Report: {run.workdir / layout.REPORT}\n"
        f"Export: {run.version}\n"
        f"Predict: kerasseg predict --workdir={folder} --input={example} "
        f"--output_dir={folder}/masks{scale}\n"
        f"Serve: kerasseg serve --export_dir={shlex.quote(run.export_dir)} "
        f"--model_name={name}"
    )


def _folder(pattern):
    """Returns the folder of a pattern: what comes before its first wildcard."""
    start = re.split(r"[*?[{]", pattern)[0]
    return pattern if start == pattern else os.path.dirname(start) or "."


def _score(run):
    return files.read_json(run.workdir / layout.METRICS)["mean_iou"]
