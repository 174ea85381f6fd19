"""Export of a run's best model."""

import os
from collections.abc import Iterable

from kerasseg import errors, records
from kerasseg.exporting import formats, versions
from kerasseg.exporting.options import (
    DETECTION_MASKS,
    DetectionOptions,
    TestTimeOptions,
    check_formats,
)
from kerasseg.exporting.samples import has_labeled_pixels, read_samples
from kerasseg.inference import segmenter
from kerasseg.system import runtime
from kerasseg.workdir import metadata as run_metadata


def export_run(
    workdir: str | os.PathLike,
    export_dir: str | os.PathLike,
    *,
    format_names: Iterable[str] = ("saved_model",),
    test_time_options: TestTimeOptions | None = None,
    output_stride: int | None = None,
    version: int | str | None = None,
    weights_license: str | None = None,
    check_images: int = 20,
    calibration_images: int = 32,
    split: str | None = None,
    records_dir: str | os.PathLike | None = None,
    detection_masks: str | None = None,
) -> str:
    """Exports the best model of a run, and compares it on images of its records.

    The arguments are checked before TensorFlow starts.

    Args:
        workdir: Folder of the run.
        export_dir: Folder of the versions.
        format_names: Names or groups of formats.
        test_time_options: Scales, flip and CRF of the SavedModel's graph.
        output_stride: As in `best_model.load_best`.
        version: Number of the version, at least 1; None: the next free number.
        weights_license: License of the weights, for the model card.
        check_images: Number of images to compare on; 0: a synthetic image only.
        calibration_images: Number of images of the training split for tflite_int8.
        split: Split of the images to compare on; None: that of the run's validation.
        records_dir: Folder of the records; None: that of the run.
        detection_masks: One of `options.DETECTION_MASKS`, for a network that detects
            objects; None: the first. Images are resized as in training.

    Returns:
        Path of the version.

    Raises:
        errors.MissingFileError: The run has no best model, or its records are missing.
        errors.UserError: See `export_model`.
        OSError: See `export_model`.
    """
    segmenter.check_exists(workdir)
    names = formats.expand_formats(format_names)
    check_formats(test_time_options, names)
    formats.check_installed(names)
    versions.check_version(export_dir, version, with_saved_model="saved_model" in names)
    samples = read_samples(
        workdir, check_images, "eval_split", records_dir=records_dir, split=split
    )
    images = []
    if any(formats.all_formats()[name].needs_samples for name in names):
        _check_labels(samples)
        chosen = read_samples(
            workdir, calibration_images, "train_split", records_dir=records_dir
        )
        images = [records.decode_image(sample.file) for sample in chosen]

    runtime.start_tensorflow()
    from kerasseg.exporting import metadata, writing
    from kerasseg.workdir import best_model

    description = metadata.describe(workdir, weights_license=weights_license)
    spec = run_metadata.read_spec(workdir)
    model = best_model.load_best(workdir, output_stride=output_stride)
    return writing.export_model(
        model,
        export_dir,
        class_names=spec.class_names,
        palette=spec.palette,
        format_names=names,
        samples=samples,
        calibration_images=images,
        test_time_options=test_time_options,
        version=version,
        detection=_detection(model, description, detection_masks),
        description={**description, "output_stride": output_stride},
    )


def _detection(model, description, masks):
    """Returns how objects are detected; None for another model without `masks`."""
    if masks is None and not segmenter.detects_objects(model):
        return None
    return DetectionOptions(
        masks=masks or DETECTION_MASKS[0],
        min_side=description.get("min_side"),
        max_side=description.get("max_side"),
    )


def _check_labels(samples):
    """Checks that there is a mean IoU, which decides about int8."""
    if samples and not has_labeled_pixels(samples):
        raise errors.UserError(
            f"tflite_int8 is judged by its mean IoU, and none of the {len(samples)} "
            f"images to compare it on has a labeled pixel. Give another `split` or "
            f"more `check_images`, or leave tflite_int8 out of `format`."
        )
