"""Tuning of the dense CRF for the best model of a run."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence

import numpy as np

from kerasseg import errors
from kerasseg.crf import tuning
from kerasseg.inference import refining, resuming
from kerasseg.inference.predictor import Predictor
from kerasseg.system import files
from kerasseg.workdir import best_model, class_rule, run_records


def tune_crf(
    workdir: str | os.PathLike,
    output_dir: str | os.PathLike | None = None,
    *,
    axes: Mapping[str, Sequence[float]] = tuning.AXES,
    crf_settings: Mapping,
    predictor_options: Mapping,
    output_stride: int | None = None,
    split: str = "val",
    num_images: int = 100,
    seed: int = 1,
    records_dir: str | os.PathLike | None = None,
    dataset: str | None = None,
) -> tuning.Result:
    """Searches for the CRF settings with the best mean IoU on images of a split.

    Writes crf.flags, the flags of the best setting, and settings.csv, the mean IoU of
    each setting. A second call with the same arguments resumes the search.

    Args:
        workdir: Folder of the run.
        output_dir: Folder of the results; None: the folder crf of the workdir.
        axes: Values of the coarse grid, by the name of each field of `tuning.Setting`.
        crf_settings: All other keyword arguments of `crf.dense_crf`.
        predictor_options: Keyword arguments of `Predictor`.
        output_stride: As in `best_model.load_best`.
        split: Name of the split.
        num_images: Number of images, drawn at random; all if there are fewer.
        seed: Seed of the draw.
        records_dir: Folder of the records; None: that of the run.
        dataset: Name of the data set; None: that of the run.

    Raises:
        errors.MissingFileError: The records or the best model are missing.
        errors.UserError: A setting is out of range, or the split is empty.
    """
    reader = run_records.open_records(
        workdir, split, records_dir=records_dir, dataset=dataset
    )
    refining.check_rule(class_rule.read(workdir), crf_settings)
    indices = _drawn(reader.split, num_images, seed)

    if not reader.kind.is_rgb:
        raise errors.UserError(
            f"The settings of a CRF are tuned on 8-bit RGB, and the images of the run "
            f"are {reader.kind}. Give a `workdir` of RGB images."
        )

    def make_predictor():
        model = best_model.load_best(workdir, output_stride=output_stride)
        return Predictor(model, **predictor_options)

    folder = output_dir or os.path.join(workdir, "crf")
    cache = _make_cache_folder(
        folder,
        {
            "network": resuming.fingerprint(workdir),
            "pictures": _fingerprint(reader.split, indices),
            "output_stride": output_stride,
            **predictor_options,
            **crf_settings,
        },
    )
    images = tuning.CachedImages(
        reader, indices, os.path.join(cache, "pictures"), make_predictor
    )
    with tuning.Scores(os.path.join(cache, "scores.jsonl")) as scores:
        result = tuning.tune(images, scores, axes, dict(crf_settings))
        images.remove()
    of = f"{len(indices)} images of {reader.split.name}"
    _write(folder, result, crf_settings, of)
    return result


def _drawn(split, num_images, seed):
    """Returns the indices of the images, sorted."""
    order = np.random.default_rng(seed).permutation(len(split))
    if not len(order):
        raise errors.UserError(
            f"The split '{split.name}' is empty. Choose another `split`, or build its "
            f"records again."
        )
    return sorted(order[:num_images].tolist())


def _fingerprint(split, indices):
    """Returns the SHA-256 of the images' records."""
    digest = hashlib.sha256()
    for index in indices:
        digest.update(split.read(index))
    return digest.hexdigest()


def _make_cache_folder(folder, settings):
    """Creates the folder of the cache, named by the settings that it depends on."""
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    cache = os.path.join(folder, f"work-{name}")
    os.makedirs(cache, exist_ok=True)
    files.write_bytes(os.path.join(cache, "facts.json"), text.encode())
    return cache


def _write(folder, result, settings, of):
    """Writes the flag file, and the table of all settings."""
    values = {**settings, **result.best._asdict()}
    lines = [
        f"# Mean IoU {result.means[result.best]:.4f} on {of}, "
        f"{result.means[None]:.4f} without a CRF.",
        "--crf",
        *(f"--crf_{key}={value}" for key, value in values.items() if value is not None),
    ]
    text = "".join(f"{line}\n" for line in lines)
    files.write_bytes(os.path.join(folder, "crf.flags"), text.encode())
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*tuning.Setting._fields, "mean_iou"])
    for setting, mean in result.means.items():
        writer.writerow([*(setting or ["", "", ""]), f"{mean:.6f}"])
    files.write_bytes(os.path.join(folder, "settings.csv"), table.getvalue().encode())
